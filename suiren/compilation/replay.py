"""A plan: how a call is done again without running the function.

Two equal Records of watched calls are written out as one Python function: compare arguments, modes,
tensors, gradients and surroundings; gather the inputs of the stored program; put its results where
the call put them (contents of tensors, gradients, what is returned); run the program. If anything
is not as it was it returns ``MISS`` before it has done anything.

The new contents are put in place as pending Values before the program runs: the old ones are then
held by nobody else and their memory can be written over.
"""

from __future__ import annotations

from typing import Any

from suiren.compilation.history import HistoryWriter
from suiren.compilation.watch import Hung, Record, Spent, modes
from suiren.tensor import Tensor, new_tensor, value_of
from suiren.trace import Value
from suiren.trace.recorder import local
from suiren.trace.segment import Segment

MISS = object()


class Plan:
    """A recorded call; ``replay(args, kwargs)`` does it again or returns ``MISS``."""

    def __init__(self, record: Record) -> None:
        self.record = record
        writer = _Writer(record)
        self.source = writer.source()
        code = compile(self.source, "<a replayed call>", "exec")
        exec(code, writer.space)
        self.replay: Any = writer.space["replay"]

    def describe(self) -> str:
        """One line for the log."""
        r = self.record
        parts = [
            (len(r.key[0]), "operations"), (len(r.sources), "inputs"),
            (len(r.writes), "tensors written"), (len(r.grads), "gradients"),
            (len(r.draws), "random draws"), (len(r.steps), "optimizer steps"),
        ]  # fmt: skip
        return ", ".join(f"{count} {what}" for count, what in parts)


class _Writer:
    """Writes the function of a plan."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.space: dict[str, Any] = {
            "MISS": MISS, "modes": modes, "local": local, "Value": Value,
            "Tensor": Tensor, "new_tensor": new_tensor, "value_of": value_of, "hang": _hang,
            "alias": _alias, "zip": zip, "run": record.program and record.program.run,
        }  # fmt: skip
        self._names: dict[int, str] = {}
        self.lines: list[str] = []

    def name(self, what: Any) -> str:
        """The name of this object in the function."""
        if what is None or what is True or what is False:
            return repr(what)
        found = self._names.get(id(what))
        if found is None:
            found = self._names[id(what)] = f"k{len(self._names)}"
            self.space[found] = what
        return found

    def source(self) -> str:
        """The text of the function."""
        self.whole = self.record.asked > 0
        self._guards()
        self._inputs()
        self._effects()
        body = "\n".join("    " + line for line in self.lines)
        return f"def replay(args, kwargs):\n{body}\n"

    # ---- comparing

    def _guards(self) -> None:
        record, lines = self.record, self.lines
        checks, self.tensors = record.arguments.check(self.name)
        lines += checks
        lines.append(f"if modes() != {self.name(record.modes)}: return MISS")
        fixed = record.tensors[record.arguments.count :]
        for t in fixed:
            self.tensors.append(self.name(t))
        for t, name in zip(fixed, self.tensors[record.arguments.count :], strict=True):
            test = f"{name}._meta is not {self.name(t._meta)}"
            test += f" or {name}._storage is not {self.name(t._storage)}"
            test += f" or {name}._requires_grad is not {t._requires_grad}"
            test += f" or {name}._grad_fn is not {self.name(t._grad_fn)}"
            lines.append(f"if {test}: return MISS")
        fixed_written = frozenset(
            id(record.tensors[p]._storage) for p, *_ in record.writes if p >= record.arguments.count
        )
        given = self.tensors[: record.arguments.count]
        if fixed_written:
            for name in given:
                lines.append(f"if id({name}._storage) in {self.name(fixed_written)}: return MISS")
        if any(p < record.arguments.count for p, *_ in record.writes):
            stores = ", ".join(f"id({name}._storage)" for name in given)
            lines.append(f"if len({{{stores}}}) != {len(given)}: return MISS")
            kept = frozenset(id(t._storage) for t in fixed)
            for name in given:
                lines.append(f"if id({name}._storage) in {self.name(kept)}: return MISS")
        for place, *_ in record.writes:
            lines.append(f"if {self.storage(place)}.pinned is not None: return MISS")
        self._guard_grads()
        self.name(record.surroundings)
        lines.append(f"if not {self.name(record.surroundings)}.unchanged(): return MISS")
        for i, (optimizer, found) in enumerate(record.steps):
            kinds, numbers = found
            types = [x.__class__ for x in numbers]
            lines.append(f"n{i} = {self.name(optimizer)}.foreseen_numbers()")
            lines.append(
                f"if n{i} is None or n{i}[0] != {self.name(kinds)} or "
                f"[x.__class__ for x in n{i}[1]] != {self.name(types)}: return MISS"
            )
            lines.append(f"n{i} = n{i}[1]")

    def _guard_grads(self) -> None:
        record, lines = self.record, self.lines
        with_grads = {place: (meta, what) for place, meta, what in record.grads}
        for place, t in enumerate(record.tensors):
            name = self.tensors[place]
            if place not in with_grads:
                if t._requires_grad:
                    lines.append(f"if {name}._grad is not None: return MISS")
                continue
            meta = with_grads[place][0]
            lines.append(f"g{place} = {name}._grad")
            if meta is None:
                lines.append(f"if g{place} is not None: return MISS")
            else:
                g = f"g{place}"
                lines.append(
                    f"if {g} is None or {g}.__class__ is not Tensor or "
                    f"{g}._meta is not {self.name(meta)} or {g}._view is not None or "
                    f"{g}._requires_grad or {g}._counter is not None or {g}._inference or "
                    f"{g}._storage.value is None: return MISS"
                )
            if t._requires_grad:
                lines.append(f"a = {name}._accumulator")
                lines.append("if a is not None and (a.hooked or a.after_hooks): return MISS")
        lines.append("a = None")

    # ---- what goes in

    def storage(self, place: int) -> str:
        if place < self.record.arguments.count:
            return f"{self.tensors[place]}._storage"
        return self.name(self.record.tensors[place]._storage)

    def _expression(self, source: tuple) -> str:
        """The value of a source; what is pinned or a view has a variable of its own."""
        what = source[0]
        if what == "tensor":
            return self.read[source[1]]
        if what == "grad":
            return f"g{source[1]}._storage.value"
        if what == "constant":
            return self.name(source[1].value)
        if what == "number":
            return self.name(source[3].what)
        if what == "step":
            return f"n{source[1]}[{source[2]}]"
        return f"d{source[1]}"

    def _inputs(self) -> None:
        record, lines = self.record, self.lines
        lines.append("trace = local.trace")
        if self.whole:
            lines.append("if trace.entries: trace.flush()")
        self.read: dict[int, str] = {}
        used = [s[1] for s in self._sources() if s[0] == "tensor"]
        for place in sorted(set(used)):
            t = record.tensors[place]
            if t._view is not None or t._storage.pinned is not None:
                lines.append(f"v{place} = value_of({self.tensors[place]})")
                if self.whole:
                    lines.append(f"if v{place}.buffer is None: v{place}.get()")
                self.read[place] = f"v{place}"
            else:
                self.read[place] = f"{self.storage(place)}.value"
                lines.append(f"v = {self.read[place]}")
                lines.append("if v is None: return MISS")
                if self.whole:
                    lines.append("if v.buffer is None: v.get()")
        for place in sorted({s[1] for s in self._sources() if s[0] == "grad"}):
            if self.whole:
                lines.append(f"v = g{place}._storage.value")
                lines.append("if v.buffer is None: v.get()")
        lines.append("v = None")
        for i, (function, arguments) in enumerate(record.draws):
            lines.append(
                f"d{i} = {self.name(_draw)}({self.name(function)}, {self.name(arguments)})"
            )

    def _sources(self) -> list[tuple]:
        record = self.record
        found = list(record.sources)
        for _, what, _, _ in record.writes:
            found += [what[1]] if what[0] == "input" else []
        for _, _, what in record.grads:
            found += [what[1][1]] if len(what) > 1 and what[1][0] == "input" else []
        _each_input(record.results, found)
        for node in record.nodes:
            for kept in (*node.saved, *node.saved_results):
                if kept is not None and kept[0] == "saved" and kept[1][0] == "input":
                    found.append(kept[1][1])
        return found

    # ---- what comes out

    def _effects(self) -> None:
        record, lines = self.record, self.lines
        inputs = [self._expression(source) for source in record.sources]
        # Values that are put elsewhere as they are: looked at before anything is written.
        self.kept: dict[str, str] = {}
        for source in self._sources()[len(record.sources) :]:
            text = self._expression(source)
            if text not in self.kept:
                self.kept[text] = f"i{len(self.kept)}"
                lines.append(f"{self.kept[text]} = {text}")
        if self.whole:
            pairs = ", ".join(
                f"({slot}, {text})" for slot, text in zip(record.inputs, inputs, strict=True)
            )
            lines.append(f"inputs = [{pairs}]")
            for i, meta in enumerate(record.outputs):
                lines.append(f"w{i} = Value({self.name(meta)}, None, trace, {i})")
            lines.append("with trace.lock:")
            inner = self.lines = []
            self._put()
            outputs = "".join(f"w{i}, " for i in range(len(record.outputs)))
            inner += [
                "buffers, error = run(inputs, False)",
                f"for w, b in zip(({outputs}), buffers):",
                "    w.buffer = b",
                "    w.trace = None",
            ]
            self.lines = lines
            lines += ["    " + line for line in inner]
            lines.append("if error is not None: raise error")
        else:
            segment = _segment(record)
            outputs = "".join(f"w{i}, " for i in range(len(record.outputs)))
            given = ", ".join(inputs)
            lines.append(f"{outputs}= trace.record_segment({self.name(segment)}, [{given}])")
            self._put()
        for optimizer, _ in record.steps:
            lines.append(f"{self.name(optimizer)}.count_step()")
        self.seen: dict[int, str] = {}
        self.hung: list[tuple[str, Any]] = []
        text = self._result(record.results)
        written = {place: versions for place, _, _, versions in record.writes}
        HistoryWriter(self, self.space).write(record.nodes, written)
        for found, node in self.hung:
            lines.append(f"{found}._grad_fn = n_{node.node}; {found}._requires_grad = True")
            if node.index:
                lines.append(f"{found}._output_index = {node.index}")
        lines.append(f"return {text}")

    def value(self, what: tuple) -> str:
        if what[0] == "output":
            return f"w{what[1]}"
        return self.kept[self._expression(what[1])]

    def _put(self) -> None:
        record, lines = self.record, self.lines
        for place, what, changes, versions in record.writes:
            storage = self.storage(place)
            if place < record.arguments.count:
                lines.append(f"s = {storage}")
                storage = "s"
            lines.append(f"{storage}.value = {self.value(what)}")
            if changes:
                lines.append(f"{storage}.changes += {changes}")
            if versions:
                lines.append(f"{storage}.version += {versions}")
        for place, _, what in record.grads:
            name = self.tensors[place]
            if what[0] == "none":
                lines.append(f"{name}._grad = None")
            elif what[0] == "same":
                lines.append(f"s = g{place}._storage")
                lines.append(f"s.value = {self.value(what[1])}")
                lines.append(f"s.changes += {what[2]}; s.version += {what[3]}")
            elif what[0] == "new":
                lines.append(
                    f"{name}._grad = new_tensor({self.value(what[1])}, {self.name(what[2])})"
                )
            lines.append(f"g{place} = None")

    def _result(self, what: Any) -> str:
        kind = what[0]
        if kind == "plain":
            return self.name(what[3].what)
        if kind == "known":
            return self.tensors[what[1]]
        if kind == "alias":
            return f"alias({self.tensors[what[1]]})"
        if kind == "tensor":
            _, number, value, meta, node, version = what
            found = self.seen.get(number)
            if found is None:
                found = self.seen[number] = f"r{number}"
                self.lines.append(f"{found} = new_tensor({self.value(value)}, {self.name(meta)})")
                if version:
                    self.lines.append(f"{found}._storage.version = {version}")
                if isinstance(node, Hung):
                    self.hung.append((found, node))
                elif isinstance(node, Spent):
                    self.lines.append(f"hang({found}, {self.name(node)})")
            return found
        inner = what[2:] if kind in ("dict", "named") else what[1:]
        parts = [self._result(x) for x in inner]
        if kind == "tuple":
            return "(" + "".join(f"{x}, " for x in parts) + ")"
        if kind == "list":
            return "[" + ", ".join(parts) + "]"
        if kind == "named":
            return f"{self.name(what[1])}({', '.join(parts)})"
        return "{" + ", ".join(
            f"{key!r}: {x}" for key, x in zip(what[1], parts, strict=True)
        ) + "}"


def _each_input(what: Any, found: list[tuple]) -> None:
    if what.__class__ is tuple and what:
        if what[0] == "input":
            found.append(what[1])
        elif what[0] not in ("plain", "known", "alias"):
            for x in what:
                _each_input(x, found)


def _segment(record: Record) -> Segment:
    entries, _, wanted = record.key
    places = {slot: i for i, slot in enumerate(record.inputs)}
    inputs = len(places)
    slot, count = 0, inputs
    found = []
    for operator, attributes, slots, metas in entries:
        while slot in places and places[slot] < inputs:
            slot += 1
        found.append((operator, attributes, tuple([places[s] for s in slots]), metas))
        for _ in metas:
            places[slot] = count
            slot += 1
            count += 1
    return Segment(found, inputs, [places[s] - inputs for s in wanted])


def _draw(function: Any, arguments: tuple) -> Value:
    from suiren.ops.creation import drawn

    return value_of(drawn(function, *arguments))


def _hang(result: Tensor, spent: Spent) -> None:
    """Gives a result the place in the graph that its forerunner had: nothing is behind it."""
    source = spent.node
    node = object.__new__(source.__class__)
    node.__dict__.update(source.__dict__)
    result._grad_fn = node
    result._output_index = spent.index
    result._requires_grad = True


def _alias(t: Tensor) -> Tensor:
    from suiren.views import alias

    return alias(t)
