"""An unpickler that builds data and runs nothing: the reader of untrusted checkpoints.

Python's pickle lets a file name any function and call it. This small stack machine knows the
opcodes that data need, resolves names by a fixed table only, and calls only what is in it. Names
outside raise :class:`pickle.UnpicklingError`. Behaviour follows ``torch.load(weights_only=True)``;
the opcodes are those of Python's pickletools documentation.
"""

from __future__ import annotations

import pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

_MARK = object()


def _encode(text: str, encoding: str) -> bytes:
    # How protocol 2 writes bytes.
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"_codecs.encode is allowed for latin1 only, got {encoding!r}")
    return text.encode("latin1")


def _bytearray(data: Any = b"", encoding: str = "latin1") -> bytearray:
    if isinstance(data, str):
        data = _encode(data, encoding)
    if isinstance(data, int):
        raise pickle.UnpicklingError("bytearray is allowed for given bytes only, got a size")
    return bytearray(data)


# What reading a damaged pickle runs into.
_DAMAGE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, struct.error)

# What any data may name. The keys are "module.name".
SAFE: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "_codecs.encode": _encode,
    "builtins.set": set,
    "__builtin__.set": set,
    "builtins.frozenset": frozenset,
    "__builtin__.frozenset": frozenset,
    "builtins.complex": complex,
    "__builtin__.complex": complex,
    "builtins.bytearray": _bytearray,
    "__builtin__.bytearray": _bytearray,
}


class SafeUnpickler:
    """Reads one pickle from a binary file.

    ``names`` maps "module.name" to objects; those that are callable may be called, ``settable``
    says how a pickled state is given to an object (by its exact class). ``persistent_load`` is
    called with persistent ids. Raises UnpicklingError for what is not allowed or no pickle,
    EOFError for one that ends early.
    """

    def __init__(
        self,
        file: BinaryIO,
        names: Mapping[str, Any],
        persistent_load: Callable[[Any], Any] | None = None,
        settable: Mapping[type, Callable[[Any, Any], None]] | None = None,
        help: str = "",
    ):
        self._read_some = file.read
        self._readline = file.readline
        self._names = names
        self._callables = [x for x in names.values() if callable(x)]
        self._persistent_load = persistent_load
        self._settable = {} if settable is None else settable
        self._help = help
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object that the pickle describes."""
        try:
            while True:
                code = self._read(1)
                if code == b".":
                    return self._stack.pop()
                action = _ACTIONS.get(code)
                if action is None:
                    raise pickle.UnpicklingError(f"Unsupported operand {code[0]}")
                action(self)
        except (pickle.UnpicklingError, EOFError, MemoryError, RuntimeError, NotImplementedError):
            raise
        except _DAMAGE as error:
            raise pickle.UnpicklingError(f"the pickle is corrupted: {error}") from error

    # ---- reading

    def _read(self, count: int) -> bytes:
        found = self._read_some(count)
        if len(found) < count:
            raise EOFError("Ran out of input: the pickle ends early")
        return found

    def _line(self) -> str:
        line = self._readline()
        if line[-1:] != b"\n":
            raise EOFError("Ran out of input: the pickle ends early")
        return line[:-1].decode("utf-8")

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._read(struct.calcsize(layout)))[0]

    def _sized(self, layout: str) -> bytes:
        size = self._number(layout)
        if size < 0:
            raise pickle.UnpicklingError(f"the pickle is corrupted: a length of {size}")
        return self._read(size)

    # ---- the stack

    def _push(self, x: Any) -> None:
        self._stack.append(x)

    def _to_mark(self) -> list[Any]:
        stack = self._stack
        for place in range(len(stack) - 1, -1, -1):
            if stack[place] is _MARK:
                found = stack[place + 1 :]
                del stack[place:]
                return found
        raise pickle.UnpicklingError("the pickle is corrupted: no mark")

    # ---- names and calls

    def _find(self, module: str, name: str) -> None:
        found = self._names.get(f"{module}.{name}")
        if found is None:
            raise pickle.UnpicklingError(
                f"Unsupported global: GLOBAL {module}.{name} was not an allowed global by default."
                f"{self._help}"
            )
        self._push(found)

    def _global(self) -> None:
        module = self._line()
        self._find(module, self._line())

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise pickle.UnpicklingError("the pickle is corrupted: a name that is no text")
        self._find(module, name)

    def _check_callable(self, function: Any) -> None:
        if not any(function is allowed for allowed in self._callables):
            raise pickle.UnpicklingError(
                f"Trying to call reduce for unrecognized function {function!r}"
            )

    def _arguments(self) -> tuple:
        found = self._stack.pop()
        if type(found) is not tuple:
            raise pickle.UnpicklingError("the pickle is corrupted: arguments that are no tuple")
        return found

    def _reduce(self) -> None:
        arguments = self._arguments()
        function = self._stack.pop()
        self._check_callable(function)
        self._push(function(*arguments))

    def _new_object(self) -> None:
        arguments = self._arguments()
        kind = self._stack.pop()
        self._check_callable(kind)
        if not isinstance(kind, type):
            raise pickle.UnpicklingError(f"Trying to create a new object of {kind!r}, no class")
        self._push(kind.__new__(kind, *arguments))

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        setter = self._settable.get(type(target))
        if setter is None:
            raise pickle.UnpicklingError(
                f"Can only build Tensor, Parameter, OrderedDict or types allowlisted via "
                f"`add_safe_globals`, but got {type(target)}"
            )
        setter(target, state)

    def _persistent(self) -> None:
        if self._persistent_load is None:
            raise pickle.UnpicklingError("the pickle names a storage, and there is none beside it")
        self._push(self._persistent_load(self._stack.pop()))

    # ---- containers

    def _append(self) -> None:
        item = self._stack.pop()
        self._list().append(item)

    def _appends(self) -> None:
        items = self._to_mark()
        self._list().extend(items)

    def _list(self) -> list:
        found = self._stack[-1]
        if type(found) is not list:
            raise pickle.UnpicklingError(f"Can only append to lists, but got {type(found)}")
        return found

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._dict()[key] = value

    def _set_items(self) -> None:
        items = self._to_mark()
        target = self._dict()
        for place in range(0, len(items), 2):
            target[items[place]] = items[place + 1]

    def _dict(self) -> dict:
        found = self._stack[-1]
        if type(found) not in (dict, OrderedDict, Counter):
            raise pickle.UnpicklingError(f"Can only set items of dicts, but got {type(found)}")
        return found

    def _add_items(self) -> None:
        items = self._to_mark()
        target = self._stack[-1]
        if type(target) is not set:
            raise pickle.UnpicklingError(f"Can only add to sets, but got {type(target)}")
        target.update(items)

    def _dict_to_mark(self) -> None:
        items = self._to_mark()
        self._push(dict(zip(items[::2], items[1::2], strict=True)))

    def _tuple(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        if len(items) != count or any(x is _MARK for x in items):
            raise pickle.UnpicklingError("the pickle is corrupted: too few items")
        self._stack[-count:] = [items]

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _protocol(self) -> None:
        version = self._number("<B")
        if not 2 <= version <= 5:
            raise pickle.UnpicklingError(f"unsupported pickle protocol: {version}")


def _long(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


_ACTIONS: dict[bytes, Callable[[SafeUnpickler], Any]] = {
    b"\x80": SafeUnpickler._protocol,
    b"\x95": lambda s: s._read(8),  # a frame: its length does not matter here
    b"c": SafeUnpickler._global,
    b"\x93": SafeUnpickler._stack_global,
    b"R": SafeUnpickler._reduce,
    b"\x81": SafeUnpickler._new_object,
    b"b": SafeUnpickler._build,
    b"Q": SafeUnpickler._persistent,
    b"a": SafeUnpickler._append,
    b"e": SafeUnpickler._appends,
    b"s": SafeUnpickler._set_item,
    b"u": SafeUnpickler._set_items,
    b"\x90": SafeUnpickler._add_items,
    b"d": SafeUnpickler._dict_to_mark,
    b"(": lambda s: s._push(_MARK),
    b"0": lambda s: s._stack.pop(),
    b"1": lambda s: s._to_mark(),
    b"2": lambda s: s._push(s._stack[-1]),
    b"]": lambda s: s._push([]),
    b"}": lambda s: s._push({}),
    b")": lambda s: s._push(()),
    b"\x8f": lambda s: s._push(set()),
    b"l": lambda s: s._push(s._to_mark()),
    b"t": lambda s: s._push(tuple(s._to_mark())),
    b"\x91": lambda s: s._push(frozenset(s._to_mark())),
    b"\x85": lambda s: s._tuple(1),
    b"\x86": lambda s: s._tuple(2),
    b"\x87": lambda s: s._tuple(3),
    b"N": lambda s: s._push(None),
    b"\x88": lambda s: s._push(True),
    b"\x89": lambda s: s._push(False),
    b"J": lambda s: s._push(s._number("<i")),
    b"K": lambda s: s._push(s._number("<B")),
    b"M": lambda s: s._push(s._number("<H")),
    b"G": lambda s: s._push(s._number(">d")),
    b"\x8a": lambda s: s._push(_long(s._sized("<B"))),
    b"\x8b": lambda s: s._push(_long(s._sized("<i"))),
    b"X": lambda s: s._push(_text(s._sized("<I"))),
    b"\x8c": lambda s: s._push(_text(s._sized("<B"))),
    b"\x8d": lambda s: s._push(_text(s._sized("<Q"))),
    b"B": lambda s: s._push(s._sized("<I")),
    b"C": lambda s: s._push(s._sized("<B")),
    b"\x8e": lambda s: s._push(s._sized("<Q")),
    b"U": lambda s: s._push(_text(s._sized("<B"))),
    b"T": lambda s: s._push(_text(s._sized("<i"))),
    b"h": lambda s: s._push(s._memo[s._number("<B")]),
    b"j": lambda s: s._push(s._memo[s._number("<I")]),
    b"q": lambda s: s._put(s._number("<B")),
    b"r": lambda s: s._put(s._number("<I")),
    b"\x94": lambda s: s._put(len(s._memo)),
}
