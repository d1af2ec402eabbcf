"""torchvision.transforms.v2.functional, for images: v1's functions, `to_image` and `to_dtype`."""

from typing import Any

import suiren as torch
from suiren.tensor import Tensor
from suiren.vision.transforms import functional as v1
from suiren.vision.transforms.functional import *  # noqa: F403
from suiren.vision.transforms.functional import convert_image_dtype, pil_to_tensor
from suiren.vision.transforms.kinds import is_pil, tensor_of


def to_image(inpt: Any) -> Tensor:
    """A PIL image, an array (H, W, C) or (H, W), or a tensor, as a tensor (C, H, W), not scaled.

    Raises:
        TypeError: it is none of these.
    """
    import numpy as np

    if isinstance(inpt, Tensor):
        return inpt
    if is_pil(inpt):
        return pil_to_tensor(inpt)
    if isinstance(inpt, np.ndarray):
        array = inpt[:, :, None] if inpt.ndim == 2 else inpt
        return tensor_of(np.array(array.transpose(2, 0, 1), order="C"))
    raise TypeError(
        f"Input can either be a pure Tensor, a numpy array, or a PIL image, but got {type(inpt)}"
    )


def to_dtype(inpt: Tensor, dtype: torch.dtype = torch.float32, scale: bool = False) -> Tensor:
    """The tensor in another dtype; with `scale` white stays white."""
    return convert_image_dtype(inpt, dtype) if scale else inpt.to(dtype)


__all__ = [*v1.__all__, "to_dtype", "to_image"]
