"""The layers of the package: a module imports only from its own layer and those below it."""

import ast
import functools
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "suiren"

# From low to high. A name stands for a module or a whole subpackage; the longest match counts.
LAYERS = [
    ["version", "torch_version", "missing", "files", "hooks", "size", "random_native", "twister",
     "random_kernels", "mt19937", "dtypes",
     "device", "printing", "return_types"],
    ["interpreter"],
    ["trace.meta"],
    ["compiler"],
    ["trace"],
    ["operator", "storage", "autocast_state", "autograd.mode"],
    ["tensor"],
    ["autocasting"],
    ["autograd.graph"],
    ["dispatch"],
    ["views"],
    ["random", "autograd"],
    ["ops"],
    ["explanation"],
    ["profiler", "autograd.profiler"],
    ["layouts", "settings", "storages", "tensor_methods", "tensor_numpy"],
    ["legacy"],
    ["tensor_protocol"],
    ["linalg", "special", "fft", "signal", "masked", "backends", "amp"],
    ["cuda"],
    ["nn"],
    ["accelerator", "compilation", "cpu", "distributed", "func", "jit", "mps", "multiprocessing",
     "onnx", "quantization", "ao", "testing", "types", "xpu"],
    ["_dynamo", "distributions"],
    ["safe_unpickling"],
    ["checkpoint_parts"],
    ["serialization", "transfers"],
    ["hub", "optim"],
    ["utils"],
    ["vision"],
    ["imports"],
    ["cli", "__main__"],
]  # fmt: skip
# The root package is the user's namespace; code that is written like a user's may use it.
USES_THE_NAMESPACE = ("nn", "optim", "utils", "vision", "distributions", "func", "imports", "jit",
                      "testing", "cli", "__main__")  # fmt: skip
# Upward imports inside functions, each with its reason.
ALLOWED: dict[tuple[str, str], str] = {}


def layer_of(module: str) -> int | None:
    """The layer's number, by the longest listed name that the module's name begins with."""
    best, found = -1, None
    for number, names in enumerate(LAYERS):
        for name in names:
            if (module == name or module.startswith(name + ".")) and len(name) > best:
                best, found = len(name), number
    return found


def modules() -> list[tuple[str, Path]]:
    """(name below suiren, file) of every module of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found.append((".".join(parts), path))
    return found


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a source file."""
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path) -> list[tuple[str, int]]:
    """(module below suiren, line) of each import of our own package."""
    found = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found += [(a.name, node.lineno) for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for a in node.names:
                name = f"{node.module}.{a.name}"
                file = PACKAGE.parent / Path(*name.split("."))
                there = file.is_dir() or file.with_suffix(".py").exists()
                found.append((name if there else node.module, node.lineno))
    own = [(name, line) for name, line in found if name == "suiren" or name[:7] == "suiren."]
    return [(name.removeprefix("suiren").removeprefix("."), line) for name, line in own]


def test_every_module_has_a_layer():
    assert [name for name, _ in modules() if name and layer_of(name) is None] == []


def test_imports_point_down():
    wrong = []
    for name, path in modules():
        if not name:  # the root package gathers everything
            continue
        for target, line in imports(path):
            if not target:
                if name.split(".")[0] not in USES_THE_NAMESPACE:
                    wrong.append(f"{name}:{line} imports the root package")
                continue
            own, other = layer_of(name), layer_of(target)
            if other is None or own is None or other <= own:
                continue
            if (name, target) not in ALLOWED:
                wrong.append(f"{name}:{line} imports {target}, which lies above it")
    assert wrong == []


def test_torch_is_never_imported():
    for name, path in modules():
        for node in ast.walk(parsed(path)):
            names = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(n.split(".")[0] in ("torch", "torchvision") for n in names), name
