"""Helpers beside the core, laid out as ``torch.utils`` is.

Importing this package imports nothing else: a part such as ``suiren.utils.data`` is loaded when its
name is first used, so that ``import suiren`` stays quick.
"""

from __future__ import annotations

from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    from importlib import import_module

    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    full_name = f"{__name__}.{name}"
    try:
        return import_module(full_name)
    except ModuleNotFoundError as error:
        if error.name != full_name:  # the part exists, something that it needs does not
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
