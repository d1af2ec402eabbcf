"""`torch.save` and `torch.load`: PyTorch's checkpoint files, both ways.

A file is a zip archive, nothing in it compressed: ``data.pkl``, a pickle in which every storage is
a reference, ``data/0``, ``data/1``, ... the bytes of the storages, and a few words about the
format. Pickles carry PyTorch's names, so each framework reads the other's files. Loading runs no
code from the file unless ``weights_only=False`` asks for it (``suiren/safe_unpickling.py``).
Source: PyTorch's torch.save, torch.load and "Serialization semantics" pages, and its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from suiren.checkpoint_parts import (
    KINDS,
    NAMES,
    REBUILDERS,
    UNTYPED,
    LoadedStorage,
    StorageKind,
    WithoutData,
    check_location,
    is_mapped_to_meta,
    rebuild_from_type,
    rebuild_parameter,
    rebuild_parameter_with_state,
    rebuild_tensor,
    rebuild_tensor_v3,
    rebuild_without_data,
    set_ordered_dict_state,
)
from suiren.device import META, device
from suiren.dtypes import dtype
from suiren.files import replacing
from suiren.nn import parameter as parameters
from suiren.safe_unpickling import SafeUnpickler
from suiren.storage import Storage
from suiren.storages import TypedStorage, UntypedStorage, contents
from suiren.tensor import Tensor
from suiren.tensor_protocol import user_attributes

_ALIGNMENT = 64  # of the storages in the file, so that it can be mapped into memory
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


# --------------------------------------------------------------------------
# Saving


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Writes an object with the tensors in it to a path or a file object.

    Tensors that share a storage share it again when loaded. A path is written beside its place and
    then moved there, so that no half-written file is left by a crash. Raises RuntimeError if the
    folder does not exist, AttributeError for what is neither path nor file. Source: torch.save.

    >>> import io, suiren as torch
    >>> file = io.BytesIO()
    >>> torch.save({"weight": torch.ones(2)}, file)
    >>> _ = file.seek(0)
    >>> torch.load(file)
    {'weight': tensor([1., 1.])}
    """
    if not _use_new_zipfile_serialization:
        raise NotImplementedError("PyTorch's file format of before 1.6 is read but not written")
    if pickle_protocol != 2:
        raise NotImplementedError(f"files have pickle protocol 2, not {pickle_protocol}")
    if isinstance(f, (str, os.PathLike)):
        with _replaced(os.fspath(f)) as (file, name):
            _write(obj, file, name)
    elif hasattr(f, "write"):
        _write(obj, f, "archive")
    else:
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute, got "
            f"{type(f).__name__}"
        )


@contextlib.contextmanager
def _replaced(path: str) -> Iterator[tuple[Any, str]]:
    """A file beside ``path`` that takes its place when all has been written; and its stem."""
    stem = os.path.basename(path).partition(".")[0] or "archive"
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist.")
    if os.path.exists(path) and not os.path.isfile(path):  # /dev/null, a pipe, or a folder
        with open(path, "wb") as file:
            yield file, stem
        return
    with replacing(path) as file:
        yield file, stem


def _write(obj: Any, file: Any, name: str) -> None:
    text = io.BytesIO()
    pickler = _Pickler(text, protocol=2)
    pickler.dump(obj)
    digest = hashlib.sha256(text.getvalue())
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        start = file.tell() if hasattr(file, "tell") else 0

        def add(entry: str, data: Any) -> None:
            info = zipfile.ZipInfo(f"{name}/{entry}", (1980, 1, 1, 0, 0, 0))
            header = (archive.fp.tell() - start if archive.fp else 0) + 30 + len(
                info.filename.encode()
            ) + 4
            padding = -header % _ALIGNMENT
            info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            archive.writestr(info, data)

        add("data.pkl", text.getvalue())
        add(".format_version", b"1")
        add(".storage_alignment", str(_ALIGNMENT).encode())
        add("byteorder", sys.byteorder.encode())
        for key, storage in enumerate(pickler.storages):
            data: Any = contents(storage).view(np.uint8)  # a buffer, which NumPy's stubs leave out
            digest.update(data)
            add(f"data/{key}", memoryview(data))
        add("version", b"3\n")
        add(".data/serialization_id", f"{int(digest.hexdigest(), 16) % 10**40:040d}".encode())


class _Reference:
    """Stands for a storage while pickling; written as a persistent id."""

    def __init__(self, identity: tuple):
        self.identity = identity


if TYPE_CHECKING:  # what typeshed leaves out

    class _PythonPickler(pickle.Pickler):
        def write(self, data: bytes) -> None: ...
        def memoize(self, obj: Any) -> None: ...
        def save_global(self, obj: Any, name: str | None = None) -> None: ...
else:
    _PythonPickler = pickle._Pickler


class _Pickler(_PythonPickler):
    """Pickles with PyTorch's names and with references in place of storages.

    The C pickler checks names by importing them, which PyTorch's cannot be; hence Python's own.
    """

    def __init__(self, file: Any, protocol: int):
        super().__init__(file, protocol=protocol)
        self.storages: list[Storage] = []
        self._keys: dict[int, str] = {}

    def persistent_id(self, obj: Any) -> Any:
        return obj.identity if isinstance(obj, _Reference) else None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, dtype):
            return obj.name
        if isinstance(obj, (StorageKind, type, _FUNCTION)):
            found = _written_name(obj)
            return NotImplemented if found is None else found[1]
        if isinstance(obj, Tensor):
            return self._reduced(obj)
        if isinstance(obj, device):
            return device, (obj.type,) if obj.index is None else (obj.type, obj.index)
        if isinstance(obj, (Storage, UntypedStorage, TypedStorage)):
            raise NotImplementedError("storages are saved with their tensors; save the tensor")
        return NotImplemented

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if isinstance(obj, (dtype, StorageKind, type, _FUNCTION)):
            found = _written_name(obj)
            if found is not None:
                self.write(f"c{found[0]}\n{found[1]}\n".encode())
                self.memoize(obj)
                return
        super().save_global(obj, name)

    def _reference(self, tensor: Tensor, kind: StorageKind, count: int) -> _Reference:
        storage = tensor._storage
        key = self._keys.get(id(storage))
        if key is None:
            key = self._keys[id(storage)] = str(len(self.storages))
            self.storages.append(storage)
        return _Reference(("storage", kind, key, "cpu", count))

    def _reduced(self, tensor: Tensor) -> tuple:
        if isinstance(tensor, parameters._Uninitialized):
            raise RuntimeError(
                "torch.save got an uninitialized parameter or buffer, whose shape is not known "
                "yet: call its module on an input first"
            )
        state = user_attributes(tensor)
        if isinstance(tensor, parameters.Parameter) and type(tensor) is parameters.Parameter:
            arguments: tuple = (tensor.detach(), tensor.requires_grad, OrderedDict())
            if state:
                return rebuild_parameter_with_state, (*arguments, state)
            return rebuild_parameter, arguments
        m = tensor._meta
        place = (tensor.storage_offset(), tuple(m.shape), m.strides, tensor.requires_grad)
        nbytes = tensor._storage.meta.nbytes
        kind = KINDS.get(f"{m.dtype.letter_name}Storage")
        reduced: tuple[Callable, tuple]
        if m.device is META:
            described = (m.dtype, tuple(m.shape), m.strides, tensor.requires_grad)
            reduced = rebuild_without_data, described
        elif kind is None:
            storage = self._reference(tensor, UNTYPED, nbytes)
            reduced = rebuild_tensor_v3, (storage, *place, OrderedDict(), m.dtype)
        else:
            storage = self._reference(tensor, kind, nbytes // m.dtype.itemsize)
            reduced = rebuild_tensor, (storage, *place, OrderedDict())
        if type(tensor) is Tensor and not state:
            return reduced
        return rebuild_from_type, (reduced[0], type(tensor), reduced[1], state)


_FUNCTION = type(save)
_WRITTEN: dict[Any, tuple[str, str]] = {}


def _written_name(obj: Any) -> tuple[str, str] | None:
    """The (module, name) under which files know a function, class or dtype of ours."""
    if not _WRITTEN:
        for name, thing in NAMES.items():
            module, _, short = name.rpartition(".")
            if module.startswith("torch") and name != "torch._utils._rebuild_tensor":
                _WRITTEN.setdefault(thing, (module, short))
    return _WRITTEN.get(obj)


# --------------------------------------------------------------------------
# Loading

_user_globals: dict[str, Any] = {}


def add_safe_globals(safe_globals: list) -> None:
    """Lets files name these functions and classes. Source: torch.serialization.add_safe_globals.

    Items are objects, or pairs of an object and its full name in files.
    """
    for item in safe_globals:
        thing, name = item if isinstance(item, tuple) else (item, None)
        _user_globals[name or f"{thing.__module__}.{thing.__qualname__}"] = thing


def get_safe_globals() -> list:
    """What :func:`add_safe_globals` was given."""
    return list(_user_globals.values())


def clear_safe_globals() -> None:
    """Forgets what :func:`add_safe_globals` was given."""
    _user_globals.clear()


@contextlib.contextmanager
def safe_globals(safe_globals: list) -> Iterator[None]:
    """:func:`add_safe_globals` for the length of a ``with`` block."""
    before = dict(_user_globals)
    add_safe_globals(safe_globals)
    try:
        yield
    finally:
        _user_globals.clear()
        _user_globals.update(before)


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Reads what ``save`` (or PyTorch's torch.save) wrote, from a path or a seekable file.

    By default only data is built: tensors, numbers, texts, containers, and what
    ``torch.serialization.add_safe_globals`` names. ``weights_only=False`` unpickles anything, which
    runs whatever code the file brings. ``mmap`` is accepted; files are read whole.
    Raises pickle.UnpicklingError for what is not allowed, RuntimeError and EOFError for damaged
    files. Source: torch.load.
    """
    if pickle_module is not None:
        if weights_only:
            raise RuntimeError("weights_only=True reads with its own unpickler: no pickle_module")
        weights_only = False
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return _load(file, map_location, weights_only is not False)
    if mmap:
        raise ValueError("f must be a file path in order to use the mmap argument")
    for needed in ("read", "readline", "seek", "tell"):
        if not hasattr(f, needed):
            raise AttributeError(
                f"{type(f).__name__!r} object has no attribute '{needed}'. You can only torch.load "
                "from a file that is seekable. Please pre-load the data into a buffer like "
                "io.BytesIO and try to load from it instead."
            )
    return _load(f, map_location, weights_only is not False)


def _load(file: Any, map_location: Any, safe: bool) -> Any:
    start = file.tell()
    first = file.read(4)
    file.seek(start)
    if not first:
        raise EOFError("Ran out of input: the file is empty")
    if first != b"PK\x03\x04":
        return _load_legacy(file, map_location, safe)
    if start:
        file = io.BytesIO(file.read())
    try:
        with zipfile.ZipFile(file) as archive:
            return _load_archive(archive, map_location, safe)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, struct.error) as error:
        raise RuntimeError(
            f"PytorchStreamReader failed reading zip archive: {error}; the file is damaged or was "
            "not written to its end"
        ) from error


class _Archive:
    """The entries of a checkpoint, and its storages as they are asked for."""

    def __init__(self, archive: zipfile.ZipFile, map_location: Any):
        self.archive = archive
        self.map_location = map_location
        names = archive.namelist()
        if not names:
            raise RuntimeError("PytorchStreamReader failed reading zip archive: it is empty")
        self.prefix = names[0].partition("/")[0]
        self.entries = {info.filename: info for info in archive.infolist()}
        if not {f"{self.prefix}/version", f"{self.prefix}/.data/version"} & self.entries.keys():
            raise RuntimeError(
                'Expected hasRecord("version") to be true, but got false: the zip archive is no '
                "checkpoint"
            )
        if f"{self.prefix}/constants.pkl" in self.entries:
            raise NotImplementedError("TorchScript archives are not supported; save a state_dict")
        self.swapped = False
        if f"{self.prefix}/byteorder" in self.entries:
            self.swapped = self.read("byteorder").decode("latin1").strip() != sys.byteorder
        self.storages: dict[str, LoadedStorage] = {}

    def _entry(self, name: str) -> zipfile.ZipInfo:
        info = self.entries.get(f"{self.prefix}/{name}")
        if info is None:
            raise RuntimeError(
                f"PytorchStreamReader failed locating file {name}: file not found; the checkpoint "
                "is damaged"
            )
        return info

    def read(self, name: str) -> bytes:
        return self.archive.read(self._entry(name))

    def storage(self, identity: Any) -> LoadedStorage:
        """The storage that a persistent id names."""
        kind, key, location, count = _identity(identity)
        found = self.storages.get(key)
        if found is None:
            size = kind.itemsize if kind else 1
            info = self._entry(f"data/{key}")
            if info.file_size != count * size:
                raise RuntimeError(
                    f"record size ({info.file_size} bytes) does not match expected size "
                    f"({count * size} bytes = {count} elements * {size} bytes/element) of storage "
                    f"{key}"
                )
            if is_mapped_to_meta(location, self.map_location):
                found = WithoutData(kind, count * size)
            else:
                found = LoadedStorage(kind, self._bytes(info))
                if self.swapped:
                    _swap(found)
                check_location(found, location, self.map_location)
            self.storages[key] = found
        if found.dtype is not kind:
            return _seen_as(found, kind)
        return found

    def _bytes(self, info: zipfile.ZipInfo) -> np.ndarray:
        if info.compress_type == zipfile.ZIP_STORED and info.compress_size < info.file_size:
            raise RuntimeError(f"PytorchStreamReader: the sizes of {info.filename} disagree")
        data: Any = np.empty(info.file_size, np.uint8)  # a buffer, which NumPy's stubs leave out
        view, done = memoryview(data), 0
        with self.archive.open(info) as file:
            assert isinstance(file, io.BufferedIOBase)  # a ZipExtFile, says zipfile's page
            while done < info.file_size:
                count = file.readinto(view[done:])
                if not count:
                    raise RuntimeError(f"PytorchStreamReader: {info.filename} ends early")
                done += count
            file.read(1)  # the end: the checksum is compared
        return data


def _seen_as(found: LoadedStorage, kind: dtype | None) -> LoadedStorage:
    # One storage named with two dtypes: tensors of both share it.
    other = _Shared(kind, found.data)
    other.original = found
    return other


class _Shared(LoadedStorage):
    """Another dtype's name for a storage that is known already."""

    original: LoadedStorage

    def tensor(self, kind: dtype, offset: int, size: tuple, stride: tuple) -> Tensor:
        return self.original.tensor(kind, offset, size, stride)


def _identity(identity: Any) -> tuple[dtype | None, str, str, int]:
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise pickle.UnpicklingError(f"unknown persistent id {identity!r}: expected a storage")
    _, kind, key, location, count = identity[:5]
    if not isinstance(kind, StorageKind) or type(count) is not int or count < 0:
        raise pickle.UnpicklingError(f"invalid storage in the file: {identity!r}")
    return kind.dtype, str(key), str(location), count


def _swap(storage: LoadedStorage) -> None:
    kind = storage.dtype
    if kind is None:
        raise NotImplementedError("untyped storages of the other byte order are not supported")
    width = kind.itemsize // 2 if kind.is_complex else kind.itemsize
    storage.data = np.ascontiguousarray(storage.data.reshape(-1, width)[:, ::-1]).reshape(-1)


def _load_archive(archive: zipfile.ZipFile, map_location: Any, safe: bool) -> Any:
    found = _Archive(archive, map_location)
    return _unpickled(io.BytesIO(found.read("data.pkl")), found.storage, safe)


def _unpickled(file: Any, persistent_load: Callable[[Any], Any] | None, safe: bool) -> Any:
    if not safe:
        return _TrustingUnpickler(file, persistent_load).load()
    help = (
        " If you trust it, allow it with torch.serialization.add_safe_globals([...]), or load the "
        "file with weights_only=False, which lets it run any code."
    )
    setters: dict[type, Callable[[Any, Any], None]] = {OrderedDict: set_ordered_dict_state}
    for thing in _user_globals.values():
        if isinstance(thing, type):
            setters[thing] = _set_user_state
    names = {**NAMES, **_user_globals}
    try:
        return SafeUnpickler(file, names, persistent_load, setters, help).load()
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"Weights only load failed. {error}") from None


def _set_user_state(target: Any, state: Any) -> None:
    if hasattr(target, "__setstate__"):
        target.__setstate__(state)
    elif isinstance(state, tuple) and len(state) == 2:
        target.__dict__.update(state[0] or {})
        for name, value in (state[1] or {}).items():
            setattr(target, name, value)
    else:
        target.__dict__.update(state)


class _TrustingUnpickler(pickle.Unpickler):
    """Python's own unpickler with PyTorch's names read as ours."""

    def __init__(self, file: Any, persistent_load: Callable[[Any], Any] | None):
        super().__init__(file)
        self._load_storage = persistent_load

    def persistent_load(self, pid: Any) -> Any:
        if self._load_storage is None:
            raise pickle.UnpicklingError("the pickle names a storage, and there is none beside it")
        return self._load_storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        found = None if module in ("builtins", "__builtin__") else NAMES.get(f"{module}.{name}")
        if found is not None and module != "_codecs":
            return found
        if module == "torch" or module.startswith("torch."):
            module = "suiren" + module.removeprefix("torch")
        return super().find_class(module, name)


# ---- PyTorch's format of before 1.6: several pickles in a row, then the storages


def _load_legacy(file: Any, map_location: Any, safe: bool) -> Any:
    start = file.tell()
    if file.read(2) != b"\x80\x02" or file.read(2) != b"\x8a\n":
        file.seek(start)
        raise pickle.UnpicklingError(
            "Weights only load failed. The file is neither a zip archive nor a pickle that "
            "torch.save wrote; the file is damaged or of another kind"
        )
    file.seek(start)
    if _unpickled(file, None, True) != _LEGACY_MAGIC:
        raise RuntimeError("Invalid magic number; corrupt file?")
    if _unpickled(file, None, True) != 1001:
        raise RuntimeError("Invalid protocol version of a file in the format of before 1.6")
    if not _unpickled(file, None, True).get("little_endian", True):
        raise NotImplementedError("big-endian files of the format of before 1.6 are not supported")
    # The storages come after the pickle that names them: it is read twice.
    place = file.tell()
    kinds: dict[str, tuple[dtype | None, str, int]] = {}

    def note(identity: Any) -> LoadedStorage:
        kind, key, location, count = _identity(identity)
        kinds[key] = (kind, location, count)
        return _Unread(kind)

    names = {**NAMES, **{name: _ignored for name in REBUILDERS}}
    names["torch._tensor._rebuild_from_type_v2"] = _ignored
    if safe:
        SafeUnpickler(file, {**names, **_user_globals}, note, _IgnoredStates()).load()
    else:
        raise NotImplementedError("files of before PyTorch 1.6 are read with weights_only=True")
    storages: dict[str, LoadedStorage] = {}
    for key in _unpickled(file, None, True):
        if key not in kinds:
            raise RuntimeError(f"the file holds a storage {key!r} that nothing refers to")
        kind, location, expected = kinds[key]
        count = struct.unpack("<q", file.read(8))[0]
        if count != expected:
            raise RuntimeError(f"storage {key} has {count} elements, expected {expected}")
        data = file.read(count * (kind.itemsize if kind else 1))
        if is_mapped_to_meta(location, map_location):
            storages[key] = WithoutData(kind, len(data))
            continue
        if len(data) != count * (kind.itemsize if kind else 1):
            raise RuntimeError("unexpected EOF: the file might be corrupted")
        storages[key] = LoadedStorage(kind, np.array(np.frombuffer(data, np.uint8)))
        check_location(storages[key], location, map_location)
    file.seek(place)
    return _unpickled(file, lambda identity: storages[_identity(identity)[1]], safe)


class _Unread(LoadedStorage):
    """A storage of the first reading, of which only the name is wanted."""

    def __init__(self, kind: dtype | None):
        super().__init__(kind, np.empty(0, np.uint8))


class _IgnoredStates(dict):
    def get(self, key: Any, default: Any = None) -> Any:
        return lambda target, state: None


def _ignored(*arguments: Any) -> None:
    return None


__all__ = [
    "add_safe_globals", "clear_safe_globals", "get_safe_globals", "load", "safe_globals", "save",
]  # fmt: skip
