"""Rounding of channels, which the mobile models share."""


def _make_divisible(v: float, divisor: int, min_value: int | None = None) -> int:
    """The multiple of divisor nearest to v that is not below 0.9 v, nor below min_value.

    From the MobileNet authors' code (tensorflow/models), whose channel counts it decides.
    """
    if min_value is None:
        min_value = divisor
    rounded = max(min_value, int(v + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * v else rounded
