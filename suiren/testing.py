"""`torch.testing`: ``assert_close``. Source: PyTorch's torch.testing page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import suiren as torch
from suiren import dtypes
from suiren.tensor import Tensor

__all__ = ["assert_allclose", "assert_close"]

# (relative, absolute) by dtype; others are compared exactly.
_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5),
    dtypes.bfloat16: (1.6e-2, 1e-5),
    dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7),
    dtypes.complex64: (1.3e-6, 1e-5),
    dtypes.complex128: (1e-7, 1e-7),
}


class _Options:
    """How one call of assert_close compares."""

    def __init__(self, rtol: float | None, atol: float | None, **switches: Any) -> None:
        if (rtol is None) != (atol is None):
            raise ValueError(
                f"rtol and atol must both be specified or both be unspecified, got rtol={rtol} "
                f"and atol={atol}"
            )
        self.rtol, self.atol = rtol, atol
        self.allow_subclasses: bool = switches["allow_subclasses"]
        self.equal_nan: bool = switches["equal_nan"]
        self.check_dtype: bool = switches["check_dtype"]
        self.check_stride: bool = switches["check_stride"]
        self.msg: Any = switches["msg"]

    def fail(self, text: str, place: str, kind: type[Exception] = AssertionError) -> None:
        """Raises, with the user's own message if there is one."""
        text += f"\n\nThe failure occurred for item {place}" if place else ""
        if callable(self.msg):
            text = self.msg(text)
        elif self.msg is not None:
            text = self.msg
        raise kind(text)

    def tolerances(self, *kinds: Any) -> tuple[float, float]:
        """The tolerances given, or the larger of the defaults of these dtypes."""
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        found = [_TOLERANCES.get(kind, (0.0, 0.0)) for kind in kinds]
        return max(r for r, _ in found), max(a for _, a in found)


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Raises AssertionError unless ``|actual - expected| <= atol + rtol * |expected|`` everywhere.

    Both are tensors, numbers, arrays, or sequences and mappings of them. Shapes and dtypes must
    agree. The default tolerances depend on the dtype: 1.3e-6 and 1e-5 for float32, none for
    integers. Source: torch.testing.assert_close.

    Raises TypeError for what cannot be compared, ValueError for one tolerance without the other.

    >>> import suiren as torch
    >>> torch.testing.assert_close(torch.tensor([1.0]) / 3, torch.tensor([0.33333334]))
    """
    options = _Options(
        rtol, atol, allow_subclasses=allow_subclasses, equal_nan=equal_nan,
        check_dtype=check_dtype, check_stride=check_stride, msg=msg,
    )  # fmt: skip
    _compare(actual, expected, options, "")


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str = "",
) -> None:
    """The older form: dtypes may differ. Source: torch.testing.assert_allclose."""
    a, b = torch.as_tensor(actual), torch.as_tensor(expected)
    assert_close(
        a, b.to(a.dtype), rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False,
        msg=msg or None,
    )  # fmt: skip


def _is_plain(value: Any) -> bool:
    import numpy as np

    return isinstance(value, (Tensor, bool, int, float, complex, np.ndarray, np.generic))


def _compare(actual: Any, expected: Any, options: _Options, place: str) -> None:
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if actual.keys() != expected.keys():
            options.fail(
                "The keys of the mappings do not match:\n"
                f"Missing keys in the actual mapping: {sorted(expected.keys() - actual.keys())}\n"
                "Additional keys in the actual mapping: "
                f"{sorted(actual.keys() - expected.keys())}",
                place,
            )
        for key in actual:
            _compare(actual[key], expected[key], options, f"{place}[{key!r}]")
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            options.fail(
                f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", place
            )
        for number, (a, b) in enumerate(zip(actual, expected, strict=True)):
            _compare(a, b, options, f"{place}[{number}]")
    elif actual is None and expected is None:
        return
    elif _is_plain(actual) and _is_plain(expected):
        _compare_values(actual, expected, options, place)
    else:
        options.fail(
            f"No comparison pair was able to handle inputs of type {type(actual)} and "
            f"{type(expected)}.",
            place,
            TypeError,
        )


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _compare_values(actual: Any, expected: Any, options: _Options, place: str) -> None:
    numbers = not isinstance(actual, Tensor) and not isinstance(expected, Tensor)
    a, b = torch.as_tensor(actual).detach(), torch.as_tensor(expected).detach()
    numbers = numbers and a.dim() == 0 and b.dim() == 0
    if a.shape != b.shape:
        options.fail(
            f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}.", place
        )
    if a.device != b.device:
        options.fail(
            f"The values for attribute 'device' do not match: {a.device} != {b.device}.", place
        )
    if options.check_dtype and a.dtype != b.dtype and not numbers:
        options.fail(
            f"The values for attribute 'dtype' do not match: {a.dtype} != {b.dtype}.", place
        )
    if options.check_stride and a.stride() != b.stride():
        options.fail(
            f"The values for attribute 'stride()' do not match: {a.stride()} != {b.stride()}.",
            place,
        )
    rtol, atol = options.tolerances(*((dtypes.float64,) if numbers and a.is_floating_point()
                                      else (a.dtype, b.dtype)))  # fmt: skip
    if a.dtype != b.dtype:
        kind = torch.promote_types(a.dtype, b.dtype)
        a, b = a.to(kind), b.to(kind)
    if a.is_meta:  # nothing else could differ
        return
    wrong = ~torch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=options.equal_nan)
    if bool(wrong.any()):
        options.fail(_difference(a, b, wrong, rtol, atol, numbers), place)


def _difference(
    a: Tensor, b: Tensor, wrong: Tensor, rtol: float, atol: float, numbers: bool
) -> str:
    """What differs, how much, where most."""
    if a.dtype in (dtypes.bool, dtypes.uint8):
        a, b = a.to(dtypes.int64), b.to(dtypes.int64)
    off = (a - b).abs()
    relative = off / b.abs()
    exact = rtol == 0 and atol == 0
    up_to_a = "" if exact else f" (up to {atol} allowed)"
    up_to_r = "" if exact else f" (up to {rtol} allowed)"
    if numbers or a.dim() == 0:
        word = "equal" if exact else "close"
        return (
            f"Scalars are not {word}!\n\nExpected {b.item()} but got {a.item()}.\n"
            f"Absolute difference: {off.item()}{up_to_a}\n"
            f"Relative difference: {relative.item()}{up_to_r}"
        )
    count, total = int(wrong.sum()), wrong.numel()
    off = torch.where(wrong, off, torch.zeros_like(off))
    relative = torch.where(wrong, relative, torch.zeros_like(relative))

    def worst(values: Tensor) -> tuple[float, tuple[int, ...]]:
        flat = int(values.flatten().argmax())
        place = torch.unravel_index(torch.tensor(flat, device="cpu"), values.shape)
        return values.flatten()[flat].item(), tuple(int(i) for i in place)

    off_most, off_place = worst(off)
    relative_most, relative_place = worst(relative)
    return (
        f"Tensor-likes are not {'equal' if exact else 'close'}!\n\n"
        f"Mismatched elements: {count} / {total} ({count / total:.1%})\n"
        f"Greatest absolute difference: {off_most} at index {off_place}{up_to_a}\n"
        f"Greatest relative difference: {relative_most} at index {relative_place}{up_to_r}"
    )
