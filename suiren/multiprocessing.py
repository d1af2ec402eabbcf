"""`torch.multiprocessing`: Python's multiprocessing, with ``spawn`` and the sharing strategies.

Tensors that go through queues and pipes are copied; shared memory between processes is not there,
so training of one model by several processes (Hogwild) does not share its weights.
Source: PyTorch's torch.multiprocessing page.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing import *  # noqa: F403
from typing import Any

__all__ = [
    *multiprocessing.__all__,
    "ProcessContext",
    "ProcessExitedException",
    "ProcessRaisedException",
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "set_sharing_strategy",
    "spawn",
    "start_processes",
]
_STRATEGIES = {"file_system", "file_descriptor"}
_strategy = "file_descriptor"


def get_all_sharing_strategies() -> set[str]:
    """The names that :func:`set_sharing_strategy` takes."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """What :func:`set_sharing_strategy` was given last."""
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """Remembers the wish; tensors are copied between processes."""
    global _strategy
    if new_strategy not in _STRATEGIES:
        raise AssertionError(f"sharing strategy {new_strategy!r}: choose from {_STRATEGIES}")
    _strategy = new_strategy


class ProcessRaisedException(Exception):
    """A process raised: its number and its traceback as text."""

    def __init__(self, msg: str, error_index: int, error_pid: int) -> None:
        super().__init__(msg)
        self.error_index = error_index
        self.pid = error_pid


class ProcessExitedException(Exception):
    """A process ended with a status other than 0."""

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int) -> None:
        super().__init__(msg)
        self.error_index = error_index
        self.pid = error_pid
        self.exit_code = exit_code


class ProcessContext:
    """The processes that :func:`spawn` started with ``join=False``."""

    def __init__(self, processes: list[Any], errors: list[Any]) -> None:
        self.processes = processes
        self._errors = errors

    def pids(self) -> list[int | None]:
        """The processes' ids."""
        return [process.pid for process in self.processes]

    def join(self, timeout: float | None = None) -> bool:
        """Waits; True when all have ended well. Raises what the first failure was."""
        from multiprocessing.connection import wait

        waiting = {process.sentinel: number for number, process in enumerate(self.processes)}
        while waiting:
            ended = wait(list(waiting), timeout)
            if not ended:
                return False
            for sentinel in ended:
                number = waiting.pop(sentinel)  # type: ignore[call-overload]
                self.processes[number].join()
                if self.processes[number].exitcode != 0:
                    self._fail(number)
        return True

    def _fail(self, number: int) -> None:
        process = self.processes[number]
        for other in self.processes:
            if other.is_alive():
                other.terminate()
            other.join()
        if self._errors[number].poll():
            text = f"\n\n-- Process {number} terminated with the following error:\n"
            raise ProcessRaisedException(text + self._errors[number].recv(), number, process.pid)
        raise ProcessExitedException(
            f"process {number} terminated with exit code {process.exitcode}",
            number, process.pid, process.exitcode,
        )  # fmt: skip


def _call(fn: Callable, number: int, args: tuple, errors: Any) -> None:
    import sys
    import traceback

    try:
        fn(number, *args)
    except KeyboardInterrupt:
        pass  # the parent reports it
    except Exception:
        errors.send(traceback.format_exc())
        sys.exit(1)


def start_processes(
    fn: Callable,
    args: tuple = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """``fn(number, *args)`` in ``nprocs`` processes; see :func:`spawn`."""
    context: Any = multiprocessing.get_context(start_method)
    processes, errors = [], []
    for number in range(nprocs):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_call, args=(fn, number, args, sending), daemon=daemon)
        process.start()
        processes.append(process)
        errors.append(receiving)
    started = ProcessContext(processes, errors)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(
    fn: Callable,
    args: tuple = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """Calls ``fn(number, *args)`` in ``nprocs`` fresh processes and waits unless ``join=False``.

    Raises ProcessRaisedException with the traceback of the first that fails, after the others are
    ended. Source: torch.multiprocessing.spawn.
    """
    return start_processes(fn, args, nprocs, join, daemon, start_method)
