"""Kernels as readable loop nests: what is shared out, walked, loaded, computed and stored.

    parallel for i in 0..64 (4 tasks):
        n5 = -inf
        for j in 0..10, 16 at a time:
            n5 = max(n5, n0[10*i + j])

Arrays have the names of their nodes in the printed graph; an index counts elements in row-major
order. The text is made from the terms that the code is generated from (``codegen/expression.py``),
by the decisions of the same :class:`LoopNest`. Read by ``listing`` and by ``suiren.explain``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from suiren.compiler.codegen.expression import Resolver, Root, Term, value_of_constant
from suiren.compiler.codegen.loops import LoopNest, buffer_of
from suiren.compiler.codegen.reductions import neutral
from suiren.compiler.fuse import ORDERED, Group
from suiren.compiler.index import Affine
from suiren.compiler.node import LEAVES, Node, base_of
from suiren.compiler.operands import product_operands
from suiren.compiler.plan import Step
from suiren.compiler.target import Target

LONGEST = 60  # characters of an expression before its parts get names of their own
SHORT = 12  # characters of a load that is written again where it is used again
_LETTERS = "ijklpqrsuvwxyz"
_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floor_div": "//", "and": "&", "or": "|",
    "xor": "^", "shl": "<<", "shr": ">>", "eq": "==", "ne": "!=", "lt": "<", "le": "<=",
    "gt": ">", "ge": ">=",
}  # fmt: skip
_PREFIX = {"neg": "-", "not": "~"}
# (the statement's comment for a root)
Remark = Callable[[Node], str]


def lines_of(step: Step, number: int, target: Target, remark: Remark | None = None) -> list[str]:
    """The kernel of a step as lines of text; ``number`` counts the kernels of its group.

    ``remark`` gives a comment for the statement that computes a root ("" for none).
    """
    group, kernel = step.group, step.kernel
    assert kernel is not None
    first = group.roots[0]
    page = _Page(remark)
    if kernel.name == "combine" or kernel.name == "matmul_combine" and number:
        return _combined(step, page)
    if first.op in ORDERED:
        return _ordered(first, kernel.tasks, page)
    if group.product is not None and group.product.op != "matmul":
        return _convolution(group, kernel.tasks, page)
    if group.product is not None:
        if "_pack_" in kernel.name:
            return _packed(group, kernel.name, kernel.tasks)
        return _product(group, kernel.tasks, page)
    if first.op in ("correlate", "depthwise_sums"):
        return _correlation(first, kernel.tasks, page)
    if group.index:
        return _Nest(group, target, page).lines()
    return _plainly(step, page)


def sources_of(step: Step) -> list[tuple[int, str]]:
    """(position in the trace, operator) of all that a kernel computes, in order."""
    group, kernel = step.group, step.kernel
    if kernel is not None and kernel.name == "combine":
        return sorted({key.source for key in kernel.keys if isinstance(key, Node)})
    found: set[tuple[int, str]] = set()
    for root in group.roots:
        found.update(_root_sources(group, root))
    return sorted(found)


def _root_sources(group: Group, root: Node) -> list[tuple[int, str]]:
    own = root.source or buffer_of(group, root).source
    found = {own} if own is not None else set()
    todo = list(root.inputs) if root is not group.product else []
    seen: set[Node] = set()
    while todo:
        node = todo.pop()
        if node in seen or node in group.roots or node in group.reads:
            continue
        seen.add(node)
        if node.op in LEAVES or node.op == "part":
            continue
        if node.source is not None:
            found.add(node.source)
        todo.extend(node.inputs)
    return sorted(found)


def name_of(node: Node | None) -> str:
    """What a node is called, as in the printed graph."""
    return "?" if node is None else f"n{node.index}"


def described(node: Node) -> str:
    """A node's name, type and shape."""
    return f"{name_of(node)} {node.dtype.name}{list(node.shape)}"


def index_text(e: Affine, names: Sequence[str]) -> str:
    """An index expression over variables with these names."""
    factors = {1: "", -1: "-"}
    parts = [factors.get(c, f"{c}*") + names[v] for v, c in e.terms]
    if e.const or not parts:
        parts.append(str(e.const))
    return " + ".join(parts).replace("+ -", "- ")


class _Page:
    """Lines with indentation."""

    def __init__(self, remark: Remark | None):
        self.lines: list[str] = []
        self.depth = 0
        self.remark: Remark = remark or (lambda node: "")

    def add(self, text: str, root: Node | None = None) -> None:
        line = "    " * self.depth + text
        comment = self.remark(root) if root is not None else ""
        self.lines.append(f"{line:<56}  # {comment}" if comment else line)


class _Expressions:
    """Terms as text. What is used twice, or would be long, becomes a name of its own first."""

    def __init__(self, page: _Page, names: Sequence[str]):
        self.page = page
        self.names = names
        self.known: dict[int, str] = {}
        self.uses: dict[int, int] = {}
        self.in_place: dict[Node, Term] = {}  # roots that are computed where they are needed
        self.ready: set[Node] = set()
        self.count = 0

    def begin(self, terms: Iterable[Term]) -> None:
        """Counts how often each term is used by these."""
        self.uses = {}
        todo = list(terms)
        for term in todo:
            self.uses[id(term)] = 0
        while todo:
            term = todo.pop()
            self.uses[id(term)] = self.uses.get(id(term), 0) + 1
            if self.uses[id(term)] == 1:
                todo.extend(term.inputs)

    def text(self, term: Term) -> str:
        """An expression; the statements that it needs are written before."""
        stack = [term]  # chains may be longer than Python's recursion allows
        while stack:
            at = stack[-1]
            if id(at) in self.known:
                stack.pop()
                continue
            inputs = self._inputs(at)
            waiting = [i for i in inputs if id(i) not in self.known]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            stack.pop()
            found = self._write(at, [self.known[id(i)] for i in inputs])
            leaf = at.op in ("constant", "number", "index", "root")
            leaf = leaf or at.op == "load" and len(found) <= SHORT
            if not leaf and at is not term and (
                self.uses.get(id(at), 0) > 1 or len(found) > LONGEST
            ):  # fmt: skip
                name = f"t{self.count}"
                self.count += 1
                self.page.add(f"{name} = {_bare(found)}")
                found = name
            self.known[id(at)] = found
        return self.known[id(term)]

    def name(self, term: Term) -> None:
        """Writes a statement that gives this term a name."""
        if id(term) not in self.known:
            text = self.text(term)
            self.page.add(f"t{self.count} = {_bare(text)}")
            self.known[id(term)] = f"t{self.count}"
            self.count += 1

    def _inputs(self, term: Term) -> tuple[Term, ...]:
        if term.op == "root" and term.node not in self.ready and term.node in self.in_place:
            return (self.in_place[term.node],)
        return term.inputs

    def _write(self, term: Term, inputs: list[str]) -> str:
        op, names = term.op, self.names
        if op == "root":
            return inputs[0] if inputs else name_of(term.node)
        if op == "constant":
            return f"{value_of_constant(term)}"
        if op == "number":
            assert term.node is not None
            return f"number{term.node.attributes[0]}"
        if op == "load":
            return f"{name_of(term.node)}[{index_text(term.at, names)}]"
        if op == "take":
            chosen = _bare(inputs[0])
            if term.step != 1:
                chosen = f"{term.step}*({chosen})" if " " in chosen else f"{term.step}*{chosen}"
            if term.at.terms or term.at.const:
                chosen = f"{chosen} + {index_text(term.at, names)}"
            return f"{name_of(term.node)}[{chosen}]"
        if op == "index":
            found = index_text(term.at, names)
            return f"({found})" if " " in found else found
        if op == "pad":
            assert term.node is not None
            inside = " and ".join(
                f"{low} <= {index_text(e, names)} < {high}" for e, low, high in term.guards
            )
            return f"({inputs[0]} if {inside} else {term.node.attributes[1]})"
        if op == "cast":
            return f"{term.dtype.name}({_bare(inputs[0])})"
        if op in _INFIX:
            return f"({inputs[0]} {_INFIX[op]} {inputs[1]})"
        if op in _PREFIX:
            return f"{_PREFIX[op]}{inputs[0]}"
        return f"{op}({', '.join(map(_bare, inputs))})"


def _bare(text: str) -> str:
    """Without the parentheses around the whole."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for at, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return text[1:-1] if at == len(text) - 1 else text
    return text


def _joined(name: str, kind: str, text: str) -> str:
    """The statement of one step of a reduction."""
    if kind in ("sum", "prod"):
        return f"{name} {'+' if kind == 'sum' else '*'}= {_bare(text)}"
    return f"{name} = {kind}({name}, {_bare(text)})"


class _Nest:
    """The loops of a group without a product."""

    def __init__(self, group: Group, target: Target, page: _Page):
        self.page = page
        self.nest = nest = LoopNest(group, target)
        nest.kernels()  # decides what is kept from walk to walk
        self.names = [_letter(v) for v in range(len(nest.sizes))]
        self.say = _Expressions(page, self.names)
        self.say.in_place = {r.node: r.term for r in nest.plain}
        self.kept: dict[int, str] = {}  # what a walk leaves for later ones

    def lines(self) -> list[str]:
        nest, page = self.nest, self.page
        totals = [r for r in nest.late if not self._is_column(r)]
        for root in totals:
            each = " (one for each task)" if nest._is_partial(root) else ""
            page.add(f"{name_of(root.node)} = {neutral(root.node)}{each}")
        depth = page.depth
        if nest.flat:
            page.add(f"{self._parallel(self.names[-1], str(nest.inside))}{self._vectors()}:")
            page.depth += 1
            self._walk(0)
        else:
            rows = self.names[: nest.rows]
            if nest._columns():
                page.add(f"{self._cleared()} = {neutral(nest._columns()[0].node)}")
            if rows:
                sizes = " x ".join(str(nest.sizes[v]) for v in range(nest.rows))
                page.add(self._parallel(", ".join(rows), sizes) + ":")
                page.depth += 1
            for level in range(nest.levels):
                self._row_values(level)
                self._walk(level)
        page.depth = depth
        for root in totals:
            name = name_of(root.node)
            if nest._is_partial(root):
                page.add(f"partial_{name}[task] = {name}", root.node)
            else:
                page.add(f"{name}[0] = {name}", root.node)
        return page.lines

    @staticmethod
    def _is_column(root: Root) -> bool:
        return any(root.place.terms)

    def _cleared(self) -> str:
        return ", ".join(f"{name_of(r.node)}[...]" for r in self.nest._columns())

    def _parallel(self, names: str, sizes: str) -> str:
        tasks = self.nest.tasks
        range_ = f"0..{sizes}" if "x" not in sizes else sizes
        if tasks > 1:
            return f"parallel for {names} in {range_} ({tasks} tasks)"
        return f"for {names} in {range_}"

    def _vectors(self) -> str:
        return f", {self.nest.width} at a time" if self.nest.width else ""

    def _row_values(self, level: int) -> None:
        nest, say = self.nest, self.say
        for root in nest.plain:
            if root.full or nest._level(root) != level:
                continue
            say.begin([root.term])
            name = name_of(root.node)
            stored = root.node in nest.stored
            text = _bare(say.text(root.term))
            if stored:
                place = index_text(root.place, self.names)
                self.page.add(f"{self._target(root)}[{place}] = {name} = {text}", root.node)
            elif text != name:
                self.page.add(f"{name} = {text}", root.node)
            self._know(root.node)
        for root in nest.late:
            if not root.full and nest._level(root) == level:
                say.begin([root.term])
                text = say.text(root.term)
                self.page.add(_joined(name_of(root.node), root.node.attributes[0], text), root.node)

    def _know(self, node: Node) -> None:
        self.say.ready.add(node)
        for term in self.nest.resolver.terms.values():
            if term.op == "root" and term.node is node:
                self.say.known[id(term)] = name_of(node)

    def _target(self, root: Root) -> str:
        return name_of(buffer_of(self.nest.group, root.node))

    def _walk(self, level: int) -> None:
        """One walk of the inside of a row."""
        nest, page, say = self.nest, self.page, self.say
        own = [r for r in nest.roots if r.full and nest._level(r) == level]
        stores = [r for r in own if r in nest.plain and r.node in nest.stored]
        inner = [r for r in own if r in nest.inner]
        late = [r for r in own if r in nest.late]
        if not (stores or inner or late):
            return
        for root in inner:
            page.add(f"{name_of(root.node)} = {neutral(root.node)}")
        depth = page.depth
        self._forget()
        terms = [r.term for r in (*stores, *inner, *late)]
        say.begin(terms)
        if not nest.flat:
            for term in self._of_the_row(terms) if nest.inside > 1 else ():
                say.name(term)
            self._inner_loops()
        kept = list(nest.keep_at.get(level, ()))
        late_kept = [t for t in kept if any(t.node is r.node for r in stores)]
        for term in kept:
            if term not in late_kept:
                self._keep(term)
        written = []
        for root in stores:
            name, text = name_of(root.node), _bare(say.text(root.term))
            again = any(t.op == "root" and t.node is root.node for t in self._all(terms))
            place = index_text(root.place, self.names)
            if again:
                page.add(f"{name} = {text}", root.node)
                self._know(root.node)
                page.add(f"{self._target(root)}[{place}] = {name}")
            else:
                page.add(f"{self._target(root)}[{place}] = {text}", root.node)
            written.append(root.node)
        for root in inner:
            kind = root.node.attributes[0]
            page.add(_joined(name_of(root.node), kind, say.text(root.term)), root.node)
        for root in late:
            name = name_of(root.node)
            if self._is_column(root):
                name = f"{name}[{index_text(root.place, self.names)}]"
            page.add(_joined(name, root.node.attributes[0], say.text(root.term)), root.node)
        for term in late_kept:
            self._keep(term)
        page.depth = depth
        for node in written:
            say.ready.discard(node)
        for root in inner:
            if root.node in nest.stored:
                place = index_text(root.place, self.names)
                page.add(f"{name_of(root.node)}[{place}] = {name_of(root.node)}")
            self._know(root.node)

    def _keep(self, term: Term) -> None:
        """Writes a value that later walks of the row need again to a row of scratch memory."""
        text, name = self.say.text(term), f"row{len(self.kept)}[{self.names[-1]}]"
        self.page.add(f"{name} = {_bare(text)}")
        self.kept[id(term)] = self.say.known[id(term)] = name

    def _forget(self) -> None:
        """Names of the last walk are not known in this one, but what was kept is."""
        known = self.say.known
        for term in self.nest.resolver.terms.values():
            if term.inside:
                known.pop(id(term), None)
        known.update(self.kept)

    def _of_the_row(self, terms: Sequence[Term]) -> list[Term]:
        """What is computed once a row, for use in the walk."""
        found: list[Term] = []
        for term in self._all(terms):
            for x in (*term.inputs, *([term] if any(term is t for t in terms) else [])):
                composed = x.inputs and x.op != "root" and id(x) not in self.say.known
                if composed and not x.inside and (term.inside or x is term):
                    if not all(i.op in ("constant", "number") for i in x.inputs):
                        found.append(x)
        return list({id(x): x for x in found}.values())

    @staticmethod
    def _all(terms: Sequence[Term]) -> list[Term]:
        found: dict[int, Term] = {}
        todo = list(terms)
        while todo:
            term = todo.pop()
            if id(term) not in found:
                found[id(term)] = term
                todo.extend(term.inputs)
        return list(found.values())

    def _inner_loops(self) -> None:
        nest, page = self.nest, self.page
        if nest.inside <= 1:
            return
        for v in range(nest.rows, len(nest.sizes)):
            vectors = self._vectors() if v == len(nest.sizes) - 1 else ""
            page.add(f"for {self.names[v]} in 0..{nest.sizes[v]}{vectors}:")
            page.depth += 1


def _letter(v: int) -> str:
    return _LETTERS[v] if v < len(_LETTERS) else f"i{v}"


def _product(group: Group, tasks: int, page: _Page) -> list[str]:
    node = group.product
    assert node is not None
    batch, a, b = product_operands(node)
    m, n, k = *node.shape[-2:], node.inputs[0].shape[-1]
    resolver = Resolver(group)
    resolver.coarsen()
    outer = [_letter(v) for v in range(len(resolver.sizes) - 2)]
    alike = list(batch) == list(resolver.sizes[:-2])
    own = outer if alike else [f"b{i}" for i in range(len(batch))]
    names = [*outer, "m", "n"]
    every = [f"{x} in 0..{size}" for x, size in zip(own, batch, strict=True)]
    if not alike:
        every.append(f"so {', '.join(outer)}")
    page.add(f"product in {_count(tasks)}, for "
             + ", ".join([*every, f"m in 0..{m}", f"n in 0..{n}"]) + ":")  # fmt: skip
    page.depth += 1
    left = _strided(a, own, "m", "k")
    right = _strided(b, own, "k", "n")
    _finish(group, resolver, names, f"sum over k in 0..{k} of {left} * {right}", page)
    return page.lines


def _finish(group: Group, resolver: Resolver, names: list[str], text: str, page: _Page) -> None:
    """An element of a product, and what becomes of it."""
    node = group.product
    assert node is not None
    own_place = [r.place for r in resolver.roots if r.node is node and node in group.stores]
    stored = f"[{index_text(own_place[0], names)}]" if own_place else ""
    page.add(f"{name_of(node)}{stored} = {text}", node)
    say = _Expressions(page, names)
    say.ready.add(node)
    say.in_place = {r.node: r.term for r in resolver.roots if r.node is not node}
    roots = [r for r in resolver.roots if r.node in group.stores and r.node is not node]
    say.begin([r.term for r in roots])
    for root in roots:
        place = index_text(root.place, names)
        page.add(f"{name_of(root.node)}[{place}] = {_bare(say.text(root.term))}", root.node)
        for term in resolver.terms.values():
            if term.op == "root" and term.node is root.node:
                say.known[id(term)] = f"{name_of(root.node)}[{place}]"


def _convolution(group: Group, tasks: int, page: _Page) -> list[str]:
    node = group.product
    assert node is not None
    resolver = Resolver(group)
    resolver.coarsen()
    names = [_letter(v) for v in range(len(resolver.sizes))]
    every = [f"{x} in 0..{size}" for x, size in zip(names, resolver.sizes, strict=True)]
    page.add(f"convolution in {_count(tasks)}, for {', '.join(every)}:")
    page.depth += 1
    image, weight = (base_of(x) for x in node.inputs)
    text = f"sum over taps and channels of {name_of(image)}[...] * {name_of(weight)}[...]"
    _finish(group, resolver, names, text, page)
    return page.lines


def _correlation(node: Node, tasks: int, page: _Page) -> list[str]:
    a, b = (name_of(base_of(x)) for x in node.inputs)
    page.add(f"{name_of(node)}[...] = sum over places of {a}[...] * {b}[...] "
             f"for each tap and channel ({_count(tasks)})", node)  # fmt: skip
    return page.lines


def _count(tasks: int) -> str:
    return f"{tasks} task{'s' if tasks != 1 else ''}"


def _strided(view: Any, outer: Sequence[str], row: str, column: str) -> str:
    names = [*outer, row, column]
    steps = [*view.batch, view.row, view.column]
    used = tuple([(v, c) for v, c in enumerate(steps) if c])
    return f"{name_of(view.base)}[{index_text(Affine(view.offset, used), names)}]"


def _packed(group: Group, name: str, tasks: int) -> list[str]:
    assert group.product is not None
    _, a, b = product_operands(group.product)
    which = a if name.endswith("_a") else b
    return [
        f"{name_of(which.base)} copied into the order in which the product reads it "
        f"({_count(tasks)})"
    ]


def _combined(step: Step, page: _Page) -> list[str]:
    kernel = step.kernel
    assert kernel is not None
    if kernel.name == "matmul_combine":
        found = _product(step.group, kernel.tasks, page)
        return ["the sums over parts of k are added up, in order:", *found[2:]]
    for key in kernel.keys:
        if isinstance(key, Node):
            kind = key.attributes[0]
            page.add(
                f"{name_of(key)}[...] = {kind} over tasks of partial_{name_of(key)}[task]", key
            )
    return page.lines


def _ordered(node: Node, tasks: int, page: _Page) -> list[str]:
    shared = f" ({tasks} tasks share the other dimensions)" if tasks > 1 else ""
    kind, dim, *how = node.attributes
    if node.op == "scan":
        x, (wide, backwards) = base_of(node.inputs[0]), how
        order = "in order, backwards" if backwards else "in order"
        if wide is not node.dtype:
            order += f", in {wide.name}"
        page.add(f"for i in 0..{node.shape[dim]}, {order}, along dimension {dim}{shared}:")
        before = f"{name_of(node)}[..., i {'+' if backwards else '-'} 1, ...]"
        page.depth += 1
        new = f"{name_of(x)}[..., i, ...]"
        signs = {"sum": "+", "prod": "*"}
        text = f"{before} {signs[kind]} {new}" if kind in signs else f"{kind}({before}, {new})"
        page.add(f"{name_of(node)}[..., i, ...] = {text}", node)
        return page.lines
    _, index, values = (base_of(x) for x in node.inputs)  # the first was written before
    page.add(f"for i in 0..{values.shape[dim] if values.ndim > dim else values.numel}, in order, "
             f"along dimension {dim}{shared}:")  # fmt: skip
    page.depth += 1
    sign = {"add": "+=", "mul": "*=", "set": "="}.get(kind, f"{kind}=")
    along = f"{name_of(index)}[{'..., i, ...' if node.op == 'scatter_along' else 'i'}]"
    page.add(
        f"{name_of(node)}[..., {along}, ...] {sign} {name_of(values)}[..., i, ...]", node
    )
    return page.lines


def _plainly(step: Step, page: _Page) -> list[str]:
    """A kernel of another family: what it computes of what."""
    kernel = step.kernel
    assert kernel is not None
    page.add(f"{kernel.name} in {_count(kernel.tasks)}:")
    page.depth += 1
    for root in step.group.roots:
        page.add(repr(root), root)
    return page.lines
