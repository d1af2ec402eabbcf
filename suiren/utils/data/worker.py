"""The worker process of a loader: its loop, its seeds, and how its errors reach the parent.

A worker and its parent share one socket. The parent sends tasks (epoch, number, indices); the
worker answers each in order with a batch, an error, or word that its iterable data set has ended.
When the parent closes its end, or dies, the worker ends. Seeds follow torch.utils.data ("Randomness
in multi-process data loading"): worker i has base_seed + i for ``random`` and the default
generator, and NumPy is seeded from both numbers (found by experiment).
"""

from __future__ import annotations

import os
import pickle
import struct
import weakref
from collections.abc import Callable
from typing import Any

import suiren
from suiren.utils.data import transport
from suiren.utils.data.dataset import IterableDataset
from suiren.utils.data.fetch import make_fetcher

# Header of a task: epoch, task number. Header of an answer: the same and what kind of answer it is.
TASK = struct.Struct("<qq")
ANSWER = struct.Struct("<qqB")
DATA, ERROR, END = range(3)

# Parents' ends of all sockets to workers. A forked worker inherits copies of them and must close
# these, or its brothers would not notice when the parent is gone.
parent_ends: weakref.WeakSet = weakref.WeakSet()

_worker_info: WorkerInfo | None = None


class WorkerInfo:
    """What :func:`get_worker_info` gives: number, number of workers, seed, copy of the data set."""

    __slots__ = ("dataset", "id", "num_workers", "seed")

    def __init__(self, id: int, num_workers: int, seed: int, dataset: Any) -> None:
        self.id = id
        self.num_workers = num_workers
        self.seed = seed
        self.dataset = dataset

    def __repr__(self) -> str:
        return (
            f"WorkerInfo(id={self.id}, num_workers={self.num_workers}, seed={self.seed},"
            f" dataset={self.dataset})"
        )


def get_worker_info() -> WorkerInfo | None:
    """Facts about the worker process that this is called in; None in the main process.

    Source: torch.utils.data.get_worker_info.

    >>> from suiren.utils.data import get_worker_info
    >>> get_worker_info() is None
    True
    """
    return _worker_info


class _PlainText(str):
    """A message of several lines that stays readable in a KeyError, which shows its repr."""

    def __repr__(self) -> str:
        return str(self)


class WorkerFailure:
    """An exception on its way from a worker to the parent: its type, and its traceback as text."""

    def __init__(self, error: BaseException, worker_id: int) -> None:
        import traceback

        kind = type(error)
        text = "".join(traceback.format_exception(kind, error, error.__traceback__))
        self.message = (
            f"Caught {kind.__name__} in DataLoader worker process {worker_id}.\nOriginal {text}"
        )
        try:
            self.kind = pickle.dumps(kind)
        except Exception:  # a class that has no importable name
            self.kind = b""

    def to_exception(self) -> BaseException:
        """The same type of exception, or a RuntimeError, that quotes the worker's traceback."""
        try:
            kind = pickle.loads(self.kind)
            return kind(_PlainText(self.message) if issubclass(kind, KeyError) else self.message)
        except Exception:  # unknown here, or its constructor wants more than a message
            return RuntimeError(self.message)


def _seed_everything(base_seed: int, worker_id: int) -> None:
    import random

    import numpy as np

    seed = base_seed + worker_id
    random.seed(seed)
    suiren.manual_seed(seed)
    np.random.seed(np.random.SeedSequence([worker_id, base_seed]).generate_state(4))


class _Inbox:
    """A thread that empties the socket at once: no parent waits for a busy worker to read."""

    def __init__(self, connection: Any) -> None:
        import queue
        import threading

        self.tasks: queue.SimpleQueue = queue.SimpleQueue()
        self.epoch = 0
        self.closed = False
        self._connection = connection
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while True:
                header, data, _ = transport.receive(self._connection, TASK.size)
                self.epoch, number = TASK.unpack(header)
                self.tasks.put((self.epoch, number, data))
        except (EOFError, OSError):  # the parent has closed its end, or is gone
            self.closed = True
            self.tasks.put(None)


def worker_main(connection: Any, arguments: transport.SpawnArguments) -> None:
    """What a worker process runs; ``arguments.values`` are those of :func:`_serve`."""
    for end in list(parent_ends):
        end.close()
    parent_ends.clear()
    try:
        _serve(connection, **arguments.values)
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        # Ctrl-C reaches the parent too, which reports it; and without a parent there is no one to
        # tell.
        pass
    finally:
        connection.close()


def _serve(
    connection: Any,
    dataset: Any,
    auto_collation: bool,
    collate_fn: Callable,
    drop_last: bool,
    worker_init_fn: Callable | None,
    base_seed: int,
    worker_id: int,
    num_workers: int,
) -> None:
    global _worker_info

    start_failure = None
    try:
        # The workers together keep the machine busy already.
        suiren.set_num_threads(1)
        _seed_everything(base_seed, worker_id)
        _worker_info = WorkerInfo(worker_id, num_workers, base_seed + worker_id, dataset)
        if worker_init_fn is not None:
            worker_init_fn(worker_id)
    except Exception as error:
        start_failure = WorkerFailure(error, worker_id)

    inbox = _Inbox(connection)
    fetcher = None
    fetcher_epoch = -1
    while True:
        task = inbox.tasks.get()
        if task is None or inbox.closed:
            return
        epoch, number, data = task
        if epoch < inbox.epoch:  # the parent has given that epoch up
            continue
        kind, body = ERROR, b""
        blocks: list[memoryview] = []
        try:
            if start_failure is not None:
                body, blocks = transport.pack(start_failure)
            else:
                if fetcher_epoch != epoch:
                    fetcher, fetcher_epoch = None, epoch
                    fetcher = make_fetcher(dataset, auto_collation, collate_fn, drop_last)
                elif fetcher is None:
                    raise RuntimeError(
                        "the data set could not be iterated over in this epoch (see the first"
                        " error)"
                    )
                body, blocks = transport.pack(fetcher.fetch(transport.unpack(data, [])))
                kind = DATA
        except StopIteration as error:
            if isinstance(dataset, IterableDataset):
                kind = END
            else:
                body, blocks = transport.pack(WorkerFailure(error, worker_id))
        except Exception as error:
            body, blocks = transport.pack(WorkerFailure(error, worker_id))
        transport.send(connection, ANSWER.pack(epoch, number, kind), body, blocks)
        blocks = []  # a large batch is not to wait here for the next task


class WorkerPool:
    """The processes of one iterator, seen from the parent: tasks out, answers in, an end."""

    # How long workers may take to finish what they are doing once their socket is closed, in
    # seconds.
    _patience = 5.0
    # How often a waiting parent looks whether the worker still lives, in seconds.
    _glance = 5.0

    def __init__(self, context: Any, arguments: list[dict]) -> None:
        self._owner = os.getpid()
        self.connections: list = []
        self.processes: list = []
        try:
            for values in arguments:
                self._start(context, values)
        except BaseException:
            self.close()
            raise

    def _start(self, context: Any, values: dict) -> None:
        ours, theirs = context.Pipe(duplex=True)
        parent_ends.add(ours)
        self.connections.append(ours)
        process = context.Process(
            target=worker_main, args=(theirs, transport.SpawnArguments(**values)), daemon=True
        )
        try:
            process.start()
            self.processes.append(process)
        finally:
            # Only the worker may hold its end: then the socket tells us when the worker is gone.
            theirs.close()

    def send_task(self, worker: int, epoch: int, number: int, index: Any) -> None:
        """Queues a task. That a worker is gone shows only when its answer is awaited."""
        data = transport.pack_inside(index)
        try:
            transport.send(self.connections[worker], TASK.pack(epoch, number), data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def wait_for(self, worker: int, timeout: float | None) -> bool:
        """Whether the worker's answer, or its end, came within ``timeout`` seconds (None: wait)."""
        import time

        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = self._glance if deadline is None else deadline - time.monotonic()
            if self.connections[worker].poll(max(0.0, min(left, self._glance))):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            # Usually the closed socket shows that a worker is gone. Not if a process that it had
            # started holds a copy of the socket, so look at the worker itself as well.
            if not self.processes[worker].is_alive() and not self.connections[worker].poll(0):
                raise RuntimeError(self._obituary(worker))

    def receive(self, worker: int) -> tuple[int, int, int, memoryview, list]:
        """The worker's next answer; RuntimeError if it is gone."""
        try:
            header, data, blocks = transport.receive(self.connections[worker], ANSWER.size)
        except (EOFError, OSError) as error:
            raise RuntimeError(self._obituary(worker)) from error
        return (*ANSWER.unpack(header), data, blocks)

    def _obituary(self, worker: int) -> str:
        import signal

        process = self.processes[worker]
        process.join(1)
        code = process.exitcode
        how = f"with exit code {code}"
        if code is not None and code < 0:
            how = f"killed by signal {signal.Signals(-code).name}"
            if -code == getattr(signal, "SIGKILL", None):
                how += " (perhaps for want of memory)"
        return (
            f"DataLoader worker (pid(s) {process.pid}) exited unexpectedly, {how}; its batch is"
            " lost. Run with num_workers=0 to see an error of the data set in this process"
        )

    def close(self) -> None:
        """Ends the workers: asks by closing the sockets, waits, then insists."""
        import time

        if os.getpid() != self._owner:  # a fork of the parent: these are not its children
            return
        for connection in self.connections:
            connection.close()
        deadline = time.monotonic() + self._patience
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.terminate()
                process.join(1)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self.processes = []
