"""Transforms of colours, filters, and rectangles erased at random.

They draw from PyTorch's default generator in torchvision's order; see `geometric`.
"""

import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import suiren as torch
from suiren import nn
from suiren.tensor import Tensor
from suiren.vision.transforms import functional as F
from suiren.vision.transforms.draws import below, chance, log_uniform, uniform
from suiren.vision.transforms.geometric import log_ratio
from suiren.vision.transforms.kinds import get_dimensions

Range = tuple[float, float]


def _factor_range(
    value: float | Sequence[float],
    name: str,
    center: float = 1.0,
    bound: Range = (0.0, math.inf),
    from_zero: bool = True,
) -> Range | None:
    """The range of a factor; None where it can only leave the image as it is."""
    if isinstance(value, numbers.Number):
        spread = float(value)  # type: ignore[arg-type]
        if spread < 0:
            raise ValueError(f"If {name} is a single number, it must be non negative.")
        low, high = center - spread, center + spread
        low = max(low, 0.0) if from_zero else low
    elif isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = float(value[0]), float(value[1])
    else:
        raise TypeError(f"{name} should be a single number or a list/tuple with length 2.")
    if not bound[0] <= low <= high <= bound[1]:
        raise ValueError(f"{name} values should be between {bound}, but got {[low, high]}.")
    return None if low == high == center else (low, high)


class ColorJitter(nn.Module):
    """Brightness, contrast, saturation and hue changed at random, in random order.

    Args:
        brightness, contrast, saturation: the factor's range; one number x means
            (max(0, 1 - x), 1 + x).
        hue: the shift's range within -0.5 to 0.5; one number x means (-x, x).

    Raises:
        TypeError, ValueError: not such a number or range.
    """

    def __init__(
        self,
        brightness: float | tuple[float, float] = 0,
        contrast: float | tuple[float, float] = 0,
        saturation: float | tuple[float, float] = 0,
        hue: float | tuple[float, float] = 0,
    ) -> None:
        super().__init__()
        self.brightness = _factor_range(brightness, "brightness")
        self.contrast = _factor_range(contrast, "contrast")
        self.saturation = _factor_range(saturation, "saturation")
        self.hue = _factor_range(hue, "hue", 0.0, (-0.5, 0.5), False)

    @staticmethod
    def get_params(
        brightness: Range | None,
        contrast: Range | None,
        saturation: Range | None,
        hue: Range | None,
    ) -> tuple[Tensor, float | None, float | None, float | None, float | None]:
        """The order of the four changes, and their four factors."""
        order = torch.randperm(4)
        ranges = (brightness, contrast, saturation, hue)
        b, c, s, h = (None if ends is None else uniform(*ends) for ends in ranges)
        return order, b, c, s, h

    def forward(self, img: Any) -> Any:
        """The changed image."""
        order, *factors = self.get_params(self.brightness, self.contrast, self.saturation, self.hue)
        changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        for number in order.tolist():
            factor = factors[number]
            if factor is not None:
                img = changes[number](img, factor)
        return img

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, "
            f"saturation={self.saturation}, hue={self.hue})"
        )


class Grayscale(nn.Module):
    """The image in grey, with 1 or 3 equal channels."""

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__()
        self.num_output_channels = num_output_channels

    def forward(self, img: Any) -> Any:
        """The grey image."""
        return F.rgb_to_grayscale(img, self.num_output_channels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_output_channels={self.num_output_channels})"


class _Sometimes(nn.Module):
    """Something done with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def change(self, img: Any) -> Any:
        """What is done."""
        raise NotImplementedError

    def forward(self, img: Any) -> Any:
        """The image, changed or not."""
        return self.change(img) if chance(self.p) else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomGrayscale(_Sometimes):
    """The image in grey with probability `p`, with as many channels as before."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def change(self, img: Any) -> Any:
        """The grey image."""
        return F.rgb_to_grayscale(img, get_dimensions(img)[0])


class RandomInvert(_Sometimes):
    """The colours inverted with probability `p`."""

    def change(self, img: Any) -> Any:
        """The inverted image."""
        return F.invert(img)


class RandomAutocontrast(_Sometimes):
    """The contrast stretched to the full range with probability `p`."""

    def change(self, img: Any) -> Any:
        """The stretched image."""
        return F.autocontrast(img)


class RandomEqualize(_Sometimes):
    """The histogram made flat with probability `p`."""

    def change(self, img: Any) -> Any:
        """The equalized image."""
        return F.equalize(img)


class RandomPosterize(_Sometimes):
    """Only the `bits` highest bits of each channel kept, with probability `p`."""

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p)
        self.bits = bits

    def change(self, img: Any) -> Any:
        """The image with fewer bits."""
        return F.posterize(img, self.bits)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bits={self.bits},p={self.p})"


class RandomSolarize(_Sometimes):
    """All values from `threshold` up inverted, with probability `p`."""

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.threshold = threshold

    def change(self, img: Any) -> Any:
        """The solarized image."""
        return F.solarize(img, self.threshold)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(threshold={self.threshold},p={self.p})"


class RandomAdjustSharpness(_Sometimes):
    """The sharpness changed by a fixed factor, with probability `p`."""

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.sharpness_factor = sharpness_factor

    def change(self, img: Any) -> Any:
        """The sharpened or smoothed image."""
        return F.adjust_sharpness(img, self.sharpness_factor)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sharpness_factor={self.sharpness_factor},p={self.p})"


class GaussianBlur(nn.Module):
    """The image blurred with a Gaussian of random width.

    Args:
        kernel_size: odd, one number or (x, y).
        sigma: standard deviation in pixels, or its (least, largest).

    Raises:
        ValueError: a size that is even or not positive, a `sigma` that is not positive.
    """

    def __init__(
        self, kernel_size: int | Sequence[int], sigma: float | tuple[float, float] = (0.1, 2.0)
    ) -> None:
        super().__init__()
        sizes = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
        if len(sizes) != 2:
            raise ValueError("Kernel size should be a tuple/list of two integers")
        for size in sizes:
            if size <= 0 or size % 2 == 0:
                raise ValueError("Kernel size value should be an odd and positive number.")
        if isinstance(sigma, (int, float)):
            if sigma <= 0:
                raise ValueError("If sigma is a single number, it must be positive.")
            sigma = (sigma, sigma)
        elif isinstance(sigma, Sequence) and len(sigma) == 2:
            if not 0.0 < sigma[0] <= sigma[1]:
                raise ValueError("sigma values should be positive and of the form (min, max).")
        else:
            raise ValueError("sigma should be a single number or a list/tuple with length 2.")
        self.kernel_size = sizes
        self.sigma = sigma

    @staticmethod
    def get_params(sigma_min: float, sigma_max: float) -> float:
        """A random standard deviation."""
        return uniform(sigma_min, sigma_max)

    def forward(self, img: Any) -> Any:
        """The blurred image."""
        sigma = self.get_params(self.sigma[0], self.sigma[1])
        return F.gaussian_blur(img, self.kernel_size, [sigma, sigma])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kernel_size={self.kernel_size}, sigma={self.sigma})"


class RandomErasing(nn.Module):
    """A random rectangle of a tensor image overwritten, with probability `p`.

    From "Random Erasing Data Augmentation" (Zhong et al., 2020).

    Args:
        p: probability.
        scale: least and largest share of the image's area.
        ratio: least and largest height / width.
        value: a number, one number for each channel, or "random" for normal noise.
        inplace: write into the image.

    Raises:
        TypeError, ValueError: an argument is of another kind or out of range.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(value, (numbers.Number, str, tuple, list)):
            raise TypeError("Argument value should be either a number or str or a sequence")
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        if not isinstance(scale, Sequence):
            raise TypeError("Scale should be a sequence")
        if not isinstance(ratio, Sequence):
            raise TypeError("Ratio should be a sequence")
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=2)
        if scale[0] < 0 or scale[1] > 1:
            raise ValueError("Scale should be between 0 and 1")
        if p < 0 or p > 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        self.p = p
        self.scale = scale
        self.ratio = ratio
        self.value: Any = value
        self.inplace = inplace

    @staticmethod
    def get_params(
        img: Tensor,
        scale: Sequence[float],
        ratio: Sequence[float],
        value: list[float] | None = None,
    ) -> tuple[int, int, int, int, Tensor]:
        """(top, left, height, width, contents); all of the image as it is after ten misfits."""
        channels, height, width = img.shape[-3], img.shape[-2], img.shape[-1]
        ends = log_ratio(*ratio)
        for _ in range(10):
            area = height * width * uniform(*scale)
            aspect = log_uniform(*ends)
            high = int(round(math.sqrt(area * aspect)))
            wide = int(round(math.sqrt(area / aspect)))
            if not (high < height and wide < width):
                continue
            if value is None:
                contents = torch.empty([channels, high, wide], dtype=torch.float32).normal_()
            else:
                contents = torch.tensor(value)[:, None, None]
            top = below(0, height - high + 1)
            left = below(0, width - wide + 1)
            return top, left, high, wide, contents
        return 0, 0, height, width, img

    def forward(self, img: Tensor) -> Tensor:
        """The image, with a rectangle erased or not."""
        if not chance(self.p):
            return img
        value: list[float] | None = None  # noise
        if isinstance(self.value, (tuple, list)):
            value = [float(number) for number in self.value]
        elif not isinstance(self.value, str):
            value = [float(self.value)]
        if value is not None and len(value) not in (1, img.shape[-3]):
            raise ValueError(
                "If value is a sequence, it should have either a single value or "
                f"{img.shape[-3]} (number of input channels)"
            )
        place = self.get_params(img, self.scale, self.ratio, value)
        return F.erase(img, *place, self.inplace)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(p={self.p}, scale={self.scale}, ratio={self.ratio}, "
            f"value={self.value}, inplace={self.inplace})"
        )
