"""`InterpolationMode`: how values between pixels are found, and Pillow's numbers for it."""

import enum

# Pillow's constants, written out so that Pillow need not be imported to read them.
_PILLOW = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


class InterpolationMode(enum.Enum):
    """Interpolation of `resize`, `rotate`, `affine` and `perspective`.

    BOX, HAMMING and LANCZOS are Pillow's and work on PIL images alone; NEAREST_EXACT is Pillow's
    and scikit-image's nearest neighbour, NEAREST the one of older OpenCV versions.
    """

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def as_mode(interpolation: "InterpolationMode | int") -> InterpolationMode:
    """The mode meant by a mode or by one of Pillow's numbers.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(interpolation, InterpolationMode):
        return interpolation
    if isinstance(interpolation, int):
        for name, number in _PILLOW.items():
            if number == interpolation:
                return InterpolationMode(name)
    raise TypeError(
        "Argument interpolation should be a InterpolationMode or a corresponding Pillow integer "
        f"constant, but got {interpolation!r}"
    )


def pillow_mode(interpolation: InterpolationMode) -> int:
    """Pillow's number for a mode."""
    name = interpolation.value
    return _PILLOW["nearest" if name == "nearest-exact" else name]
