"""torchvision.datasets.utils: downloads, checksums and archives."""

import os
from collections.abc import Iterable
from typing import Any

from suiren.vision.datasets.archives import download_and_extract_archive, extract_archive
from suiren.vision.datasets.download import (
    calculate_md5,
    check_integrity,
    check_md5,
    download_url,
)


def list_dir(root: str | os.PathLike, prefix: bool = False) -> list[str]:
    """The names of the folders in `root`, or with `prefix` their paths."""
    root = os.path.expanduser(root)
    names = [name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name))]
    return [os.path.join(root, name) for name in names] if prefix else names


def list_files(root: str | os.PathLike, suffix: str, prefix: bool = False) -> list[str]:
    """The names of the files in `root` that end with `suffix`, or with `prefix` their paths."""
    root = os.path.expanduser(root)
    names = [
        name
        for name in os.listdir(root)
        if name.endswith(suffix) and os.path.isfile(os.path.join(root, name))
    ]
    return [os.path.join(root, name) for name in names] if prefix else names


def verify_str_arg(
    value: Any, arg: str | None = None, valid_values: Iterable[str] | None = None
) -> str:
    """`value`, if it is one of `valid_values`.

    Raises:
        ValueError: it is not, or no string.
    """
    if not isinstance(value, str):
        where = "" if arg is None else f" for argument {arg}"
        raise ValueError(f"Expected type str{where}, but got type {type(value)}.")
    if valid_values is not None:
        known = list(valid_values)
        if value not in known:
            shown = ", ".join(f"'{name}'" for name in known)
            raise ValueError(
                f"Unknown value '{value}' for argument {arg}. Valid values are {{{shown}}}."
            )
    return value


__all__ = [
    "calculate_md5",
    "check_integrity",
    "check_md5",
    "download_and_extract_archive",
    "download_url",
    "extract_archive",
    "list_dir",
    "list_files",
    "verify_str_arg",
]
