"""The colour operations on tensors (..., C, H, W) with 1 or 3 channels. `functional` checks the
arguments and calls these. White is 1 in floating point, the largest value of an integer type.

Blends and grey weights follow torchvision's documentation (ITU-R 601-2 luma).
"""

from typing import Any

import numpy as np

import suiren as torch
from suiren.nn import functional
from suiren.tensor import Tensor
from suiren.vision.transforms.kinds import convert_image_dtype, max_value, tensor_of

F: Any = functional


def need_channels(image: Tensor, permitted: tuple[int, ...]) -> None:
    """Raises TypeError unless the number of channels is among `permitted`."""
    channels = 1 if image.ndim == 2 else image.shape[-3]
    if channels not in permitted:
        raise TypeError(
            f"Input image tensor permitted channel values are {list(permitted)}, but found "
            f"{channels}"
        )


def _channels(image: Tensor) -> int:
    return 1 if image.ndim == 2 else image.shape[-3]


def blend(first: Tensor, second: Tensor | float, ratio: float) -> Tensor:
    """``ratio * first + (1 - ratio) * second``, cut to black and white."""
    ratio = float(ratio)
    mixed = ratio * first + (1.0 - ratio) * second
    return mixed.clamp(0, max_value(first.dtype)).to(first.dtype)


def to_grayscale(image: Tensor, channels: int = 1) -> Tensor:
    need_channels(image, (1, 3))
    if channels not in (1, 3):
        raise ValueError(f"num_output_channels should be either 1 or 3, got {channels}")
    gray = image
    if _channels(image) == 3:
        red, green, blue = image.unbind(dim=-3)
        gray = (0.2989 * red + 0.587 * green + 0.114 * blue).to(image.dtype).unsqueeze(-3)
    elif channels == 1:
        return image.clone()
    if channels == 3:
        return gray.expand(*image.shape[:-3], 3, *image.shape[-2:])
    return gray


def adjust_brightness(image: Tensor, factor: float) -> Tensor:
    need_channels(image, (1, 3))
    return blend(image, 0.0, factor)


def adjust_contrast(image: Tensor, factor: float) -> Tensor:
    need_channels(image, (1, 3))
    kind = image.dtype if image.dtype.is_floating_point else torch.float32
    gray = to_grayscale(image) if _channels(image) == 3 else image
    dims = (-3, -2, -1) if image.ndim > 2 else (-2, -1)
    return blend(image, gray.to(kind).mean(dim=dims, keepdim=True), factor)


def adjust_saturation(image: Tensor, factor: float) -> Tensor:
    need_channels(image, (1, 3))
    if _channels(image) == 1:
        return image
    return blend(image, to_grayscale(image), factor)


def adjust_hue(image: Tensor, factor: float) -> Tensor:
    need_channels(image, (1, 3))
    if _channels(image) == 1:
        return image
    hue, saturation, value = rgb_to_hsv(convert_image_dtype(image, torch.float32)).unbind(-3)
    hue = (hue + factor) % 1.0
    turned = hsv_to_rgb(torch.stack([hue, saturation, value], -3))
    return convert_image_dtype(turned, image.dtype)


def rgb_to_hsv(image: Tensor) -> Tensor:
    """Hue (a full turn is 1), saturation and value of a floating point image."""
    red, green, blue = image.unbind(-3)
    value, least = image.amax(-3), image.amin(-3)
    flat = value == least  # grey: no hue; 1 stands in for divisors of 0
    spread = value - least
    one = torch.ones_like(value)
    saturation = spread / torch.where(flat, one, value)
    divisor = torch.where(flat, one, spread)
    to_red, to_green = (value - red) / divisor, (value - green) / divisor
    to_blue = (value - blue) / divisor
    hue = torch.where(
        value == red,
        to_blue - to_green,
        torch.where(value == green, 2.0 + to_red - to_blue, 4.0 + to_green - to_red),
    )
    hue = torch.fmod(hue / 6.0 + 1.0, 1.0)
    return torch.stack([hue, saturation, value], -3)


def hsv_to_rgb(image: Tensor) -> Tensor:
    """The way back of `rgb_to_hsv`."""
    hue, saturation, value = image.unbind(-3)
    sector = torch.floor(hue * 6.0)
    rest = hue * 6.0 - sector
    sector = sector.to(torch.int32) % 6
    low = (value * (1.0 - saturation)).clamp(0.0, 1.0)
    falling = (value * (1.0 - saturation * rest)).clamp(0.0, 1.0)
    rising = (value * (1.0 - saturation * (1.0 - rest))).clamp(0.0, 1.0)
    by_sector = (
        (value, falling, low, low, rising, value),
        (rising, value, value, falling, low, low),
        (low, low, rising, value, value, falling),
    )
    channels = []
    for choices in by_sector:
        found = choices[5]
        for number in range(5):
            found = torch.where(sector == number, choices[number], found)
        channels.append(found)
    return torch.stack(channels, -3)


def adjust_gamma(image: Tensor, gamma: float, gain: float) -> Tensor:
    need_channels(image, (1, 3))
    scaled = image if image.dtype.is_floating_point else convert_image_dtype(image, torch.float32)
    return convert_image_dtype((gain * scaled**gamma).clamp(0, 1), image.dtype)


def adjust_sharpness(image: Tensor, factor: float) -> Tensor:
    need_channels(image, (1, 3))
    if image.shape[-1] <= 2 or image.shape[-2] <= 2:
        return image
    return blend(image, _smoothed(image), factor)


def _smoothed(image: Tensor) -> Tensor:
    """Each pixel inside as the mean of its neighbourhood, where it counts five times itself."""
    kind = image.dtype if image.dtype.is_floating_point else torch.float32
    kernel = torch.ones(3, 3, dtype=kind)
    kernel[1, 1] = 5.0
    kernel = kernel / kernel.sum()
    channels = _channels(image)
    batch = image.reshape(-1, channels, *image.shape[-2:]).to(kind)
    inner = F.conv2d(batch, kernel.expand(channels, 1, 3, 3), groups=channels)
    if kind is not image.dtype:
        inner = torch.round(inner).to(image.dtype)
    smoothed = image.clone()
    smoothed[..., 1:-1, 1:-1] = inner.reshape(*image.shape[:-2], *inner.shape[-2:])
    return smoothed


def invert(image: Tensor) -> Tensor:
    need_channels(image, (1, 3))
    return max_value(image.dtype) - image


def posterize(image: Tensor, bits: int) -> Tensor:
    need_channels(image, (1, 3))
    if image.dtype is not torch.uint8:
        raise TypeError(f"Only torch.uint8 image tensors are supported, but found {image.dtype}")
    return image & (256 - int(2 ** (8 - bits)))


def solarize(image: Tensor, threshold: float) -> Tensor:
    need_channels(image, (1, 3))
    if threshold > max_value(image.dtype):
        raise TypeError("Threshold should be less than bound of img.")
    return torch.where(image >= threshold, invert(image), image)


def autocontrast(image: Tensor) -> Tensor:
    need_channels(image, (1, 3))
    white = max_value(image.dtype)
    kind = image.dtype if image.dtype.is_floating_point else torch.float32
    least = image.amin(dim=(-2, -1), keepdim=True).to(kind)
    most = image.amax(dim=(-2, -1), keepdim=True).to(kind)
    scale = white / (most - least)
    flat = ~torch.isfinite(scale)  # a channel of one value stays as it is
    least = torch.where(flat, torch.zeros_like(least), least)
    scale = torch.where(flat, torch.ones_like(scale), scale)
    return ((image - least) * scale).clamp(0, white).to(image.dtype)


def equalize(image: Tensor) -> Tensor:
    need_channels(image, (1, 3))
    if image.dtype is not torch.uint8:
        raise TypeError(f"Only torch.uint8 image tensors are supported, but found {image.dtype}")
    # Integers without a gradient, and a table that depends on them: NumPy's work from end to end.
    planes = image.peek().reshape(-1, *image.shape[-2:])
    found = np.stack([_equalized(plane) for plane in planes]) if len(planes) else planes
    return tensor_of(found.reshape(tuple(image.shape)))


def _equalized(plane: np.ndarray) -> np.ndarray:
    """One channel (H, W) with each grey level equally frequent, as Pillow does it."""
    counts = np.bincount(plane.reshape(-1), minlength=256)
    step = counts[counts != 0][:-1].sum() // 255
    if step == 0:
        return plane
    table = (counts.cumsum() + step // 2) // step
    table = np.concatenate([[0], table[:-1]]).clip(0, 255).astype(np.uint8)
    return table[plane]
