"""``import torch`` gives Suiren: the import hook of ``suiren run`` and :func:`install`.

A finder in ``sys.meta_path`` answers for ``torch``, ``torchvision`` and everything below them. It
loads nothing a second time: ``sys.modules["torch.nn"]`` becomes the very module object
``suiren.nn``, so classes, registries and pickles have one identity under both names. It comes
before all other finders, so a PyTorch that is installed is not looked at.

Two more things belong to it: a second finder, at the end, gives ``from torch.nn import Missing`` an
error that says what is near (Python's own text cannot), and child processes of ``multiprocessing``
that start afresh ("spawn", "forkserver") install the hook before they import the main script.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import FrameType, ModuleType
from typing import Any

import suiren
from suiren.missing import missing, near
from suiren.torch_version import TorchVersion
from suiren.version import __version__ as _own_version
from suiren.version import torch_interface

__all__ = ["install", "installed", "uninstall"]

# Whose names we answer for. A package of ours that is not there is left to other finders.
ROOTS = {
    "torch": "suiren",
    "torchvision": "suiren.vision",
    "torchaudio": "suiren.audio",
    "torchtext": "suiren.text",
    "lightning": "suiren.lightning",
    "pytorch_lightning": "suiren.lightning",
}
_FROZEN = "<frozen importlib"


def _ours(name: str) -> str | None:
    """The name of our module for ``torch...``; None for a name that is not ours to answer."""
    root, dot, rest = name.partition(".")
    home = ROOTS.get(root)
    if home is None or (home != "suiren" and importlib.util.find_spec(home) is None):
        return None
    return home + dot + rest


class _SameModule(importlib.abc.Loader):
    """Gives a module that exists already under another name."""

    def __init__(self, ours: str):
        self.ours = ours
        self._spec: Any = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module of ours, imported if need be."""
        module = importlib.import_module(self.ours)
        self._spec = getattr(module, "__spec__", None)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Takes back what the import machinery wrote: the module keeps its own spec."""
        module.__spec__ = self._spec
        _explain_missing_names(module)


class _PyTorchNames(importlib.abc.MetaPathFinder):
    """The finder in front: ``torch.x.y`` is ``suiren.x.y``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for our module, None if there is none."""
        ours = _ours(fullname)
        if ours is None:
            return None
        module = sys.modules.get(ours)
        if module is not None:
            file, is_package = getattr(module, "__file__", None), hasattr(module, "__path__")
        else:
            found = importlib.util.find_spec(ours)
            if found is None:
                return None
            file, is_package = found.origin, found.submodule_search_locations is not None
        loader = _SameModule(ours)
        return importlib.machinery.ModuleSpec(
            fullname, loader, origin=file, is_package=is_package
        )


class _MissingNames(importlib.abc.MetaPathFinder):
    """The finder at the end: says what is near a name that no finder knew."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> None:
        """None; ImportError if the name is being imported, and not only looked for."""
        parent, _, last = fullname.rpartition(".")
        if not parent:
            return
        caller = _asked_by(sys._getframe(1))
        if caller == "import" and _ours(parent) is not None:
            module = sys.modules[parent]
            raise ModuleNotFoundError(
                f"No module named '{fullname}': Suiren does not have it (yet)"
                f"{near(last, _submodules(module))}",
                name=fullname,
            )
        if caller == "from" and parent.partition(".")[0] == "suiren":
            module = sys.modules[parent]
            names = [*dir(module), *_submodules(module)]
            raise ImportError(missing(parent, last, names), name=parent)


def _asked_by(frame: FrameType | None) -> str:
    """Who looks a module up: "import", "from" (the list of a ``from ... import``) or "other".

    ``from package import name`` tries a missing name as a module, only to find out whether it is
    one, and then raises an ImportError of its own. Nothing but the frames tells these apart.
    """
    kind = "other"
    while frame is not None and frame.f_code.co_filename.startswith(_FROZEN):
        if frame.f_code.co_name == "_handle_fromlist":
            return "from"
        if frame.f_code.co_name == "_find_and_load":
            kind = "import"
        frame = frame.f_back
    return kind


def explain(error: ImportError) -> None:
    """Adds what is near to Python's own error for ``from module import name``."""
    import re

    found = re.match(r"cannot import name '(\w+)' from '(suiren[\w.]*)'", str(error))
    if found and found[2] in sys.modules:
        error.msg = missing(found[2], found[1], dir(sys.modules[found[2]]))


def _submodules(module: ModuleType) -> list[str]:
    """Names of modules inside a package, imported or not."""
    import pkgutil

    return [info.name for info in pkgutil.iter_modules(getattr(module, "__path__", ()))]


def _explain_missing_names(module: ModuleType) -> None:
    """Lets ``module.name`` say what is near a missing name, unless it has a word of its own."""
    if not isinstance(module, ModuleType) or "__getattr__" in vars(module):
        return

    def explain(name: str) -> Any:
        if name[:2] == "__":  # asked for by Python's own machinery
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        raise AttributeError(missing(module.__name__, name, dir(module)))

    vars(module)["__getattr__"] = explain
    _explained.append(module)


_explained: list[ModuleType] = []
_front, _back = _PyTorchNames(), _MissingNames()
_kept: dict[str, Any] = {}  # what install() replaced


def installed() -> bool:
    """Whether ``import torch`` gives Suiren in this process."""
    return _front in sys.meta_path


def install() -> None:
    """From now on ``import torch`` and ``import torchvision`` give Suiren, in child processes too.

    For notebooks and the interactive prompt; ``suiren run`` does it before it runs a script. To be
    called before anything imports torch. Does nothing the second time. While it is installed
    ``torch.__version__`` is PyTorch's version that Suiren follows, such as "2.13.0+suiren0.1.0".

    Raises RuntimeError if PyTorch itself is imported already.

    >>> import suiren
    >>> suiren.install()
    >>> import torch, torch.nn.functional as F
    >>> torch is suiren, F is suiren.nn.functional
    (True, True)
    >>> suiren.uninstall()
    """
    if installed():
        return
    for name in ROOTS:
        module = sys.modules.get(name)
        if module is not None and _ours(name) not in (None, module.__name__):
            raise RuntimeError(
                f"suiren.install(): {name} is imported already, from "
                f"{getattr(module, '__file__', 'elsewhere')}; restart Python and call "
                f"suiren.install() before anything imports {name}"
            )
    _kept["__version__"] = suiren.__version__
    suiren.__version__ = TorchVersion(f"{torch_interface}.0+suiren{_own_version}")
    sys.meta_path.insert(0, _front)
    sys.meta_path.append(_back)
    _install_in_children()


def uninstall() -> None:
    """Takes back what :func:`install` did; names that were imported keep meaning Suiren."""
    if not installed():
        return
    sys.meta_path.remove(_front)
    sys.meta_path.remove(_back)
    suiren.__version__ = _kept["__version__"]
    for module in _explained:
        vars(module).pop("__getattr__", None)
    _explained.clear()
    for name in [n for n in sys.modules if n.partition(".")[0] in ROOTS]:
        if getattr(sys.modules[name], "__name__", "").startswith("suiren"):
            del sys.modules[name]
    from multiprocessing import spawn

    spawn.get_preparation_data = _kept["get_preparation_data"]


# --------------------------------------------------------------------------
# Child processes that start afresh


class _InstallFirst:
    """Installs the hook where it is unpickled: among what a child reads before anything else.

    Multiprocessing has no official place for this. A child unpickles its preparation data before it
    imports the main script, and passes over entries that it does not know.
    """

    def __reduce__(self) -> tuple:
        # The child's sys.path is not set yet, so it is told where this package lies.
        home = os.path.dirname(os.path.dirname(os.path.abspath(suiren.__file__)))
        return exec, (
            f"import sys; sys.path.append({home!r}); import suiren; suiren.install(); "
            "sys.path.pop()",
            {},
        )


def _install_in_children() -> None:
    import multiprocessing
    from multiprocessing import spawn

    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data = original(name)
        # The server of "forkserver" asks with this name and takes entries one by one.
        return data if name == "ignore" else {"suiren": _InstallFirst(), **data}

    _kept["get_preparation_data"] = original
    spawn.get_preparation_data = get_preparation_data
    if "forkserver" in multiprocessing.get_all_start_methods():
        # By default the server would import the main script, without the hook.
        multiprocessing.set_forkserver_preload(["suiren"])
