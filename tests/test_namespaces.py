"""What users find under a name stays it, whichever of our modules have been imported.

Importing ``suiren.device`` sets the attribute ``device`` of the package to the module, where users
expect the class. So after importing every module, names must still be what PyTorch has there.
"""

import importlib
import json
import subprocess
import sys
import types

import pytest

# Where users write `torch.<package>.<name>`.
PACKAGES = ("", "autograd", "nn", "nn.functional", "nn.utils", "nn.init", "optim",
            "optim.lr_scheduler", "utils", "utils.data", "linalg", "fft", "special", "masked",
            "signal.windows", "cuda", "backends", "amp", "random")  # fmt: skip
# Of each package some names whose modules are called the same or nearly so.
RECORDED = {
    "": ("Generator", "Size", "Tensor", "device", "dtype", "layout", "autocast", "load", "save",
         "einsum", "matmul", "softmax", "scatter", "dropout", "seed", "tensor"),
    "autograd": ("Function", "GradcheckError", "backward", "grad", "gradcheck", "gradgradcheck",
                 "no_grad"),
    "nn": ("Dropout", "Linear", "Module", "Parameter"),
    "nn.functional": ("dropout", "embedding", "normalize", "relu", "softmax"),
    "optim": ("Adam", "Optimizer", "SGD"),
    "utils.data": ("DataLoader", "Dataset", "default_collate"),
}  # fmt: skip

SCRIPT = """
import importlib, json, pkgutil, sys, types
import suiren

before = {k: v for k, v in vars(suiren).items()
          if k[:1] != "_" and not isinstance(v, types.ModuleType)}
for module in pkgutil.walk_packages(suiren.__path__, "suiren."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
changed = [k for k, v in before.items() if getattr(suiren, k) is not v]

def kind(package, name):
    found = getattr(package, name, None)
    return "callable" if callable(found) else type(found).__name__

kinds = {}
packages, recorded = json.loads(sys.argv[1])
for package in packages:
    home = importlib.import_module("suiren." + package if package else "suiren")
    kinds[package] = {n: kind(home, n) for n in (*dir(home), *recorded.get(package, ()))}
registered = sys.modules["suiren.operator"].NAMESPACES
missing = [(space, name) for space in registered if space not in ("Tensor", "torch")
           for name in registered[space]
           if not callable(getattr(importlib.import_module("suiren." + space), name, None))]
missing += [name for name in registered["torch"] if getattr(suiren, name, None) is None]
print(json.dumps([changed, missing, kinds]))
"""


@pytest.fixture(scope="module")
def after_all_imports():
    """(names of the root that changed, operators that are not found, kinds of all names)."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps([PACKAGES, RECORDED])],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_names_of_the_root_stay_what_they_were(after_all_imports):
    assert after_all_imports[0] == []


def test_registered_operators_are_found(after_all_imports):
    assert after_all_imports[1] == []


def test_recorded_names_are_callable(after_all_imports):
    kinds = after_all_imports[2]
    assert [(p, n) for p, ns in RECORDED.items() for n in ns if kinds[p][n] != "callable"] == []


def test_no_module_stands_where_pytorch_has_something_else(after_all_imports):
    pytest.importorskip("torch")
    wrong = []
    for package, names in after_all_imports[2].items():
        for name, kind in names.items():
            home = importlib.import_module(f"torch.{package}" if package else "torch")
            theirs = getattr(home, name, None)
            if theirs is not None and kind == "module" and name[:1] != "_":
                if not isinstance(theirs, types.ModuleType):
                    wrong.append((package, name))
    # PyTorch's function of this name only says that it is gone.
    assert wrong == [("autograd", "variable")]
