"""`torch.layout` and `torch.memory_format`: words that say how elements are stored.

Suiren's tensors are strided; the sparse layouts exist so that programs can name and compare them.
Source: PyTorch's "Tensor Attributes" page.
"""

from __future__ import annotations


class _Word:
    """A named constant, compared by identity and pickled by name."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple:
        return _find, (self.name,)

    def __copy__(self) -> _Word:
        return self

    def __deepcopy__(self, memo: dict) -> _Word:
        return self


class layout(_Word):
    """How the elements of a tensor are represented: ``torch.strided`` for all of Suiren's."""

    __slots__ = ()


class memory_format(_Word):
    """The order of dimensions in memory, such as ``torch.channels_last``."""

    __slots__ = ()


def _find(name: str) -> _Word:
    return WORDS[name]


strided = layout("strided")
sparse_coo = layout("sparse_coo")
sparse_csr = layout("sparse_csr")
sparse_csc = layout("sparse_csc")
sparse_bsr = layout("sparse_bsr")
sparse_bsc = layout("sparse_bsc")
jagged = layout("jagged")

contiguous_format = memory_format("contiguous_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
preserve_format = memory_format("preserve_format")

WORDS = {
    word.name: word
    for word in (
        strided, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc, jagged,
        contiguous_format, channels_last, channels_last_3d, preserve_format,
    )
}  # fmt: skip
