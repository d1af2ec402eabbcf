"""torchvision.io for still images: files to uint8 tensors (C, H, W) and back, with Pillow."""

import enum
import io
import os
from typing import Any

import numpy as np

import suiren as torch
from suiren.files import replacing
from suiren.tensor import Tensor
from suiren.vision.transforms.kinds import pil_array, tensor_of


class ImageReadMode(enum.Enum):
    """What `read_image` makes of a file's channels."""

    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4


_PILLOW = {
    ImageReadMode.GRAY: "L",
    ImageReadMode.GRAY_ALPHA: "LA",
    ImageReadMode.RGB: "RGB",
    ImageReadMode.RGB_ALPHA: "RGBA",
}


def _mode(mode: "ImageReadMode | str") -> ImageReadMode:
    if not isinstance(mode, str):
        return mode
    names = {"RGBA": "RGB_ALPHA", "LA": "GRAY_ALPHA", "L": "GRAY"}
    return ImageReadMode[names.get(mode.upper(), mode.upper())]


def read_file(path: str | os.PathLike) -> Tensor:
    """The bytes of a file, uint8 of one dimension."""
    with open(path, "rb") as file:
        return tensor_of(np.frombuffer(file.read(), np.uint8).copy())


def write_file(filename: str | os.PathLike, data: Tensor) -> None:
    """Writes a uint8 tensor of one dimension as the bytes of a file.

    Raises:
        RuntimeError: it is no such tensor.
    """
    if data.dtype is not torch.uint8 or data.ndim != 1:
        raise RuntimeError(f"write_file: data should be uint8 of one dimension, got {data.dtype}")
    with replacing(os.fspath(filename)) as file:
        file.write(data.peek().tobytes())


def decode_image(
    input: Tensor | str | os.PathLike,
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Tensor:
    """An encoded image as a tensor (C, H, W), uint8 from 0 to 255; 16-bit PNGs as uint16.

    Args:
        input: the file's bytes (uint8 of one dimension) or its path.
        mode: the channels wanted.
        apply_exif_orientation: turn a photograph as its camera was held.

    Raises:
        RuntimeError: Pillow cannot decode it.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(input, Tensor):
        if input.dtype is not torch.uint8 or input.ndim != 1:
            raise RuntimeError(
                f"decode_image: input should be uint8 of one dimension, got {input.dtype} of "
                f"shape {list(input.shape)}"
            )
        source: Any = io.BytesIO(input.peek().tobytes())
    else:
        source = input
    wanted = _mode(mode)
    try:
        with Image.open(source) as opened:
            opened.load()
            image: Any = opened
            if apply_exif_orientation:
                image = ImageOps.exif_transpose(image)
            if wanted is not ImageReadMode.UNCHANGED:
                image = image.convert(_PILLOW[wanted])
            elif image.mode in ("P", "1", "CMYK", "YCbCr"):  # what the tensor could not tell
                image = image.convert("RGBA" if "transparency" in image.info else _plain(image))
            array = np.array(pil_array(image), order="C")
    except UnidentifiedImageError as error:
        raise RuntimeError("decode_image: this is no image that Pillow knows") from error
    except (OSError, SyntaxError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise RuntimeError(f"decode_image: {error}") from error
    return tensor_of(array.view(np.uint16) if array.dtype == np.int16 else array)


def _plain(image: Any) -> str:
    return "L" if image.mode == "1" else "RGB"


def read_image(
    path: str | os.PathLike,
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Tensor:
    """An image file as a tensor (C, H, W), uint8; for the arguments see `decode_image`.

    Example:
        >>> import os, tempfile
        >>> import suiren as torch
        >>> from suiren.vision.io import read_image, write_png
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "a.png")
        ...     write_png(torch.full((3, 4, 5), 7, dtype=torch.uint8), path)
        ...     read_image(path).shape
        torch.Size([3, 4, 5])
    """
    return decode_image(path, mode, apply_exif_orientation)


def _decoder(name: str, kind: str) -> Any:
    def decode(input: Tensor, mode: ImageReadMode | str = ImageReadMode.UNCHANGED) -> Tensor:
        return decode_image(input, mode)

    decode.__name__ = decode.__qualname__ = name
    decode.__doc__ = f"The bytes of a {kind} file as a tensor (C, H, W); see `decode_image`."
    return decode


decode_png = _decoder("decode_png", "PNG")
decode_jpeg = _decoder("decode_jpeg", "JPEG")
decode_gif = _decoder("decode_gif", "GIF (its first picture)")
decode_webp = _decoder("decode_webp", "WebP")


def _encoded(input: Tensor, name: str, kind: str, **options: Any) -> bytes:
    from PIL import Image

    if input.dtype is not torch.uint8:
        raise RuntimeError(f"{name}: input tensor dtype should be uint8, got {input.dtype}")
    if input.ndim != 3 or input.shape[0] not in (1, 3):
        raise RuntimeError(f"{name}: input should be (1 or 3, H, W), got shape {list(input.shape)}")
    pixels = input.detach().peek()
    image = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def encode_png(input: Tensor, compression_level: int = 6) -> Tensor:
    """A uint8 tensor (1 or 3, H, W) as the bytes of a PNG file.

    Args:
        compression_level: 0 to 9.

    Raises:
        RuntimeError: it is no such tensor or number.
    """
    if not 0 <= compression_level <= 9:
        raise RuntimeError(f"Compression level should be between 0 and 9, got {compression_level}")
    data = _encoded(input, "encode_png", "PNG", compress_level=compression_level)
    return tensor_of(np.frombuffer(data, np.uint8).copy())


def encode_jpeg(input: Tensor, quality: int = 75) -> Tensor:
    """A uint8 tensor (1 or 3, H, W) as the bytes of a JPEG file.

    Args:
        quality: 1 to 100.

    Raises:
        RuntimeError: it is no such tensor or number.
    """
    if not 1 <= quality <= 100:
        raise RuntimeError(f"Image quality should be between 1 and 100, got {quality}")
    data = _encoded(input, "encode_jpeg", "JPEG", quality=quality)
    return tensor_of(np.frombuffer(data, np.uint8).copy())


def write_png(input: Tensor, filename: str | os.PathLike, compression_level: int = 6) -> None:
    """Writes a uint8 tensor (1 or 3, H, W) to a PNG file; see `encode_png`."""
    write_file(filename, encode_png(input, compression_level))


def write_jpeg(input: Tensor, filename: str | os.PathLike, quality: int = 75) -> None:
    """Writes a uint8 tensor (1 or 3, H, W) to a JPEG file; see `encode_jpeg`."""
    write_file(filename, encode_jpeg(input, quality))


__all__ = [
    "ImageReadMode",
    "decode_gif",
    "decode_image",
    "decode_jpeg",
    "decode_png",
    "decode_webp",
    "encode_jpeg",
    "encode_png",
    "read_file",
    "read_image",
    "write_file",
    "write_jpeg",
    "write_png",
]
