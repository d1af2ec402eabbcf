"""The sources of `suiren.vision.models`, run with PyTorch in place of Suiren.

The model files use names of PyTorch's interface only, so replacing the name of the library gives
the same models made of PyTorch's layers: an oracle for layers, initial values and results.
"""

import sys
import types
from pathlib import Path

import suiren.vision

HOME = Path(suiren.vision.__file__).parent


class _Finder:
    """Finds `torchzoo...` in suiren/vision, with the library's names replaced."""

    def find_spec(self, name, path=None, target=None):
        from importlib.util import spec_from_loader

        if name != "torchzoo" and not name.startswith("torchzoo."):
            return None
        place = HOME.joinpath(*name.split(".")[1:])
        if name in ("torchzoo", "torchzoo.ops"):
            return spec_from_loader(name, _Loader(None), is_package=True)
        package = place.is_dir()
        file = place / "__init__.py" if package else place.with_suffix(".py")
        return spec_from_loader(name, _Loader(file), is_package=package) if file.exists() else None


class _Loader:
    def __init__(self, file):
        self.file = file

    def create_module(self, spec):
        return types.ModuleType(spec.name)

    def exec_module(self, module):
        if self.file is None:  # these packages gather more than models need, such as data sets
            return
        text = self.file.read_text("utf-8").replace("suiren.vision", "torchzoo")
        text = text.replace("import suiren as torch", "import torch")
        text = text.replace("from suiren.tensor import", "from torch import")
        text = text.replace("from suiren", "from torch")
        exec(compile(text, str(self.file), "exec"), module.__dict__)


def torch_models():
    """`torchzoo.models`: the package as PyTorch runs it."""
    import importlib

    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
    return importlib.import_module("torchzoo.models")
