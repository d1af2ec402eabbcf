"""Samplers: in which order a loader visits a data set, and how indices are grouped into batches.

Follows torch.utils.data's samplers, the random stream included (found by experiment): without a
generator, RandomSampler draws one 64-bit seed from the default generator at the start of each epoch
and permutes with a generator of its own; with one, it draws from that. The others draw straight
from the generator they have.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import suiren

Index_co = TypeVar("Index_co", covariant=True)

# With replacement, PyTorch draws indices this many at a time; fewer or more would leave its stream.
_DRAWS_AT_ONCE = 32


def draw_seed(generator: Any = None) -> int:
    """One seed in [0, 2**63) from ``generator`` or the default one, as PyTorch draws it."""
    return int(suiren.empty((), dtype=suiren.int64).random_(generator=generator).item())


def _is_count(value: Any) -> bool:
    """Whether ``value`` is a positive int (True is no count)."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_count(owner: str, name: str, value: Any) -> None:
    if not _is_count(value):
        raise ValueError(
            f"{owner}: {name} should be a positive integer value, but got {name}={value}"
        )


def _check_bool(owner: str, name: str, value: Any, error: type[Exception]) -> None:
    if not isinstance(value, bool):
        raise error(f"{owner}: {name} should be a boolean value, but got {name}={value}")


class Sampler(Generic[Index_co]):
    """What yields indices (or lists of indices) of a data set: subclasses give ``__iter__``, and
    ``__len__`` if known.

    Source: torch.utils.data.Sampler.

    >>> from suiren.utils.data import Sampler
    >>> class Backwards(Sampler):
    ...     def __init__(self, data):
    ...         self.data = data
    ...     def __iter__(self):
    ...         return iter(range(len(self.data) - 1, -1, -1))
    >>> list(Backwards("abc"))
    [2, 1, 0]
    """

    def __iter__(self) -> Iterator[Index_co]:
        raise NotImplementedError(
            f"iter({type(self).__name__}): this sampler has no __iter__; every subclass of Sampler"
            " must yield indices"
        )


class SequentialSampler(Sampler[int]):
    """0, 1, ..., len(data_source) - 1. Source: torch.utils.data.SequentialSampler.

    >>> from suiren.utils.data import SequentialSampler
    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    data_source: Sized

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """``num_samples`` random indices below ``len(data_source)``: permutations, or draws with
    replacement.

    Without replacement more than ``len(data_source)`` samples come from one permutation after the
    other. Raises TypeError when ``replacement`` is no bool, ValueError when there is nothing to
    draw. Source: torch.utils.data.RandomSampler.

    >>> from suiren.utils.data import RandomSampler
    >>> sorted(RandomSampler("abcd"))
    [0, 1, 2, 3]
    """

    data_source: Sized
    replacement: bool

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        _check_bool("RandomSampler", "replacement", replacement, TypeError)
        _check_count("RandomSampler", "num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        """How many indices an epoch has; follows the data set's length unless it was given."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        size = len(self.data_source)
        generator = self.generator
        if generator is None:
            generator = suiren.Generator()
            generator.manual_seed(draw_seed())

        if self.replacement:
            for start in range(0, self.num_samples, _DRAWS_AT_ONCE):
                count = min(_DRAWS_AT_ONCE, self.num_samples - start)
                yield from suiren.randint(
                    high=size, size=(count,), dtype=suiren.int64, generator=generator
                ).tolist()
            return

        whole, rest = divmod(self.num_samples, size)
        for _ in range(whole):
            yield from suiren.randperm(size, generator=generator).tolist()
        # PyTorch draws this last permutation even when nothing is left to take from it, and a
        # generator that is shared between epochs shows it.
        yield from suiren.randperm(size, generator=generator).tolist()[:rest]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order, each once. Source: torch.utils.data.SubsetRandomSampler.

    >>> from suiren.utils.data import SubsetRandomSampler
    >>> sorted(SubsetRandomSampler([2, 5, 9]))
    [2, 5, 9]
    """

    indices: Sequence[int]

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for position in suiren.randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[position]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """``num_samples`` indices, index i with probability proportional to ``weights[i]``.

    ``weights`` has shape (indices,) and need not sum to 1; it is kept as float64. Raises ValueError
    for a bad ``num_samples``, ``replacement`` or shape; RuntimeError (from multinomial) when more
    samples are asked for without replacement than there are indices, or when all weights are zero.
    Source: torch.utils.data.WeightedRandomSampler.

    >>> from suiren.utils.data import WeightedRandomSampler
    >>> list(WeightedRandomSampler([0.0, 1.0, 0.0], 3))
    [1, 1, 1]
    """

    weights: Any
    num_samples: int
    replacement: bool

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
    ) -> None:
        _check_count("WeightedRandomSampler", "num_samples", num_samples)
        _check_bool("WeightedRandomSampler", "replacement", replacement, ValueError)
        self.weights = suiren.as_tensor(weights, dtype=suiren.float64)
        if self.weights.dim() != 1:
            raise ValueError(
                "WeightedRandomSampler: weights should be a 1d sequence but given weights have"
                f" shape {tuple(self.weights.shape)}; give one weight per index"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        draws = suiren.multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        yield from draws.tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list]):
    """Lists of ``batch_size`` consecutive indices of ``sampler``; a short last one is kept unless
    ``drop_last``.

    ValueError when ``batch_size`` is no positive int or ``drop_last`` no bool. Source:
    torch.utils.data.BatchSampler.

    >>> from suiren.utils.data import BatchSampler
    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    sampler: Any
    batch_size: int
    drop_last: bool

    def __init__(
        self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool
    ) -> None:
        _check_count("BatchSampler", "batch_size", batch_size)
        _check_bool("BatchSampler", "drop_last", drop_last, ValueError)
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list]:
        indices = iter(self.sampler)
        while True:
            batch = list(itertools.islice(indices, self.batch_size))
            if not batch or (self.drop_last and len(batch) < self.batch_size):
                return
            yield batch
            if len(batch) < self.batch_size:
                return

    def __len__(self) -> int:
        if self.drop_last:
            return len(self.sampler) // self.batch_size
        return -(-len(self.sampler) // self.batch_size)
