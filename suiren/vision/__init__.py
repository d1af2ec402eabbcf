"""What torchvision is to PyTorch: `suiren.vision.datasets`, `models`, `ops` and `transforms`.

It sits above `nn` and `utils.data`, below the command line. Names follow torchvision where it
has one.
"""

from suiren.vision import datasets, io, models, ops, plots, transforms, utils
from suiren.vision.showing import show

__all__ = ["datasets", "io", "models", "ops", "plots", "show", "transforms", "utils"]
