"""Whole programs on disk: found again by what they compute, with nothing compiled or planned.

Between ``program.py`` and ``disk_cache.py``. A program's name is a digest of its key (operations,
kinds of the inputs, what is wanted), of the machine, and of this package's sources; its file holds
the image (``image.py``) and one piece of machine code for all of its kernels, which can lie
anywhere. Where LLVM has to load the code (see ``executable.py``), or an operation comes from
outside this package, programs are not kept; their kernels are, one by one.
"""

from __future__ import annotations

import hashlib
import logging
import marshal
import struct
from typing import Any

from suiren import dtypes
from suiren.compiler import disk_cache, executable, identity, image, linker, machine_code, target
from suiren.trace.meta import Meta

_log = logging.getLogger("suiren.compiler")
# Lengths of the image and of the code's tables.
_HEAD = struct.Struct("<QQ")
_PLAIN = frozenset([int, float, complex, bool, str, bytes, type(None), type(...)])


class _NotPlain(Exception):
    """Something in a key whose meaning cannot be told from its value."""


def find(key: tuple) -> tuple[image.Image, list[int], Any] | None:
    """A program's image, the addresses of its kernels, and what owns their memory.

    None where it is not on disk or cannot be loaded.
    """
    name = _name(key)
    data = disk_cache.of_process().get(name) if name is not None else None
    if data is None:
        return None
    try:
        first, second = _HEAD.unpack_from(data)
        at = _HEAD.size
        found = image.load(data[at : at + first])
        alignment, entries, imports = marshal.loads(data[at + first : at + first + second])
        unit = linker.Unit(data[at + first + second :], 0, alignment, imports)
        mapping = machine_code.map_code(unit)
    except (ValueError, TypeError, EOFError, struct.error, machine_code.CompileError) as error:
        _log.warning("a program on disk cannot be used, it is compiled anew: %s", error)
        return None
    if mapping is None:
        return None
    machine_code.statistics.programs += 1
    return found, [mapping.address + entry for entry in entries], mapping


def keep(key: tuple, made: image.Image, kernels: list[machine_code.Kernel]) -> None:
    """Puts a program on disk, if it is one that can be kept."""
    name = _name(key)
    if name is None:
        return
    units = [kernel.unit for kernel in kernels if kernel.unit is not None]
    if len(units) < len(kernels):
        return
    whole, entries = linker.join(units)
    try:
        described = made.dump()
        code = marshal.dumps((whole.alignment, tuple(entries), whole.imports), image.MARSHAL)
    except ValueError as error:
        _log.debug("a program is not kept on disk: %s", error)
        return
    head = _HEAD.pack(len(described), len(code))
    disk_cache.of_process().put(name, b"".join([head, described, code, whole.code]))


def _name(key: tuple) -> str | None:
    """The digest under which this program is kept; None if it cannot be."""
    llvm, sources = identity.llvm(), identity.sources()
    if llvm is None or sources is None or executable.machine() is None:
        return None
    if disk_cache.of_process().folder is None:
        return None
    try:
        described = _described(*key)
    except _NotPlain as problem:
        _log.debug("a program is not looked for on disk: its key has %s", problem)
        return None
    surroundings = (
        "program", image.FORM, llvm, sources, repr(target.host()),
        str(machine_code.PIPELINE), dtypes.get_default_dtype().name,
    )  # fmt: skip
    digest = hashlib.sha256(marshal.dumps(surroundings, image.MARSHAL))
    digest.update(described)
    return digest.hexdigest()


def _described(entries: tuple, input_keys: tuple, wanted: tuple) -> bytes:
    """The key as bytes: equal ones mean equal work. Raises _NotPlain."""
    metas: dict[int, Any] = {}

    def of_meta(meta: Any) -> Any:
        if not isinstance(meta, Meta):
            return meta.__name__  # the class of a Python number
        known = metas.get(id(meta))
        if known is None:
            known = metas[id(meta)] = (
                tuple(meta.shape), meta.dtype.name, str(meta.device), tuple(meta.strides)
            )  # fmt: skip
        return known

    plain: list[Any] = []
    for operator, attributes, arguments, results in entries:
        if not operator.module.startswith("suiren."):
            raise _NotPlain(f"the operator {operator.name} of {operator.module}")
        plain.append((
            operator.name, _plain(attributes) if attributes else (), arguments,
            tuple(map(of_meta, results)),
        ))  # fmt: skip
    inputs = [(slot, of_meta(kind)) for slot, kind in input_keys]
    return marshal.dumps((plain, inputs, wanted), image.MARSHAL)


def _plain(x: Any) -> Any:
    """An attribute as nothing but tuples, numbers and text."""
    kind = x.__class__
    if kind in _PLAIN:
        return x
    if isinstance(x, tuple):
        return kind.__name__, *map(_plain, x)
    if kind is dtypes.dtype:
        return "dtype", x.name
    if kind is slice:
        return "slice", _plain(x.start), _plain(x.stop), _plain(x.step)
    if kind is Meta:
        return "meta", tuple(x.shape), x.dtype.name, str(x.device), tuple(x.strides)
    raise _NotPlain(f"{kind.__module__}.{kind.__qualname__}")
