"""Data sets: where samples come from.

Two kinds, as in torch.utils.data: *map-style* (``dataset[index]``, usually with ``len``) and
*iterable-style* (``iter(dataset)``). The classes here hold, join, cut and split them.
``random_split`` draws one permutation from PyTorch's random stream, so a split made with the same
seed is PyTorch's split.
"""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import suiren

Sample = TypeVar("Sample")
Sample_co = TypeVar("Sample_co", covariant=True)


class Dataset(Generic[Sample_co]):
    """A map-style data set: subclasses give ``__getitem__`` and, for most samplers, ``__len__``.

    A subclass may also give ``__getitems__(indices)``, which returns the list of the samples of one
    batch; the loader then asks for a whole batch at once. Source: torch.utils.data.Dataset.

    >>> from suiren.utils.data import Dataset
    >>> class Squares(Dataset):
    ...     def __getitem__(self, index):
    ...         return index * index
    ...     def __len__(self):
    ...         return 5
    >>> Squares()[3]
    9
    """

    def __getitem__(self, index: Any) -> Sample_co:
        raise NotImplementedError(
            f"{type(self).__name__}[index]: this data set has no __getitem__; every subclass of"
            " Dataset must say how sample `index` is made: define __getitem__(self, index)"
        )

    def __add__(self, other: Dataset) -> Dataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[Sample_co], Iterable[Sample_co]):
    """An iterable-style data set: subclasses give ``__iter__``. For streams, where samples have no
    number.

    With several workers each of them iterates over its own copy: use :func:`get_worker_info` to
    give each its share, or every sample comes once per worker. Source:
    torch.utils.data.IterableDataset.

    >>> from suiren.utils.data import IterableDataset
    >>> class Countdown(IterableDataset):
    ...     def __iter__(self):
    ...         return iter([3, 2, 1])
    >>> list(Countdown())
    [3, 2, 1]
    """

    def __add__(self, other: Dataset) -> Dataset:
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple]):
    """Tensors side by side: sample ``i`` is ``(tensors[0][i], tensors[1][i], ...)``.

    Every tensor has shape (samples, ...), any dtype; AssertionError if the first sizes differ.
    Source: torch.utils.data.TensorDataset.

    >>> import suiren
    >>> from suiren.utils.data import TensorDataset
    >>> pairs = TensorDataset(suiren.arange(4), suiren.arange(4) * 10)
    >>> pairs[2]
    (tensor(2), tensor(20))
    """

    tensors: tuple

    def __init__(self, *tensors: Any) -> None:
        sizes = [tensor.size(0) for tensor in tensors]
        if any(size != sizes[0] for size in sizes):
            raise AssertionError(
                f"TensorDataset: the tensors have {sizes} rows (Size mismatch between tensors); row"
                " i of every tensor together makes sample i, so the first sizes must be equal"
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].size(0)


class StackDataset(Dataset):
    """Data sets side by side: sample ``i`` is the tuple (or, from keywords, the dict) of their
    samples ``i``.

    ValueError if none is given, if positional and keyword ones are mixed, or if lengths differ.
    Source: torch.utils.data.StackDataset.

    >>> from suiren.utils.data import StackDataset
    >>> StackDataset(image=["a", "b"], label=[0, 1])[1]
    {'image': 'b', 'label': 1}
    """

    datasets: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args and kwargs:
            raise ValueError(
                "StackDataset: got both positional and keyword data sets; samples are either tuples"
                " or dicts: give all data sets by position or all by keyword"
            )
        if not args and not kwargs:
            raise ValueError("StackDataset: got no data set. At least one dataset should be passed")
        members = list(args) or list(kwargs.values())
        lengths = [len(member) for member in members]
        if any(length != lengths[0] for length in lengths):
            raise ValueError(
                f"StackDataset: the data sets have lengths {lengths} (Size mismatch between"
                " datasets); sample i takes one sample of each, so the lengths must be equal"
            )
        self._length = lengths[0]
        self.datasets = args or kwargs

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {name: member[index] for name, member in self.datasets.items()}
        return tuple(member[index] for member in self.datasets)

    def __getitems__(self, indices: list) -> list:
        if isinstance(self.datasets, dict):
            columns = [self._fetch_many(member, indices) for member in self.datasets.values()]
            return [
                dict(zip(self.datasets, row, strict=True)) for row in zip(*columns, strict=True)
            ]
        columns = [self._fetch_many(member, indices) for member in self.datasets]
        return list(zip(*columns, strict=True))

    @staticmethod
    def _fetch_many(member: Any, indices: list) -> list:
        """The samples of one member data set at ``indices``."""
        fetch_batch = getattr(member, "__getitems__", None)
        if not callable(fetch_batch):
            return [member[index] for index in indices]
        samples = fetch_batch(indices)
        if len(samples) != len(indices):
            raise ValueError(
                f"StackDataset: {type(member).__name__}.__getitems__ gave {len(samples)} samples"
                f" for {len(indices)} indices (Nested dataset's output size mismatch); it must give"
                " one sample per index"
            )
        return samples

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[Sample_co]):
    """Data sets one after the other. AssertionError for none, or for an IterableDataset among them.

    Source: torch.utils.data.ConcatDataset.

    >>> from suiren.utils.data import ConcatDataset
    >>> joined = ConcatDataset(["ab", "cde"])
    >>> joined[3], len(joined)
    ('d', 5)
    """

    datasets: list
    cumulative_sizes: list[int]

    @staticmethod
    def cumsum(sequence: Iterable) -> list[int]:
        """The running total of the lengths of ``sequence``'s members."""
        return list(itertools.accumulate(len(member) for member in sequence))

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError(
                "ConcatDataset: datasets should not be an empty iterable; give at least one"
                " data set"
            )
        if any(isinstance(member, IterableDataset) for member in self.datasets):
            raise AssertionError(
                "ConcatDataset does not support IterableDataset: its samples have no index; use"
                " ChainDataset"
            )
        self.cumulative_sizes = self.cumsum(self.datasets)

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Sample_co:
        if index < 0:
            if -index > len(self):
                raise ValueError(
                    f"ConcatDataset[{index}]: absolute value of index should not exceed dataset"
                    f" length ({len(self)})"
                )
            index += len(self)
        which = bisect.bisect_right(self.cumulative_sizes, index)
        start = self.cumulative_sizes[which - 1] if which else 0
        return self.datasets[which][index - start]

    @property
    def cummulative_sizes(self) -> list[int]:
        """The old, misspelt name of ``cumulative_sizes``, kept as PyTorch keeps it."""
        warnings.warn(
            "ConcatDataset.cummulative_sizes is now spelt cumulative_sizes",
            FutureWarning,
            stacklevel=2,
        )
        return self.cumulative_sizes


class ChainDataset(IterableDataset):
    """Iterable data sets one after the other. AssertionError when a member is not an
    IterableDataset.

    Source: torch.utils.data.ChainDataset.

    >>> from suiren.utils.data import ChainDataset, IterableDataset
    >>> class Letters(IterableDataset):
    ...     def __iter__(self):
    ...         return iter("ab")
    >>> list(ChainDataset([Letters(), Letters()]))
    ['a', 'b', 'a', 'b']
    """

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        super().__init__()
        self.datasets = datasets

    @staticmethod
    def _check(member: Any) -> Any:
        if not isinstance(member, IterableDataset):
            raise AssertionError(
                f"ChainDataset only supports IterableDataset, got {type(member).__name__}; join"
                " map-style data sets with ConcatDataset"
            )
        return member

    def __iter__(self) -> Iterator:
        for member in self.datasets:
            yield from self._check(member)

    def __len__(self) -> int:
        total = 0
        for member in self.datasets:
            total += len(self._check(member))
        return total


class Subset(Dataset[Sample_co]):
    """The samples of ``dataset`` at ``indices``, in that order. Source: torch.utils.data.Subset.

    >>> from suiren.utils.data import Subset
    >>> evens = Subset("abcdef", [0, 2, 4])
    >>> evens[1], len(evens)
    ('c', 3)
    """

    dataset: Any
    indices: Sequence[int]

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list) -> list:
        chosen = [self.indices[index] for index in indices]
        fetch_batch = getattr(self.dataset, "__getitems__", None)
        if callable(fetch_batch):
            return fetch_batch(chosen)
        return [self.dataset[index] for index in chosen]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: Any = None
) -> list[Subset]:
    """Non-overlapping random subsets of ``dataset``, of the given lengths.

    ``lengths`` are counts that sum to ``len(dataset)``, or fractions that sum to 1: each subset
    then gets the floor of its share, and what is left over goes one by one to the subsets from the
    first on. A subset that ends up empty draws a warning. One ``randperm`` is drawn from
    ``generator`` (the default generator if None). ValueError for a fraction outside [0, 1] or a
    wrong sum. Source: torch.utils.data.random_split.

    >>> from suiren.utils.data import random_split
    >>> [len(part) for part in random_split(range(10), [0.33, 0.33, 0.34])]
    [4, 3, 3]
    """
    lengths = lengths.tolist() if hasattr(lengths, "tolist") else list(lengths)
    total = sum(lengths)
    if total <= 1 and math.isclose(total, 1):
        lengths = _counts_from_fractions(lengths, len(dataset))
        total = sum(lengths)
    if total != len(dataset):
        raise ValueError(
            f"random_split: lengths {lengths} sum to {total}, the data set has {len(dataset)}"
            " samples. Sum of input lengths does not equal the length of the input dataset! Give"
            " counts that sum to it, or fractions that sum to 1"
        )
    order = suiren.randperm(total, generator=generator).tolist()
    ends = itertools.accumulate(lengths)
    return [
        Subset(dataset, order[end - length : end])
        for end, length in zip(ends, lengths, strict=True)
    ]


def _counts_from_fractions(fractions: list, size: int) -> list[int]:
    """Whole numbers of samples, near ``fractions * size``, that sum to ``size``."""
    for position, fraction in enumerate(fractions):
        if fraction < 0 or fraction > 1:
            raise ValueError(
                f"random_split: Fraction at index {position} is not between 0 and 1 (it is"
                f" {fraction})"
            )
    counts = [math.floor(size * fraction) for fraction in fractions]
    for extra in range(size - sum(counts)):
        counts[extra % len(counts)] += 1
    for position, count in enumerate(counts):
        if count == 0:
            warnings.warn(
                f"random_split: the subset at index {position} has no samples"
                f" ({fractions[position]} of {size})",
                stacklevel=3,
            )
    return counts
