"""Building blocks that several image models share, under torchvision's names (`torchvision.ops`).

Below `suiren.vision.models`, above `suiren.nn`. Modules and their parameters are called what
torchvision calls them, since those names are the keys of published checkpoints.
"""

from suiren.vision.ops.misc import (
    MLP,
    Conv2dNormActivation,
    FrozenBatchNorm2d,
    Permute,
    SqueezeExcitation,
)
from suiren.vision.ops.stochastic_depth import StochasticDepth, stochastic_depth

__all__ = [
    "MLP",
    "Conv2dNormActivation",
    "FrozenBatchNorm2d",
    "Permute",
    "SqueezeExcitation",
    "StochasticDepth",
    "stochastic_depth",
]
