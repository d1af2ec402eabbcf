"""How a tensor is written out: the text behind `repr(tensor)`, `str(tensor)` and `print(tensor)`.

Sits below `tensor`: it knows NumPy arrays and names of dtypes, not Tensors. `Tensor.__repr__`
gathers the fields (values, dtype, device, grad_fn, ...) and `tensor_text` turns them into the text
that PyTorch 2.13 writes for the same tensor, letter for letter.

Behaviour followed: the PyTorch page "torch.set_printoptions", and, for all that the page leaves
open (when scientific notation starts, how wide a column is, where lines break), experiments with
PyTorch 2.13, kept in tests/test_printing_format.py.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

# Beyond these a column of plain decimals would be too wide, or would show mostly zeros.
_LARGEST_PLAIN = 1.0e8
_SMALLEST_PLAIN = 1.0e-4
_LARGEST_PLAIN_RATIO = 1000.0

_COMPLEX_DTYPES = frozenset({"complex64", "complex128"})
_FLOAT_DTYPES = frozenset({"float16", "bfloat16", "float32", "float64"})
_WHOLE_DTYPES = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
)

# The complex dtype that `tensor([1j])` gets under each default dtype.
_DEFAULT_COMPLEX = {
    "float16": "complex64",
    "bfloat16": "complex64",
    "float32": "complex64",
    "float64": "complex128",
}


@dataclass(frozen=True, slots=True)
class _PrintOptions:
    """The settings of `set_printoptions`; frozen, so that a saved copy cannot change."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: float = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": _PrintOptions(),
    "short": _PrintOptions(precision=2, edgeitems=2),
    "full": _PrintOptions(threshold=math.inf),
}

_options = _PROFILES["default"]


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: float | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed from now on, in the whole process.

    Arguments left at None keep their present value, except `sci_mode`: None puts it back to the
    automatic choice, as in PyTorch.

    Args:
        precision: digits after the decimal point (at first 4).
        threshold: number of elements above which only the edges are shown (at first 1000).
        edgeitems: how many items are shown at each end of a summarised dimension (at first 3).
        linewidth: characters in a line (at first 80).
        profile: "default", "short" or "full": take all settings from this set first, then apply the
            other arguments. Other names are ignored, as in PyTorch.
        sci_mode: True or False turns scientific notation on or off; None lets every tensor choose
            by its largest and smallest magnitudes.

    Raises:
        ValueError: `precision` is not an integer or is negative, or `edgeitems` is negative.
        TypeError: `edgeitems` is not an integer, `threshold` or `linewidth` is not a number.
            PyTorch accepts such values here and fails at the next print.

    Example:
        >>> import suiren
        >>> suiren.set_printoptions(precision=2)
        >>> suiren.tensor([1.12345])
        tensor([1.12])
        >>> suiren.set_printoptions(profile="default")

    Source: the PyTorch page "torch.set_printoptions".
    """
    global _options
    _options = _updated_options(precision, threshold, edgeitems, linewidth, profile, sci_mode)


def get_printoptions() -> dict[str, Any]:
    """The present settings as a dictionary that `set_printoptions(**settings)` takes back.

    Example:
        >>> from suiren.printing import get_printoptions
        >>> get_printoptions()["precision"]
        4
    """
    return asdict(_options)


@contextlib.contextmanager
def printoptions(**settings: Any) -> Iterator[None]:
    """A `with` block that prints with other settings (those of `set_printoptions`).

    The former settings return at the end of the block, also when an exception ends it.

    Example:
        >>> import suiren
        >>> from suiren.printing import printoptions
        >>> with printoptions(precision=2, sci_mode=True):
        ...     print(suiren.tensor([1.5]))
        tensor([1.50e+00])
    """
    global _options
    former = _options
    set_printoptions(**settings)
    try:
        yield
    finally:
        _options = former


def tensor_text(
    array: np.ndarray | None,
    *,
    dtype_name: str,
    shape: Sequence[int] | None = None,
    requires_grad: bool = False,
    grad_fn_name: str | None = None,
    default_dtype_name: str = "float32",
    class_name: str = "tensor",
    device: str = "cpu",
) -> str:
    """The text of a tensor, as `repr(tensor)` and `str(tensor)` give it.

    Only the elements that will be shown are read, so a summarised print costs the same for a
    thousand elements as for a billion.

    Args:
        array: the values, any shape and strides. bfloat16 comes as an `ml_dtypes.bfloat16` array
            (or float32 holding the same values). None for a tensor without values, which is one on
            the device "meta".
        dtype_name: the tensor's dtype without a prefix: "float32", "bool", ...
        shape: sizes of the tensor; needed only when `array` is None.
        requires_grad: whether the tensor requires gradients; shown where `grad_fn_name` is None.
        grad_fn_name: the autograd node that made the tensor ("AddBackward0"); None for a leaf.
        default_dtype_name: the default floating dtype, whose name is not shown.
        class_name: "tensor", or the name of the user's subclass of Tensor.
        device: the device as it is written ("cpu", "cuda:0", "meta"); "cpu" is not shown.

    Returns:
        The text, without a final newline.

    Raises:
        ValueError: `array` is None and `shape` is not given or `device` is not "meta".
        NotImplementedError: a dtype that Suiren has no values of, such as "float8_e5m2".

    Example:
        >>> import numpy as np
        >>> tensor_text(np.array([1.0, 2.5]), dtype_name="float64", grad_fn_name="AddBackward0")
        'tensor([1.0000, 2.5000], dtype=torch.float64, grad_fn=<AddBackward0>)'
    """
    options = _options
    indent = len(class_name) + 1
    # Tensors that show no value show the dtype unless it is the default; values already tell
    # integers, booleans and the default complex dtype apart.
    unnamed_dtypes: tuple[str | None, ...] = (default_dtype_name,)
    show_size = True

    if array is None or device == "meta":
        if array is not None:
            shape = array.shape
        elif shape is None or device != "meta":
            raise ValueError(
                f"tensor_text: got no array, shape {shape} and device {device!r}; only a tensor on "
                "the device 'meta' has no values, and then its shape must be given"
            )
        contents = "..."
    elif array.size == 0:
        shape = array.shape
        show_size = array.ndim != 1  # 1-d and empty: no other size is possible
        contents = "[]"
    else:
        shape = array.shape
        unnamed_dtypes += (_DEFAULT_COMPLEX.get(default_dtype_name), "int64", "bool")
        summarise = array.size > options.threshold
        show_size = options.edgeitems == 0
        if show_size and summarise and array.ndim:
            contents = "[...]"
        else:
            contents = _values_text(array, dtype_name, indent, summarise, options)

    suffixes = []
    if device != "cpu":
        suffixes.append(f"device='{device}'")
    if show_size:
        suffixes.append(f"size={tuple(shape)}")
    if dtype_name not in unnamed_dtypes:
        suffixes.append(f"dtype=torch.{dtype_name}")
    if grad_fn_name is not None:
        suffixes.append(f"grad_fn=<{grad_fn_name}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(f"{class_name}({contents}", suffixes, indent, options.linewidth)


def parameter_text(text: str, class_name: str = "tensor") -> str:
    """The text of an `nn.Parameter`, from the `tensor_text` of its values.

    A Parameter that is also of a user's subclass of Tensor (`class_name` other than "tensor") is
    written as a call.

    Example:
        >>> parameter_text("tensor([1.], requires_grad=True)")
        'Parameter containing:\\ntensor([1.], requires_grad=True)'
    """
    if class_name == "tensor":
        return f"Parameter containing:\n{text}"
    return f"Parameter({text})"


def size_text(shape: Sequence[int]) -> str:
    """The text of a `torch.Size`.

    Example:
        >>> size_text((2, 3))
        'torch.Size([2, 3])'
    """
    return f"torch.Size([{', '.join(map(str, shape))}])"


def _updated_options(
    precision: int | None,
    threshold: float | None,
    edgeitems: int | None,
    linewidth: float | None,
    profile: str | None,
    sci_mode: bool | None,
) -> _PrintOptions:
    """The present options with a profile and single settings applied."""
    options = _options
    if profile is not None:
        options = _PROFILES.get(str(profile), options)
    changes: dict[str, Any] = {"sci_mode": sci_mode}
    if precision is not None:
        if not hasattr(precision, "__index__") or precision < 0:
            raise ValueError(
                f"set_printoptions: got precision={precision!r}; it must be an integer of 0 or "
                "more (digits after the decimal point)"
            )
        changes["precision"] = operator.index(precision)
    if edgeitems is not None:
        if not hasattr(edgeitems, "__index__"):
            raise TypeError(
                f"set_printoptions: got edgeitems={edgeitems!r}; it must be an integer (items "
                "shown at each end of a summarised dimension)"
            )
        if edgeitems < 0:
            raise ValueError(f"set_printoptions: got edgeitems={edgeitems!r}; it must be 0 or more")
        changes["edgeitems"] = operator.index(edgeitems)
    for name, value in (("threshold", threshold), ("linewidth", linewidth)):
        if value is None:
            continue
        if not hasattr(value, "__float__"):
            raise TypeError(f"set_printoptions: got {name}={value!r}; it must be a number")
        changes[name] = value
    return replace(options, **changes)


def _values_text(
    array: np.ndarray, dtype_name: str, indent: int, summarise: bool, options: _PrintOptions
) -> str:
    """The bracketed numbers of a non-empty array whose first bracket stands in column `indent`."""
    edge = options.edgeitems
    cut = [summarise and extent > 2 * edge for extent in array.shape]
    if any(cut):
        array = _edges(array, cut, edge)
    # From here on `array` holds what is shown and nothing else: PyTorch, too, chooses notation and
    # column width by the elements it shows.
    if dtype_name == "bfloat16":
        array = array.astype(np.float32)  # ml_dtypes' own scalars format differently from floats
    values = array.ravel().tolist()

    if dtype_name in _FLOAT_DTYPES:
        texts, width = _float_texts(values, options)
    elif dtype_name in _COMPLEX_DTYPES:
        texts, width = _complex_texts(values, options)
    elif dtype_name in _WHOLE_DTYPES:
        texts = list(map(str, values))
        width = max(map(len, texts))
        texts = [text.rjust(width) for text in texts]
    else:
        raise NotImplementedError(
            f"tensor_text: got dtype {dtype_name!r}; printing knows "
            f"{', '.join(sorted(_FLOAT_DTYPES | _COMPLEX_DTYPES | _WHOLE_DTYPES))}; convert the "
            "tensor to one of these"
        )
    if array.ndim == 0:
        return texts[0]
    return _layout(texts, width, array.shape, cut, indent, options)


def _edges(array: np.ndarray, cut: Sequence[bool], edge: int) -> np.ndarray:
    """The first and last `edge` items along each axis marked in `cut`, in one gather."""
    kept: list[Sequence[int]] = []
    for extent, is_cut in zip(array.shape, cut, strict=True):
        if is_cut:
            kept.append([*range(edge), *range(extent - edge, extent)])
        else:
            kept.append(range(extent))
    return array[np.ix_(*kept)]


def _float_texts(values: list[float], options: _PrintOptions) -> tuple[list[str], int]:
    """The texts of real numbers, padded on the left to a common width, and that width.

    Notation and width are chosen by the finite numbers other than zero. So zeros, infinities and
    NaNs can be wider than the column and then stand out of line: `[1., inf]`, `[0.5000, -0.0000]`.
    """
    finite = [value for value in values if value and math.isfinite(value)]
    integral = all(map(float.is_integer, finite))
    scientific = options.sci_mode
    if scientific is None or not finite:  # zeros stay "0." even when scientific notation is set
        scientific = _needs_scientific(finite, integral)

    if scientific:
        write = f"{{:.{options.precision}e}}".format
    elif integral:
        write = "{:.0f}.".format
    else:
        write = f"{{:.{options.precision}f}}".format
    width = max(map(len, map(write, finite)), default=1)
    # str, not write: no decimal point after inf and nan
    texts = [(write(v) if math.isfinite(v) else str(v)).rjust(width) for v in values]
    return texts, width


def _needs_scientific(finite: list[float], integral: bool) -> bool:
    """Whether finite nonzero numbers spread too far, or lie too far from 1, for plain decimals."""
    if not finite:
        return False
    magnitudes = list(map(abs, finite))
    largest, smallest = max(magnitudes), min(magnitudes)
    return (
        largest / smallest > _LARGEST_PLAIN_RATIO
        or largest > _LARGEST_PLAIN
        or (not integral and smallest < _SMALLEST_PLAIN)
    )


def _complex_texts(values: list[complex], options: _PrintOptions) -> tuple[list[str], int]:
    """The texts of complex numbers and the width that line breaking reckons with.

    Real and imaginary parts choose notation and width apart from each other. Imaginary parts follow
    the real part at once, without padding, so the texts may be shorter than the width.
    """
    real_texts, real_width = _float_texts([value.real for value in values], options)
    imag_texts, imag_width = _float_texts([value.imag for value in values], options)
    texts = []
    for real, imag in zip(real_texts, imag_texts, strict=True):
        imag = imag.lstrip()
        sign = "" if imag[0] == "-" else "+"
        texts.append(f"{real}{sign}{imag}j")
    return texts, real_width + imag_width + 1


def _layout(
    texts: list[str],
    width: int,
    shape: Sequence[int],
    cut: Sequence[bool],
    indent: int,
    options: _PrintOptions,
) -> str:
    """Nested brackets around row-major `texts`.

    Built from the innermost dimension outwards: `blocks` holds the finished texts of one depth, and
    each round joins the neighbours that belong to one block of the depth above. Depth d opens its
    bracket in column `indent + d`.
    """
    last = len(shape) - 1
    edge = options.edgeitems
    room = options.linewidth - (indent + last)
    # at most all texts and one "...": keeps an infinite line width out of int()
    per_line = max(1, int(min(room / (width + 2), len(texts) + 1)))

    blocks = texts
    for depth in range(last, -1, -1):
        margin = " " * (indent + depth + 1)
        extent = shape[depth]
        groups = []
        for start in range(0, len(blocks), extent):
            group = blocks[start : start + extent]
            if depth == last:
                if cut[depth]:
                    group.insert(edge, " ...")
                lines = [
                    ", ".join(group[i : i + per_line]) for i in range(0, len(group), per_line)
                ]
                inside = f",\n{margin}".join(lines)
            else:
                if cut[depth]:
                    group.insert(edge, "...")
                # one line break between rows, two between matrices, ...
                inside = ("," + "\n" * (last - depth) + margin).join(group)
            groups.append(f"[{inside}]")
        blocks = groups
    return blocks[0]


def _with_suffixes(text: str, suffixes: list[str], indent: int, linewidth: float) -> str:
    """`text` and its suffixes, each on a new line when the present one has no room; and ")"."""
    parts = [text]
    # Two columns are kept free, one of them for the closing bracket; PyTorch counts so, and after
    # a suffix has moved to a new line it keeps none.
    column = len(text) - (text.rfind("\n") + 1) + 2
    for suffix in suffixes:
        if column + len(suffix) + 2 > linewidth:
            parts.append(f",\n{' ' * indent}{suffix}")
            column = indent + len(suffix)
        else:
            parts.append(f", {suffix}")
            column += len(suffix) + 2
    parts.append(")")
    return "".join(parts)
