"""Boxes: areas, overlaps, conversions and the suppression of what was found twice.

A box is four numbers; unless said otherwise its corners x1, y1, x2, y2 with x1 <= x2, y1 <= y2.
All but `nms`, `batched_nms` and `remove_small_boxes`, whose result is a list of indices, are
written with operators, so gradients flow.
"""

import numpy as np

import suiren as torch
from suiren.tensor import Tensor
from suiren.vision.transforms.kinds import tensor_of


def _need_boxes(name: str, boxes: Tensor) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise RuntimeError(f"{name}: boxes should be (N, 4), got {list(boxes.shape)}")


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """The indices of the boxes that stay, by falling score, when a box that overlaps a better one
    by more than `iou_threshold` goes (non-maximum suppression).

    Args:
        boxes: (N, 4). scores: (N,). iou_threshold: intersection over union.

    Raises:
        RuntimeError: shapes that do not go together.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.ops import nms
        >>> boxes = torch.tensor([[0., 0., 4., 4.], [0., 0., 4., 3.], [5., 5., 6., 6.]])
        >>> nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5)
        tensor([1, 2])
    """
    _need_boxes("nms", boxes)
    if scores.ndim != 1 or scores.shape[0] != boxes.shape[0]:
        raise RuntimeError(
            f"nms: scores should be ({boxes.shape[0]},), one for each box, got {list(scores.shape)}"
        )
    corners = (
        boxes.detach().peek().astype(np.float64 if boxes.dtype is torch.float64 else np.float32)
    )
    order = np.argsort(-scores.detach().to(torch.float64).peek(), kind="stable")
    x1, y1, x2, y2 = corners.T
    areas = (x2 - x1) * (y2 - y1)
    gone = np.zeros(len(order), bool)
    kept = []
    for place, best in enumerate(order):
        if gone[best]:
            continue
        kept.append(best)
        rest = order[place + 1 :]
        wide = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        high = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        union = areas[best] + areas[rest] - shared
        with np.errstate(invalid="ignore"):  # empty boxes have no union, and stay
            overlap = (shared / union).astype(np.float64)
        gone[rest[overlap > iou_threshold]] = True
    return tensor_of(np.array(kept, np.int64))


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`nms` of each class by itself; the indices of all that stay, by falling score.

    Args:
        boxes: (N, 4). scores: (N,). idxs: (N,), the class of each. iou_threshold: as for `nms`.
    """
    _need_boxes("batched_nms", boxes)
    classes = idxs.detach().peek()
    kept = np.zeros(len(classes), bool)
    for number in np.unique(classes):
        (members,) = np.nonzero(classes == number)
        rows = torch.tensor(members)
        kept[members[nms(boxes[rows], scores[rows], iou_threshold).peek()]] = True
    (found,) = np.nonzero(kept)
    values = scores.detach().to(torch.float64).peek()[found]
    return tensor_of(found[np.argsort(-values, kind="stable")].astype(np.int64))


def remove_small_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """The indices of the boxes whose sides are both at least `min_size`."""
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return torch.where((wide >= min_size) & (high >= min_size))[0]


def clip_boxes_to_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The boxes (..., 4), cut off at the edges of an image of `size` (height, width)."""
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(-1)
    clipped = (x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height))
    return torch.stack(clipped, -1)


def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """The boxes (..., 4) in another format.

    Args:
        in_fmt, out_fmt: "xyxy" (two corners), "xywh" (upper left corner, width and height) or
            "cxcywh" (middle, width and height).

    Raises:
        ValueError: another word.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.ops import box_convert
        >>> box_convert(torch.tensor([[1., 2., 4., 6.]]), "xyxy", "cxcywh")
        tensor([[2.5000, 4.0000, 3.0000, 4.0000]])
    """
    known = ("xyxy", "xywh", "cxcywh")
    if in_fmt not in known or out_fmt not in known:
        raise ValueError(
            f"Unsupported Bounding Box Conversions for given in_fmt {in_fmt} and out_fmt {out_fmt}"
        )
    if in_fmt == out_fmt:
        return boxes.clone()
    a, b, c, d = boxes.unbind(-1)
    if in_fmt == "xywh":
        a, b, c, d = a, b, a + c, b + d
    elif in_fmt == "cxcywh":
        a, b, c, d = a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d
    if out_fmt == "xywh":
        c, d = c - a, d - b
    elif out_fmt == "cxcywh":
        a, b, c, d = (a + c) / 2, (b + d) / 2, c - a, d - b
    return torch.stack((a, b, c, d), -1)


def _wide(boxes: Tensor) -> Tensor:
    """Boxes in a dtype in which products of sides fit."""
    if boxes.is_floating_point():
        return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()
    return boxes if boxes.dtype in (torch.int32, torch.int64) else boxes.int()


def box_area(boxes: Tensor) -> Tensor:
    """The areas (N,) of boxes (N, 4)."""
    boxes = _wide(boxes)
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _shared_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.max(first[:, None, :2], second[:, :2])  # N, M, 2
    high = torch.min(first[:, None, 2:], second[:, 2:])  # N, M, 2
    sides = _wide(high - low).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]  # N, M
    return shared, box_area(first)[:, None] + box_area(second) - shared


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of every pair: (N, 4) and (M, 4) give (N, M).

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.ops import box_iou
        >>> box_iou(torch.tensor([[0., 0., 2., 2.]]), torch.tensor([[1., 0., 3., 2.]]))
        tensor([[0.3333]])
    """
    shared, union = _shared_and_union(boxes1, boxes2)
    return shared / union


def _around(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Sides (N, M, 2) of the smallest box around each pair."""
    low = torch.min(boxes1[:, None, :2], boxes2[:, :2])
    high = torch.max(boxes1[:, None, 2:], boxes2[:, 2:])
    return _wide(high - low).clamp(min=0)


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """`box_iou` less the empty share of the smallest box around both, (N, M); from -1 to 1.

    From "Generalized Intersection over Union" (Rezatofighi et al., 2019).
    """
    shared, union = _shared_and_union(boxes1, boxes2)
    sides = _around(boxes1, boxes2)
    area = sides[..., 0] * sides[..., 1]
    return shared / union - (area - union) / area


def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """`box_iou` less the squared distance of the middles over the squared diagonal of the smallest
    box around both, (N, M). From "Distance-IoU Loss" (Zheng et al., 2020).
    """
    sides = _around(boxes1, boxes2)
    diagonal = (sides**2).sum(-1) + eps
    middles1 = (boxes1[:, :2] + boxes1[:, 2:]) / 2
    middles2 = (boxes2[:, :2] + boxes2[:, 2:]) / 2
    distance = ((middles1[:, None] - middles2[None]) ** 2).sum(-1)
    return box_iou(boxes1, boxes2) - distance / diagonal


def masks_to_boxes(masks: Tensor) -> Tensor:
    """The boxes (N, 4), float32, of the pixels that are not zero in masks (N, H, W).

    A box's corners are its first and its last pixel.

    Raises:
        ValueError: a mask without such pixels.
    """
    found = np.zeros((masks.shape[0], 4), np.float32)
    for number, mask in enumerate(masks.detach().peek()):
        y, x = np.nonzero(mask)
        if not len(y):
            raise ValueError(f"masks_to_boxes: mask {number} is empty, so it has no box")
        found[number] = x.min(), y.min(), x.max(), y.max()
    return tensor_of(found)
