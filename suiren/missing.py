"""What is said of a name that PyTorch may have and Suiren has not: which, and what is near it.

Used by the root package's ``__getattr__`` and by the import hook (:mod:`suiren.imports`). It sits
at the bottom and imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Iterable


def pytorch_name(name: str) -> str:
    """The name under which PyTorch's users know one of ours: "suiren.nn" is "torch.nn".

    >>> pytorch_name("suiren.vision.ops")
    'torchvision.ops'
    """
    for ours, theirs in (("suiren.vision", "torchvision"), ("suiren", "torch")):
        if name == ours or name.startswith(ours + "."):
            return theirs + name.removeprefix(ours)
    return name


def missing(module: str, name: str, names: Iterable[str]) -> str:
    """The text of the error for ``module.name``; ``names`` are those that there are.

    >>> missing("suiren.nn", "Linaer", ["Linear", "ReLU"])
    "module 'suiren.nn' has no attribute 'Linaer': Suiren has no torch.nn.Linaer (yet); \
near it: Linear"
    """
    wanted = f"{pytorch_name(module)}.{name}"
    return (
        f"module '{module}' has no attribute '{name}': "
        f"Suiren has no {wanted} (yet){near(name, names)}"
    )


def near(name: str, names: Iterable[str]) -> str:
    """The end of such a text: the names that look like ``name``, or nothing."""
    import difflib

    found = difflib.get_close_matches(name, sorted({n for n in names if n[:1] != "_"}), 3)
    return f"; near it: {', '.join(found)}" if found else ""
