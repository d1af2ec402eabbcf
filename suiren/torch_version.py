"""`torch.torch_version`: a version as text that compares as a version.

Scripts ask ``torch.__version__ >= "1.10"`` or ``>= (2, 0)``. As plain text "2.9" would come after
"2.13". The order is that of PEP 440 for release numbers, pre-, post- and development releases
and local labels. Source: PyTorch's torch.torch_version.TorchVersion.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["InvalidVersion", "TorchVersion"]

_FORM = re.compile(
    r"\s*v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[._-]?(?P<pre>a|alpha|b|beta|c|rc|pre|preview)[._-]?(?P<pre_number>\d*))?"
    r"(?P<post>-\d+|[._-]?(?:post|rev|r)[._-]?\d*)?"
    r"(?P<dev>[._-]?dev[._-]?\d*)?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[._-][a-z0-9]+)*))?\s*",
    re.IGNORECASE,
)
_STAGES = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}


class InvalidVersion(ValueError):
    """What was compared with a version is none."""


def _number(text: str) -> int:
    return int("".join(c for c in text if c.isdigit()) or 0)


def _key(version: str) -> tuple:
    """What versions are ordered by; InvalidVersion for text of another form."""
    found = _FORM.fullmatch(version)
    if found is None:
        raise InvalidVersion(f"Invalid version: {version!r}")
    release = [int(part) for part in found["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    # 1.0.dev1 < 1.0a1 < 1.0rc1 < 1.0 < 1.0.post1; each part may itself be a development release.
    development = (0, _number(found["dev"])) if found["dev"] else (1, 0)
    after = (1, _number(found["post"])) if found["post"] else (0, 0)
    if found["pre"]:
        stage = found["pre"].lower()
        before: tuple = (1, _STAGES.get(stage, stage), _number(found["pre_number"]))
    elif found["dev"] and not found["post"]:
        before = (0, "", 0)
    else:
        before = (2, "", 0)
    label = found["local"]
    parts = re.split(r"[._-]", label.lower()) if label else []
    local = tuple((1, int(p), "") if p.isdigit() else (0, 0, p) for p in parts)
    return int(found["epoch"] or 0), tuple(release), before, after, development, local


def _text(other: Any) -> str:
    """``other`` as the text of a version: text, a version of another library, numbers in a row."""
    if isinstance(other, str):
        return other
    if isinstance(other, (tuple, list)):
        return ".".join(str(part) for part in other)
    if hasattr(other, "release") and hasattr(other, "public"):  # packaging's Version
        return str(other)
    raise InvalidVersion(f"a version is compared with text or numbers, got {other!r}")


class TorchVersion(str):
    """Text that compares as a version with text, tuples and packaging's versions.

    Text that is no version compares as text.

    >>> from suiren.torch_version import TorchVersion
    >>> version = TorchVersion("2.13.0+suiren")
    >>> version > "2.9", version >= (1, 10), version == "2.13.0+suiren"
    (True, True, True)
    """

    __slots__ = ()

    def _compared(self, other: Any, operation: str) -> Any:
        try:
            mine: Any = _key(str(self))
            theirs: Any = _key(_text(other))
        except InvalidVersion:
            if not isinstance(other, str):
                return NotImplemented
            mine, theirs = str(self), str(other)
        return mine == theirs if operation == "==" else mine < theirs

    def __eq__(self, other: object) -> Any:
        return self._compared(other, "==")

    def __ne__(self, other: object) -> Any:
        equal = self._compared(other, "==")
        return equal if equal is NotImplemented else not equal

    def __lt__(self, other: Any) -> Any:
        return self._compared(other, "<")

    def __gt__(self, other: Any) -> Any:
        less = self._compared(other, "<")
        return less if less is NotImplemented else not less and self != other

    def __le__(self, other: Any) -> Any:
        greater = self.__gt__(other)
        return greater if greater is NotImplemented else not greater

    def __ge__(self, other: Any) -> Any:
        less = self._compared(other, "<")
        return less if less is NotImplemented else not less

    __hash__ = str.__hash__
