"""What the compiler made of a trace, as text: ``SUIREN_LOG=trace,graph,kernels,llvm,asm``.

Each name is one stage, printed to the standard error when a program is compiled: the recorded
operations, the graph they became, its kernels as loop nests, their LLVM IR, their assembly.
``set_log`` does the same as the environment variable. ``suiren.explain`` prints with the same
functions, and adds what things cost. It is imported with the first compiled program, and so it
imports what describes programs only when it does.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from suiren.trace.meta import Meta

if TYPE_CHECKING:
    from suiren.compiler import pseudocode
    from suiren.compiler.plan import Plan, Step

NAMES = ("trace", "graph", "kernels", "llvm", "asm")


def set_log(names: str | Sequence[str] = "") -> None:
    """Sets what is printed when a program is compiled, as ``SUIREN_LOG`` does; "" for nothing.

    ``names``: some of trace, graph, kernels, llvm, asm, as a list or separated by commas. Unknown
    names are left out with a warning.

    >>> import suiren as torch
    >>> torch.set_log("graph,kernels")
    >>> torch.set_log("")
    """
    parts = names.split(",") if isinstance(names, str) else list(names)
    wanted = [part.strip().lower() for part in parts if part.strip()]
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        warnings.warn(
            f"SUIREN_LOG knows no {', '.join(map(repr, unknown))}; it takes {', '.join(NAMES)}",
            stacklevel=2,
        )
    switches.clear()
    switches.update(name for name in wanted if name in NAMES)


switches: set[str] = set()
set_log(os.environ.get("SUIREN_LOG", ""))


def log_program(key: tuple, native: Any) -> None:
    """Prints what is switched on; ``native`` is None where nothing could be compiled."""
    from suiren.compiler import machine_code

    stages: dict[str, Callable[[], list[str]]] = {
        "trace": lambda: trace_lines(*key),
        "graph": lambda: repr(native.graph).splitlines(),
        "kernels": lambda: kernel_lines(native.plan),
        "llvm": lambda: _texts(native.plan, lambda text: text),
        "asm": lambda: _texts(native.plan, machine_code.assembly),
    }
    for name in NAMES:
        if name not in switches or (native is None and name != "trace"):
            continue
        try:
            lines = stages[name]()
        except Exception as problem:  # a fault of the listing is none of the program
            lines = [f"cannot be shown: {problem!r}"]
        print(f"==== {name}", *lines, sep="\n", file=sys.stderr)


# ---- the stages


def trace_lines(entries: tuple, input_keys: tuple, wanted: tuple) -> list[str]:
    """A trace: inputs, operations with their attributes and arguments, what is kept."""
    lines = [f"%{slot} = input {kind_text(kind)}" for slot, kind in input_keys]
    firsts = first_slots(entries, input_keys)
    lines += [entry_text(entry, first) for entry, first in zip(entries, firsts, strict=True)]
    lines.append("kept: " + ", ".join(f"%{slot}" for slot in wanted))
    return lines


def entry_text(entry: tuple, first: int) -> str:
    """One operation, whose results have the slots from ``first`` on."""
    operator, attributes, arguments, results = entry
    inside = [f"%{slot}" for slot in arguments]
    names = operator.attributes
    if len(names) == len(attributes):
        inside += [f"{n}={_short(a)}" for n, a in zip(names, attributes, strict=True)]
    else:
        inside += map(_short, attributes)
    slots = ", ".join(f"%{first + i}" for i in range(len(results)))
    kinds = ", ".join(map(kind_text, results))
    return f"{slots} = {operator.name}({', '.join(inside)}) -> {kinds}"


def first_slots(entries: tuple, input_keys: tuple) -> list[int]:
    """The slot of each entry's first result."""
    taken = {slot for slot, _ in input_keys}
    found, slot = [], 0
    for _, _, _, results in entries:
        while slot in taken:
            slot += 1
        found.append(slot)
        slot += len(results)
    return found


def kind_text(kind: Any) -> str:
    """A Meta, or the class of a Python number, in words."""
    if isinstance(kind, Meta):
        return f"{kind.dtype.name}{list(kind.shape)}"
    return f"number {kind.__name__}" if kind is not type(None) else "None"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def steps_of(plan: Plan) -> Iterator[tuple[Step, int]]:
    """The steps in order, each with its number among the kernels of its group."""
    last, number = None, 0
    for step in plan.steps:
        number = number + 1 if step.group is last else 0
        last = step.group
        yield step, number


def kernel_lines(plan: Plan, remark: pseudocode.Remark | None = None) -> list[str]:
    """All kernels, and the host's steps between them."""
    from suiren.compiler import costs, pseudocode
    from suiren.compiler.target import host

    lines: list[str] = []
    count = 0
    for step, number in steps_of(plan):
        if step.kernel is None:
            lines += [host_text(step), ""]
            continue
        count += 1
        lines.append(kernel_title(step, count) + ("; waits for what is before" * step.barrier))
        cost = costs.cost_of(step, plan)
        lines.append(
            f"    {cost.read:,} bytes read, {cost.written:,} written, "
            f"{cost.operations:,} operations"
        )
        lines += ["    " + text for text in kernel_arrays(step, plan)]
        lines += ["    " + text for text in pseudocode.lines_of(step, number, host(), remark)]
        lines.append("")
    if plan.donations:
        lines.append("in place, where nobody else holds the input: " + ", ".join(
            f"{pseudocode.name_of(a)} over {pseudocode.name_of(b)}"
            for a, (b, *_) in plan.donations.items()
        ))  # fmt: skip
    lines.append(f"between kernels: {plan.arena_size:,} bytes")
    return lines


def kernel_title(step: Step, count: int) -> str:
    """One line: the kernel's number, its name and its tasks."""
    assert step.kernel is not None
    tasks = step.kernel.tasks
    return f"kernel {count}: {step.kernel.name}, {tasks} task{'s' if tasks > 1 else ''}"


def kernel_arrays(step: Step, plan: Plan) -> list[str]:
    """What a kernel reads and writes, by name."""
    from suiren.compiler import pseudocode
    from suiren.compiler.node import IN_MEMORY

    assert step.kernel is not None
    reads: list[str] = []
    writes: list[str] = []
    for key in step.kernel.keys:
        if isinstance(key, tuple):
            continue
        if key in step.writes:
            writes.append(pseudocode.described(key) + (" (result)" * (key in plan.outputs)))
        else:
            reads.append(pseudocode.described(key) + (f" ({key.op})" * (key.op in IN_MEMORY)))
    found = []
    if reads:
        found.append("reads  " + ", ".join(reads))
    if writes:
        found.append("writes " + ", ".join(writes))
    return found


def host_text(step: Step) -> str:
    """One line for a step that NumPy computes."""
    from suiren.compiler import pseudocode

    call = step.group.roots[0]
    operator = call.attributes[0]
    inputs = ", ".join(pseudocode.name_of(i) for i in call.inputs)
    return f"host: {operator.name}({inputs})"


def _texts(plan: Plan, form: Callable[[str], str]) -> list[str]:
    lines: list[str] = []
    count = 0
    for step in plan.steps:
        if step.kernel is not None:
            count += 1
            lines += [f"; {kernel_title(step, count)}", *form(step.kernel.text).splitlines(), ""]
    return lines
