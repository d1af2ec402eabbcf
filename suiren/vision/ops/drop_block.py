"""DropBlock: dropout of squares of a feature map, after Ghiasi et al., 2018."""

from typing import Any

import suiren as torch
from suiren import nn
from suiren.nn import functional
from suiren.tensor import Tensor

F: Any = functional


def drop_block2d(
    input: Tensor,
    p: float,
    block_size: int,
    inplace: bool = False,
    eps: float = 1e-6,
    training: bool = True,
) -> Tensor:
    """The input (N, C, H, W) with random squares zeroed and the rest scaled up.

    Args:
        p: share that is zeroed, about.
        block_size: side of the squares.
        inplace: write into `input`.
        eps: keeps the scale finite.
        training: False returns the input as it is.

    Raises:
        ValueError: `p` outside 0 to 1, or other than four dimensions.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"drop probability has to be between 0 and 1, but got {p}.")
    if input.ndim != 4:
        raise ValueError(f"input should be 4 dimensional. Got {input.ndim} dimensions.")
    if not training or p == 0.0:
        return input
    count, channels, height, width = input.shape
    block_size = min(block_size, width, height)
    places = (height - block_size + 1) * (width - block_size + 1)
    gamma = p * height * width / (block_size**2 * places)
    shape = (count, channels, height - block_size + 1, width - block_size + 1)
    noise = torch.empty(shape, dtype=input.dtype).bernoulli_(gamma)  # the squares' middles
    noise = F.pad(noise, [block_size // 2] * 4, value=0)
    noise = F.max_pool2d(noise, block_size, stride=1, padding=block_size // 2)
    if block_size % 2 == 0:  # such a pooling gives a row and a column too many
        noise = noise[..., :height, :width]
    kept = 1 - noise
    scale = kept.numel() / (eps + kept.sum())
    if inplace:
        return input.mul_(kept).mul_(scale)
    return input * kept * scale


class DropBlock2d(nn.Module):
    """`drop_block2d` as a module; it does nothing in evaluation mode."""

    def __init__(self, p: float, block_size: int, inplace: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = p
        self.block_size = block_size
        self.inplace = inplace
        self.eps = eps

    def forward(self, input: Tensor) -> Tensor:
        """The input with squares zeroed, in training."""
        return drop_block2d(input, self.p, self.block_size, self.inplace, self.eps, self.training)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(p={self.p}, block_size={self.block_size}, "
            f"inplace={self.inplace})"
        )
