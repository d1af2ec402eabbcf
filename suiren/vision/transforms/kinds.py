"""What an image is: a PIL image or a tensor (..., C, H, W); its sizes, and the way between the two.

Here are the functions behind `ToTensor`, `PILToTensor`, `ToPILImage`, `ConvertImageDtype` and
`Normalize`. A data set calls them once an image, where recording and flushing would cost more than
the arithmetic: a single image whose numbers are there already is computed by NumPy at once, in the
same float operations; batches and images that need gradients are recorded like anything else.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import suiren as torch
from suiren import dtypes
from suiren.tensor import Tensor, new_tensor, value_of
from suiren.trace import Meta, Value, meta

if TYPE_CHECKING:
    from PIL.Image import Image

_HIGH_BYTE_LAST = sys.byteorder == "little"
# Arrays that Pillow's modes of more than 8 bits stand for.
_DEEP = {"I": np.int32, "I;16": np.int16, "I;16L": np.int16, "I;16B": np.int16, "F": np.float32}


def is_pil(image: Any) -> bool:
    """Whether this is a PIL image. Pillow is not imported to find out."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def is_tensor(image: Any) -> bool:
    """Whether this is a tensor."""
    return isinstance(image, Tensor)


def need_image_tensor(image: Any) -> None:
    """Raises TypeError unless `image` is a tensor of two or more dimensions."""
    if not isinstance(image, Tensor) or image.ndim < 2:
        what = f"a tensor of {image.ndim} dimensions" if is_tensor(image) else type(image)
        raise TypeError(
            f"img should be PIL Image or a Tensor image (..., C, H, W). Got {what}; "
            "ToTensor() turns arrays into tensors"
        )


def get_dimensions(img: Any) -> list[int]:
    """`[channels, height, width]` of an image.

    Raises:
        TypeError: it is neither a PIL image nor a tensor of two or more dimensions.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.transforms.functional import get_dimensions
        >>> get_dimensions(torch.zeros(3, 4, 5))
        [3, 4, 5]
    """
    if is_pil(img):
        return [len(img.getbands()), img.height, img.width]
    need_image_tensor(img)
    channels = 1 if img.ndim == 2 else img.shape[-3]
    return [channels, img.shape[-2], img.shape[-1]]


def get_image_size(img: Any) -> list[int]:
    """`[width, height]` of an image, in Pillow's order."""
    _, height, width = get_dimensions(img)
    return [width, height]


def get_image_num_channels(img: Any) -> int:
    """The number of channels of an image."""
    return get_dimensions(img)[0]


# ---- tensors computed at once

_metas: dict[tuple, Meta] = {}


def tensor_of(array: np.ndarray) -> Tensor:
    """A tensor over an array that nobody else writes to."""
    # Images of a data set have few shapes: looking the Meta up is all that is left of its cost.
    key = (array.shape, array.dtype)
    found = _metas.get(key)
    if found is None:
        if len(_metas) >= 256:
            _metas.clear()
        found = _metas[key] = meta(array.shape, dtypes.from_numpy(array.dtype))
    return new_tensor(Value(found, array), found)


def computed(image: Tensor) -> np.ndarray | None:
    """The numbers of a single image, if they are there and no gradient is to flow; else None.

    Read-only: a transform makes a new array of them.
    """
    if image.ndim != 3 or image._requires_grad or image._grad_fn is not None:
        return None
    if image.__class__ is not Tensor or image.dtype.numpy.kind not in "uif":
        return None
    if image.device.type != "cpu" or image.dtype is torch.float16:
        return None
    return value_of(image).buffer


# ---- between PIL images, arrays and tensors


def pil_array(image: "Image") -> np.ndarray:
    """The pixels of a PIL image, channels first: (C, H, W), perhaps a read-only view."""
    mode = image.mode
    if mode == "1":
        return np.asarray(image).astype(np.uint8)[None] * np.uint8(255)
    if mode in _DEEP:
        return np.asarray(image).astype(_DEEP[mode])[None]
    # Twice as fast as np.asarray for small images.
    pixels = np.frombuffer(image.tobytes(), np.uint8)
    width, height = image.size
    channels = len(pixels) // (width * height) if len(pixels) else len(image.getbands())
    if channels == 1:
        return pixels.reshape(1, height, width)
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)  # C, H, W


def to_tensor(pic: Any) -> Tensor:
    """A PIL image or an array (H, W, C) or (H, W) as a tensor (C, H, W).

    8-bit images and arrays of uint8 (bilevel images too, with 255 as white) become floating point
    from 0 to 1, of the default dtype; others keep their values and their dtype.

    Raises:
        TypeError: neither a PIL image nor an array.
        ValueError: an array of other than 2 or 3 dimensions.

    Example:
        >>> import numpy as np
        >>> from suiren.vision.transforms.functional import to_tensor
        >>> to_tensor(np.array([[0, 51, 255]], dtype=np.uint8))
        tensor([[[0.0000, 0.2000, 1.0000]]])
    """
    if is_pil(pic):
        array = pil_array(pic)
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        array = pic[None] if pic.ndim == 2 else pic.transpose(2, 0, 1)  # C, H, W
    else:
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    if array.dtype != np.uint8:
        return tensor_of(np.array(array, order="C"))
    kind = torch.get_default_dtype()
    if kind is torch.float32 or kind is torch.float64:
        number = kind.numpy
        return tensor_of(np.divide(array, number.type(255), dtype=number, order="C"))
    return tensor_of(np.array(array, order="C")).to(kind).div(255)


def pil_to_tensor(pic: Any) -> Tensor:
    """The pixels of a PIL image as a tensor (C, H, W) of the image's own type, not scaled.

    Raises:
        TypeError: it is no PIL image.
    """
    if not is_pil(pic):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    return tensor_of(np.array(pil_array(pic), order="C"))


_MODES_BY_CHANNELS = {
    1: ("L",),
    2: ("LA",),
    3: ("RGB", "YCbCr", "HSV"),
    4: ("RGBA", "CMYK", "RGBX"),
}
_MODES_BY_DTYPE = {"uint8": "L", "int16": "I;16", "uint16": "I;16", "int32": "I", "float32": "F"}


def to_pil_image(pic: Any, mode: str | None = None) -> "Image":
    """A tensor (C, H, W) or (H, W), or an array (H, W, C) or (H, W), as a PIL image.

    A floating point tensor is multiplied by 255 and cut to uint8, unless `mode` is "F".

    Args:
        mode: Pillow's mode; None chooses by channels and dtype: L, LA, RGB or RGBA for uint8, for
            one channel also I;16 (int16), I (int32) and F (float32).

    Raises:
        TypeError: neither tensor nor array, or of a dtype that Pillow has no mode for.
        ValueError: dimensions, channels or `mode` do not fit.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.transforms.functional import to_pil_image
        >>> to_pil_image(torch.zeros(3, 4, 5)).size
        (5, 4)
    """
    from PIL import Image

    if isinstance(pic, Tensor):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        if pic.ndim == 3 and pic.shape[-3] > 4:
            raise ValueError(
                f"pic should not have > 4 channels. Got {pic.shape[-3]} channels; "
                "a tensor image is (channels, height, width)"
            )
        if pic.dtype.is_floating_point and mode != "F":
            pic = pic.detach().mul(255).to(torch.uint8)
        array = pic.detach().peek()
        array = array[:, :, None] if array.ndim == 2 else array.transpose(1, 2, 0)
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        if pic.ndim == 3 and pic.shape[-1] > 4:
            raise ValueError(
                f"pic should not have > 4 channels. Got {pic.shape[-1]} channels; "
                "an array image is (height, width, channels)"
            )
        array = pic[:, :, None] if pic.ndim == 2 else pic
    else:
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    channels = array.shape[2]
    if channels == 1:
        natural = _MODES_BY_DTYPE.get(str(array.dtype))
        if natural is None:
            raise TypeError(f"Input type {array.dtype} is not supported")
        if mode is not None and mode != natural:
            raise ValueError(
                f"Incorrect mode ({mode}) supplied for input type {array.dtype}. "
                f"Should be {natural}"
            )
        pixels = np.ascontiguousarray(array[:, :, 0])
        if natural == "I;16":
            pixels = pixels.view(np.uint16)  # Pillow knows 16 bits without a sign
        return Image.fromarray(pixels)
    permitted = _MODES_BY_CHANNELS[channels]
    if mode is not None and mode not in permitted:
        raise ValueError(f"Only modes {list(permitted)} are supported for {channels}D inputs")
    if array.dtype != np.uint8:
        raise TypeError(f"Input type {array.dtype} is not supported for {channels} channels")
    size = (array.shape[1], array.shape[0])
    return Image.frombytes(mode or permitted[0], size, np.ascontiguousarray(array).tobytes())


def max_value(dtype: torch.dtype) -> int:
    """What stands for white: 1 in floating point, the largest value of an integer type."""
    if dtype is torch.bool or dtype.is_floating_point or dtype.is_complex:
        return 1
    return torch.iinfo(dtype).max


def convert_image_dtype(image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor image in another dtype, its values scaled so that white stays white.

    Floating point images run from 0 to 1, integer ones from 0 to their type's largest value.

    Raises:
        TypeError: it is no tensor.
        RuntimeError: float32 to int32 or int64, float64 to int64: the type cannot tell such
            large numbers apart.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.transforms.functional import convert_image_dtype
        >>> convert_image_dtype(torch.tensor([[0.0, 0.5, 1.0]]), torch.uint8)
        tensor([[  0, 127, 255]], dtype=torch.uint8)
    """
    if not isinstance(image, Tensor):
        raise TypeError("Input img should be Tensor Image")
    source = image.dtype
    if source is dtype:
        return image
    if source.is_floating_point:
        if dtype.is_floating_point:
            return image.to(dtype)
        wide = (torch.int32, torch.int64) if source is torch.float32 else (torch.int64,)
        if source in (torch.float32, torch.float64) and dtype in wide:
            raise RuntimeError(f"The cast from {source} to {dtype} cannot be performed safely.")
        # Just under 1 more than white: every value but 1 itself falls in an equal share.
        return image.mul(float(max_value(dtype)) + 1.0 - 1e-3).to(dtype)
    white = float(max_value(source))
    if dtype.is_floating_point:
        return image.to(dtype).div(white)
    before, after = max_value(source), max_value(dtype)
    if before > after:
        factor = (before + 1) // (after + 1)
        return torch.div(image, factor, rounding_mode="floor").to(dtype)
    return image.to(dtype) * ((after + 1) // (before + 1))


def normalize(
    tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False
) -> Tensor:
    """``(tensor - mean) / std``, channel by channel.

    Args:
        tensor: floating point, (..., C, H, W).
        mean, std: C numbers each, or one for all channels.
        inplace: write into `tensor`.

    Raises:
        TypeError: no tensor, or an integer one.
        ValueError: fewer than three dimensions, or a `std` of zero in the tensor's dtype.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.transforms.functional import normalize
        >>> normalize(torch.full((1, 1, 2), 0.75), [0.5], [0.5])
        tensor([[[0.5000, 0.5000]]])
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
    if not tensor.dtype.is_floating_point:
        raise TypeError(
            f"Input tensor should be a float tensor. Got {tensor.dtype}; "
            "convert_image_dtype() or ToTensor() makes it one"
        )
    if tensor.ndim < 3:
        raise ValueError(
            "Expected tensor to be a tensor image of size (..., C, H, W). "
            f"Got tensor.size() = {tensor.size()}"
        )
    dtype = tensor.dtype
    pixels = None if inplace else computed(tensor)
    if pixels is not None:
        found = normalize_array(pixels, mean, std, dtype)
        if found is not None:
            return tensor_of(found)
    # Checked as arrays: asking a tensor would compute what is pending, once for each image.
    if not _columns(std, dtype.numpy).all():
        raise _zero_deviation(dtype)
    means = tensor_of(_columns(mean, dtype.numpy).copy()).to(tensor.device)
    deviations = tensor_of(_columns(std, dtype.numpy).copy()).to(tensor.device)
    if not inplace:
        return tensor.sub(means).div_(deviations)
    return tensor.sub_(means).div_(deviations)


def normalize_array(
    pixels: np.ndarray, mean: Any, std: Any, dtype: torch.dtype
) -> np.ndarray | None:
    """`normalize` of an array (..., C, H, W); None if the channels do not fit, so that the error is
    the operators' own.
    """
    means, deviations = _columns(mean, dtype.numpy), _columns(std, dtype.numpy)
    if not deviations.all():
        raise _zero_deviation(dtype)
    fits = (1, pixels.shape[-3])
    if means.size not in fits or deviations.size not in fits:
        return None
    found = np.subtract(pixels, means, order="C")
    np.divide(found, deviations, out=found)
    return found


_PLAIN_NUMBERS = {int, float}
_columns_kept: dict[tuple, np.ndarray] = {}


def _columns(numbers: Any, dtype: np.dtype) -> np.ndarray:
    """One number a channel, as an array (C, 1, 1)."""
    if isinstance(numbers, (tuple, list)):
        if not set(map(type, numbers)) <= _PLAIN_NUMBERS:
            return np.array([float(x) for x in numbers], dtype).reshape(-1, 1, 1)
        key = (tuple(numbers), dtype)
        found = _columns_kept.get(key)
        if found is None:
            if len(_columns_kept) >= 64:
                _columns_kept.clear()
            found = np.array(numbers, dtype).reshape(-1, 1, 1)
            _columns_kept[key] = found
        return found
    if isinstance(numbers, Tensor):
        numbers = numbers.detach().peek()
    array = np.asarray(numbers, dtype)
    return array.reshape(-1, 1, 1) if array.ndim == 1 else array


def _zero_deviation(dtype: torch.dtype) -> ValueError:
    return ValueError(
        f"std evaluated to zero after conversion to {dtype}, leading to division by zero."
    )
