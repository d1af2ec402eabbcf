"""What the compiler made, kept on disk between processes: one file for each program and kernel.

Below everything that compiles. Whoever keeps something gives it a digest of everything that it
depends on (text, target, versions); the digest is the file's name. Files are written beside and
renamed, hold a checksum, and are read as if anybody might have cut them short: what does not check
is dropped. The cache is a convenience: whatever goes wrong with it is logged once and otherwise
ignored.

``SUIREN_CACHE_DIR`` names the folder (default: the platform's folder for caches) and
``SUIREN_CACHE=0`` switches the cache off. The number of files and their total size are bounded; the
files that were used least recently go first.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import sys
import time

MAGIC = b"suiren cached 2\n"
MAX_BYTES = 256 * 1024 * 1024
# Small kernels fill a folder with files, and adding up what it holds takes about 6 us a file.
MAX_FILES = 16384
# Some file systems take milliseconds to drop one. Between two looks comes a quarter of this.
DROPPED_AT_ONCE = 1024
# Reading a file marks it as used, but no oftener than this.
SECONDS_BETWEEN_MARKS = 3600

_log = logging.getLogger("suiren.compiler")


def default_folder() -> str | None:
    """Where the cache lies by the environment; None when it is switched off or has no place."""
    if os.environ.get("SUIREN_CACHE") == "0":
        return None
    if chosen := os.environ.get("SUIREN_CACHE_DIR"):
        return chosen
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return os.path.join(base, "suiren", "kernels") if base else None
    home = os.path.expanduser("~")
    if home == "~":
        return None
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Caches", "suiren", "kernels")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return os.path.join(base, "suiren", "kernels")


@functools.cache
def of_process() -> DiskCache:
    """The cache of this process, by its environment."""
    return DiskCache(default_folder())


class DiskCache:
    """Code by digest in one folder; any number of processes may use it at once.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = DiskCache(folder)
    ...     cache.put("a1", b"code")
    ...     cache.get("a1"), cache.get("b2")
    (b'code', None)
    """

    def __init__(self, folder: str | None, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES):
        self.folder = folder
        self.max_bytes = max_bytes
        self.max_files = max_files
        self.hits = 0
        self.misses = 0
        self._ready = False
        self._warned = False

    def get(self, digest: str) -> bytes | None:
        """What was put under this digest, or None."""
        if self.folder is None or not self._usable():
            return None
        path = os.path.join(self.folder, digest)
        try:
            with open(path, "rb") as file:
                data = file.read()
                used = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            self.misses += 1
            return None
        except OSError as error:
            self._complain(error)
            self.misses += 1
            return None
        code = data[len(MAGIC) + 32 :]
        if data[: len(MAGIC) + 32] != MAGIC + _checksum(digest, code):
            _log.info("dropped a damaged file of the kernel cache: %s", path)
            with contextlib.suppress(OSError):
                os.unlink(path)
            self.misses += 1
            return None
        if time.time() - used > SECONDS_BETWEEN_MARKS:
            with contextlib.suppress(OSError):
                os.utime(path)
        self.hits += 1
        return code

    def put(self, digest: str, code: bytes) -> None:
        """Keeps the code under its digest; nothing happens where it cannot be kept."""
        if self.folder is None or not self._usable():
            return
        path = os.path.join(self.folder, digest)
        chance = os.urandom(5)
        beside = f"{path}.{os.getpid()}.{chance[:4].hex()}.tmp"
        try:
            # No fsync: after a crash the checksum tells what is whole, and nothing is lost.
            with open(beside, "xb") as file:
                file.write(MAGIC + _checksum(digest, code) + code)
            os.replace(beside, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            self._complain(error)
            return
        # One write in 256, by chance: many short processes together keep the bounds, and their
        # first writes take no time.
        if chance[4] == 0:
            self.shrink()

    def shrink(self) -> None:
        """Drops the files used least recently if there are too many, and what writers left behind.

        No more than ``DROPPED_AT_ONCE``: the rest goes at later looks.
        """
        if self.folder is None:
            return
        files = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        files.append((status.st_mtime, status.st_size, entry.path))
        except OSError as error:
            self._complain(error)
            return
        old = time.time() - SECONDS_BETWEEN_MARKS
        count, total = len(files), sum(size for _, size, _ in files)
        going = []
        for used, size, path in sorted(files):
            left_behind = path.endswith(".tmp") and used < old  # its writer was killed
            if left_behind or count > self.max_files or total > self.max_bytes:
                going.append(path)
                count -= 1
                total -= size
        for path in going[:DROPPED_AT_ONCE]:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _usable(self) -> bool:
        """Whether the folder is there (made now if not) and may be trusted."""
        if self._ready:
            return True
        assert self.folder is not None
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            # Its files are executed: a folder that everybody may write to is none to read from.
            if os.name == "posix" and os.stat(self.folder).st_mode & 0o002:
                raise PermissionError(f"{self.folder} can be written by every user")
        except OSError as error:
            self._complain(error)
            self.folder = None
            return False
        self._ready = True
        return True

    def _complain(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("the cache of compiled kernels is not used: %s", error)


def _checksum(digest: str, code: bytes) -> bytes:
    """Of the contents and of the name, so that a file under a wrong name is found out too."""
    return hashlib.sha256(digest.encode("ascii") + code).digest()
