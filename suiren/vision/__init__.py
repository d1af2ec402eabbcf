"""What torchvision is to PyTorch: `suiren.vision.datasets` and `suiren.vision.models`.

It sits above `nn` and `utils.data`, below the command line. Names follow torchvision where it
has one.
"""

from suiren.vision import datasets, models

__all__ = ["datasets", "models"]
