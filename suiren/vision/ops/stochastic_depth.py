"""Stochastic depth: residual branches that are left out at random while training.

Huang et al. 2016, "Deep Networks with Stochastic Depth", arXiv:1603.09382.
"""

from suiren import Tensor, nn


def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """Zeroes the whole input, or whole rows of it, with probability p; scales up what stays.

    Args:
        input: (N, ...) floating.
        p: the probability of zeroing, 0 to 1.
        mode: "batch" draws once for all rows, "row" once for each.
        training: False gives the input back.

    Raises ValueError for a p or mode that is neither. Source: torchvision.ops.stochastic_depth.

    Example:
        >>> import suiren as torch
        >>> stochastic_depth(torch.ones(2, 3), p=0.5, mode="row", training=False)
        tensor([[1., 1., 1.],
                [1., 1., 1.]])
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"drop probability has to be between 0 and 1, but got {p}")
    if mode not in ("batch", "row"):
        raise ValueError(f"mode has to be either 'batch' or 'row', but got {mode}")
    if not training or p == 0.0:
        return input
    kept = 1.0 - p
    rows = input.shape[0] if mode == "row" else 1
    noise = input.new_empty([rows] + [1] * (input.dim() - 1)).bernoulli_(kept)  # N or 1, 1, ...
    if kept > 0.0:
        noise.div_(kept)  # so that the expectation is the input
    return input * noise


class StochasticDepth(nn.Module):
    """:func:`stochastic_depth` as a layer. Source: torchvision.ops.StochasticDepth."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p = p
        self.mode = mode

    def forward(self, input: Tensor) -> Tensor:
        """The input with rows zeroed while training."""
        return stochastic_depth(input, self.p, self.mode, self.training)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(p={self.p}, mode={self.mode})"
