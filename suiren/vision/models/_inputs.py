"""What two models that were trained in TensorFlow do to their inputs."""

import suiren as torch
from suiren import Tensor

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


def from_imagenet_to_halves(x: Tensor) -> Tensor:
    """Images (N, 3, H, W) normalised by ImageNet's mean and deviation, normalised by 1/2 and 1/2.

    A pixel p in 0..1 is (p - mean) / deviation before and (p - 0.5) / 0.5 after.
    """
    channels = [
        torch.unsqueeze(x[:, i], 1) * (deviation / 0.5) + (mean - 0.5) / 0.5
        for i, (mean, deviation) in enumerate(zip(_MEAN, _DEVIATION, strict=True))
    ]  # each N, 1, H, W
    return torch.cat(channels, 1)
