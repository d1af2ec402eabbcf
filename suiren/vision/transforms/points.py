"""Transforms of an image together with points on it, for `suiren.vision.datasets.Keypoints`.

Each is called with (image, points) and returns both: points are a float tensor (P, 2) of x, y in
pixels from the upper left corner of the image, which is a PIL image or a tensor (..., C, H, W).
Random ones draw from PyTorch's default generator.
"""

from collections.abc import Callable, Sequence
from typing import Any

import suiren as torch
from suiren.tensor import Tensor
from suiren.vision.transforms import functional as F
from suiren.vision.transforms.draws import chance, uniform
from suiren.vision.transforms.geometric import RandomCrop as ImageCrop
from suiren.vision.transforms.kinds import get_dimensions, is_pil
from suiren.vision.transforms.warps import inverse_affine_matrix, resized_output_size

Pair = tuple[Any, Tensor]


class Compose:
    """Several transforms of (image, points), one after the other.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.transforms import points as P
        >>> prepare = P.Compose([P.Resize((8, 8)), P.Scale()])
        >>> image, where = prepare(torch.zeros(1, 4, 4), torch.tensor([[2.0, 4.0]]))
        >>> image.shape, where
        (torch.Size([1, 8, 8]), tensor([[0.5000, 1.0000]]))
    """

    def __init__(self, transforms: Sequence[Callable[[Any, Tensor], Pair]]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any, points: Tensor) -> Pair:
        """Both after all transforms."""
        for transform in self.transforms:
            image, points = transform(image, points)
        return image, points

    def __repr__(self) -> str:
        lines = "".join(f"\n    {transform}" for transform in self.transforms)
        return f"{type(self).__name__}({lines}\n)"


class _Points:
    """What the transforms share: how they are shown."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({shown})"


class Image(_Points):
    """A transform of the image alone, one that leaves its pixels where they are."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform

    def __call__(self, image: Any, points: Tensor) -> Pair:
        """The transformed image, and the points as they are."""
        return self.transform(image), points


class Resize(_Points):
    """The image in another size, (height, width) or its shorter side; the points with it."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = size

    def __call__(self, image: Any, points: Tensor) -> Pair:
        """Both, resized."""
        _, height, width = get_dimensions(image)
        high, wide = resized_output_size((height, width), self.size)
        return F.resize(image, [high, wide]), points * torch.tensor([wide / width, high / height])


class RandomCrop(_Points):
    """A part of the image from anywhere, (height, width) or a square; points may fall outside."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])

    def __call__(self, image: Any, points: Tensor) -> Pair:
        """Both, cropped."""
        top, left, high, wide = ImageCrop.get_params(image, self.size)
        return F.crop(image, top, left, high, wide), points - torch.tensor([left, top])


class RandomHorizontalFlip(_Points):
    """Mirrored left to right with probability `p`.

    Args:
        p: probability.
        swap: the point that takes the place of each when left and right change, P numbers: the
            left eye's place goes to the right eye's. None leaves each point its place.
    """

    def __init__(self, p: float = 0.5, swap: Sequence[int] | None = None) -> None:
        self.p = p
        self.swap = swap

    def __call__(self, image: Any, points: Tensor) -> Pair:
        """Both, mirrored or not."""
        if not chance(self.p):
            return image, points
        width = get_dimensions(image)[2]
        # The middle of the first pixel, 0, goes to that of the last.
        points = torch.stack([width - 1 - points[:, 0], points[:, 1]], 1)  # P, 2
        if self.swap is not None:
            points = points[torch.tensor(list(self.swap))]
        return F.hflip(image), points


class RandomAffine(_Points):
    """Both rotated, moved and scaled around the middle.

    Args:
        degrees: rotation from -degrees to degrees.
        translate: moves up to these shares of width and height.
        scale: (least, largest) factor.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: tuple[float, float] = (0.0, 0.0),
        scale: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self.degrees = degrees
        self.translate = translate
        self.scale = scale

    def __call__(self, image: Any, points: Tensor) -> Pair:
        """Both, warped."""
        _, height, width = get_dimensions(image)
        angle = uniform(-self.degrees, self.degrees)
        far_x, far_y = self.translate[0] * width, self.translate[1] * height
        move = [int(round(uniform(-far_x, far_x))), int(round(uniform(-far_y, far_y)))]
        scale = uniform(*self.scale)
        mode = F.InterpolationMode.BILINEAR
        image = F.affine(image, angle, move, scale, 0.0, mode)
        # The image is made by asking where each pixel came from; points go the other way.
        middle = [width * 0.5, height * 0.5]
        a, b, c, d, e, f = inverse_affine_matrix(middle, angle, move, scale, [0.0, 0.0])
        back = torch.tensor([[a, b], [d, e]])
        shift = torch.tensor([c, f])
        # Pixel centres lie half a pixel from the corner that the matrix counts from.
        moved = torch.linalg.solve(back, (points + 0.5 - shift).T).T - 0.5  # P, 2
        return image, moved


class ToTensor(_Points):
    """The image as a tensor from 0 to 1; see `suiren.vision.transforms.ToTensor`."""

    def __call__(self, image: Any, points: Tensor) -> Pair:
        """The tensor, and the points as they are."""
        return F.to_tensor(image), points


class Grayscale(_Points):
    """The image in grey, with one channel."""

    def __call__(self, image: Any, points: Tensor) -> Pair:
        """The grey image, and the points as they are."""
        return F.rgb_to_grayscale(image), points


class Scale(_Points):
    """The points as shares of width and height, 0 to 1 inside the image."""

    def __call__(self, image: Any, points: Tensor) -> Pair:
        """The image as it is, and the scaled points."""
        width, height = image.size if is_pil(image) else (image.shape[-1], image.shape[-2])
        return image, points / torch.tensor([float(width), float(height)])


__all__ = [
    "Compose",
    "Grayscale",
    "Image",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "Resize",
    "Scale",
    "ToTensor",
]
