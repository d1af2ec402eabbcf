"""`torch.hub`'s downloads: checkpoints by URL, kept in the folder that PyTorch keeps them in.

The folder is `$TORCH_HOME/hub`, else `$XDG_CACHE_HOME/torch/hub`, else `~/.cache/torch/hub`; files
lie in its `checkpoints`. A download is written beside its place, its SHA-256 compared, and then
moved there; one that was cut off goes on where it stopped. `hub.load` and the like, which run
other people's code, are not supported. Source: PyTorch's torch.hub page.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import Any, NoReturn
from urllib.parse import urlparse

from suiren import transfers

__all__ = [
    "download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url",
    "set_dir",
]  # fmt: skip

_HASH_IN_NAME = re.compile(r"-([a-f0-9]{8,})\.")

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
        digest = transfers.fetch(url, own, dst, progress)
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
