"""Transforms between PIL images and tensors, and of a tensor's numbers."""

from collections.abc import Sequence
from typing import Any

import suiren as torch
from suiren import nn
from suiren.tensor import Tensor
from suiren.vision.transforms import kinds


class ToTensor:
    """A PIL image or an array (H, W, C) as a tensor (C, H, W).

    8-bit images, bilevel ones and arrays of uint8 become float32 from 0 to 1; others keep their
    values.

    Example:
        >>> from PIL import Image
        >>> from suiren.vision.transforms import ToTensor
        >>> ToTensor()(Image.new("L", (2, 1), 51))
        tensor([[[0.2000, 0.2000]]])
    """

    def __call__(self, pic: Any) -> Tensor:
        """The tensor."""
        return kinds.to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PILToTensor:
    """The pixels of a PIL image as a tensor (C, H, W) of the image's own type, not scaled."""

    def __call__(self, pic: Any) -> Tensor:
        """The tensor."""
        return kinds.pil_to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ConvertImageDtype(nn.Module):
    """A tensor image in another dtype, scaled so that white stays white.

    Args:
        dtype: the wanted dtype.

    For what is raised see `functional.convert_image_dtype`.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, image: Tensor) -> Tensor:
        """The converted image."""
        return kinds.convert_image_dtype(image, self.dtype)


class ToPILImage:
    """A tensor (C, H, W) or an array (H, W, C) as a PIL image.

    Args:
        mode: Pillow's mode; None chooses by channels and dtype. See `functional.to_pil_image`.
    """

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        """The PIL image."""
        return kinds.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        shown = "" if self.mode is None else f"mode={self.mode}"
        return f"{type(self).__name__}({shown})"


class Normalize(nn.Module):
    """``(image - mean) / std``, channel by channel, of a floating point tensor (..., C, H, W).

    Args:
        mean, std: C numbers each.
        inplace: write into the image.

    For what is raised see `functional.normalize`.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.transforms import Normalize
        >>> Normalize((0.5,), (0.25,))(torch.ones(1, 1, 2))
        tensor([[[2., 2.]]])
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.std = std
        self.inplace = inplace

    def forward(self, tensor: Tensor) -> Tensor:
        """The normalised image."""
        return kinds.normalize(tensor, self.mean, self.std, self.inplace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self.mean}, std={self.std})"


class LinearTransformation(nn.Module):
    """A flattened image, less a mean vector, times a square matrix (as for whitening).

    Args:
        transformation_matrix: (D, D) with ``D = C * H * W``.
        mean_vector: (D,).

    Raises:
        ValueError: the matrix is not square or the vector of another length.
    """

    def __init__(self, transformation_matrix: Tensor, mean_vector: Tensor) -> None:
        super().__init__()
        rows, columns = transformation_matrix.shape
        if rows != columns:
            raise ValueError(
                "transformation_matrix should be square. Got "
                f"{list(transformation_matrix.shape)} rectangular matrix."
            )
        if mean_vector.shape[0] != rows:
            raise ValueError(
                f"mean_vector should have the same length {mean_vector.shape[0]} as any one of "
                f"the dimensions of the transformation_matrix [{rows}, {columns}]"
            )
        if transformation_matrix.dtype != mean_vector.dtype:
            raise ValueError(
                f"Input tensors should have the same dtype. Got {transformation_matrix.dtype} and "
                f"{mean_vector.dtype}"
            )
        self.transformation_matrix = transformation_matrix
        self.mean_vector = mean_vector

    def forward(self, tensor: Tensor) -> Tensor:
        """The transformed image, (..., C, H, W)."""
        size = self.transformation_matrix.shape[0]
        if tensor.shape[-3] * tensor.shape[-2] * tensor.shape[-1] != size:
            raise ValueError(
                "Input tensor and transformation matrix have incompatible shape."
                f"{list(tensor.shape[-3:])} against a matrix for {size} numbers"
            )
        flat = tensor.reshape(-1, size) - self.mean_vector
        return torch.mm(flat, self.transformation_matrix).reshape(tensor.shape)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(transformation_matrix={self.transformation_matrix.tolist()}, "
            f"mean_vector={self.mean_vector.tolist()})"
        )
