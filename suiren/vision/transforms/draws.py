"""Single random numbers from PyTorch's default generator, as torchvision draws them.

`uniform` is ``torch.empty(1).uniform_(low, high).item()``, `below` is ``torch.randint(low, high,
(1,)).item()``, `chance` compares ``torch.rand(1)``. A transform needs a few for each image, and
asking the generator itself takes a third of the time of making a tensor and looking at it.
"""

import math

import numpy as np

import suiren as torch
from suiren.random import default_generator


def uniform(low: float, high: float) -> float:
    """A number from `low` to `high`, in the default dtype's precision."""
    kind = torch.get_default_dtype()
    if kind is not torch.float32 and kind is not torch.float64:
        return torch.empty(1).uniform_(float(low), float(high)).item()
    if low > high:  # the operator's error
        torch.empty(1).uniform_(float(low), float(high))
    with default_generator.lock:
        return default_generator.stream.uniform((1,), float(low), float(high), kind.numpy)[0].item()


def log_uniform(low: float, high: float) -> float:
    """The exponential, in the default dtype's precision, of a number from `low` to `high`."""
    drawn = math.exp(uniform(low, high))
    return float(np.float32(drawn)) if torch.get_default_dtype() is torch.float32 else drawn


def below(low: int, high: int) -> int:
    """A whole number from `low` to below `high`."""
    with default_generator.lock:
        return default_generator.stream.randint((1,), low, high)[0].item()


def chance(p: float) -> bool:
    """True with probability `p`."""
    return uniform(0.0, 1.0) < p


def dirichlet(concentrations: list[list[float]]) -> np.ndarray:
    """Rows from Dirichlet distributions, float32: gamma variates divided by their sum."""
    with default_generator.lock:
        drawn = default_generator.stream.gamma(np.array(concentrations, np.float64))
    return (drawn / drawn.sum(-1, keepdims=True)).astype(np.float32)
