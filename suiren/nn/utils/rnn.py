"""Sequences of different lengths: padding them, packing them, and back.

A packed batch holds all first steps, then all second steps, ..., longest sequence first, so that
no step is computed on padding. Source: PyTorch, torch.nn.utils.rnn.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import suiren
from suiren.tensor import Tensor

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence",
    "pad_packed_sequence", "pad_sequence", "unpack_sequence", "unpad_sequence",
]


class PackedSequence(
    namedtuple("PackedSequence_", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])
):
    """A packed batch; made by pack_sequence and pack_padded_sequence.

    data: (all steps, ...); batch_sizes: (longest) int64, how many sequences go on at each step;
    sorted_indices: the order by falling length, unsorted_indices: its inverse, or None.
    """

    def __new__(
        cls, data: Tensor, batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None, unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:  # given as PackedSequence((data, batch_sizes))
            data, batch_sizes = data
        if batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be "
                "created manually: use pack_sequence or pack_padded_sequence")
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move or convert the data (and move the order), as Tensor.to does."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        order, back = (
            None if x is None else x.to(data.device)
            for x in (self.sorted_indices, self.unsorted_indices))
        return type(self)(data, self.batch_sizes, order, back)

    def cpu(self) -> PackedSequence:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Raises AssertionError: there is no CUDA here."""
        return self.to(*(args or ("cuda",)), **kwargs)

    def double(self) -> PackedSequence:
        """Convert the data to float64."""
        return self.to(dtype=suiren.float64)

    def float(self) -> PackedSequence:
        """Convert the data to float32."""
        return self.to(dtype=suiren.float32)

    def half(self) -> PackedSequence:
        """Convert the data to float16."""
        return self.to(dtype=suiren.float16)

    def long(self) -> PackedSequence:
        """Convert the data to int64."""
        return self.to(dtype=suiren.int64)

    def int(self) -> PackedSequence:
        """Convert the data to int32."""
        return self.to(dtype=suiren.int32)

    def pin_memory(self) -> PackedSequence:
        """Pin the data's memory."""
        return type(self)(self.data.pin_memory(), *self[1:])

    def is_pinned(self) -> bool:
        """Whether the data's memory is pinned."""
        return self.data.is_pinned()

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a GPU."""
        return self.data.is_cuda


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes this one, (n) int64."""
    if permutation is None:
        return None
    count = permutation.numel()
    places = suiren.arange(count, device=permutation.device)
    return suiren.empty_like(permutation).scatter_(0, permutation, places)


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Pack a padded batch (longest, batch, ...), or (batch, longest, ...) with batch_first.

    lengths: of each sequence, at least 1. enforce_sorted: they must fall; else they are sorted
    here and the order is kept in the result.
    """
    sizes = [int(size) for size in lengths]
    if isinstance(lengths, Tensor) and lengths.dim() != 1:
        raise RuntimeError(
            "'lengths' argument should be a 1D CPU int64 tensor, but got "
            f"{lengths.dim()}D {lengths.device} {lengths.dtype} tensor")
    order = None
    if not enforce_sorted:
        given = suiren.tensor(sizes, dtype=suiren.int64, device="cpu")
        order = given.argsort(descending=True, stable=True)
        sizes = [sizes[place] for place in order.tolist()]
        order = order.to(input.device)
        input = input.index_select(0 if batch_first else 1, order)
    if batch_first:
        input = input.transpose(0, 1)
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if len(sizes) != input.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} "
            f"(batch_size={input.shape[1]})")
    if min(sizes) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0")
    if any(after > before for before, after in zip(sizes, sizes[1:], strict=False)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
            "You can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement if you do not need ONNX exportability.")
    if sizes[0] > input.shape[0]:
        raise RuntimeError(
            "Expected sequence length to be larger than or equal to the largest of lengths "
            f"({sizes[0]}), but got {input.shape[0]}")
    batch_sizes = [sum(size > step for size in sizes) for step in range(sizes[0])]
    data = suiren.cat([input[step, :count] for step, count in enumerate(batch_sizes)])
    numbers = suiren.tensor(batch_sizes, dtype=suiren.int64, device="cpu")
    return PackedSequence(data, numbers, order, None)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded batch of a packed one, and the lengths, (batch) int64, in the original order."""
    batch_sizes = sequence.batch_sizes.tolist()
    longest = len(batch_sizes)
    if total_length is not None:
        if total_length < longest:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in "
                f"input, but got total_length={total_length} and max sequence length being "
                f"{longest}")
        longest = total_length
    data = sequence.data
    batch = batch_sizes[0]
    rest = data.shape[1:]
    steps = []
    for step in data.split(batch_sizes):
        gap = batch - step.shape[0]
        if gap:
            filler = suiren.full(
                (gap, *rest), padding_value, dtype=data.dtype, device=data.device)
            step = suiren.cat([step, filler])
        steps.append(step)
    if longest > len(steps):
        empty = suiren.full((batch, *rest), padding_value, dtype=data.dtype, device=data.device)
        steps += [empty] * (longest - len(steps))
    padded = suiren.stack(steps, 1 if batch_first else 0)
    lengths = suiren.tensor(
        [sum(count > place for count in batch_sizes) for place in range(batch)],
        dtype=suiren.int64, device="cpu")
    back = sequence.unsorted_indices
    if back is not None:
        padded = padded.index_select(0 if batch_first else 1, back)
        lengths = lengths[back.cpu()]
    return padded, lengths


def pad_sequence(
    sequences: Tensor | list[Tensor], batch_first: bool = False, padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences (length, ...) of different lengths: (longest, batch, ...).

        >>> pad_sequence([suiren.ones(1), suiren.ones(2)], batch_first=True)
        tensor([[1., 0.],
                [1., 1.]])
    """
    if isinstance(sequences, Tensor):
        sequences = list(sequences.unbind(0))
    elif not isinstance(sequences, (list, tuple)):
        if not hasattr(sequences, "__iter__"):
            raise RuntimeError(
                "pad_sequence: Expected iterable for input sequences, but got arg of type: "
                f"{type(sequences)}")
        sequences = tuple(sequences)
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}.")
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    rest = tuple(sequences[0].shape[1:])
    longest = max(sequence.shape[0] for sequence in sequences)
    rows = []
    for sequence in sequences:
        if tuple(sequence.shape[1:]) != rest:
            raise RuntimeError(
                "pad_sequence: all sequences must have the same shape after the first axis, got "
                f"{rest} and {tuple(sequence.shape[1:])}")
        gap = longest - sequence.shape[0]
        if gap:
            filler = suiren.full(
                (gap, *rest), padding_value, dtype=sequence.dtype, device=sequence.device)
            parts = [sequence, filler] if padding_side == "right" else [filler, sequence]
            sequence = suiren.cat(parts)
        rows.append(sequence)
    return suiren.stack(rows, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded batch, each cut to its length."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    rows = padded_sequences.unbind(0)
    return [row[: int(length)] for row, length in zip(rows, lengths, strict=True)]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (length, ...) of different lengths."""
    lengths = suiren.tensor(
        [sequence.shape[0] for sequence in sequences], dtype=suiren.int64, device="cpu")
    return pack_padded_sequence(
        pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed batch."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
