"""Unpacking archives that nobody vouches for: nothing is written outside the folder named.

A member with an absolute path or `..` in it, a link or a device makes the whole archive be refused
before anything is written. Files are unpacked beside their place and then moved to it.
"""

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from suiren.files import replacing

_COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def extract_archive(
    from_path: str | os.PathLike,
    to_path: str | os.PathLike | None = None,
    remove_finished: bool = False,
) -> str:
    """Unpacks a tar or zip archive, or a single compressed file; the path of what came out.

    Args:
        from_path: ends in .tar, .tgz, .tar.gz, .tar.bz2, .tar.xz, .zip, .gz, .bz2 or .xz.
        to_path: a folder, or for a single file the folder or the file; None takes the archive's
            folder.
        remove_finished: delete the archive afterwards.

    Raises:
        RuntimeError: the kind is not known, a member would land outside or is no plain file, or
            the archive is damaged.
    """
    source = os.fspath(from_path)
    folder = os.path.dirname(source) if to_path is None else os.fspath(to_path)
    name = os.path.basename(source)
    try:
        if zipfile.is_zipfile(source):
            _unpack_zip(source, folder)
        elif ".tar" in name or name.endswith((".tgz", ".tbz", ".tbz2")):
            _unpack_tar(source, folder)
        else:
            folder = _decompress(source, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, gzip.BadGzipFile) as e:
        raise RuntimeError(f"extract_archive: {source} is damaged: {e}; download it anew") from e
    if remove_finished:
        os.remove(source)
    return folder


def download_and_extract_archive(
    url: str,
    download_root: str | os.PathLike,
    extract_root: str | os.PathLike | None = None,
    filename: str | os.PathLike | None = None,
    md5: str | None = None,
    remove_finished: bool = False,
) -> None:
    """`download_url`, then `extract_archive`."""
    from suiren.vision.datasets.download import download_url

    download_root = os.path.expanduser(download_root)
    name = os.path.basename(os.fspath(filename or url.split("?")[0]))
    download_url(url, download_root, name, md5)
    archive = os.path.join(download_root, name)
    extract_archive(
        archive, download_root if extract_root is None else extract_root, remove_finished
    )


def _decompress(source: str, to_path: str) -> str:
    stem, suffix = os.path.splitext(os.path.basename(source))
    if suffix not in _COMPRESSED:
        raise RuntimeError(
            f"extract_archive: {source} is of no known kind; there are tar and zip archives and "
            f"{', '.join(_COMPRESSED)} files"
        )
    target = os.path.join(to_path, stem) if os.path.isdir(to_path or ".") else to_path
    with _COMPRESSED[suffix](source, "rb") as packed, replacing(target) as file:
        shutil.copyfileobj(packed, file, 1 << 20)
    return target


def _checked(name: str, source: str) -> str:
    """The member's path, if it stays inside the folder."""
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.is_absolute() or path.drive or path.root or ".." in path.parts:
            raise RuntimeError(
                f"extract_archive: {source} is refused, because its member {name!r} would be "
                "written outside the folder"
            )
    return name


def _unpack_tar(source: str, folder: str) -> None:
    with tarfile.open(source) as archive:
        members = archive.getmembers()
        for member in members:
            _checked(member.name, source)
            if not (member.isfile() or member.isdir()):
                raise RuntimeError(
                    f"extract_archive: {source} is refused, because its member {member.name!r} is "
                    "neither a file nor a folder"
                )
        with _staged(folder) as stage:
            for member in members:
                target = os.path.join(stage, member.name)
                if member.isdir():
                    os.makedirs(target, exist_ok=True)
                    continue
                os.makedirs(os.path.dirname(target), exist_ok=True)
                packed = archive.extractfile(member)
                assert packed is not None  # a regular file
                with packed, open(target, "wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)


def _unpack_zip(source: str, folder: str) -> None:
    with zipfile.ZipFile(source) as archive:
        members = archive.infolist()
        for info in members:
            _checked(info.filename, source)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise RuntimeError(
                    f"extract_archive: {source} is refused, because its member {info.filename!r} "
                    "is neither a file nor a folder"
                )
        with _staged(folder) as stage:
            archive.extractall(stage, members)


class _staged:
    """A folder to unpack into, whose contents are moved to `folder` when all went well."""

    def __init__(self, folder: str) -> None:
        self.folder = folder or "."

    def __enter__(self) -> str:
        os.makedirs(self.folder, exist_ok=True)
        self.stage = tempfile.mkdtemp(dir=self.folder, prefix=".unpacking-")
        return self.stage

    def __exit__(self, kind: Any, *rest: Any) -> None:
        try:
            if kind is None:
                for path in sorted(Path(self.stage).rglob("*")):
                    target = os.path.join(self.folder, path.relative_to(self.stage))
                    if path.is_dir():
                        os.makedirs(target, exist_ok=True)
                    else:
                        os.makedirs(os.path.dirname(target), exist_ok=True)
                        os.replace(path, target)
        finally:
            shutil.rmtree(self.stage, ignore_errors=True)
