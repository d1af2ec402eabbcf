"""Learning-rate schedulers, under the names of PyTorch's `torch.optim.lr_scheduler`.

`base` is the base class; `decay`, `cosine`, `cyclic` and `plateau` are the schedules, and
`compose` makes schedules of schedules.
"""

from suiren.optim.lr_scheduler.base import LRScheduler
from suiren.optim.lr_scheduler.compose import ChainedScheduler, SequentialLR
from suiren.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from suiren.optim.lr_scheduler.cyclic import CyclicLR, OneCycleLR
from suiren.optim.lr_scheduler.decay import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from suiren.optim.lr_scheduler.plateau import ReduceLROnPlateau

_LRScheduler = LRScheduler  # PyTorch's older name, which many scripts still use

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
