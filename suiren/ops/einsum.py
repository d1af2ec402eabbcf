"""Einstein summation: sums of products named by subscripts.

The equation is parsed here; operands are contracted from the left, two at a time, each time as one
batched product: permute, reshape, bmm. So gradients come from those operators. Source: PyTorch's
torch.einsum page; NumPy's "einsum" describes the notation.
"""

from __future__ import annotations

from collections import Counter
from math import prod

from suiren.operator import composite
from suiren.ops.matmul import bmm
from suiren.ops.parts import diagonal
from suiren.ops.reductions import sum_
from suiren.tensor import Tensor

Label = object  # a letter, a number of the sublist form, or ("...", i) for an ellipsis dimension


def _fail(text: str) -> None:
    raise RuntimeError(f"einsum(): {text}")


def _term(text: str, which: str) -> list:
    """The subscripts of one operand: letters, and ... at most once."""
    found: list = []
    rest = text.replace(" ", "")
    while rest:
        if rest.startswith("..."):
            if "..." in found:
                _fail(f"found a second ellipsis in {which}: {text!r}; one is enough")
            found.append("...")
            rest = rest[3:]
            continue
        if not (rest[0].isascii() and rest[0].isalpha()):
            if rest[0] == ".":
                _fail(f"found '.' in {which} {text!r} that is not part of any ellipsis")
            _fail(f"invalid subscript {rest[0]!r} in {which}, subscripts must be in [a-zA-Z]")
        found.append(rest[0])
        rest = rest[1:]
    return found


def _parse(equation: str, count: int) -> tuple[list[list], list | None]:
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != count:
        more = "fewer" if len(terms) > count else "more"
        _fail(
            f"{more} operands were provided than specified in the equation: {count} operands, "
            f"{len(terms)} terms in {equation!r}"
        )
    if "->" in right or (not arrow and ("-" in left or ">" in left)):
        _fail(f"invalid equation {equation!r}")
    inputs = [_term(text, f"operand {i}") for i, text in enumerate(terms)]
    return inputs, _term(right, "the output") if arrow else None


def _sublist(subscripts: list | tuple) -> list:
    found = []
    for s in subscripts:
        if s is Ellipsis:
            found.append("...")
        elif not isinstance(s, int) or not 0 <= s < 52:
            _fail(f"invalid subscript {s}, subscripts must be in the range [0, 52)")
        else:
            found.append(chr(ord("A") + s) if s < 26 else chr(ord("a") + s - 26))
    return found


def _with_ellipsis(term: list, dims: int, covered: int) -> list:
    # ellipsis dimensions are counted from the right, so that they broadcast
    at = term.index("...")
    inner = [("...", dims - covered + i) for i in range(covered)]
    return term[:at] + inner + term[at + 1 :]


def _take_diagonals(x: Tensor, labels: list) -> tuple[Tensor, list]:
    """Repeated subscripts of one operand select its diagonal."""
    labels = list(labels)
    for label in list(dict.fromkeys(labels)):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            if x._meta.shape[i] != x._meta.shape[j]:
                _fail(
                    f"subscript {label} is repeated for an operand but the sizes don't match, "
                    f"{x._meta.shape[j]} != {x._meta.shape[i]}"
                )
            x = diagonal(x, 0, i, j)
            del labels[j], labels[i]
            labels.append(label)
    return x, labels


def _aligned(x: Tensor, have: list, order: list) -> Tensor:
    """Dimensions permuted to ``order``; labels the operand lacks get size one."""
    present = [label for label in order if label in have]
    x = x.permute([have.index(label) for label in present])
    for i, label in enumerate(order):
        if label not in have:
            x = x.unsqueeze(i)
    return x


def _contract(
    a: Tensor, la: list, b: Tensor, lb: list, keep: set
) -> tuple[Tensor, list]:
    """The product of two operands, summed over what nobody needs any more."""
    order = list(dict.fromkeys([*la, *lb]))
    # what only one of them has (or has with size one) is summed there at once
    for label in order:
        if label in keep:
            continue
        in_a, in_b = label in la, label in lb
        size_a = a._meta.shape[la.index(label)] if in_a else 1
        size_b = b._meta.shape[lb.index(label)] if in_b else 1
        if in_a and (not in_b or size_b == 1 != size_a):
            a, la = _without(a, la, label)
            if in_b:
                b, lb = _without(b, lb, label)
        elif in_b and (not in_a or size_a == 1 != size_b):
            b, lb = _without(b, lb, label)
            if in_a:
                a, la = _without(a, la, label)
    order = list(dict.fromkeys([*la, *lb]))
    a, b = _aligned(a, la, order), _aligned(b, lb, order)
    sizes = list(zip(a._meta.shape, b._meta.shape, strict=True))
    every = range(len(order))
    shared = [i for i in every if order[i] not in keep]
    if not shared:
        return a * b, order
    left = [i for i in every if order[i] in keep and sizes[i][1] == 1 != sizes[i][0]]
    right = [i for i in every if order[i] in keep and sizes[i][0] == 1 != sizes[i][1]]
    batch = [i for i in every if i not in (*shared, *left, *right)]
    n_batch = prod(sizes[i][0] for i in batch)
    n_left, n_right = prod(sizes[i][0] for i in left), prod(sizes[i][1] for i in right)
    n_shared = prod(sizes[i][0] for i in shared)
    x = a.permute([*batch, *left, *shared, *right]).reshape(n_batch, n_left, n_shared)
    y = b.permute([*batch, *shared, *right, *left]).reshape(n_batch, n_shared, n_right)
    found = bmm(x, y).reshape(
        [sizes[i][0] for i in batch] + [sizes[i][0] for i in left] + [sizes[i][1] for i in right]
    )
    return found, [order[i] for i in (*batch, *left, *right)]


def _without(x: Tensor, labels: list, label: Label) -> tuple[Tensor, list]:
    at = labels.index(label)
    return sum_(x, at, dtype=x._meta.dtype), labels[:at] + labels[at + 1 :]


@composite(where=("torch",), out=False)
def einsum(*args):
    """Sums of products of the operands over named dimensions.

    ``einsum("ij,jk->ik", a, b)``; without an arrow the subscripts that occur once are kept, in
    alphabetical order. ``...`` stands for broadcast dimensions. Also
    ``einsum(a, [0, 1], b, [1, 2], [0, 2])``. Raises RuntimeError for equations that do not fit the
    operands. Source: torch.einsum.

    >>> import suiren as torch
    >>> torch.einsum("ij->ji", torch.tensor([[1, 2], [3, 4]]))
    tensor([[1, 3],
            [2, 4]])
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one "
            "operand and its subscripts list"
        )
    if isinstance(args[0], Tensor):
        operands = [x for x in args[: len(args) // 2 * 2 : 2]]
        inputs = [_sublist(x) for x in args[1 : len(args) // 2 * 2 : 2]]
        output = _sublist(args[-1]) if len(args) % 2 else None
    else:
        equation, *rest = args
        if len(rest) == 1 and isinstance(rest[0], (list, tuple)):
            rest = list(rest[0])
        operands = list(rest)
        if not operands:
            _fail("must provide at least one operand")
        inputs, output = _parse(equation, len(operands))
    return _evaluate(operands, inputs, output)


def _evaluate(operands: list[Tensor], inputs: list[list], output: list | None) -> Tensor:
    covered = []
    for i, (x, term) in enumerate(zip(operands, inputs, strict=True)):
        rest = x._meta.ndim - len([s for s in term if s != "..."])
        if rest < 0 or (rest and "..." not in term):
            _fail(
                f"the number of subscripts in the equation ({len(term)}) does not match the "
                f"number of dimensions ({x._meta.ndim}) for operand {i}"
                + ("" if "..." in term else " and no ellipsis was given")
            )
        covered.append(rest)
    dims = max([c for c, t in zip(covered, inputs, strict=True) if "..." in t], default=0)
    labels = [
        _with_ellipsis(term, dims, rest) if "..." in term else term
        for term, rest in zip(inputs, covered, strict=True)
    ]
    counts = Counter(label for term in labels for label in term)
    dotted = [("...", i) for i in range(dims)]
    if output is None:
        output = dotted + sorted(s for s, n in counts.items() if n == 1 and isinstance(s, str))
    else:
        for s in output:
            if s != "..." and output.count(s) > 1:
                _fail(f"output subscript {s} appears more than once in the output")
            if s != "..." and s not in counts:
                _fail(
                    f"output subscript {s} does not appear in the equation for any input operand"
                )
        if "..." in output:
            output = _with_ellipsis(output, dims, dims)
    _check_sizes(operands, labels)
    pairs = [_take_diagonals(x, term) for x, term in zip(operands, labels, strict=True)]
    found, have = pairs[0]
    for i in range(1, len(pairs)):
        later = {s for _, term in pairs[i + 1 :] for s in term} | set(output)
        found, have = _contract(found, have, *pairs[i], later)
    gone = [i for i, label in enumerate(have) if label not in output]
    if gone:
        found = sum_(found, gone, dtype=found._meta.dtype)
        have = [label for label in have if label in output]
    return found.permute([have.index(label) for label in output])


def _check_sizes(operands: list[Tensor], labels: list[list]) -> None:
    sizes: dict = {}
    for i, (x, term) in enumerate(zip(operands, labels, strict=True)):
        for label, size in zip(term, x._meta.shape, strict=True):
            known = sizes.get(label, 1)
            if size != 1 and known != 1 and size != known:
                name = "..." if isinstance(label, tuple) else label
                _fail(
                    f"subscript {name} has size {size} for operand {i} which does not broadcast "
                    f"with previously seen size {known}"
                )
            sizes[label] = size if known == 1 else known
