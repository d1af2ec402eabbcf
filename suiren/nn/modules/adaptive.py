"""Adaptive log softmax for many classes of very uneven frequency.

Sources: Grave et al. 2017, arXiv:1609.04309; PyTorch, AdaptiveLogSoftmaxWithLoss.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import suiren
from suiren.nn import functional as F
from suiren.nn.modules.container import ModuleList, Sequential
from suiren.nn.modules.linear import Linear
from suiren.nn.modules.module import Module
from suiren.tensor import Tensor

__all__ = ["AdaptiveLogSoftmaxWithLoss"]

_ASMoutput = namedtuple("_ASMoutput", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """Classes sorted by falling frequency; rare ones share a cluster with a smaller projection.

    cutoffs: where the clusters begin: the first `cutoffs[0]` classes and one entry per cluster
    are decided by `head`, the rest by `tail`, whose i-th projection has in_features /
    div_value ** (i + 1) features.

    forward(input, target): (batch, in_features) and (batch), or without batch; returns
    `output`, the log probability of each target, and `loss`, minus their mean.
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
        head_bias: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (cutoffs != sorted(cutoffs) or min(cutoffs) <= 0 or max(cutoffs) > n_classes - 1
                or len(set(cutoffs)) != len(cutoffs)
                or any(int(cutoff) != cutoff for cutoff in cutoffs)):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an "
                "increasing order, where each value is between 1 and n_classes-1")
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        made = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **made)
        self.tail = ModuleList()
        for cluster in range(self.n_clusters):
            features = int(in_features // div_value ** (cluster + 1))
            size = self.cutoffs[cluster + 1] - self.cutoffs[cluster]
            self.tail.append(Sequential(
                Linear(in_features, features, bias=False, **made),
                Linear(features, size, bias=False, **made)))

    def reset_parameters(self) -> None:
        """Draw new weights."""
        self.head.reset_parameters()
        for projection_and_classes in self.tail:
            for layer in projection_and_classes.children():
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        if target_.dim() not in (0, 1):
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        batched = target_.dim() == 1
        if batched and (input_.dim() < 1 or input_.shape[0] != target_.shape[0]):
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if not batched and input_.dim() != 1:
            raise RuntimeError("0D target tensor expects 1D input tensor")
        if batched and input_.dim() != 2:
            raise RuntimeError("1D target tensor expects 2D input tensors, but found inputs with "
                               f"size {list(input_.shape)}")
        input = input_ if batched else input_.unsqueeze(0)
        target = target_ if batched else target_.unsqueeze(0)
        if target.numel() and bool(((target < 0) | (target >= self.n_classes)).any()):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                f"[{int(target.min())}, {int(target.max())}] were found. ")
        head = F.log_softmax(self.head(input), 1)  # batch, head_size
        output = head.gather(1, target.clamp_max(self.shortlist_size - 1).unsqueeze(1)).squeeze(1)
        for cluster, layers in enumerate(self.tail):
            low, high = self.cutoffs[cluster], self.cutoffs[cluster + 1]
            inside = (target >= low) & (target < high)
            rows = inside.nonzero().squeeze(1)
            if rows.numel() == 0:
                continue
            # Only the rows that need this cluster go through its projection.
            within = F.log_softmax(layers(input.index_select(0, rows)), 1)
            place = (target.index_select(0, rows) - low).unsqueeze(1)
            chosen = within.gather(1, place).squeeze(1)
            chosen = chosen + head.index_select(0, rows)[:, self.shortlist_size + cluster]
            output = output.index_copy(0, rows, chosen)
        loss = (-output).mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def log_prob(self, input: Tensor) -> Tensor:
        """Log probabilities of all classes, (batch, n_classes)."""
        return self._all_log_probabilities(input, self.head(input))

    def _all_log_probabilities(self, input: Tensor, head_scores: Tensor) -> Tensor:
        head = F.log_softmax(head_scores, 1)
        parts = [head[:, : self.shortlist_size]]
        for cluster, layers in enumerate(self.tail):
            within = F.log_softmax(layers(input), 1)
            parts.append(within + head[:, self.shortlist_size + cluster].unsqueeze(1))
        return suiren.cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each row, (batch)."""
        scores = self.head(input)
        output = scores.argmax(1)
        in_tail = output >= self.shortlist_size
        if not bool(in_tail.any()):
            return output
        return self._all_log_probabilities(input, scores).argmax(1) * in_tail + (
            output * in_tail.logical_not())
