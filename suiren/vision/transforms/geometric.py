"""Transforms that move pixels: sizes, crops, flips and warps.

Random ones draw from PyTorch's default generator, in the order in which torchvision draws: the
same seed gives the same crops. That order is why some draw one number at a time.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import suiren as torch
from suiren import nn
from suiren.vision.transforms import functional as F
from suiren.vision.transforms.draws import below, chance, log_uniform, uniform
from suiren.vision.transforms.kinds import get_dimensions, is_pil
from suiren.vision.transforms.modes import InterpolationMode, as_mode

_NEAREST = InterpolationMode.NEAREST
_BILINEAR = InterpolationMode.BILINEAR


def channel_fill(fill: Any, img: Any) -> Any:
    """A number as one for each channel of a tensor; PIL images take it as it is."""
    if is_pil(img) or fill is None:
        return fill
    channels = get_dimensions(img)[0]
    if isinstance(fill, (int, float)):
        return [float(fill)] * channels
    return [float(number) for number in fill]


def _height_width(size: Any, name: str = "size") -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if not isinstance(size, Sequence) or len(size) not in (1, 2):
        raise ValueError(f"Please provide only two dimensions (h, w) for {name}.")
    return int(size[0]), int(size[-1])


def angle_range(value: Any, name: str) -> list[float]:
    """`[-value, value]` of one number, two as they are.

    Raises:
        ValueError: one negative number, or other than two.
    """
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be positive.")
        return [-float(value), float(value)]
    if not isinstance(value, Sequence):
        raise TypeError(f"{name} should be a sequence of length 2.")
    if len(value) != 2:
        raise ValueError(f"{name} should be a sequence of length 2.")
    return [float(number) for number in value]


# ---- sizes and crops


class Resize(nn.Module):
    """The image in another size; for the arguments see `functional.resize`.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.transforms import Resize
        >>> Resize(8)(torch.zeros(3, 16, 32)).shape
        torch.Size([3, 8, 16])
    """

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: InterpolationMode | int = _BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        if not isinstance(size, (int, Sequence)):
            raise TypeError(f"Size should be int or sequence. Got {type(size)}")
        if isinstance(size, Sequence) and len(size) not in (1, 2):
            raise ValueError("If size is a sequence, it should have 1 or 2 values")
        self.size = size
        self.max_size = max_size
        self.interpolation = as_mode(interpolation)
        self.antialias = antialias

    def forward(self, img: Any) -> Any:
        """The resized image."""
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, interpolation={self.interpolation.value}, "
            f"max_size={self.max_size}, antialias={self.antialias})"
        )


class CenterCrop(nn.Module):
    """The middle of the image, (height, width) or a square; too small an image is padded with 0."""

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = _height_width(size)

    def forward(self, img: Any) -> Any:
        """The cropped image."""
        return F.center_crop(img, self.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


class Pad(nn.Module):
    """A border around the image; for the arguments see `functional.pad`."""

    def __init__(
        self, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant"
    ) -> None:
        super().__init__()
        if not isinstance(padding, (int, float, tuple, list)):
            raise TypeError("Got inappropriate padding arg")
        if not isinstance(fill, (int, float, str, tuple, list)):
            raise TypeError("Got inappropriate fill arg")
        if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
            raise ValueError(
                "Padding mode should be either constant, edge, reflect or symmetric, got "
                f"{padding_mode!r}"
            )
        if isinstance(padding, Sequence) and len(padding) not in (1, 2, 4):
            raise ValueError(
                "Padding must be an int or a 1, 2, or 4 element tuple, not a "
                f"{len(padding)} element tuple"
            )
        self.padding = padding
        self.fill = fill
        self.padding_mode = padding_mode

    def forward(self, img: Any) -> Any:
        """The padded image."""
        return F.pad(img, self.padding, self.fill, self.padding_mode)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(padding={self.padding}, fill={self.fill}, "
            f"padding_mode={self.padding_mode})"
        )


class RandomCrop(nn.Module):
    """A part of the image from anywhere.

    Args:
        size: (height, width), or one number for a square.
        padding: border added first, as for `functional.pad`; None for none.
        pad_if_needed: pad an image that is smaller than `size`, instead of raising.
        fill, padding_mode: of the border.

    Raises:
        ValueError: the image is smaller than `size`.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__()
        self.size = _height_width(size)
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = padding_mode

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random crop; draws nothing if there is no choice."""
        _, height, width = get_dimensions(img)
        high, wide = output_size
        if height < high or width < wide:
            raise ValueError(
                f"Required crop size {(high, wide)} is larger than input image size "
                f"{(height, width)}; pad_if_needed=True would pad it"
            )
        if width == wide and height == high:
            return 0, 0, height, width
        top = below(0, height - high + 1)
        left = below(0, width - wide + 1)
        return top, left, high, wide

    def forward(self, img: Any) -> Any:
        """The cropped image."""
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        if self.pad_if_needed:
            _, height, width = get_dimensions(img)
            if width < self.size[1]:
                img = F.pad(img, [self.size[1] - width, 0], self.fill, self.padding_mode)
            if height < self.size[0]:
                img = F.pad(img, [0, self.size[0] - height], self.fill, self.padding_mode)
        return F.crop(img, *self.get_params(img, self.size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, padding={self.padding})"


class FiveCrop(nn.Module):
    """A tuple of the four corners and the middle; see `functional.five_crop`."""

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = _height_width(size)

    def forward(self, img: Any) -> tuple:
        """The five crops."""
        return F.five_crop(img, self.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


class TenCrop(nn.Module):
    """`FiveCrop` of the image and of its mirror image; see `functional.ten_crop`."""

    def __init__(self, size: int | Sequence[int], vertical_flip: bool = False) -> None:
        super().__init__()
        self.size = _height_width(size)
        self.vertical_flip = vertical_flip

    def forward(self, img: Any) -> tuple:
        """The ten crops."""
        return F.ten_crop(img, self.size, self.vertical_flip)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, vertical_flip={self.vertical_flip})"


@functools.lru_cache(64)
def log_ratio(low: float, high: float) -> tuple[float, float]:
    """The logarithms of both ends of a ratio, in float32 as torchvision takes them."""
    ends = torch.log(torch.tensor([float(low), float(high)])).tolist()
    return ends[0], ends[1]


class RandomResizedCrop(nn.Module):
    """A part of random area and aspect ratio, resized to one size.

    Args:
        size: (height, width), or one number for a square.
        scale: least and largest share of the image's area.
        ratio: least and largest width / height.
        interpolation, antialias: as for `functional.resize`.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: InterpolationMode | int = _BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.size = _height_width(size)
        if not isinstance(scale, Sequence):
            raise TypeError("Scale should be a sequence")
        if not isinstance(ratio, Sequence):
            raise TypeError("Ratio should be a sequence")
        self.scale = scale
        self.ratio = ratio
        self.interpolation = as_mode(interpolation)
        self.antialias = antialias

    @staticmethod
    def get_params(
        img: Any, scale: Sequence[float], ratio: Sequence[float]
    ) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random crop; after ten misfits the middle."""
        _, height, width = get_dimensions(img)
        ends = log_ratio(*ratio)
        for _ in range(10):
            area = height * width * uniform(*scale)
            aspect = log_uniform(*ends)
            wide = int(round(math.sqrt(area * aspect)))
            high = int(round(math.sqrt(area / aspect)))
            if 0 < wide <= width and 0 < high <= height:
                top = below(0, height - high + 1)
                left = below(0, width - wide + 1)
                return top, left, high, wide
        shape = width / height
        high, wide = height, width
        if shape < min(ratio):
            high = int(round(width / min(ratio)))
        elif shape > max(ratio):
            wide = int(round(height * max(ratio)))
        return (height - high) // 2, (width - wide) // 2, high, wide

    def forward(self, img: Any) -> Any:
        """The resized part."""
        place = self.get_params(img, self.scale, self.ratio)
        return F.resized_crop(img, *place, self.size, self.interpolation, self.antialias)

    def __repr__(self) -> str:
        scale = tuple(round(number, 4) for number in self.scale)
        ratio = tuple(round(number, 4) for number in self.ratio)
        return (
            f"{type(self).__name__}(size={self.size}, scale={scale}, ratio={ratio}, "
            f"interpolation={self.interpolation.value}, antialias={self.antialias})"
        )


# ---- flips and warps


class RandomHorizontalFlip(nn.Module):
    """The image, mirrored left to right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The image, mirrored or not."""
        return F.hflip(img) if chance(self.p) else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomVerticalFlip(nn.Module):
    """The image, mirrored top to bottom with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The image, mirrored or not."""
        return F.vflip(img) if chance(self.p) else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomRotation(nn.Module):
    """The image turned by a random angle.

    Args:
        degrees: (least, largest), counter-clockwise; one number d means (-d, d).
        interpolation, expand, center, fill: as for `functional.rotate`.
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: InterpolationMode | int = _NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        self.degrees = angle_range(degrees, "degrees")
        if center is not None and len(center) != 2:
            raise ValueError("center should be a sequence of length 2.")
        self.center = center
        self.interpolation = as_mode(interpolation)
        self.expand = expand
        self.fill = 0 if fill is None else fill

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        """A random angle."""
        return uniform(degrees[0], degrees[1])

    def forward(self, img: Any) -> Any:
        """The turned image."""
        fill = channel_fill(self.fill, img)
        angle = self.get_params(self.degrees)
        return F.rotate(img, angle, self.interpolation, self.expand, self.center, fill)

    def __repr__(self) -> str:
        text = (
            f"{type(self).__name__}(degrees={self.degrees}, "
            f"interpolation={self.interpolation.value}, expand={self.expand}"
        )
        if self.center is not None:
            text += f", center={self.center}"
        return f"{text}, fill={self.fill})"


class RandomAffine(nn.Module):
    """The image rotated, moved, scaled and sheared at random, its middle kept.

    Args:
        degrees: (least, largest) rotation; one number d means (-d, d).
        translate: largest moves, as shares of width and height.
        scale: (least, largest) factor.
        shear: degrees along x: one number d for (-d, d), or two; four for x and y.
        interpolation, fill, center: as for `functional.affine`.
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        interpolation: InterpolationMode | int = _NEAREST,
        fill: Any = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.degrees = angle_range(degrees, "degrees")
        if translate is not None:
            if len(translate) != 2:
                raise ValueError("translate should be a sequence of length 2.")
            for share in translate:
                if not 0.0 <= share <= 1.0:
                    raise ValueError("translation values should be between 0 and 1")
        if scale is not None:
            if len(scale) != 2:
                raise ValueError("scale should be a sequence of length 2.")
            for factor in scale:
                if factor <= 0:
                    raise ValueError("scale values should be positive")
        if shear is None or (isinstance(shear, Sequence) and len(shear) == 4):
            self.shear = None if shear is None else [float(number) for number in shear]
        else:
            self.shear = angle_range(shear, "shear")
        if center is not None and len(center) != 2:
            raise ValueError("center should be a sequence of length 2.")
        self.translate = translate
        self.scale = scale
        self.interpolation = as_mode(interpolation)
        self.fill = 0 if fill is None else fill
        self.center = center

    @staticmethod
    def get_params(
        degrees: Sequence[float],
        translate: Sequence[float] | None,
        scale_ranges: Sequence[float] | None,
        shears: Sequence[float] | None,
        img_size: Sequence[int],
    ) -> tuple[float, tuple[int, int], float, tuple[float, float]]:
        """Random (angle, (right, down), scale, (shear along x, along y)); `img_size` is (w, h)."""
        angle = uniform(degrees[0], degrees[1])
        move = (0, 0)
        if translate is not None:
            right, down = float(translate[0] * img_size[0]), float(translate[1] * img_size[1])
            move_x = int(round(uniform(-right, right)))
            move = (move_x, int(round(uniform(-down, down))))
        scale = 1.0 if scale_ranges is None else uniform(scale_ranges[0], scale_ranges[1])
        shear_x = shear_y = 0.0
        if shears is not None:
            shear_x = uniform(shears[0], shears[1])
            if len(shears) == 4:
                shear_y = uniform(shears[2], shears[3])
        return angle, move, scale, (shear_x, shear_y)

    def forward(self, img: Any) -> Any:
        """The warped image."""
        fill = channel_fill(self.fill, img)
        _, height, width = get_dimensions(img)
        drawn = self.get_params(
            self.degrees, self.translate, self.scale, self.shear, [width, height]
        )
        return F.affine(
            img, *drawn, interpolation=self.interpolation, fill=fill, center=self.center
        )

    def __repr__(self) -> str:
        text = f"{type(self).__name__}(degrees={self.degrees}"
        for name in ("translate", "scale", "shear"):
            value = getattr(self, name)
            text += "" if value is None else f", {name}={value}"
        if self.interpolation is not _NEAREST:
            text += f", interpolation={self.interpolation.value}"
        if self.fill != 0:
            text += f", fill={self.fill}"
        if self.center is not None:
            text += f", center={self.center}"
        return text + ")"


class RandomPerspective(nn.Module):
    """The image seen from elsewhere, with probability `p`.

    Args:
        distortion_scale: how far corners move, 0 to 1 of half a side.
        p: probability.
        interpolation, fill: as for `functional.perspective`.
    """

    def __init__(
        self,
        distortion_scale: float = 0.5,
        p: float = 0.5,
        interpolation: InterpolationMode | int = _BILINEAR,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        self.p = p
        self.interpolation = as_mode(interpolation)
        self.distortion_scale = distortion_scale
        self.fill = 0 if fill is None else fill

    @staticmethod
    def get_params(
        width: int, height: int, distortion_scale: float
    ) -> tuple[list[list[int]], list[list[int]]]:
        """The four corners, and where they move to."""
        far_x = int(distortion_scale * (width // 2))
        far_y = int(distortion_scale * (height // 2))
        top_left = [below(0, far_x + 1), below(0, far_y + 1)]
        top_right = [below(width - far_x - 1, width), below(0, far_y + 1)]
        bottom_right = [below(width - far_x - 1, width), below(height - far_y - 1, height)]
        bottom_left = [below(0, far_x + 1), below(height - far_y - 1, height)]
        start = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
        return start, [top_left, top_right, bottom_right, bottom_left]

    def forward(self, img: Any) -> Any:
        """The image, warped or not."""
        fill = channel_fill(self.fill, img)
        if not chance(self.p):
            return img
        _, height, width = get_dimensions(img)
        start, end = self.get_params(width, height, self.distortion_scale)
        return F.perspective(img, start, end, self.interpolation, fill)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"
