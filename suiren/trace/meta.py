"""What is known of an array before it is computed: shape, dtype, device and visible strides.

Metas are interned: equal descriptions are one object. So a rule that has been worked out for some
inputs is found again with one dictionary lookup by identity (see ``Operator.plans``), which is
what keeps recording an operation at a microsecond or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from weakref import WeakValueDictionary

from suiren import dtypes
from suiren.device import CPU, device
from suiren.size import Size

_device = device  # Meta has an attribute of that name


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements; an empty dimension counts as one, as in PyTorch."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(shape[i + 1], 1)
    return tuple(strides)


class Meta:
    """Shape, dtype, device and strides of an array; make one with :func:`meta`.

    ``flat`` is the same description with row-major strides: what a Value has, since layout is
    visible to the user only (Values have no strides).
    """

    __slots__ = (
        "shape", "strides", "dtype", "device", "ndim", "numel", "nbytes", "contiguous", "flat",
        "__weakref__",
    )  # fmt: skip

    shape: Size
    strides: tuple[int, ...]
    dtype: dtypes.dtype
    device: device
    ndim: int
    numel: int
    nbytes: int
    contiguous: bool
    flat: Meta

    def __repr__(self) -> str:
        layout = "" if self.contiguous else f" strides {self.strides}"
        place = "" if self.device is CPU else f" on {self.device}"
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]{layout}{place}"

    def like(
        self,
        shape: Sequence[int] | None = None,
        dtype: dtypes.dtype | None = None,
        strides: Sequence[int] | None = None,
    ) -> Meta:
        """The same description with some parts replaced; a new shape is row-major by default."""
        if shape is None:
            shape = self.shape
            if strides is None:
                strides = self.strides
        return meta(shape, dtype or self.dtype, self.device, strides)

    def on(self, where: _device) -> Meta:
        """The same description on another device."""
        if where is self.device:
            return self
        return meta(self.shape, self.dtype, where, None if self is self.flat else self.strides)


_interned: WeakValueDictionary[tuple, Meta] = WeakValueDictionary()


def meta(
    shape: Sequence[int],
    dtype: dtypes.dtype,
    device: device = CPU,
    strides: Sequence[int] | None = None,
) -> Meta:
    """The one Meta of this description."""
    shape = shape if type(shape) is Size else Size(shape)
    key = (shape, dtype, device, None if strides is None else tuple(strides))
    found = _interned.get(key)
    if found is None:
        found = _make(shape, dtype, device, key[3])
        _interned[key] = found
    return found


def _make(shape: Size, dtype: dtypes.dtype, device: device, strides: tuple | None) -> Meta:
    row_major = contiguous_strides(shape)
    if strides is not None and is_contiguous(shape, strides) and strides == row_major:
        return meta(shape, dtype, device)
    made = Meta()
    made.shape = shape
    made.strides = row_major if strides is None else strides
    made.dtype = dtype
    made.device = device
    made.ndim = len(shape)
    made.numel = prod(shape)
    made.nbytes = made.numel * dtype.itemsize
    made.contiguous = strides is None or is_contiguous(shape, strides)
    made.flat = made if strides is None else meta(shape, dtype, device)
    return made


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements lie in row-major order without gaps (sizes of one do not count)."""
    if 0 in shape:
        return True
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True
