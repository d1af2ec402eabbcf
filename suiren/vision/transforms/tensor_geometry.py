"""The geometric image operations on tensors (..., C, H, W), built on `interpolate` and
`grid_sample` as torchvision documents them. `functional` checks the arguments and calls these.

Interpolation computes in floating point; integer images are rounded back. Images that need no
gradient and are computed already are flipped, cut and padded by NumPy at once (see `kinds`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

import suiren as torch
from suiren.nn import functional
from suiren.tensor import Tensor
from suiren.vision.transforms.kinds import computed, tensor_of

F: Any = functional


def flip(image: Tensor, horizontally: bool) -> Tensor:
    pixels = computed(image)
    if pixels is not None:
        turned = pixels[..., ::-1] if horizontally else pixels[..., ::-1, :]
        return tensor_of(np.array(turned, order="C"))
    return image.flip(-1 if horizontally else -2)


def crop(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """What lies outside the image is zero."""
    rows, columns = image.shape[-2], image.shape[-1]
    bottom, right = top + height, left + width
    outside = (max(-left, 0), max(right - columns, 0), max(-top, 0), max(bottom - rows, 0))
    pixels = computed(image)
    if pixels is not None and not any(outside):
        # torchvision gives a view; a copy of what is about to be put into a batch is quicker.
        return tensor_of(pixels[:, top:bottom, left:right].copy())
    inside = image[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    return F.pad(inside, outside) if any(outside) else inside


def _flattened(image: Tensor) -> Tensor:
    return image.reshape(-1, *([1] * (3 - image.ndim)), *image.shape[-3:])  # N, C, H, W


def _as_batch(image: Tensor, wanted: tuple) -> tuple[Tensor, torch.dtype, list[int]]:
    """(batch of four dimensions and of a dtype among `wanted`, what to give to `_restored`)."""
    before = list(image.shape)
    batch = (
        image
        if image.ndim == 4
        else image.reshape(-1, *([1] * (3 - image.ndim)), *image.shape[-3:])
    )
    if image.dtype not in wanted:
        batch = batch.to(torch.float32)
    return batch, image.dtype, before


def _restored(batch: Tensor, dtype: torch.dtype, before: Sequence[int]) -> Tensor:
    if batch.dtype is not dtype:
        if not dtype.is_floating_point:
            batch = torch.round(batch)
        batch = batch.to(dtype)
    return batch.reshape(*before[:-2], *batch.shape[-2:])


def resize(image: Tensor, size: Sequence[int], mode: str, antialias: bool) -> Tensor:
    batch, dtype, before = _as_batch(image, (torch.float32, torch.float64))
    smooth = mode in ("bilinear", "bicubic")
    found = F.interpolate(
        batch,
        size=list(size),
        mode=mode,
        align_corners=False if smooth else None,
        antialias=antialias and smooth,
    )
    if mode == "bicubic" and not dtype.is_floating_point:
        found = found.clamp(0, torch.iinfo(dtype).max)  # cubics overshoot
    return _restored(found, dtype, before)


def pad(image: Tensor, sides: Sequence[int], fill: float, padding_mode: str) -> Tensor:
    """`sides` are left, top, right, bottom; negative ones crop."""
    left, top, right, bottom = sides
    edges = (left, right, top, bottom)
    if padding_mode == "symmetric":
        return _pad_symmetric(image, edges)
    if padding_mode == "constant":
        pixels = computed(image)
        if pixels is not None and min(edges) >= 0:
            around = ((0, 0), (top, bottom), (left, right))
            value = np.asarray(fill).astype(pixels.dtype)
            return tensor_of(np.pad(pixels, around, constant_values=value))
        return F.pad(image, edges, value=float(fill))
    mode = "replicate" if padding_mode == "edge" else padding_mode
    batch = _flattened(image)
    if not batch.dtype.is_floating_point:  # PyTorch pads no integers in these modes
        return (
            F.pad(batch.to(torch.float64), edges, mode=mode)
            .to(image.dtype)
            .reshape(
                *image.shape[:-2], image.shape[-2] + top + bottom, image.shape[-1] + left + right
            )
        )
    padded = F.pad(batch, edges, mode=mode)
    return padded.reshape(*image.shape[:-2], *padded.shape[-2:])


def _pad_symmetric(image: Tensor, edges: Sequence[int]) -> Tensor:
    """Mirrored with the edge pixels repeated."""
    left, right, top, bottom = edges
    if min(edges) < 0:
        height, width = image.shape[-2:]
        image = image[
            ..., max(-top, 0) : height - max(-bottom, 0), max(-left, 0) : width - max(-right, 0)
        ]
    rows = np.pad(np.arange(image.shape[-2]), (max(top, 0), max(bottom, 0)), mode="symmetric")
    columns = np.pad(np.arange(image.shape[-1]), (max(left, 0), max(right, 0)), mode="symmetric")
    return image[..., torch.tensor(rows), :][..., torch.tensor(columns)]


# ---- warps


def affine(
    image: Tensor,
    matrix: Sequence[float],
    mode: str,
    fill: Sequence[float] | None,
    size: Sequence[int] | None = None,
) -> Tensor:
    """`matrix` takes output pixels, counted from the middle, to input pixels.

    Args:
        size: (height, width) of the output; None keeps the input's.
    """
    height, width = image.shape[-2:]
    out_height, out_width = (height, width) if size is None else size
    kind = image.dtype if image.dtype.is_floating_point else torch.float32
    x, y, ones = _pixel_centers(out_height, out_width)
    place = np.stack([x, y, ones], -1).reshape(-1, 3)  # pixels, 3
    rows = np.array(matrix, np.float32).reshape(2, 3)
    theta = rows.T / np.array([0.5 * width, 0.5 * height], np.float32)
    grid = torch.tensor((place @ theta).reshape(1, out_height, out_width, 2)).to(kind)
    return _sampled(image, grid, mode, fill)


def _pixel_centers(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y of each pixel's centre, counted from the middle of the image, and ones."""
    columns = np.arange(width, dtype=np.float32) + np.float32(0.5 - width * 0.5)
    rows = np.arange(height, dtype=np.float32) + np.float32(0.5 - height * 0.5)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return x, y, np.ones_like(x)


def perspective(
    image: Tensor, coefficients: Sequence[float], mode: str, fill: Sequence[float] | None
) -> Tensor:
    """`coefficients` are Pillow's eight: ``((ax + by + c) / w, (dx + ey + f) / w)``, where
    ``w = gx + hy + 1``, is where output pixel (x, y) comes from.
    """
    height, width = image.shape[-2:]
    kind = image.dtype if image.dtype.is_floating_point else torch.float32
    a, b, c, d, e, f, g, h = (np.float32(number) for number in coefficients)
    columns = np.arange(width, dtype=np.float32) + np.float32(0.5)
    rows = np.arange(height, dtype=np.float32) + np.float32(0.5)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    w = g * x + h * y + np.float32(1.0)
    from_x = (a * x + b * y + c) / w / np.float32(0.5 * width) - np.float32(1.0)
    from_y = (d * x + e * y + f) / w / np.float32(0.5 * height) - np.float32(1.0)
    grid = torch.tensor(np.stack([from_x, from_y], -1)[None]).to(kind)  # 1, H, W, 2
    return _sampled(image, grid, mode, fill)


def _sampled(image: Tensor, grid: Tensor, mode: str, fill: Sequence[float] | None) -> Tensor:
    """The image looked up at `grid` (1, H, W, 2); where that is outside, `fill`."""
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    batch, dtype, before = _as_batch(image, floats)
    if len(batch) > 1:
        grid = grid.expand(len(batch), *grid.shape[1:])
    if fill is not None:  # one channel more tells how much of each pixel came from the image
        ones = torch.ones(len(batch), 1, *batch.shape[-2:], dtype=batch.dtype)
        batch = torch.cat([batch, ones], 1)
    found = F.grid_sample(batch, grid, mode=mode, padding_mode="zeros", align_corners=False)
    if fill is not None:
        found, cover = found[:, :-1], found[:, -1:]
        color = torch.tensor([float(x) for x in fill], dtype=found.dtype).view(1, -1, 1, 1)
        if mode == "nearest":
            found = torch.where(cover < 0.5, color, found)
        else:
            found = found * cover + (1.0 - cover) * color
    return _restored(found, dtype, before)


def gaussian_blur(image: Tensor, kernel_size: Sequence[int], sigma: Sequence[float]) -> Tensor:
    """`kernel_size` and `sigma` in x and in y; edges are mirrored."""
    kind = image.dtype if image.dtype.is_floating_point else torch.float32
    across = _gaussian(kernel_size[0], sigma[0])
    down = _gaussian(kernel_size[1], sigma[1])
    kernel = torch.tensor(np.outer(down, across).astype(np.float32)).to(kind)
    batch, dtype, before = _as_batch(image, (kind,))
    channels = batch.shape[1]
    x, y = kernel_size[0] // 2, kernel_size[1] // 2
    batch = F.pad(batch, (x, x, y, y), mode="reflect")
    kernel = kernel.expand(channels, 1, *kernel.shape)
    return _restored(F.conv2d(batch, kernel, groups=channels), dtype, before)


def _gaussian(size: int, sigma: float) -> np.ndarray:
    half = (size - 1) * 0.5
    x = np.linspace(-half, half, size, dtype=np.float32)
    density = np.exp(np.float32(-0.5) * (x / np.float32(sigma)) ** 2)
    return density / density.sum()


def erase(
    image: Tensor, top: int, left: int, height: int, width: int, value: Any, inplace: bool
) -> Tensor:
    """The image with a rectangle overwritten by `value`, which broadcasts to it."""
    pixels = None if inplace or not isinstance(value, Tensor) else computed(image)
    contents = None if pixels is None else computed(value)
    if pixels is not None and contents is not None:
        pixels = pixels.copy()
        pixels[:, top : top + height, left : left + width] = contents
        return tensor_of(pixels)
    if not inplace:
        image = image.clone()
    image[..., top : top + height, left : left + width] = value
    return image
