"""Direct convolutions of images that lie channels-last, and sums for their weights' gradients.

Every task copies the part of the image that it needs, with zeros around it, to a small block of
memory of its own, channels by sixteen: there all taps of the kernel are alike, and neighbouring
places lie side by side. The copy costs less than a hundredth of the arithmetic and stays in the
second-level cache. The innermost loop keeps a tile of sums in registers: of places by vectors of
result channels in a convolution, of (tap, channel) by vectors in a weight's gradient.
"""

from suiren.compiler.codegen.convolution.direct import kernels
from suiren.compiler.codegen.convolution.weights import sums

__all__ = ["kernels", "sums"]
