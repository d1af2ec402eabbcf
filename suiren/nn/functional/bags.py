"""embedding_bag: sums, means and maxima over bags of embedded words.

The plain look-up `embedding` is an operator of `suiren/ops/embedding.py`.
Source: PyTorch, F.embedding_bag.
"""

from __future__ import annotations

import suiren
from suiren.nn.functional import _from_ops as ops
from suiren.tensor import Tensor


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Look up rows of `weight` and combine those of each bag. Result: (bags, columns).

    input: (bags, words) int64, or (words) together with offsets: (bags), where each bag begins.
    weight: (rows, columns). per_sample_weights: factors in the shape of input, for mode "sum".
    include_last_offset: offsets has one more entry, the end of the last bag.
    max_norm: first shrinks, in place, the used rows whose norm_type norm is larger.
    padding_idx: a row that does not count. An empty bag gives zeros.
    """
    bags = _bag_of_each_word(input, offsets, include_last_offset)
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None:
        if tuple(per_sample_weights.shape) != tuple(input.shape):
            raise ValueError(
                "embedding_bag: If per_sample_weights is not None, then it must have the same "
                f"shape as the input ({list(input.shape)}), not {list(per_sample_weights.shape)}")
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only "
                f"supported for mode='sum' (got mode='{mode}').")
        per_sample_weights = per_sample_weights.reshape(-1)
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if sparse and weight.requires_grad and suiren.is_grad_enabled():
        raise NotImplementedError(
            "embedding_bag: sparse gradients are not supported; pass sparse=False for dense ones")
    rows, columns = weight.shape
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise RuntimeError(
                f"padding_idx must be within the number of embeddings, {-rows} through {rows - 1} "
                f"but got {padding_idx}")
        padding_idx %= rows

    words = input.reshape(-1).long()
    if max_norm is not None:
        _shrink_used_rows_(weight, words, max_norm, norm_type)
    vectors = ops.embedding(words, weight, scale_grad_by_freq=scale_grad_by_freq)  # words, columns
    counted = None if padding_idx is None else words != padding_idx
    bag_count = bags.count
    if mode == "max":
        return _max_of_bags(vectors, bags.of_word, bag_count, counted)
    if per_sample_weights is not None:
        vectors = vectors * per_sample_weights.unsqueeze(1)
    if counted is not None:
        vectors = vectors.masked_fill(counted.logical_not().unsqueeze(1), 0)
    zeros = suiren.zeros((bag_count, columns), dtype=vectors.dtype, device=weight.device)
    total = zeros.index_add(0, bags.of_word, vectors)
    if mode == "sum":
        return total
    ones = suiren.ones_like(words, dtype=vectors.dtype)
    if counted is not None:
        ones = ones * counted
    sizes = suiren.zeros(bag_count, dtype=vectors.dtype, device=weight.device)
    sizes = sizes.index_add(0, bags.of_word, ones)
    return total / sizes.clamp_min(1).unsqueeze(1)


class _Bags:
    """The bag number of every word, and how many bags there are."""

    __slots__ = ("count", "of_word")

    def __init__(self, of_word: Tensor, count: int) -> None:
        self.of_word = of_word
        self.count = count


def _bag_of_each_word(
    input: Tensor, offsets: Tensor | None, include_last_offset: bool
) -> _Bags:
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                f"of fixed length sequences. However, found offsets of type {type(offsets)}")
        bags, length = input.shape
        numbers = suiren.arange(bags, device=input.device).unsqueeze(1).expand(bags, length)
        return _Bags(numbers.reshape(-1), bags)
    if input.dim() != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension "
                         f"{input.dim()}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets.dim() != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    words = input.shape[0]
    if include_last_offset:
        if offsets.shape[0] < 1:
            raise RuntimeError("include_last_offset: numBags should be at least 1")
        starts = offsets[:-1].long()
    else:
        starts = offsets.long()
    if starts.shape[0] and not starts.is_meta:
        if int(starts[0]) != 0:
            raise RuntimeError(
                "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start "
                f"from position 0. However, got {int(starts[0])}")
        if int(starts[-1]) > words:
            raise RuntimeError(
                "offsets[-1] can not be greater than input's length, but got offsets[-1] of "
                f"{int(starts[-1])} and a length of {words}")
    # A word's bag: how many bags begin at or before it.
    begins = suiren.zeros(words + 1, dtype=suiren.int64, device=input.device)
    begins = begins.index_add(0, starts, suiren.ones_like(starts))
    return _Bags(begins.cumsum(0)[:words] - 1, starts.shape[0])


def _max_of_bags(
    vectors: Tensor, bags: Tensor, bag_count: int, counted: Tensor | None
) -> Tensor:
    """The largest of each column in each bag; its gradient goes to the first that has it."""
    words, columns = vectors.shape
    values = vectors.detach()
    lowest = -suiren.inf
    if counted is not None:
        values = values.masked_fill(counted.logical_not().unsqueeze(1), lowest)
    index = bags.unsqueeze(1).expand(words, columns)
    largest = suiren.full(
        (bag_count, columns), lowest, dtype=values.dtype, device=values.device)
    largest = largest.scatter_reduce(0, index, values, "amax")
    position = suiren.arange(words, device=values.device).unsqueeze(1).expand(words, columns)
    is_winner = values == largest[bags]
    if counted is not None:
        is_winner = is_winner & counted.unsqueeze(1)
    position = position.masked_fill(is_winner.logical_not(), words)
    first = suiren.full((bag_count, columns), words, dtype=suiren.int64, device=values.device)
    first = first.scatter_reduce(0, index, position, "amin")  # bags, columns
    # A row of zeros at the end is what empty bags choose.
    padding = suiren.zeros((1, columns), dtype=vectors.dtype, device=vectors.device)
    return suiren.cat([vectors, padding]).gather(0, first)


def _shrink_used_rows_(weight: Tensor, words: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale, in place, the rows that occur in `words` down to a norm of max_norm."""
    with suiren.no_grad():
        used = suiren.zeros(weight.shape[0], dtype=suiren.bool, device=weight.device)
        used = used.index_fill(0, words, True).unsqueeze(1)  # rows, 1
        norm = weight.norm(norm_type, 1, True)  # rows, 1
        factor = suiren.where(
            used & (norm > max_norm), max_norm / (norm + 1e-7), suiren.ones_like(norm))
        weight.mul_(factor)
