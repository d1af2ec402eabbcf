"""The numbers behind `resize`, `rotate`, `affine` and `perspective`: output sizes and matrices."""

import math
from collections.abc import Sequence

import numpy as np


def resized_output_size(
    image_size: tuple[int, int], size: int | Sequence[int], max_size: int | None = None
) -> list[int]:
    """`[height, width]` after a resize to `size`; see `functional.resize`."""
    if not isinstance(size, (int, list, tuple)):
        raise TypeError(f"Size should be int or sequence. Got {type(size)}")
    wanted = [size] if isinstance(size, int) else [int(number) for number in size]
    if len(wanted) not in (1, 2):
        raise ValueError(
            f"Size must be an int or a 1 or 2 element tuple/list, not a {len(wanted)} element "
            "tuple/list"
        )
    if len(wanted) == 2:
        if max_size is not None:
            raise ValueError(
                "max_size should only be passed if size specifies the length of the smaller edge, "
                "i.e. size should be an int or a sequence of length 1."
            )
        return wanted
    height, width = image_size
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = wanted[0], int(wanted[0] * long / short)
    if max_size is not None:
        if max_size <= new_short:
            raise ValueError(
                f"max_size = {max_size} must be strictly greater than the requested size for the "
                f"smaller edge size = {size}"
            )
        if new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return [new_long, new_short] if width <= height else [new_short, new_long]


def inverse_affine_matrix(
    center: Sequence[float],
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Sequence[float],
) -> list[float]:
    """The first two rows of the matrix that takes an output pixel to its input pixel.

    Forward, a point moves to ``T C R S C^-1 p``: C moves the origin to `center`, T by `translate`,
    R rotates (degrees, clockwise as y points down) and shears, S scales. This is its inverse,
    written out.
    """
    rotation = math.radians(angle)
    shear_x, shear_y = math.radians(shear[0]), math.radians(shear[1])
    center_x, center_y = center
    move_x, move_y = translate
    # Rotation times shear, without the scale.
    a = math.cos(rotation - shear_y) / math.cos(shear_y)
    b = -math.cos(rotation - shear_y) * math.tan(shear_x) / math.cos(shear_y) - math.sin(rotation)
    c = math.sin(rotation - shear_y) / math.cos(shear_y)
    d = -math.sin(rotation - shear_y) * math.tan(shear_x) / math.cos(shear_y) + math.cos(rotation)
    # Its determinant is 1, so the inverse needs no division.
    inverse = [d / scale, -b / scale, 0.0, -c / scale, a / scale, 0.0]
    for row in (0, 3):
        back_x, back_y = -center_x - move_x, -center_y - move_y
        inverse[row + 2] += inverse[row] * back_x + inverse[row + 1] * back_y
    inverse[2] += center_x
    inverse[5] += center_y
    return inverse


def rotated_size(matrix: Sequence[float], height: int, width: int) -> tuple[int, int]:
    """(height, width) of the smallest image that holds the whole of a turned one."""
    half_x, half_y = 0.5 * width, 0.5 * height
    corners = np.array(
        [[-half_x, -half_y], [-half_x, half_y], [half_x, half_y], [half_x, -half_y]], np.float32
    )
    rows = np.array(matrix, np.float32).reshape(2, 3)
    moved = corners @ rows[:, :2].T + rows[:, 2]
    # The corners are those of the middle-centred image, seen from its upper left corner.
    least = moved.min(0) + np.array([half_x, half_y], np.float32)
    most = moved.max(0) + np.array([half_x, half_y], np.float32)
    # Float noise is cut off, so that a quarter turn needs no row more.
    least = np.floor(np.trunc(least / 1e-4) * 1e-4)
    most = np.ceil(np.trunc(most / 1e-4) * 1e-4)
    size = most - least
    return int(size[1]), int(size[0])


def perspective_coefficients(
    startpoints: Sequence[Sequence[int]], endpoints: Sequence[Sequence[int]]
) -> list[float]:
    """Pillow's eight coefficients of the map from `endpoints` back to `startpoints`.

    For a corner (x, y) that came from (u, v): ``u (gx + hy + 1) = ax + by + c`` and
    ``v (gx + hy + 1) = dx + ey + f``; four corners give eight equations.

    Raises:
        ValueError: not four corners each.
    """
    if len(startpoints) != 4 or len(endpoints) != 4:
        raise ValueError(
            f"Please provide exactly four corners, got {len(startpoints)} startpoints and "
            f"{len(endpoints)} endpoints."
        )
    equations, right = [], []
    for (x, y), (u, v) in zip(endpoints, startpoints, strict=True):
        equations.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        equations.append([0, 0, 0, x, y, 1, -v * x, -v * y])
        right += [u, v]
    solution = np.linalg.lstsq(
        np.array(equations, np.float64), np.array(right, np.float64), rcond=None
    )[0]
    return [float(np.float32(number)) for number in solution]
