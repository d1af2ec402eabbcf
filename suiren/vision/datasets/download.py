"""Fetching the files of data sets: from the first mirror that has them, checked by MD5.

A file appears under its name when all of it is there and right. A download that was cut off is
kept beside it as ".partial" and gone on with, by the next try or the next process. The transfer
itself is `suiren.transfers`'.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence

from suiren import transfers

_TRIES = 3  # of one mirror, when its connection breaks


def calculate_md5(fpath: str | os.PathLike, chunk_size: int = 1 << 20) -> str:
    """The hexadecimal MD5 of a file's contents."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(fpath, "rb") as file:
        while piece := file.read(chunk_size):
            digest.update(piece)
    return digest.hexdigest()


def check_md5(fpath: str | os.PathLike, md5: str) -> bool:
    """Whether the file has this MD5."""
    return calculate_md5(fpath) == md5


def check_integrity(fpath: str | os.PathLike, md5: str | None = None) -> bool:
    """Whether the file is there and, if an MD5 is given, has it."""
    return os.path.isfile(fpath) and (md5 is None or check_md5(fpath, md5))


def download_url(
    url: str,
    root: str | os.PathLike,
    filename: str | os.PathLike | None = None,
    md5: str | None = None,
    max_redirect_hops: int = 3,
) -> None:
    """Downloads a file into the folder `root`, unless it is there and has the MD5.

    Args:
        filename: its name there; None takes the last part of the URL.
        md5: hexadecimal MD5 of the contents; None accepts whatever comes.
        max_redirect_hops: accepted for torchvision's sake; Python's own limit holds.

    For what is raised see `download_from`.
    """
    name = os.path.basename(os.fspath(filename or url.split("?")[0]))
    download_from([url], os.path.join(os.path.expanduser(root), name), md5)


def download_from(
    urls: Sequence[str], path: str, md5: str | None = None, progress: bool = True
) -> None:
    """Downloads `path` from the first of `urls` that gives it with the right MD5.

    A connection that breaks is taken up again where it stopped, twice; then the next URL's turn
    comes, which goes on with the same bytes. What has the wrong MD5 is thrown away.

    Raises:
        ValueError: a URL is not of http or https.
        RuntimeError: no URL gave the file; the text has the reason of each, and where to put the
            file by hand.
    """
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"download: only http and https are fetched, got {url!r}")
    if check_integrity(path, md5):
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    own = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.partial"
    kept = f"{path}.partial"
    reasons = []
    if md5 is not None:  # without it nothing would tell that the parts do not fit together
        with contextlib.suppress(OSError):
            os.rename(kept, own)  # of several processes one gets it
    try:
        for url in urls:
            reason = _try(url, own, path, md5, progress)
            if reason is None:
                os.replace(own, path)
                return
            reasons.append(f"{url}: {reason}")
    finally:
        with contextlib.suppress(OSError):
            if md5 is not None and os.path.getsize(own):
                os.replace(own, kept)
            else:
                os.unlink(own)
    raise RuntimeError(
        f"cannot download {os.path.basename(path)}.\n  "
        + "\n  ".join(reasons)
        + f"\nWhere there is no network, put the file by hand at {os.path.abspath(path)}"
        + (f" (MD5 {md5})" if md5 else "")
    )


def _try(url: str, own: str, path: str, md5: str | None, progress: bool) -> str | None:
    """Brings `own` to its end from one URL; the reason if that failed."""
    for number in range(_TRIES):
        before = os.path.getsize(own) if os.path.exists(own) else 0
        if before and md5 is None:
            os.unlink(own)
        try:
            transfers.fetch(url, own, path, progress)
        except OSError as error:
            came = os.path.exists(own) and os.path.getsize(own) > before
            if came and number + 1 < _TRIES:
                time.sleep(0.2 * number)
                continue
            return str(error.__cause__ or getattr(error, "reason", error))
        if md5 is None:
            return None
        found = calculate_md5(own)
        if found == md5:
            return None
        os.unlink(own)
        if not before:  # else what was kept may have been to blame: once more from the beginning
            return f"what came has the MD5 {found}, where {md5} was expected; it was thrown away"
    return "it broke off again and again"
