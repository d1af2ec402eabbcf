"""Twenty training steps from one seed in Suiren and in PyTorch: how far the losses differ.

Training with ReLU is a chaotic map: where a value is nearly zero, rounding decides whether its
gradient passes, and one such place changes the gradients before it by a percent or so. How often
that happens is a matter of the setting (learning rate, images), not of the library. So PyTorch is
also held against itself: in channels_last, on two threads, with images that are off by a rounding,
and in float64, which stands for the true losses. Where these agree, a difference of Suiren's would
mean a less exact kernel; where they do not, the comparison says nothing. With a smooth activation
in place of ReLU (``+silu``) only rounding is left.

    python benchmarks/agreement.py                         the settings below
    python benchmarks/agreement.py --network resnet18 --images 16 --size 64 --rate 0.001
    python benchmarks/agreement.py --kernels               errors of single kernels against float64
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

import cnn_models
import numpy as np

# network (and what stands for ReLU), images, size of their sides, learning rate
SETTINGS = [
    ("resnet18", 4, 224, 0.01),
    ("resnet18", 4, 224, 0.001),
    ("resnet18", 16, 64, 0.001),
    ("resnet18+silu", 4, 224, 0.01),
    ("resnet18+silu", 16, 64, 0.01),
    ("cnn", 32, 28, 0.01),
]
STEPS = 20
CHANNELS = {"cnn": 1}
CLASSES = {"cnn": 10}


def data(network: str, images: int, size: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise and labels: another batch for each step, or losses would soon be all rounding."""
    rng = np.random.default_rng(step)
    x = rng.standard_normal((images, CHANNELS.get(network, 3), size, size))
    return x.astype("float32"), rng.integers(0, CLASSES.get(network, 1000), images)


def build(torch: Any, network: str) -> Any:
    """The model; after ``+`` comes what ReLU is replaced with."""
    name, _, activation = network.partition("+")
    model = getattr(cnn_models, name)(torch)
    if activation:
        for module in list(model.modules()):
            for child, own in list(module.named_children()):
                if isinstance(own, torch.nn.ReLU):
                    setattr(module, child, {"silu": torch.nn.SiLU}[activation]())
    return model


def weights(network: str) -> dict[str, np.ndarray]:
    """The network as PyTorch begins it."""
    import torch

    torch.manual_seed(0)
    model = build(torch, network)
    return {name: t.numpy() for name, t in model.state_dict().items()}


def losses(torch: Any, setting: tuple, start: dict, change: Callable | None = None) -> np.ndarray:
    """Of the steps; ``change`` alters the model and the images."""
    network, images, size, rate = setting
    model = build(torch, network)
    model.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in start.items()})
    if change is not None:
        model, _ = change(model, torch.zeros(1, 1, 1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    found = []
    for step in range(STEPS):
        x, y = map(torch.from_numpy, data(network, images, size, step))
        if change is not None:
            model, x = change(model, x)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return np.array(found)


def _doubled(model: Any, x: Any) -> tuple:
    return model.double(), x.double()


def _channels_last(model: Any, x: Any) -> tuple:
    import torch

    last = torch.channels_last
    return model.to(memory_format=last), x.to(memory_format=last)


def _nudged(model: Any, x: Any) -> tuple:
    """Images that are off by up to one unit in the last place."""
    import torch

    off = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return model, x * (1 + off * 2.0**-23)


def runs(setting: tuple) -> dict[str, np.ndarray]:
    """Losses by the name of the run."""
    import torch

    import suiren

    start = weights(setting[0])
    torch.set_num_threads(1)
    found = {
        "float64": losses(torch, setting, start, _doubled),
        "torch": losses(torch, setting, start),
        "channels_last": losses(torch, setting, start, _channels_last),
        "nudged": losses(torch, setting, start, _nudged),
    }
    torch.set_num_threads(2)
    found["2 threads"] = losses(torch, setting, start)
    found["suiren"] = losses(suiren, setting, start)
    return found


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Relative differences."""
    return np.abs(a - b) / np.abs(b)


def table(setting: tuple, found: dict[str, np.ndarray]) -> str:
    """The losses, and how far each run is from PyTorch's in float64 and in float32."""
    network, images, size, rate = setting
    names = list(found)
    lines = [f"{network}, {images} images of {size}x{size}, learning rate {rate}"]
    lines.append("step  " + "".join(f"{name:>15}" for name in names))
    for step in range(STEPS):
        lines.append(f"{step:4}  " + "".join(f"{found[name][step]:15.8f}" for name in names))
    for what, base in (("from float64", "float64"), ("from torch", "torch")):
        for title, pick in (("largest", np.max), ("median", np.median)):
            numbers = [float(pick(apart(found[name], found[base]))) for name in names]
            line = "".join(f"{number:15.1e}" for number in numbers)
            lines.append(f"{what}, {title}:\n      {line}")
    return "\n".join(lines)


# ---- single kernels

# images, channels, size, results, kernel, stride, padding
LAYERS = [
    (4, 3, 224, 64, 7, 2, 3), (4, 64, 56, 64, 3, 1, 1), (4, 128, 28, 128, 3, 1, 1),
    (4, 256, 14, 256, 3, 1, 1), (4, 512, 7, 512, 3, 1, 1), (4, 64, 56, 128, 3, 2, 1),
    (4, 64, 56, 128, 1, 2, 0),
]  # fmt: skip
# mean of the values, and their shape
NORMS = [(0.0, (4, 64, 56, 56)), (10.0, (4, 64, 56, 56)), (100.0, (16, 64, 7, 7))]


def _convolved(torch: Any, layer: tuple, kind: str, last: bool) -> list[np.ndarray]:
    n, c, size, o, k, stride, padding = layer
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((n, c, size, size)), 0)
    w = rng.standard_normal((o, c, k, k)) / np.sqrt(c * k * k)
    return _with_gradients(
        torch, [x, w], kind, last,
        lambda x, w: torch.nn.functional.conv2d(x, w, None, stride, padding),
    )  # fmt: skip


def _normalized(torch: Any, case: tuple, kind: str, last: bool) -> list[np.ndarray]:
    mean, shape = case
    x = np.random.default_rng(0).standard_normal(shape) + mean
    scale, shift = np.linspace(0.5, 2, shape[1]), np.linspace(-1, 1, shape[1])
    return _with_gradients(
        torch, [x, scale, shift], kind, last,
        lambda x, w, b: torch.nn.functional.batch_norm(x, None, None, w, b, training=True),
    )  # fmt: skip


def _with_gradients(torch: Any, arrays: list, kind: str, last: bool, function: Callable) -> list:
    """The result and the gradients; three times, so that Suiren has compiled them."""
    given = []
    for array in arrays:
        t = torch.from_numpy(array.astype("float32").astype(kind))
        if last and t.ndim == 4:
            t = t.to(memory_format=torch.channels_last)
        given.append(t.requires_grad_())
    for _ in range(3):
        for t in given:
            t.grad = None
        y = function(*given)
        up = np.random.default_rng(1).standard_normal(tuple(y.shape)).astype("float32")
        (y * torch.from_numpy(up.astype(kind))).sum().backward()
        found = [t.detach().numpy().astype("float64") for t in (y, *[t.grad for t in given])]
    return found


def kernels() -> None:
    """Errors (norm of the difference over the norm) against PyTorch's float64."""
    import torch

    import suiren

    torch.set_num_threads(1)
    print("result, then gradients, each by: PyTorch, PyTorch channels_last, Suiren")
    works = [(_convolved, layer) for layer in LAYERS] + [(_normalized, case) for case in NORMS]
    for work, case in works:
        true = work(torch, case, "float64", False)
        rows = [
            work(torch, case, "float32", False), work(torch, case, "float32", True),
            work(suiren, case, "float32", False),
        ]  # fmt: skip
        cells = [
            " ".join(f"{np.linalg.norm(row[i] - t) / np.linalg.norm(t):.1e}" for row in rows)
            for i, t in enumerate(true)
        ]
        print(f"{work.__name__[1:]:10} {case!s:32} {'   '.join(cells)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--images", type=int)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--kernels", action="store_true", help="single kernels instead")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.kernels:
        kernels()
        return
    settings = SETTINGS
    if options.images:
        settings = [(options.network, options.images, options.size, options.rate)]
    for setting in settings:
        print(table(setting, runs(setting)), flush=True)
        print()


if __name__ == "__main__":
    main()
