"""Devices: where a tensor's memory lies.

The CPU computes. On the device "meta" tensors have shapes, dtypes and strides but no data: nothing
is computed, and no memory is used. A device is compared by value, so ``torch.device("cpu")`` may be
made anew wherever it is needed. Source: PyTorch's "Tensor Attributes" and "Meta device" pages.
"""

from __future__ import annotations

import threading

_KNOWN = ("cpu", "cuda", "meta", "mps", "xpu", "xla", "hpu", "privateuseone")


class device:
    """``device("cpu")``, ``device("cuda", 0)``, ``device("cuda:0")``: a type and an index.

    Naming a device is always allowed; making a tensor on one that is not there is not.
    Raises RuntimeError for a name that is no device.
    """

    __slots__ = ("type", "index")
    type: str
    index: int | None

    def __init__(self, type: str | device | int, index: int | None = None):
        wanted: str
        if isinstance(type, device):
            wanted, index = type.type, type.index
        elif isinstance(type, int):  # PyTorch reads a bare number as an accelerator's index
            wanted, index = "cuda", type
        else:
            wanted = type
        name, colon, number = wanted.partition(":")
        if name not in _KNOWN or (colon and not number.isdecimal()):
            raise RuntimeError(
                f"Expected one of {', '.join(_KNOWN)} as the device type, "
                f"optionally with an index as in 'cuda:0', got {wanted!r}"
            )
        if colon and index is not None:
            raise RuntimeError(
                f"the device {wanted!r} names an index already, got index={index} too"
            )
        self.type = name
        self.index = int(number) if colon else index

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, device) and self.type == other.type and self.index == other.index
        )

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __enter__(self) -> device:
        """``with torch.device("meta"):``, where new tensors are made on the device."""
        _defaults.stack.append(check_available(self))
        return self

    def __exit__(self, *exception: object) -> None:
        _defaults.stack.pop()

    def __reduce__(self):
        return (device, (self.type, self.index))


CPU = device("cpu")
META = device("meta")


class _Defaults(threading.local):
    """Where this thread makes tensors unless told: its default, then what ``with`` asks for."""

    def __init__(self) -> None:
        self.stack = [CPU]


_defaults = _Defaults()


def default_device() -> device:
    """Where this thread makes tensors when no device is given."""
    return _defaults.stack[-1]


def set_default(where: device | str | int | None) -> None:
    """Changes where this thread makes tensors outside of any ``with torch.device(...)``."""
    _defaults.stack[0] = CPU if where is None else check_available(where)


def check_available(where: device | str | int | None) -> device:
    """The device to make a tensor on: ``CPU`` or ``META``, each one object.

    Raises AssertionError for CUDA, as a PyTorch built without it, and NotImplementedError for the
    other devices that PyTorch knows.
    """
    if where is None:
        return _defaults.stack[-1]
    found = where if isinstance(where, device) else device(where)
    if found.type == "cpu":
        return CPU
    if found.type == "meta":  # PyTorch too lets go of the index
        return META
    if found.type == "cuda":
        raise AssertionError(  # PyTorch's type for this
            "Torch not compiled with CUDA enabled: Suiren computes on the CPU; "
            "use device='cpu' (torch.cuda.is_available() says False)"
        )
    raise NotImplementedError(f"tensors on device '{found}' are not there yet; use device='cpu'")
