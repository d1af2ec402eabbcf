"""Writing a file so that whoever opens it finds the old contents or the new, never a part.

Sits below everything that saves: checkpoints (``suiren/serialization.py``) and the folders of
training runs (``suiren/cli/runfolder.py``). The contents are written beside the place and renamed
into it, which POSIX and Windows do in one step.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file, open for writing, that takes the place of ``path`` when the ``with`` ends well.

    It is on the disk by then, with the mode of the file that it replaces. If anything is raised,
    also OSError by a full disk, ``path`` is as it was and nothing is left beside it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(os.path.join(folder, "numbers")) as file:
    ...         _ = file.write(b"1 2 3")
    ...     os.listdir(folder)
    ['numbers']
    """
    # The process and a random number: several may write to the same place at once.
    beside = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            os.chmod(beside, os.stat(path).st_mode & 0o7777)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
