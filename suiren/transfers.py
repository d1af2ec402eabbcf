"""One file from a URL, gone on with where an earlier transfer was cut off.

Below whatever downloads: `suiren.hub` (checkpoints, by SHA-256) and `suiren.vision.datasets` (by
MD5, with mirrors) decide what becomes of the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

_CHUNK = 1 << 17  # bytes that are read at a time
_PATIENCE = 30  # seconds to wait for a server that sends nothing


def fetch(url: str, path: str, dst: str, progress: bool) -> str:
    """Brings `path` to its end from the URL; the hexadecimal SHA-256 of all of it.

    What is at `path` already is gone on with where the server can do so. `dst` is where the file
    will end up, which the bar and error messages name. Raises URLError, which is an OSError, when
    the server cannot be reached or stops sending; what came until then stays at `path`.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    done = os.path.getsize(path) if os.path.exists(path) else 0
    headers = {"User-Agent": "suiren.hub"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        answer = urlopen(Request(url, headers=headers), timeout=_PATIENCE)
    except HTTPError as error:
        error.close()
        if error.code == 416 and done:  # the range starts at or past the end: all is there, or junk
            return _digest(path)
        raise URLError(_unreachable(url, dst, error)) from error
    except (OSError, HTTPException) as error:
        raise URLError(_unreachable(url, dst, error)) from error
    with answer:
        goes_on = bool(done) and answer.getcode() == 206
        length = answer.headers.get("Content-Length")
        total = None if length is None else int(length) + (done if goes_on else 0)
        with open(path, "ab" if goes_on else "wb") as file, _bar(dst, total, progress) as step:
            step(done if goes_on else 0)
            for piece in _pieces(answer, url, dst):
                file.write(piece)
                step(len(piece))
        size = os.path.getsize(path)
    if total is not None and size < total:
        raise URLError(_unreachable(url, dst, f"the connection ended at {size} of {total} bytes"))
    return _digest(path)


def _pieces(answer: BinaryIO, url: str, dst: str) -> Iterator[bytes]:
    from http.client import HTTPException
    from urllib.error import URLError

    while True:
        try:
            piece = answer.read(_CHUNK)
        except (OSError, HTTPException) as error:
            raise URLError(_unreachable(url, dst, error)) from error
        if not piece:
            return
        yield piece


def _unreachable(url: str, dst: str, why: object) -> str:
    reason = getattr(why, "reason", None)
    return (
        f"cannot download {os.path.basename(dst)} from {url}: {why if reason is None else reason}."
        " Where there is no network, fetch that file elsewhere and put it by hand at "
        f"{os.path.abspath(dst)}"
    )


def _digest(path: str) -> str:
    sha256 = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
    return sha256.hexdigest()


@contextlib.contextmanager
def _bar(dst: str, total: int | None, progress: bool) -> Iterator[Any]:
    """A progress bar on standard error; gives the function that moves it on by some bytes."""
    if not progress:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
               TransferSpeedColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(os.path.basename(dst), total=total)
        yield lambda count: bar.update(task, advance=count)
