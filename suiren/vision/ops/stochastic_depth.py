"""Stochastic depth: a residual branch left out at random while training.

From "Deep Networks with Stochastic Depth" (Huang et al., 2016); torchvision's function and module.
"""

import suiren as torch
from suiren import nn
from suiren.tensor import Tensor


def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """The input with a share `p` of it zeroed and the rest divided by ``1 - p``.

    Args:
        input: (N, ...), usually the output of a residual branch.
        p: probability of zeroing, from 0 to 1.
        mode: "row" draws for each of the N examples, "batch" once for all.
        training: False returns the input as it is.

    Raises:
        ValueError: `p` lies outside 0 to 1, or `mode` is neither word.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.ops import stochastic_depth
        >>> stochastic_depth(torch.ones(2, 3), 1.0, "row")
        tensor([[0., 0., 0.],
                [0., 0., 0.]])
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"stochastic_depth() got p={p}; drop probability has to be from 0 to 1")
    if mode not in ("batch", "row"):
        raise ValueError(f"stochastic_depth() got mode={mode!r}; it has to be 'batch' or 'row'")
    if not training or p == 0.0:
        return input
    survival = 1.0 - p
    rows = input.shape[0] if mode == "row" else 1
    size = [rows] + [1] * (input.dim() - 1)
    noise = torch.empty(size, dtype=input.dtype, device=input.device).bernoulli_(survival)
    if survival > 0.0:
        noise.div_(survival)
    return input * noise


class StochasticDepth(nn.Module):
    """`stochastic_depth` as a module; it does nothing in evaluation mode.

    Args:
        p: probability of zeroing.
        mode: "row" or "batch".
    """

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p = p
        self.mode = mode

    def forward(self, input: Tensor) -> Tensor:
        """The input with rows (or all of it) zeroed at random, in training."""
        return stochastic_depth(input, self.p, self.mode, self.training)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p}, mode={self.mode})"
