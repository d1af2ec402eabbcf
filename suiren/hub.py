"""`torch.hub`'s downloads: checkpoints by URL, kept in the folder that PyTorch keeps them in.

The folder is `$TORCH_HOME/hub`, else `$XDG_CACHE_HOME/torch/hub`, else `~/.cache/torch/hub`; files
lie in its `checkpoints`. A download is written beside its place, its SHA-256 compared, and then
moved there; one that was cut off goes on where it stopped. `hub.load` and the like, which run
other people's code, are not supported. Source: PyTorch's torch.hub page.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn
from urllib.parse import urlparse

__all__ = [
    "download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url",
    "set_dir",
]  # fmt: skip

_HASH_IN_NAME = re.compile(r"-([a-f0-9]{8,})\.")
_CHUNK = 1 << 17  # bytes that are read at a time
_PATIENCE = 30  # seconds to wait for a server that sends nothing

_dir: str | None = None


def get_dir() -> str:
    """The folder of downloads; its `checkpoints` holds the files. Source: torch.hub.get_dir."""
    if _dir is not None:
        return _dir
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    home = os.getenv("TORCH_HOME", os.path.join(cache, "torch"))
    return os.path.join(os.path.expanduser(home), "hub")


def set_dir(d: str | os.PathLike) -> None:
    """Sets the folder of downloads. Source: torch.hub.set_dir."""
    global _dir
    _dir = os.path.expanduser(d)


def load_state_dict_from_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = False,
) -> Any:
    """What a checkpoint holds, downloaded unless its file is in the folder already.

    Args:
        url: its last part is the file's name, unless file_name says another.
        model_dir: the folder; default `checkpoints` in :func:`get_dir`.
        map_location: as for `torch.load`.
        progress: show a bar on standard error.
        check_hash: the name ends with the first digits of the file's SHA-256 ("-f37072fd.pth");
            compare them.
        weights_only: as for `torch.load`. False, PyTorch's default, runs code that the file
            brings: say True for files that you do not trust.

    Raises URLError, which is an OSError, when the server cannot be reached, RuntimeError when the
    hash is another. Source: torch.hub.load_state_dict_from_url.
    """
    from suiren.serialization import load

    folder = os.path.join(get_dir(), "checkpoints") if model_dir is None else model_dir
    os.makedirs(folder, exist_ok=True)
    name = os.path.basename(urlparse(url).path) if file_name is None else file_name
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        sys.stderr.write(f'Downloading: "{url}" to {path}\n')
        found = _HASH_IN_NAME.search(name) if check_hash else None
        download_url_to_file(url, path, found.group(1) if found else None, progress)
    if weights_only or not _is_old(path):
        return load(path, map_location=map_location, weights_only=weights_only)
    return load(path, map_location=map_location, weights_only=True)  # how old files are read


def _is_old(path: str) -> bool:
    """Whether the file is in PyTorch's format of before 1.6, which is no zip archive."""
    with open(path, "rb") as file:
        return file.read(4) != b"PK\x03\x04"


def download_url_to_file(
    url: str, dst: str, hash_prefix: str | None = None, progress: bool = True
) -> None:
    """Downloads a file to the path `dst`, which appears when all of it is there and right.

    Args:
        hash_prefix: what the hexadecimal SHA-256 must begin with. With it, a download that was cut
            off is kept as `dst` with ".partial" behind and gone on with by the next call.
        progress: show a bar on standard error.

    Raises URLError, which is an OSError, when the server cannot be reached or stops sending,
    RuntimeError when the hash is another. Source: torch.hub.download_url_to_file.
    """
    dst = os.path.expanduser(dst)
    own = f"{dst}.{os.getpid()}.{os.urandom(4).hex()}.partial"
    kept = f"{dst}.partial"
    if hash_prefix is not None:
        with contextlib.suppress(OSError):
            os.rename(kept, own)  # of several processes one gets it
    try:
        digest = _fetch(url, own, dst, progress)
        if hash_prefix and not digest.startswith(hash_prefix):
            os.unlink(own)
            raise RuntimeError(
                f'invalid hash value (expected "{hash_prefix}", got "{digest}"): what {url} sent '
                "is damaged or another file; nothing was kept, so another try starts anew"
            )
        os.replace(own, dst)
    except BaseException:
        with contextlib.suppress(OSError):
            if hash_prefix is not None and os.path.getsize(own):
                os.replace(own, kept)
            else:
                os.unlink(own)
        raise


def _fetch(url: str, path: str, dst: str, progress: bool) -> str:
    """Brings `path` to its end from the URL; the hexadecimal SHA-256 of all of it."""
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


def _refuse(name: str) -> NoReturn:
    raise NotImplementedError(
        f"torch.hub.{name} runs code of a repository written for PyTorch, which is not supported; "
        "models are in suiren.vision.models, checkpoints come by load_state_dict_from_url"
    )


def load(repo_or_dir: Any, model: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """Raises NotImplementedError: hub repositories hold code for PyTorch."""
    _refuse("load")


def list(github: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """Raises NotImplementedError: hub repositories hold code for PyTorch."""
    _refuse("list")


def help(github: Any, model: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """Raises NotImplementedError: hub repositories hold code for PyTorch."""
    _refuse("help")
