"""`show`: a tensor as a picture, which a notebook displays."""

from typing import TYPE_CHECKING, Any

from suiren.tensor import Tensor
from suiren.vision.transforms import functional as F
from suiren.vision.utils import make_grid

if TYPE_CHECKING:
    from PIL import Image

SMALLEST = 160  # pixels: smaller pictures are enlarged, each pixel a square


def show(image: Any, columns: int = 8, normalize: bool | None = None) -> "Image.Image":
    """A tensor as a PIL image, which a notebook displays as the last value of a cell.

    Args:
        image: (H, W), (C, H, W) or (N, C, H, W), C 1 or 3; a batch becomes a grid. Bytes, or
            floating point from 0 to 1.
        columns: images in a row of a grid.
        normalize: stretch the least value to black and the largest to white; None does so if
            any value is outside 0 to 1.

    Raises:
        TypeError: not a tensor.
        ValueError: a shape that is not an image's.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision import show
        >>> show(torch.rand(3, 80, 80)).size
        (160, 160)
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"show() takes a tensor, got {type(image).__name__}")
    picture = image.detach()
    if picture.dim() == 2:
        picture = picture[None]  # 1, H, W
    if picture.dim() not in (3, 4) or picture.shape[-3] not in (1, 3):
        raise ValueError(
            f"show() takes (H, W), (C, H, W) or (N, C, H, W) with 1 or 3 channels, got shape "
            f"{tuple(image.shape)}"
        )
    if picture.is_floating_point():
        least, most = picture.min().item(), picture.max().item()
        if normalize or (normalize is None and (least < 0 or most > 1)):
            picture = (picture - least) / (most - least or 1.0)
    if picture.dim() == 4:
        picture = make_grid(picture, nrow=columns)
    shown = F.to_pil_image(picture)
    factor = -(-SMALLEST // max(shown.size))
    if factor > 1:
        shown = shown.resize((shown.width * factor, shown.height * factor), 0)  # NEAREST
    return shown
