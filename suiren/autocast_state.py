"""The settings of autocast, which belong to a thread; who changes arguments by them is above.

``suiren.amp`` sets them, ``autocasting.py`` converts by them, ``torch.compile`` and the backward
pass look whether they are as they were.
"""

from __future__ import annotations

import threading
from threading import get_ident
from typing import Any

from suiren import dtypes
from suiren.dtypes import dtype

# Threads in which autocast is on for the CPU, looked at before anything else (as `inferring`).
casting: list[int] = []


class _State(threading.local):
    enabled = False  # for the CPU, the one device that computes
    dtype = dtypes.bfloat16
    caching = True
    settings: tuple = (False, dtypes.bfloat16, True)  # these three: what a replay depends on
    nesting = 0

    def __init__(self) -> None:
        self.others: dict[str, tuple[bool, dtype]] = {}  # what was set for other devices
        self.cache: dict[tuple, Any] = {}  # parameters in the lower type, see autocasting.py
        self.entered: list[tuple] = []  # what was set before each context of `autocast`


state = _State()


def change(enabled: bool, dtype: dtype, caching: bool) -> None:
    """Sets what autocast for the CPU does in this thread."""
    if enabled != state.enabled:
        if enabled:
            casting.append(get_ident())
        else:
            casting.remove(get_ident())
    state.enabled, state.dtype, state.caching = state.settings = enabled, dtype, caching


class without_memory:
    """A context manager in which no parameter is known in the lower type yet.

    What is done in it does not depend on what was done before.
    """

    def __enter__(self) -> None:
        self._before, state.cache = state.cache, {}

    def __exit__(self, *exception: Any) -> None:
        state.cache = self._before


class suspended:
    """A context manager in which arguments are left as they are."""

    def __enter__(self) -> None:
        self._before, state.enabled = state.enabled, False

    def __exit__(self, *exception: Any) -> None:
        state.enabled = self._before
