"""The preprocessing that published weights expect: resize, crop, scale, normalise."""

from __future__ import annotations

from typing import Any

import suiren as torch
from suiren import Tensor, nn


class ImageClassification(nn.Module):
    """Images to normalised float tensors of one size.

    Args:
        crop_size: height and width of the square that is cut from the middle, in pixels.
        resize_size: what the shorter side is resized to before, in pixels.
        mean, std: of each channel, for values in 0..1.
        interpolation: "bilinear" or "bicubic".
        antialias: for tensors; pictures are always resized with it.

    Shape: a PIL image, or a tensor (..., C, H, W) of uint8 or float, to (..., C, S, S) float32.
    Source: the presets of torchvision's classification weights.
    """

    def __init__(
        self,
        *,
        crop_size: int,
        resize_size: int = 256,
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
        interpolation: str = "bilinear",
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.crop_size = [crop_size]
        self.resize_size = [resize_size]
        self.mean = list(mean)
        self.std = list(std)
        self.interpolation = interpolation
        self.antialias = antialias

    def forward(self, img: Any) -> Tensor:
        """The image as the model wants it."""
        from suiren.vision.transforms import InterpolationMode, functional

        mode = InterpolationMode(self.interpolation)
        img = functional.resize(
            img, self.resize_size, interpolation=mode, antialias=self.antialias
        )
        img = functional.center_crop(img, self.crop_size)
        if not isinstance(img, torch.Tensor):
            img = functional.pil_to_tensor(img)  # C, S, S uint8
        img = functional.convert_image_dtype(img, torch.float)
        return functional.normalize(img, mean=self.mean, std=self.std)

    def __repr__(self) -> str:
        names = ("crop_size", "resize_size", "mean", "std", "interpolation")
        lines = [f"    {name}={getattr(self, name)}" for name in names]
        return "\n".join([f"{self.__class__.__name__}(", *lines, ")"])
