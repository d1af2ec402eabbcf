"""ChannelShuffle as a layer. Source: PyTorch, "Shuffle layers"; arXiv:1707.01083."""

from __future__ import annotations

from suiren.nn import functional as F
from suiren.nn.modules.module import Module
from suiren.tensor import Tensor

__all__ = ["ChannelShuffle"]


class ChannelShuffle(Module):
    """Deal the channels of (batch, channels, ...) out over `groups` groups."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
