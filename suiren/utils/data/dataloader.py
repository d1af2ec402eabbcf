"""DataLoader: batches of a data set, made in this process or by worker processes.

Follows torch.utils.data.DataLoader in arguments, errors, order and random stream: every new
iterator first draws a base seed from the loader's generator (the default one if None), from which
workers are seeded; shuffling then draws from the same generator when the epoch's first index is
needed. Workers prefetch, so they draw earlier, as PyTorch's do. The worker's side is in worker.py,
how batches travel in transport.py.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from suiren.utils.data.collate import default_collate, default_convert
from suiren.utils.data.dataset import IterableDataset
from suiren.utils.data.iterators import BaseIterator, MultiProcessIterator, SingleProcessIterator
from suiren.utils.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

Sample_co = TypeVar("Sample_co", covariant=True)

_FIXED = frozenset(
    ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
)


class _Endless(Sampler):
    """The sampler of an iterable data set, whose samples have no index: None, for ever."""

    def __iter__(self) -> Iterator:
        return itertools.repeat(None)


class DataLoader(Generic[Sample_co]):
    """Iterates over ``dataset`` in batches; every ``iter`` of it is an epoch.

    - ``batch_size``: samples per batch; None turns batching off, and samples come one by one
      through ``collate_fn``.
    - ``shuffle``: a new random order each epoch. ``sampler``: any iterable of indices instead.
      ``batch_sampler``: any iterable of lists of indices instead of both and of batch_size and
      drop_last.
    - ``num_workers``: processes that load ahead, ``prefetch_factor`` batches each (2 if None); 0
      loads in this process.
    - ``collate_fn``: makes a batch from a list of samples (:func:`default_collate`).
    - ``drop_last``: leaves out a last batch that is not full.
    - ``timeout``: seconds to wait for a worker's batch before RuntimeError; 0 waits for ever.
    - ``worker_init_fn``: called with the worker's number in each worker, after seeding.
    - ``multiprocessing_context``: a context or the name of a start method ("fork", "spawn", ...).
    - ``generator``: what shuffling and the workers' base seed are drawn from, instead of the
      default generator.
    - ``persistent_workers``: keeps the workers, their copies of the data set and their seeds from
      epoch to epoch.
    - ``in_order``: False yields batches as they are ready.
    - ``pin_memory`` and ``pin_memory_device`` are accepted and change nothing: the CPU needs no
      pinned memory.

    ValueError for arguments that exclude each other; an exception in a worker is raised here with
    the same type and the worker's traceback in its message; a worker that dies gives RuntimeError.
    Source: torch.utils.data.DataLoader.

    >>> import suiren
    >>> from suiren.utils.data import DataLoader, TensorDataset
    >>> loader = DataLoader(TensorDataset(suiren.arange(5)), batch_size=2)
    >>> [batch.tolist() for (batch,) in loader], len(loader)
    ([[0, 1], [2, 3], [4]], 3)
    """

    dataset: Any
    batch_size: int | None
    num_workers: int
    pin_memory: bool
    drop_last: bool
    timeout: float
    sampler: Any
    batch_sampler: Any
    prefetch_factor: int | None

    _initialized = False

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler | Iterable | None = None,
        num_workers: int = 0,
        collate_fn: Callable | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_worker_options(num_workers, timeout, prefetch_factor, persistent_workers)
        iterable = isinstance(dataset, IterableDataset)
        if iterable:
            _check_iterable(shuffle, sampler, batch_sampler)
        _check_batching(batch_size, shuffle, sampler, batch_sampler, drop_last)

        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self.generator = generator

        if batch_sampler is not None:
            batch_size, drop_last = None, False
        if sampler is None:
            if iterable:
                sampler = _Endless()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)
            else:
                sampler = SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.collate_fn = collate_fn or (
            default_collate if self._auto_collation else default_convert
        )
        self.persistent_workers = persistent_workers

        self._initialized = True
        self._announced_length: int | None = None
        self._iterator: MultiProcessIterator | None = None
        self.check_worker_number_rationality()

    def __setattr__(self, name: str, value: Any) -> None:
        if self._initialized and name in _FIXED:
            raise ValueError(
                f"DataLoader: {name} attribute should not be set after DataLoader is initialized:"
                " the samplers were made from it; make a new DataLoader"
            )
        super().__setattr__(name, value)

    @property
    def multiprocessing_context(self) -> Any:
        """The context that workers are started in; None for the platform's usual one."""
        return self._multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            context = _valid_context(context, self.num_workers)
        self._multiprocessing_context = context

    @property
    def _auto_collation(self) -> bool:
        """Whether indices come in lists, to be made batches."""
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        """What the iterators draw indices, or lists of them, from."""
        return self.batch_sampler if self._auto_collation else self.sampler

    def __iter__(self) -> BaseIterator:
        if self.num_workers == 0:
            return SingleProcessIterator(self)
        if not self.persistent_workers:
            return MultiProcessIterator(self)
        if self._iterator is None or self._iterator.broken:
            self._iterator = MultiProcessIterator(self)
        else:
            self._iterator.start_epoch(self)
        return self._iterator

    def __len__(self) -> int:
        """Batches of an epoch (samples, without batching).

        TypeError where the data set or the sampler has no length.
        """
        if not isinstance(self.dataset, IterableDataset):
            return len(self._index_sampler)
        # Remembered, because only a length that someone relied on is worth a warning when it turns
        # out wrong. A data set without a length raises the TypeError that is due.
        self._announced_length = length = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else -(-length // self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warns when there are more workers than CPU cores that this process may use."""
        import os

        if not self.num_workers:
            return
        if hasattr(os, "sched_getaffinity"):
            cores: int | None = len(os.sched_getaffinity(0))
        else:
            cores = os.cpu_count()
        if cores is not None and self.num_workers > cores:
            warnings.warn(
                f"DataLoader: {self.num_workers} worker processes in total, and {cores} CPU cores;"
                " more workers than cores may be slower or even freeze: the suggested maximum here"
                f" is num_workers={cores}",
                stacklevel=3,
            )


def _check_worker_options(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError(
            f"DataLoader: num_workers option should be non-negative, got {num_workers}; use"
            " num_workers=0 to disable multiprocessing"
        )
    if timeout < 0:
        raise ValueError(f"DataLoader: timeout option should be non-negative, got {timeout}")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "DataLoader: prefetch_factor option could only be specified in multiprocessing, got"
            f" {prefetch_factor} with num_workers=0; let num_workers > 0, or leave prefetch_factor"
            " None"
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError(
            f"DataLoader: prefetch_factor option should be non-negative, got {prefetch_factor}"
        )
    if persistent_workers and num_workers == 0:
        raise ValueError(
            "DataLoader: persistent_workers option needs num_workers > 0, got num_workers=0"
        )


def _check_iterable(shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
    given = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got"
                f" {name}={value}; its samples have no index: order them in the data set's __iter__"
            )


def _check_batching(
    batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: Any
) -> None:
    if sampler is not None and shuffle:
        raise ValueError(
            "DataLoader: sampler option is mutually exclusive with shuffle; the sampler alone"
            " decides the order"
        )
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(
                "DataLoader: batch_sampler option is mutually exclusive with batch_size, shuffle,"
                " sampler, and drop_last; the batch sampler alone decides what a batch is"
            )
    elif batch_size is None and drop_last:
        raise ValueError(
            "DataLoader: batch_size=None option disables auto-batching and is mutually exclusive"
            " with drop_last"
        )


def _valid_context(context: Any, num_workers: int) -> Any:
    """``context`` as a multiprocessing context; ValueError or TypeError for what is none."""
    import multiprocessing
    from multiprocessing.context import BaseContext

    if num_workers == 0:
        raise ValueError(
            "DataLoader: multiprocessing_context can only be used with multi-process loading"
            f" (num_workers > 0), but got num_workers={num_workers}"
        )
    if isinstance(context, str):
        methods = multiprocessing.get_all_start_methods()
        if context not in methods:
            raise ValueError(
                "DataLoader: multiprocessing_context option should specify a valid start method in "
                f"{methods}, but got multiprocessing_context={context!r}"
            )
        return multiprocessing.get_context(context)
    if not isinstance(context, BaseContext):
        raise TypeError(
            "DataLoader: multiprocessing_context option should be a valid context object or a"
            f" string specifying the start method, but got multiprocessing_context={context}"
        )
    return context
