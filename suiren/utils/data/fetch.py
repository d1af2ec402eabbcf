"""Fetchers: how one batch is taken from a data set, in this process or in a worker.

A fetcher is made anew for every epoch. The map-style one knows a short cut for tensors that already
sit in memory: batching ``TensorDataset`` sample by sample would record an index operation per
sample and a stack, where one index operation per tensor gives the same values. A data set of
`suiren.vision` whose transforms it knows may likewise give a whole batch (`_stacked`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import suiren
from suiren.utils.data.collate import default_collate
from suiren.utils.data.dataset import IterableDataset, Subset, TensorDataset


class MapFetcher:
    """Takes samples by index."""

    def __init__(
        self, dataset: Any, auto_collation: bool, collate_fn: Callable, drop_last: bool
    ) -> None:
        self.dataset = dataset
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn
        self._columns: tuple | None = None
        self._stacked: Callable | None = None
        self._size = 0
        self._index_maps: list[Sequence] = []
        # Only where nothing that the user wrote would be passed over: exactly these classes and
        # this collate_fn.
        if auto_collation and collate_fn is default_collate:
            source, self._index_maps = _source(dataset)
            if type(source) is TensorDataset and source.tensors:
                self._columns, self._size = source.tensors, source.tensors[0].size(0)
            elif hasattr(source, "_stacked"):
                self._stacked, self._size = source._stacked, len(source)

    def fetch(self, index: Any) -> Any:
        """The batch at ``index`` (a list of indices), or the single sample when batching is off."""
        if not self.auto_collation:
            return self.collate_fn(self.dataset[index])
        if self._columns is not None:
            rows = self._plain_rows(index)
            if rows is not None:
                positions = suiren.tensor(rows, dtype=suiren.int64)  # batch
                return [column[positions] for column in self._columns]  # batch, *sample
        elif self._stacked is not None:
            rows = self._plain_rows(index)
            batch = None if rows is None else self._stacked(rows)
            if batch is not None:
                return batch
        fetch_batch = getattr(self.dataset, "__getitems__", None)
        if fetch_batch:
            samples = fetch_batch(index)
        else:
            samples = [self.dataset[i] for i in index]
        return self.collate_fn(samples)

    def _plain_rows(self, index: Any) -> list[int] | None:
        """``index`` as row numbers in bounds, or None.

        After None, going sample by sample finds the right answer or error.
        """
        rows = index
        try:
            for index_map in self._index_maps:
                rows = [index_map[i] for i in rows]
        except (IndexError, KeyError, TypeError):
            return None
        if not rows:
            return None
        for kind in set(map(type, rows)):
            if kind is not int and not issubclass(kind, np.integer):
                return None
        if min(rows) < -self._size or max(rows) >= self._size:
            return None
        return rows


def _source(dataset: Any) -> tuple[Any, list[Sequence]]:
    """The data set itself, or the one that Subsets of it are taken from, and their indices."""
    index_maps = []  # of the outermost subset first
    while type(dataset) is Subset:
        index_maps.append(dataset.indices)
        dataset = dataset.dataset
    return dataset, index_maps


class IterableFetcher:
    """Takes samples as they come; StopIteration when there are no more."""

    def __init__(
        self, dataset: Any, auto_collation: bool, collate_fn: Callable, drop_last: bool
    ) -> None:
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self._samples = iter(dataset)
        self._ended = False

    def fetch(self, index: Any) -> Any:
        """The next ``len(index)`` samples as a batch, or the next sample when batching is off."""
        if self._ended:
            raise StopIteration
        if not self.auto_collation:
            return self.collate_fn(next(self._samples))
        samples = list(itertools.islice(self._samples, len(index)))
        if len(samples) < len(index):
            self._ended = True
            if not samples or self.drop_last:
                raise StopIteration
        return self.collate_fn(samples)


def make_fetcher(
    dataset: Any, auto_collation: bool, collate_fn: Callable, drop_last: bool
) -> MapFetcher | IterableFetcher:
    """The fetcher for this kind of data set."""
    kind = IterableFetcher if isinstance(dataset, IterableDataset) else MapFetcher
    return kind(dataset, auto_collation, collate_fn, drop_last)
