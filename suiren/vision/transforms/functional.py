"""torchvision.transforms.functional: image operations with all their parameters given.

Every function takes a PIL image and gives one back, or a tensor (..., C, H, W) and gives one back;
batches are welcome. PIL images are worked on by Pillow (`pil_images`), tensors by our operators
(`tensor_geometry`, `tensor_color`), so that gradients flow through them.

Each raises TypeError for what is neither. Behaviour follows torchvision's documentation.
"""

from collections.abc import Sequence
from typing import Any

from suiren.tensor import Tensor
from suiren.vision.transforms import pil_images, tensor_color, tensor_geometry
from suiren.vision.transforms.kinds import (
    convert_image_dtype,
    get_dimensions,
    get_image_num_channels,
    get_image_size,
    is_pil,
    need_image_tensor,
    normalize,
    pil_to_tensor,
    to_pil_image,
    to_tensor,
)
from suiren.vision.transforms.modes import InterpolationMode, as_mode
from suiren.vision.transforms.warps import (
    inverse_affine_matrix,
    perspective_coefficients,
    resized_output_size,
    rotated_size,
)

Picture = Any  # a PIL image or a tensor
_NEAREST = InterpolationMode.NEAREST
_BILINEAR = InterpolationMode.BILINEAR


def _need_image(img: Picture) -> bool:
    """Whether this is a PIL image; TypeError if it is no image at all."""
    if is_pil(img):
        return True
    need_image_tensor(img)
    return False


# ---- cutting and flipping


def hflip(img: Picture) -> Picture:
    """The image mirrored left to right."""
    if _need_image(img):
        return pil_images.flip(img, True)
    return tensor_geometry.flip(img, True)


def vflip(img: Picture) -> Picture:
    """The image mirrored top to bottom."""
    if _need_image(img):
        return pil_images.flip(img, False)
    return tensor_geometry.flip(img, False)


def crop(img: Picture, top: int, left: int, height: int, width: int) -> Picture:
    """The rectangle of this corner and size; what lies outside the image is 0.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.transforms.functional import crop
        >>> crop(torch.arange(9).reshape(1, 3, 3), 1, 2, 2, 2)
        tensor([[[5, 0],
                 [8, 0]]])
    """
    if _need_image(img):
        return pil_images.crop(img, top, left, height, width)
    return tensor_geometry.crop(img, top, left, height, width)


def pair(size: Any, name: str = "output_size") -> list[int]:
    """A number twice, a sequence of one twice, a sequence of two as it is.

    Raises:
        ValueError: another number of values.
    """
    if isinstance(size, int):
        return [size, size]
    if len(size) == 1:
        return [int(size[0]), int(size[0])]
    if len(size) != 2:
        raise ValueError(f"{name} must be one number or (height, width), got {size}")
    return [int(size[0]), int(size[1])]


def center_crop(img: Picture, output_size: int | Sequence[int]) -> Picture:
    """The middle of the image; an image that is too small is padded with 0 first."""
    wanted_height, wanted_width = pair(output_size)
    _, height, width = get_dimensions(img)
    if wanted_width > width or wanted_height > height:
        extra_width, extra_height = max(wanted_width - width, 0), max(wanted_height - height, 0)
        left, top = extra_width // 2, extra_height // 2
        img = pad(img, [left, top, extra_width - left, extra_height - top], fill=0)
        _, height, width = get_dimensions(img)
        if wanted_width == width and wanted_height == height:
            return img
    top = int(round((height - wanted_height) / 2.0))
    left = int(round((width - wanted_width) / 2.0))
    return crop(img, top, left, wanted_height, wanted_width)


def five_crop(img: Picture, size: int | Sequence[int]) -> tuple[Picture, ...]:
    """The four corners (top left, top right, bottom left, bottom right) and the middle.

    Raises:
        ValueError: the image is smaller than `size`.
    """
    high, wide = pair(size, "size")
    _, height, width = get_dimensions(img)
    if wide > width or high > height:
        raise ValueError(
            f"Requested crop size {(high, wide)} is bigger than input size {(height, width)}"
        )
    return (
        crop(img, 0, 0, high, wide),
        crop(img, 0, width - wide, high, wide),
        crop(img, height - high, 0, high, wide),
        crop(img, height - high, width - wide, high, wide),
        center_crop(img, [high, wide]),
    )


def ten_crop(
    img: Picture, size: int | Sequence[int], vertical_flip: bool = False
) -> tuple[Picture, ...]:
    """`five_crop` of the image, then of its mirror image."""
    mirrored = vflip(img) if vertical_flip else hflip(img)
    return five_crop(img, size) + five_crop(mirrored, size)


def resize(
    img: Picture,
    size: int | Sequence[int],
    interpolation: InterpolationMode | int = _BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Picture:
    """The image in another size.

    Args:
        size: (height, width); or one number, to which the shorter side is brought while the
            aspect ratio stays.
        interpolation: for tensors NEAREST, NEAREST_EXACT, BILINEAR or BICUBIC.
        max_size: with one number: no side becomes longer than this.
        antialias: for tensors: average what falls together when shrinking, as Pillow always does.

    Raises:
        ValueError: `max_size` with two numbers, or not above the number.
    """
    mode = as_mode(interpolation)
    _, height, width = get_dimensions(img)
    wanted = resized_output_size((height, width), size, max_size)
    if [height, width] == wanted:
        return img
    if is_pil(img):
        return pil_images.resize(img, wanted, mode)
    _need_tensor_mode("resize", mode, ("nearest", "nearest-exact", "bilinear", "bicubic"))
    return tensor_geometry.resize(img, wanted, mode.value, bool(antialias))


def _need_tensor_mode(name: str, mode: InterpolationMode, permitted: tuple[str, ...]) -> None:
    if mode.value not in permitted:
        raise ValueError(
            f"{name}: interpolation mode {mode.value!r} is unsupported with Tensor input; "
            f"there are {', '.join(permitted)}"
        )


def resized_crop(
    img: Picture,
    top: int,
    left: int,
    height: int,
    width: int,
    size: int | Sequence[int],
    interpolation: InterpolationMode | int = _BILINEAR,
    antialias: bool | None = True,
) -> Picture:
    """`crop`, then `resize`."""
    part = crop(img, top, left, height, width)
    return resize(part, size, interpolation, antialias=antialias)


_PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


def pad(
    img: Picture,
    padding: int | Sequence[int],
    fill: Any = 0,
    padding_mode: str = "constant",
) -> Picture:
    """The image with a border.

    Args:
        padding: one number for all sides; two for left and right, top and bottom; or four for
            left, top, right, bottom. Negative ones crop.
        fill: the colour of a constant border; a tuple for PIL images of several channels.
        padding_mode: "constant", "edge" (last pixel repeated), "reflect" (mirrored without the
            edge) or "symmetric" (mirrored with it).

    Raises:
        TypeError, ValueError: `padding`, `fill` or `padding_mode` is none of these.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.transforms.functional import pad
        >>> pad(torch.tensor([[[1, 2, 3]]]), [2, 0], padding_mode="symmetric")
        tensor([[[2, 1, 1, 2, 3, 3, 2]]])
    """
    on_pil = _need_image(img)
    if not isinstance(padding, (int, tuple, list)):
        raise TypeError(f"Got inappropriate padding arg: {padding!r}")
    if not isinstance(fill, (int, float, str, tuple, list)):
        raise TypeError(f"Got inappropriate fill arg: {fill!r}")
    if not isinstance(padding_mode, str):
        raise TypeError("Got inappropriate padding_mode arg")
    if padding_mode not in _PADDING_MODES:
        raise ValueError(
            f"Padding mode should be either constant, edge, reflect or symmetric, "
            f"got {padding_mode!r}"
        )
    numbers = [padding] if isinstance(padding, int) else list(padding)
    if len(numbers) not in (1, 2, 4):
        raise ValueError(
            f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(numbers)} element "
            "tuple"
        )
    left, top = numbers[0], numbers[min(1, len(numbers) - 1)]
    right, bottom = (numbers[2], numbers[3]) if len(numbers) == 4 else (left, top)
    sides = [left, top, right, bottom]
    if on_pil:
        return pil_images.pad(img, sides, fill, padding_mode)
    if isinstance(fill, (tuple, list)):
        if len(fill) != 1:
            raise TypeError(f"pad: fill for a tensor is one number, got {fill!r}")
        fill = fill[0]
    return tensor_geometry.pad(img, sides, fill, padding_mode)


# ---- warps


def _warp_mode(name: str, img: Picture, interpolation: Any) -> InterpolationMode:
    mode = as_mode(interpolation)
    if not is_pil(img):
        _need_tensor_mode(name, mode, ("nearest", "bilinear"))
    return mode


def _tensor_fill(fill: Any, img: Tensor) -> list[float] | None:
    """A colour for each channel, or None."""
    if fill is None:
        return None
    if isinstance(fill, (int, float)):
        fill = [fill]
    colors = [float(x) for x in fill]
    channels = 1 if img.ndim == 2 else img.shape[-3]
    if len(colors) not in (1, channels):
        raise ValueError(
            "The number of elements in 'fill' cannot broadcast to match the number of channels of "
            f"the image ({len(colors)} != {channels})"
        )
    return colors


def _need_numbers(name: str, value: Any, count: int) -> None:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"Argument {name} should be a sequence, got {type(value).__name__}")
    if len(value) != count:
        raise ValueError(f"Argument {name} should be a sequence of length {count}, got {value!r}")


def rotate(
    img: Picture,
    angle: float,
    interpolation: InterpolationMode | int = _NEAREST,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Any = None,
) -> Picture:
    """The image turned counter-clockwise by `angle` degrees.

    Args:
        interpolation: NEAREST or BILINEAR (PIL images also BICUBIC).
        expand: grow the image so that all of the turned one fits in; ignores `center`.
        center: (x, y) from the upper left corner; None means the middle.
        fill: colour of what comes from outside the image, one number or one for each channel.
    """
    mode = _warp_mode("rotate", img, interpolation)
    if not isinstance(angle, (int, float)):
        raise TypeError(f"Argument angle should be int or float, got {type(angle).__name__}")
    if center is not None:
        _need_numbers("center", center, 2)
    if _need_image(img):
        return pil_images.rotate(img, angle, mode, expand, center, fill)
    _, height, width = get_dimensions(img)
    middle = [0.0, 0.0]
    if center is not None:
        middle = [1.0 * (c - s * 0.5) for c, s in zip(center, (width, height), strict=True)]
    matrix = inverse_affine_matrix(middle, -angle, [0.0, 0.0], 1.0, [0.0, 0.0])
    size = rotated_size(matrix, height, width) if expand else None
    return tensor_geometry.affine(img, matrix, mode.value, _tensor_fill(fill, img), size)


def affine(
    img: Picture,
    angle: float,
    translate: Sequence[int],
    scale: float,
    shear: float | Sequence[float],
    interpolation: InterpolationMode | int = _NEAREST,
    fill: Any = None,
    center: Sequence[float] | None = None,
) -> Picture:
    """The image rotated, moved, scaled and sheared, its middle kept.

    Args:
        angle: clockwise, in degrees.
        translate: (right, down) in pixels, after the rotation.
        scale: above 0.
        shear: degrees along x, or along (x, y).
        interpolation, fill, center: as for `rotate`.

    Raises:
        TypeError, ValueError: an argument is of another kind, or `scale` is not above 0.
    """
    mode = _warp_mode("affine", img, interpolation)
    if not isinstance(angle, (int, float)):
        raise TypeError("Argument angle should be int or float")
    _need_numbers("translate", translate, 2)
    if scale <= 0.0:
        raise ValueError(f"Argument scale should be positive, got {scale}")
    if isinstance(shear, (int, float)):
        shear = [float(shear), 0.0]
    elif not isinstance(shear, (list, tuple)):
        raise TypeError("Shear should be either a single value or a sequence of two values")
    elif len(shear) == 1:
        shear = [shear[0], shear[0]]
    elif len(shear) != 2:
        raise ValueError(f"Shear should be a sequence containing two values. Got {shear}")
    if center is not None:
        _need_numbers("center", center, 2)
    _, height, width = get_dimensions(img)
    if is_pil(img):
        # Pillow counts from the corner, tensors are sampled from the middle.
        middle = [width * 0.5, height * 0.5] if center is None else [float(c) for c in center]
        matrix = inverse_affine_matrix(middle, angle, translate, scale, shear)
        return pil_images.affine(img, matrix, mode, fill)
    middle = [0.0, 0.0]
    if center is not None:
        middle = [1.0 * (c - s * 0.5) for c, s in zip(center, (width, height), strict=True)]
    matrix = inverse_affine_matrix(middle, angle, [1.0 * t for t in translate], scale, shear)
    return tensor_geometry.affine(img, matrix, mode.value, _tensor_fill(fill, img))


def perspective(
    img: Picture,
    startpoints: Sequence[Sequence[int]],
    endpoints: Sequence[Sequence[int]],
    interpolation: InterpolationMode | int = _BILINEAR,
    fill: Any = None,
) -> Picture:
    """The image warped so that four corners come to lie elsewhere.

    Args:
        startpoints, endpoints: (x, y) of top left, top right, bottom right and bottom left corner,
            before and after.
        interpolation: NEAREST or BILINEAR (PIL images also BICUBIC).
        fill: as for `rotate`.
    """
    mode = _warp_mode("perspective", img, interpolation)
    coefficients = perspective_coefficients(startpoints, endpoints)
    if _need_image(img):
        return pil_images.perspective(img, coefficients, mode, fill)
    return tensor_geometry.perspective(img, coefficients, mode.value, _tensor_fill(fill, img))


# ---- filters


def gaussian_blur(
    img: Picture, kernel_size: int | Sequence[int], sigma: float | Sequence[float] | None = None
) -> Picture:
    """The image blurred with a Gaussian; edges are mirrored.

    Args:
        kernel_size: odd, one number or (x, y).
        sigma: standard deviation in pixels, one number or (x, y); None takes
            ``0.15 * kernel_size + 0.35``.

    Raises:
        ValueError: a size that is even or not positive, a `sigma` that is not positive.
    """
    if not isinstance(kernel_size, (int, list, tuple)):
        raise TypeError(f"kernel_size should be int or a sequence, got {type(kernel_size)}")
    sizes = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    if len(sizes) != 2:
        raise ValueError(f"kernel_size should have two numbers, got {kernel_size}")
    for size in sizes:
        if size % 2 == 0 or size < 0:
            raise ValueError(f"kernel_size should have odd and positive integers. Got {sizes}")
    if sigma is None:
        sigmas = [size * 0.15 + 0.35 for size in sizes]
    elif isinstance(sigma, (int, float)):
        sigmas = [float(sigma)] * 2
    elif isinstance(sigma, (list, tuple)) and len(sigma) in (1, 2):
        sigmas = [float(sigma[0]), float(sigma[-1])]
    else:
        raise TypeError(f"sigma should be either float or sequence of floats. Got {sigma!r}")
    for number in sigmas:
        if number <= 0.0:
            raise ValueError(f"sigma should have positive values. Got {sigmas}")
    if _need_image(img):
        blurred = tensor_geometry.gaussian_blur(pil_to_tensor(img), sizes, sigmas)
        return to_pil_image(blurred, mode=img.mode)
    return tensor_geometry.gaussian_blur(img, sizes, sigmas)


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Tensor, inplace: bool = False) -> Tensor:
    """A tensor image whose rectangle of corner (i, j), height h and width w is `v`.

    Args:
        v: broadcasts to (C, h, w).
        inplace: write into `img`.
    """
    if not isinstance(img, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(img)}")
    return tensor_geometry.erase(img, i, j, h, w, v, inplace)


# ---- colours


def adjust_brightness(img: Picture, brightness_factor: float) -> Picture:
    """0 gives black, 1 the image, 2 twice its brightness."""
    if _need_image(img):
        return pil_images.enhance(img, "Brightness", brightness_factor)
    return tensor_color.adjust_brightness(img, _not_negative("brightness", brightness_factor))


def _not_negative(name: str, factor: float) -> float:
    if factor < 0:
        raise ValueError(f"{name}_factor ({factor}) is not non-negative.")
    return factor


def adjust_contrast(img: Picture, contrast_factor: float) -> Picture:
    """0 gives the mean grey everywhere, 1 the image, 2 twice its contrast."""
    if _need_image(img):
        return pil_images.enhance(img, "Contrast", contrast_factor)
    return tensor_color.adjust_contrast(img, _not_negative("contrast", contrast_factor))


def adjust_saturation(img: Picture, saturation_factor: float) -> Picture:
    """0 gives grey, 1 the image, 2 twice its saturation."""
    if _need_image(img):
        return pil_images.enhance(img, "Color", saturation_factor)
    return tensor_color.adjust_saturation(img, _not_negative("saturation", saturation_factor))


def adjust_hue(img: Picture, hue_factor: float) -> Picture:
    """All hues turned by `hue_factor` of a full circle, from -0.5 to 0.5.

    Raises:
        ValueError: outside that.
    """
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    if _need_image(img):
        return pil_images.adjust_hue(img, hue_factor)
    return tensor_color.adjust_hue(img, hue_factor)


def adjust_gamma(img: Picture, gamma: float, gain: float = 1) -> Picture:
    """``gain * img ** gamma`` for values from 0 to 1; above 1 makes shadows darker.

    Raises:
        ValueError: a negative `gamma`.
    """
    if gamma < 0:
        raise ValueError(f"Gamma should be a non-negative real number, got {gamma}")
    if _need_image(img):
        return pil_images.adjust_gamma(img, gamma, gain)
    return tensor_color.adjust_gamma(img, gamma, gain)


def adjust_sharpness(img: Picture, sharpness_factor: float) -> Picture:
    """0 gives a smoothed image, 1 the image, 2 a sharpened one."""
    if _need_image(img):
        return pil_images.enhance(img, "Sharpness", sharpness_factor)
    return tensor_color.adjust_sharpness(img, _not_negative("sharpness", sharpness_factor))


def to_grayscale(img: Picture, num_output_channels: int = 1) -> Picture:
    """A PIL image in grey, with 1 or 3 channels."""
    if is_pil(img):
        return pil_images.to_grayscale(img, num_output_channels)
    raise TypeError("Input should be PIL Image; rgb_to_grayscale() takes tensors too")


def rgb_to_grayscale(img: Picture, num_output_channels: int = 1) -> Picture:
    """An RGB image in grey, ``0.2989 R + 0.587 G + 0.114 B``, with 1 or 3 channels."""
    if _need_image(img):
        return pil_images.to_grayscale(img, num_output_channels)
    return tensor_color.to_grayscale(img, num_output_channels)


def invert(img: Picture) -> Picture:
    """Black for white and every colour for its opposite."""
    if _need_image(img):
        from PIL import ImageOps

        return ImageOps.invert(img)
    return tensor_color.invert(img)


def posterize(img: Picture, bits: int) -> Picture:
    """Only the `bits` highest bits of every channel kept, 0 to 8; uint8 alone."""
    if not 0 <= bits <= 8:
        raise ValueError(f"The number if bits should be between 0 and 8. Got {bits}")
    if _need_image(img):
        from PIL import ImageOps

        return ImageOps.posterize(img, bits)
    return tensor_color.posterize(img, bits)


def solarize(img: Picture, threshold: float) -> Picture:
    """All values from `threshold` up inverted."""
    if _need_image(img):
        from PIL import ImageOps

        return ImageOps.solarize(img, threshold)  # type: ignore[arg-type]
    return tensor_color.solarize(img, threshold)


def autocontrast(img: Picture) -> Picture:
    """Each channel stretched until its darkest value is black and its lightest white."""
    if _need_image(img):
        from PIL import ImageOps

        return ImageOps.autocontrast(img)
    return tensor_color.autocontrast(img)


def equalize(img: Picture) -> Picture:
    """Each channel's histogram made flat; uint8 alone."""
    if _need_image(img):
        from PIL import ImageOps

        return ImageOps.equalize(img)
    return tensor_color.equalize(img)


__all__ = [
    "InterpolationMode",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "autocontrast",
    "center_crop",
    "convert_image_dtype",
    "crop",
    "equalize",
    "erase",
    "five_crop",
    "gaussian_blur",
    "get_dimensions",
    "get_image_num_channels",
    "get_image_size",
    "hflip",
    "invert",
    "normalize",
    "pad",
    "perspective",
    "pil_to_tensor",
    "posterize",
    "resize",
    "resized_crop",
    "rgb_to_grayscale",
    "rotate",
    "solarize",
    "ten_crop",
    "to_grayscale",
    "to_pil_image",
    "to_tensor",
    "vflip",
]
