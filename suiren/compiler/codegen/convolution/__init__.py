"""Direct convolutions of images that lie channels-last, and sums for their weights' gradients.

Every task copies the part of the image that it needs, with zeros around it, to a small block of
memory of its own, channels by sixteen: there all taps of the kernel are alike, and neighbouring
places lie side by side. The copy costs less than a hundredth of the arithmetic and stays in the
second-level cache. The innermost loop keeps a tile of sums in registers: of places by vectors of
result channels in a convolution, of (tap, channel) by vectors in a weight's gradient.
Convolutions that keep channels apart read the image as it lies: see ``depthwise``.
"""

from suiren.compiler.codegen.convolution import (
    depthwise,
    depthwise_weights,
    direct,
    weights,
    winograd,
)
from suiren.compiler.codegen.kernel import Kernel
from suiren.compiler.fuse import Group
from suiren.compiler.target import Target


def kernels(group: Group, target: Target) -> list[Kernel]:
    """The kernels of a group that is a convolution's epilogue."""
    assert group.product is not None
    chosen = {"convolve": direct, "winograd": winograd, "depthwise": depthwise}
    return chosen[group.product.op].kernels(group, target)


def sums(group: Group, target: Target) -> list[Kernel]:
    """The kernels of a ``correlate`` or ``depthwise_sums`` node."""
    if group.roots[0].op == "depthwise_sums":
        return depthwise_weights.Sums(group, target).kernels()
    return weights.sums(group, target)


weight_kernels = winograd.weight_kernels

__all__ = ["kernels", "sums", "weight_kernels"]
