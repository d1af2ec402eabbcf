"""One epoch of a DataLoader: the iterators that ``iter(loader)`` returns.

The single-process one fetches as it goes. The multi-process one gives tasks to workers in turn and
takes their answers in the order of the tasks, so the order of batches does not depend on timing.
Random draws happen where PyTorch's happen (found by experiment): the base seed at construction,
then one index draw per task sent.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator
from typing import Any

from suiren.utils.data import transport
from suiren.utils.data.dataset import IterableDataset
from suiren.utils.data.fetch import make_fetcher
from suiren.utils.data.sampler import draw_seed
from suiren.utils.data.worker import DATA, END, WorkerPool


class BaseIterator(Iterator):
    """What both kinds share: the base seed, the epoch's indices, the check of the length."""

    def __init__(self, loader: Any) -> None:
        self._base_seed = draw_seed(loader.generator)
        self._iterable = isinstance(loader.dataset, IterableDataset)
        self._open_epoch(loader)

    def _open_epoch(self, loader: Any) -> None:
        # Weak, for a loader with persistent workers holds this iterator, and both must go together.
        self._loader = weakref.ref(loader)
        self._index_sampler = loader._index_sampler
        self._indices = iter(self._index_sampler)
        self._yielded = 0

    def __len__(self) -> int:
        return len(self._index_sampler)

    def _next_batch(self) -> Any:
        raise NotImplementedError

    def __next__(self) -> Any:
        batch = self._next_batch()
        self._yielded += 1
        if self._iterable:
            self._check_announced_length()
        return batch

    def _check_announced_length(self) -> None:
        loader = self._loader()
        if loader is None or loader._announced_length is None:
            return
        if self._yielded <= loader._announced_length:
            return
        advice = ""
        if loader.num_workers > 0:
            advice = "; does each worker iterate over its own share only (get_worker_info)?"
        warnings.warn(
            f"DataLoader: Length of IterableDataset {loader.dataset} was reported to be"
            f" {loader._announced_length} (when accessing len(dataloader)), but {self._yielded}"
            f" samples have been fetched{advice}",
            stacklevel=3,
        )


class SingleProcessIterator(BaseIterator):
    """Fetches each batch in this process when it is asked for."""

    def _open_epoch(self, loader: Any) -> None:
        super()._open_epoch(loader)
        self._fetcher = make_fetcher(
            loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last
        )

    def _next_batch(self) -> Any:
        return self._fetcher.fetch(next(self._indices))


class MultiProcessIterator(BaseIterator):
    """Has workers fetch ahead.

    They end with the epoch, with this object, or, when they are persistent, with the loader.
    """

    def __init__(self, loader: Any) -> None:
        self._epoch = -1
        self.broken = False
        super().__init__(loader)

    def _open_epoch(self, loader: Any) -> None:
        super()._open_epoch(loader)
        if self._epoch < 0:
            self._start_workers(loader)
        self._timeout = loader.timeout
        self._epoch += 1
        self._sent = 0
        self._taken = 0
        self._owners: dict[int, int] = {}  # task number: the worker that has it
        self._ended: set[int] = set()  # workers whose copy of an iterable data set has ended
        self._turn = 0
        for _ in range(self._prefetch * self._num_workers):
            self._send_next_task()

    start_epoch = _open_epoch

    def _start_workers(self, loader: Any) -> None:
        self._num_workers = loader.num_workers
        self._prefetch = loader.prefetch_factor
        self._persistent = loader.persistent_workers
        self._in_order = loader.in_order
        arguments = [
            dict(
                dataset=loader.dataset,
                auto_collation=loader._auto_collation,
                collate_fn=loader.collate_fn,
                drop_last=loader.drop_last,
                worker_init_fn=loader.worker_init_fn,
                base_seed=self._base_seed,
                worker_id=worker_id,
                num_workers=loader.num_workers,
            )
            for worker_id in range(loader.num_workers)
        ]
        self._pool = _start_pool(loader.multiprocessing_context, arguments)
        # Not __del__: this also runs at interpreter exit, while modules are still whole.
        self._finalizer = weakref.finalize(self, self._pool.close)

    def _send_next_task(self, worker: int | None = None) -> None:
        """Sends the epoch's next index, if there is one, to ``worker`` or the next in turn."""
        if worker is None:
            worker = self._worker_in_turn()
        if worker is None:
            return
        try:
            index = next(self._indices)
        except StopIteration:
            return
        self._pool.send_task(worker, self._epoch, self._sent, index)
        self._owners[self._sent] = worker
        self._sent += 1

    def _worker_in_turn(self) -> int | None:
        for _ in range(self._num_workers):
            worker = self._turn
            self._turn = (worker + 1) % self._num_workers
            if worker not in self._ended:
                return worker
        return None

    def _next_batch(self) -> Any:
        if self.broken:
            raise RuntimeError(
                "DataLoader: this iterator lost a worker or was interrupted and cannot go on; start"
                " a new one"
            )
        while True:
            number = self._next_task_due()
            if number is None:
                if not self._persistent:
                    self._finalizer()
                raise StopIteration
            worker = self._owners[number]
            answer = self._receive(worker)
            if answer is None:  # left over from an epoch that was given up
                continue
            number, kind, data, blocks = answer
            del self._owners[number]
            if kind == END:
                self._ended.add(worker)
                self._send_next_task()
                continue
            self._send_next_task(None if self._in_order else worker)
            value = transport.unpack(data, blocks)
            if kind == DATA:
                return value
            raise value.to_exception()

    def _next_task_due(self) -> int | None:
        """The task whose answer is to be taken now, None at the end of the epoch.

        Where order does not matter this waits until one is ready.
        """
        while self._taken < self._sent:
            worker = self._owners.get(self._taken)
            if worker is not None and worker not in self._ended:
                break
            # Answered already (out of order), or never to be answered with data.
            self._owners.pop(self._taken, None)
            self._taken += 1
        else:
            return None
        return self._taken if self._in_order else self._first_ready()

    def _first_ready(self) -> int:
        """The oldest task of a worker that has an answer ready."""
        from multiprocessing.connection import wait

        oldest: dict[int, int] = {}
        for number, worker in self._owners.items():
            if worker not in self._ended:
                oldest.setdefault(worker, number)
        by_connection = {
            self._pool.connections[worker]: number for worker, number in oldest.items()
        }
        ready = wait(list(by_connection), self._timeout or None)
        if not ready:
            self._raise_timeout()
        return min(by_connection[connection] for connection in ready)

    def _receive(self, worker: int) -> tuple | None:
        """The next answer of ``worker``, None for one of an earlier epoch."""
        try:
            in_time = self._pool.wait_for(worker, self._timeout or None)
            if in_time:
                epoch, number, kind, data, blocks = self._pool.receive(worker)
        except BaseException:
            # The worker is gone, or Ctrl-C came in the middle of a message: the rest is unreadable.
            self.broken = True
            self._finalizer()
            raise
        if not in_time:
            self._raise_timeout()
        return (number, kind, data, blocks) if epoch == self._epoch else None

    def _raise_timeout(self) -> None:
        raise RuntimeError(
            f"DataLoader timed out after {self._timeout} seconds: no worker had a batch ready;"
            " raise timeout, or use more workers"
        )


def _start_pool(context: Any, arguments: list[dict]) -> WorkerPool:
    """The workers, started; a warning with advice when the data set does not pickle."""
    import multiprocessing
    import pickle

    if context is None:
        context = multiprocessing.get_context()
    try:
        return WorkerPool(context, arguments)
    except (pickle.PicklingError, AttributeError, TypeError):
        if context.get_start_method() != "fork":
            warnings.warn(
                f"DataLoader: a worker could not be started by {context.get_start_method()!r}: its"
                " arguments (data set, collate_fn, worker_init_fn) must then be picklable, so no"
                ' lambdas or local classes. Start method "fork" needs no pickling: pass'
                ' multiprocessing_context="fork" where it is available',
                stacklevel=4,
            )
        raise
