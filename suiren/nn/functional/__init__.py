"""nn.functional: the layers' arithmetic as plain functions.

What has a derivative of its own is an operator of `suiren/ops` and only passed on from there
(`_from_ops.py` has the list); what is a composition is written in the files of this package.
Names, arguments and errors follow the PyTorch page "torch.nn.functional".
"""

from __future__ import annotations

from typing import Any

from suiren.nn.functional import _from_ops
from suiren.nn.functional.activation import (
    gumbel_softmax,
    relu6,
    sigmoid,
    softmin,
    softsign,
    tanh,
    tanhshrink,
)
from suiren.nn.functional.attention import multi_head_attention_forward
from suiren.nn.functional.bags import embedding_bag
from suiren.nn.functional.distance import normalize, pairwise_distance
from suiren.nn.functional.loss import (
    cross_entropy,
    gaussian_nll_loss,
    linear_cross_entropy,
    multilabel_soft_margin_loss,
    poisson_nll_loss,
    soft_margin_loss,
)
from suiren.nn.functional.margin_loss import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from suiren.nn.functional.normalization import instance_norm, local_response_norm, rms_norm
from suiren.nn.functional.pooling import (
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from suiren.nn.functional.shuffle import (
    channel_shuffle,
    conv_tbc,
    native_channel_shuffle,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)

__all__ = [
    "channel_shuffle", "conv_tbc", "cosine_embedding_loss", "cross_entropy", "embedding_bag",
    "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices", "gaussian_nll_loss", "gumbel_softmax",
    "hinge_embedding_loss", "instance_norm", "linear_cross_entropy", "local_response_norm",
    "lp_pool1d", "lp_pool2d", "lp_pool3d", "margin_ranking_loss", "max_unpool1d", "max_unpool2d",
    "max_unpool3d", "multi_head_attention_forward", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "native_channel_shuffle", "normalize", "pairwise_distance",
    "poisson_nll_loss", "relu6", "rms_norm", "sigmoid", "soft_margin_loss", "softmin", "softsign",
    "tanh", "tanhshrink", "triplet_margin_loss", "triplet_margin_with_distance_loss", "upsample",
    "upsample_bilinear", "upsample_nearest",
]

__all__ += [*_from_ops.NAMES]


def __getattr__(name: str) -> Any:
    """The operators, fetched when they are first asked for."""
    if name not in _from_ops.NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(_from_ops, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
