"""The v2 transforms without a counterpart in v1."""

from typing import Any

import suiren as torch
from suiren import nn
from suiren.tensor import Tensor
from suiren.vision.transforms.v2.functional import to_dtype, to_image


class ToImage(nn.Module):
    """A PIL image or an array (H, W, C) as a tensor (C, H, W) of the image's own type, not scaled.

    With ``ToDtype(torch.float32, scale=True)`` after it, it does what `ToTensor` does.
    """

    def forward(self, inpt: Any) -> Tensor:
        """The tensor."""
        return to_image(inpt)


class ToDtype(nn.Module):
    """The tensor in another dtype.

    Args:
        dtype: the wanted dtype.
        scale: whether white stays white; else numbers are converted as they are.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.transforms import v2
        >>> v2.ToDtype(torch.float32, scale=True)(torch.full((1, 1, 1), 255, dtype=torch.uint8))
        tensor([[[1.]]])
    """

    def __init__(self, dtype: torch.dtype, scale: bool = False) -> None:
        super().__init__()
        if not isinstance(dtype, torch.dtype):
            raise NotImplementedError(
                "ToDtype() by kind of input is not there, as there are no kinds of tensors; "
                f"give one dtype instead of {dtype!r}"
            )
        self.dtype = dtype
        self.scale = scale

    def forward(self, inpt: Any) -> Any:
        """The converted tensor; what is no tensor stays as it is."""
        return to_dtype(inpt, self.dtype, self.scale) if isinstance(inpt, Tensor) else inpt


class ToPureTensor(nn.Module):
    """The tensor itself: there are no kinds of tensors to take off."""

    def forward(self, inpt: Any) -> Any:
        """What it was given."""
        return inpt
