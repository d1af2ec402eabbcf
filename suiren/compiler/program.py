"""A compiled program: the steps of an image bound to memory, ready to run again and again.

Kernels find their buffers through *cells*, one for each buffer or number: a run fills in the cells
of its inputs and outputs with one call and starts the table of steps with another. Between native
stretches the host computes what has no native form, by the operators' NumPy meaning.

The image comes from the disk, or from the compiler's stages (``binding.py``), which are imported
only when they are needed.
"""

from __future__ import annotations

import struct
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from suiren import dtypes
from suiren.compiler import machine_code, memory, program_cache, runtime
from suiren.compiler.image import Call, Source
from suiren.compiler.memory import arena, pool
from suiren.compiler.prepared import Prepared
from suiren.trace.meta import Meta, meta

if TYPE_CHECKING:
    from suiren.compiler.binding import Compilation


class HostMustRun(Exception):
    """A check failed (an index out of bounds, say): the interpreter is to run and report."""


class HostCall:
    """A step that Python computes: an operator, where its arguments are, what it makes."""

    def __init__(self, call: Call, entries: tuple):
        self.operator, self.attributes, _, self.results = entries[call.position]
        self.sources = call.sources
        self.metas = [
            None if source.kind in ("none", "number") else _meta_of(source)
            for source in call.sources
        ]
        self.parts = call.parts


class NativeProgram:
    """The compiled form of a flushed trace; ``run`` is what ``Program`` calls."""

    run_steps = staticmethod(runtime.run)  # who takes the time of kernels sets another one

    def __init__(self, entries: tuple, input_keys: tuple, wanted: tuple):
        self.key = entries, input_keys, wanted
        self.lock = threading.Lock()
        self._compilation: Compilation | None = None
        found = program_cache.find(self.key)
        if found is not None:
            self.image, self.kernels, self._code = found
        else:
            self._compile()
        self._bind()

    def _compile(self) -> None:
        made = self.compilation
        self._code = machine_code.load(made.texts())
        different = {kernel: i for i, kernel in enumerate(dict.fromkeys(self._code))}
        self.kernels = [kernel.address for kernel in different]
        self.image = made.image([different[kernel] for kernel in self._code])
        program_cache.keep(self.key, self.image, list(different))

    # ---- for people who want to look; made again when the program came from the disk

    @property
    def compilation(self) -> Compilation:
        """The compiler's stages of this program."""
        if self._compilation is None:
            from suiren.compiler.binding import Compilation

            self._compilation = Compilation(*self.key)
        return self._compilation

    def forget(self) -> None:
        """Lets go of the stages, megabytes of nodes and text, until somebody wants to look."""
        self._compilation = None

    @property
    def graph(self) -> Any:
        """The graph that kernels were made of."""
        return self.compilation.graph

    @property
    def fusion(self) -> Any:
        """The groups of its nodes."""
        return self.compilation.fusion

    @property
    def plan(self) -> Any:
        """The kernels, in order, and where memory lies."""
        return self.compilation.plan

    # ---- binding, once

    def _bind(self) -> None:
        image = self.image
        entries, self.input_keys, _ = self.key
        self.host_calls = [HostCall(call, entries) for call in image.calls]
        self.metas = [(shape, dtypes.by_name(name).numpy) for shape, name in image.made]
        self.packer = struct.Struct("=" + image.formats)
        self.first_part = len(image.formats)
        self.first_fixed = self.first_part + image.parts + len(image.tables)
        self.fixed_offsets = np.array(image.offsets, np.uint64)
        count = self.first_fixed + len(image.offsets)
        self.cell_values = np.zeros(max(1, count), np.uint64)
        self.tables = [
            np.frombuffer(data, dtypes.by_name(name).numpy).reshape(shape)
            for shape, name, data in image.tables
        ]
        for number, array in enumerate(self.tables):
            self.cell_values[self.first_part + image.parts + number] = array.ctypes.data
        self.bound_to = -1
        # counts the runs that came to their end, where outputs write over inputs
        self.finished = np.zeros(1, np.int64)
        self._tables()
        self.segments: list[tuple[int, int] | HostCall] = [
            (first, count) if count else self.host_calls[first] for first, count in image.segments
        ]
        self.results: list[tuple[str, Any]] = []
        for kind, which in image.results:
            if kind == "constant":
                shape, value, name = which
                which = np.full(shape, value, dtypes.by_name(name).numpy)
            elif kind == "table":
                kind, which = "constant", self.tables[which]
            self.results.append((kind, which))
        self.prepared = Prepared(self)

    def _tables(self) -> None:
        """The arguments of each step and the table of steps."""
        steps = self.image.steps
        cells = [cell for step in steps for cell in step.cells]
        self.arguments = np.array(cells or [0], np.uint64) * np.uint64(8)
        self.arguments += np.uint64(self.cell_values.ctypes.data)
        at = self.arguments.ctypes.data
        rows: list[tuple[int, int, int, int]] = []
        for step in steps:
            rows.append((self.kernels[step.kernel], at, step.tasks, step.barrier))
            at += 8 * len(step.cells)
        if self.image.counted:
            rows[-1] = (rows[-1][0], self.finished.ctypes.data, 1, 1)
        self.table = np.array(rows or [(0, 0, 0, 0)], np.uint64)
        self.table_address = self.table.ctypes.data

    # ---- running

    def run(
        self, inputs: list[tuple[int, Any]], own: bool
    ) -> tuple[list[Any], BaseException | None]:
        """The wanted buffers; ``inputs`` is emptied. Raises HostMustRun where a check fails.

        When this raises, the inputs are as they were. An interrupt that comes when outputs have
        already taken the place of inputs is handed back beside the buffers.
        """
        with self.lock:
            return self._run(inputs, own)

    @staticmethod
    def failed_check(problem: Exception) -> bool:
        """Whether a run ended because one of the graph's checks does not hold."""
        return isinstance(problem, HostMustRun)

    def expected(self, problem: Exception) -> bool:
        """Whether a run may end so: the interpreter then reports what is wrong."""
        return self.failed_check(problem) or any(
            isinstance(segment, HostCall) for segment in self.segments
        )

    def _run(
        self, inputs: list[tuple[int, Any]], own: bool
    ) -> tuple[list[Any], BaseException | None]:
        given = [what for _, what in inputs]
        addresses, known = pool.addresses, memory.given
        keep: list[Any] = []  # copies of inputs, alive until the run is over
        packed: list[Any] = []
        image = self.image
        for position, is_number in image.inputs:
            what = given[position]
            if is_number:
                packed.append(what)
            else:
                buffer = what.buffer
                key = id(buffer)
                packed.append(addresses.get(key) or known.get(key) or _address(buffer, keep))
        what = buffer = None
        made: list[Any] = []
        for kind, donors in zip(self.metas, image.donors, strict=True):
            buffer = None
            if not own:
                for donor, cell in donors:
                    buffer = self._donated(given, donor)  # None too where it was given before
                    if buffer is not None:
                        made.append(buffer if buffer.shape == kind[0] else buffer.reshape(kind[0]))
                        packed.append(packed[cell])
                        break
            if buffer is None:
                buffer = pool.take(kind)
                made.append(buffer)
                packed.append(addresses.get(id(buffer)) or buffer.ctypes.data)
        buffer = None
        base = arena.address(image.arena)
        cells = self.cell_values
        moved = base != self.bound_to
        if moved and image.offsets:
            cells[self.first_fixed :] = self.fixed_offsets + np.uint64(base)
            self.bound_to = base
        self.packer.pack_into(cells, 0, *packed)  # type: ignore[arg-type]  # NumPy's own stubs
        parts: list[Any] = [None] * image.parts
        table, segments = self.table_address, self.segments
        if image.weights:
            table, segments = self.prepared.enter(given, own, moved)
        runs = self.finished[0]
        interrupt: BaseException | None = None
        try:
            for segment in segments:
                if isinstance(segment, HostCall):
                    self._host(segment, given, made, parts)
                else:
                    self.run_steps(table + 32 * segment[0], segment[1])
            self.prepared.leave()
        except BaseException as problem:
            if self.finished[0] == runs:
                raise
            interrupt = problem
        for array in made[image.outputs :]:
            if array.any():
                raise HostMustRun
        results: list[Any] = []
        for origin, which in self.results:
            if origin == "made":
                results.append(made[which])
            elif origin == "given":
                what = given[which]
                array = np.asarray(getattr(what, "buffer", what))
                results.append(np.array(array) if own else array)
            elif origin == "part":
                array = parts[which]
                results.append(np.array(array) if own else array)
            else:
                results.append(which.copy())
        inputs.clear()
        for i, shape in image.reshaped:
            results[i] = results[i].reshape(shape)
        return results, interrupt

    @staticmethod
    def _donated(given: list[Any], at: int) -> Any:
        """The array of this input, if the program alone holds it: it may be written over."""
        remembered = id(given[at].buffer) in pool.addresses
        if (
            sys.getrefcount(given[at]) <= _VALUE_HELD
            and sys.getrefcount(given[at].buffer) <= _BUFFER_HELD + remembered
        ):
            buffer = given[at].buffer
            # no view of somebody else's memory
            mine = remembered or buffer.base is None or buffer.base.__class__ is memory.Pages
            if mine and buffer.flags.c_contiguous and buffer.flags.writeable:
                return buffer
        return None

    # ---- host steps

    def _host(self, call: HostCall, given: list[Any], made: list[Any], parts: list[Any]) -> None:
        operator = call.operator
        arrays = [self._array(source, given, made, parts) for source in call.sources]
        if operator.consumes is not None:
            at = operator.consumes
            arrays[at] = np.array(arrays[at], order="C")
        kinds = [a.__class__ if m is None else m for a, m in zip(arrays, call.metas, strict=True)]
        with np.errstate(all="ignore"):
            found = operator.evaluate_for(kinds, call.results)(*arrays, *call.attributes)
        found = found if len(call.results) > 1 else (found,)
        for which, shape, number in call.parts:
            array = np.ascontiguousarray(found[which]).reshape(shape)
            if any(_shares(array, x) for x in arrays):
                array = array.copy()  # the arena's memory will be written over
            parts[number] = array
            self.cell_values[self.first_part + number] = array.ctypes.data

    def _array(
        self, source: Source, given: list[Any], made: list[Any], parts: list[Any]
    ) -> Any:
        kind, which, shape, name = source
        if kind == "none":
            return None
        if kind == "number":
            return given[which]
        if kind == "input":
            return given[which].buffer.reshape(shape)
        if kind == "part":
            return parts[which].reshape(shape)
        if kind == "table":
            return self.tables[which].reshape(shape)
        if kind == "made":
            return made[which].reshape(shape)
        dtype = dtypes.by_name(name).numpy
        if kind == "arena":
            return arena.view(which, shape, dtype)
        if kind == "scalar":
            return np.asarray(given[which], dtype).reshape(shape)
        return np.empty(shape, dtype) if kind == "empty" else np.full(shape, which, dtype)


def _meta_of(source: Source) -> Meta:
    return meta(source.shape, dtypes.by_name(source.dtype))


def _shares(a: Any, b: Any) -> bool:
    return isinstance(b, np.ndarray) and np.may_share_memory(a, b)


def _address(buffer: Any, keep: list[Any]) -> int:
    """Where the elements of an input lie in row-major order; a copy of them if need be."""
    if buffer.__class__ is not np.ndarray or not buffer.flags.c_contiguous:
        buffer = np.ascontiguousarray(buffer)
        keep.append(buffer)
        return buffer.ctypes.data
    return memory.given.of(buffer)


class _Held:
    __slots__ = ("buffer",)

    def __init__(self) -> None:
        self.buffer = np.empty(1)


def _held_counts() -> tuple[int, int]:
    """The reference counts of a Value and its array when only a program's inputs hold them."""
    inputs = [(0, _Held())]
    given = [what for _, what in inputs]
    at = 0
    return sys.getrefcount(given[at]), sys.getrefcount(given[at].buffer)


_VALUE_HELD, _BUFFER_HELD = _held_counts()
