"""Programs compiled at first sight, each run held against the interpreter.

``with compiling() as made:`` compiles whatever is flushed inside, compares every result with the
interpreter's (``suiren/compiler/checking.py``) and raises where compiling fails or results differ.
``made`` lists the native programs, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from suiren.compiler import image, program_cache, target
from suiren.trace import program, recorder

needs_compiler = pytest.mark.skipif(
    target.unavailable() is not None, reason=f"no compiler here: {target.unavailable()}"
)


@contextmanager
def compiling() -> Iterator[list[Any]]:
    """See the module's text."""
    recorder.flush()
    program.programs.clear()
    made: list[Any] = []
    saved = program.COMPILE_AT, program.CHECK, program.Program._compile
    original = program.Program._compile

    def compile_and_note(self):
        original(self)
        if self.native is not None:
            made.append(self.native)

    program.COMPILE_AT, program.CHECK = 1, True
    program.Program._compile = compile_and_note
    try:
        with off_the_disk():
            yield made
            recorder.flush()
    finally:
        program.COMPILE_AT, program.CHECK, program.Program._compile = saved
        program.programs.clear()


@contextmanager
def off_the_disk() -> Iterator[None]:
    """No program comes from the disk or is put there: tests turn the compiler's knobs.

    Each program is checked for whether it could be.
    """
    saved = program_cache.find, program_cache.keep

    def keep(key: tuple, made: image.Image, kernels: list[Any]) -> None:
        data = made.dump()
        assert image.load(data).dump() == data

    program_cache.find, program_cache.keep = lambda key: None, keep
    try:
        yield
    finally:
        program_cache.find, program_cache.keep = saved


@contextmanager
def for_target(name: str) -> Iterator[None]:
    """Kernels are made for the processors of this name, by ``SUIREN_TARGET``."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SUIREN_TARGET", name)
            target.host.cache_clear()
            yield
    finally:
        target.host.cache_clear()


@contextmanager
def small_tasks(work: int = 300) -> Iterator[None]:
    """Work is cut into many tasks although there is little of it."""
    from suiren.compiler.codegen import loops, scatter

    modules = [loops, scatter]
    saved = [module.TASK_WORK for module in modules]
    for module in modules:
        module.TASK_WORK = work
    try:
        yield
    finally:
        for module, number in zip(modules, saved, strict=True):
            module.TASK_WORK = number


def host_operators(made: list[Any]) -> list[str]:
    """The names of the operators that these programs leave to NumPy."""
    return [
        segment.operator.name
        for native in made
        for segment in native.segments
        if not isinstance(segment, tuple)
    ]
