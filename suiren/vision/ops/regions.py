"""Features cut out of feature maps: `roi_align` and `roi_pool`, functions and modules.

`roi_align` is a weighted sum of pixels, so it is made of operators: rows and columns are
interpolated one after the other by two small matrices for each region. `roi_pool` is a maximum
over cells whose bounds are whole numbers.
"""

import numpy as np

import suiren as torch
from suiren import nn
from suiren.tensor import Tensor

Boxes = Tensor | list[Tensor]


def _as_rois(name: str, boxes: Boxes) -> np.ndarray:
    """Regions (K, 5): number of the image, x1, y1, x2, y2."""
    if isinstance(boxes, (list, tuple)):
        rows = []
        for number, tensor in enumerate(boxes):
            if tensor.ndim != 2 or tensor.shape[1] != 4:
                raise ValueError(
                    f"{name}: the boxes of each image should be (L, 4), got {list(tensor.shape)}"
                )
            corners = tensor.detach().to(torch.float64).peek()
            rows.append(np.insert(corners, 0, number, axis=1))
        return np.concatenate(rows) if rows else np.zeros((0, 5))
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(
            f"{name}: boxes in one tensor should be (K, 5), the number of the image first, got "
            f"{list(boxes.shape)}"
        )
    return boxes.detach().to(torch.float64).peek()


def _output(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _weights(start: float, cell: float, cells: int, samples: int, size: int) -> np.ndarray:
    """(cells, size): how much of each pixel of a line goes into each cell of a region.

    A cell is the mean of `samples` points, each interpolated between its two neighbours. Points up
    to one pixel outside count as on the edge, those beyond as nothing.
    """
    found = np.zeros((cells, size))
    steps = (np.arange(samples) + 0.5) / samples
    points = start + (np.arange(cells)[:, None] + steps) * cell  # cells, samples
    inside = (points >= -1.0) & (points <= size)
    points = np.clip(points, 0.0, None)
    low = np.minimum(points.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    share = np.where(low >= size - 1, 0.0, points - low)
    row = np.broadcast_to(np.arange(cells)[:, None], points.shape)
    np.add.at(found, (row, low), np.where(inside, 1.0 - share, 0.0) / samples)
    np.add.at(found, (row, high), np.where(inside, share, 0.0) / samples)
    return found


def roi_align(
    input: Tensor,
    boxes: Boxes,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Regions of feature maps, each averaged to one size; from "Mask R-CNN" (He et al., 2017).

    Args:
        input: (N, C, H, W).
        boxes: (K, 5) with the number of the image first, or a list of N tensors (L, 4).
        output_size: (height, width), or one number.
        spatial_scale: pixels of the maps in one unit of the boxes.
        sampling_ratio: points along each side of a cell; -1 takes as many as the cell has pixels.
        aligned: shift the boxes by half a pixel, as is right; False is as it once was.

    Returns:
        (K, C, height, width). Gradients flow to `input`.

    Raises:
        ValueError: boxes of another shape.
    """
    rois = _as_rois("roi_align", boxes)
    high, wide = _output(output_size)
    channels, height, width = input.shape[1:]
    if not len(rois):
        return input.new_zeros((0, channels, high, wide))
    shift = 0.5 if aligned else 0.0
    across = np.zeros((len(rois), wide, width))
    down = np.zeros((len(rois), high, height))
    for number, (_, x1, y1, x2, y2) in enumerate(rois):
        left, top = x1 * spatial_scale - shift, y1 * spatial_scale - shift
        region_wide = x2 * spatial_scale - shift - left
        region_high = y2 * spatial_scale - shift - top
        if not aligned:  # no region is smaller than a pixel
            region_wide, region_high = max(region_wide, 1.0), max(region_high, 1.0)
        cell_wide, cell_high = region_wide / wide, region_high / high
        fixed = sampling_ratio > 0
        samples_x = sampling_ratio if fixed else max(int(np.ceil(cell_wide)), 1)
        samples_y = sampling_ratio if fixed else max(int(np.ceil(cell_high)), 1)
        across[number] = _weights(left, cell_wide, wide, samples_x, width)
        down[number] = _weights(top, cell_high, high, samples_y, height)
    maps = input[torch.tensor(rois[:, 0].astype(np.int64))]  # K, C, H, W
    rows = torch.tensor(down).to(input.dtype)[:, None]  # K, 1, height, H
    columns = torch.tensor(across).to(input.dtype)[:, None]  # K, 1, width, W
    return rows @ maps @ columns.transpose(-1, -2)  # K, C, height, width


def roi_pool(
    input: Tensor, boxes: Boxes, output_size: int | tuple[int, int], spatial_scale: float = 1.0
) -> Tensor:
    """Regions of feature maps, each cell its largest value; from "Fast R-CNN" (Girshick, 2015).

    Corners are rounded to whole pixels; a cell without pixels is 0. For the arguments see
    `roi_align`; gradients flow to `input`.
    """
    rois = _as_rois("roi_pool", boxes)
    high, wide = _output(output_size)
    channels, height, width = input.shape[1:]
    if not len(rois):
        return input.new_zeros((0, channels, high, wide))
    found = []
    for image, x1, y1, x2, y2 in rois:
        left, top, right, bottom = (
            int(np.floor(corner * spatial_scale + 0.5)) for corner in (x1, y1, x2, y2)
        )
        lines = _cells(top, max(bottom - top + 1, 1), high, height)
        columns = _cells(left, max(right - left + 1, 1), wide, width)
        for y0, y_end in lines:
            for x0, x_end in columns:
                if y0 >= y_end or x0 >= x_end:
                    found.append(input.new_zeros((channels,)))
                else:
                    found.append(input[int(image), :, y0:y_end, x0:x_end].amax((-2, -1)))
    return torch.stack(found).reshape(len(rois), high, wide, channels).permute(0, 3, 1, 2)


def _cells(start: int, length: int, cells: int, size: int) -> list[tuple[int, int]]:
    """First pixel and end of each of `cells` parts of a line, within 0 to `size`."""
    step = length / cells
    bounds = []
    for number in range(cells):
        first = int(np.floor(number * step)) + start
        end = int(np.ceil((number + 1) * step)) + start
        bounds.append((min(max(first, 0), size), min(max(end, 0), size)))
    return bounds


class RoIAlign(nn.Module):
    """`roi_align` as a module."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = False,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        """The regions, (K, C, height, width)."""
        return roi_align(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(output_size={self.output_size}, "
            f"spatial_scale={self.spatial_scale}, sampling_ratio={self.sampling_ratio}, "
            f"aligned={self.aligned})"
        )


class RoIPool(nn.Module):
    """`roi_pool` as a module."""

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        """The regions, (K, C, height, width)."""
        return roi_pool(input, rois, self.output_size, self.spatial_scale)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(output_size={self.output_size}, "
            f"spatial_scale={self.spatial_scale})"
        )
