"""Where nn.functional finds the operators that have a derivative of their own.

Each of these names lives in a file of `suiren/ops` ("one operator, one place") and is registered
there for the namespace "nn.functional". Attribute access fetches one from the registry at first
use. The other files of this package call them as `ops.name(...)`; `nn/functional/__init__.py`
re-exports them.
"""

from __future__ import annotations

from typing import Any

from suiren.operator import NAMESPACES

NAMES: tuple[str, ...] = (
    # activations
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "log_softmax", "logsigmoid", "mish",
    "prelu", "relu", "relu_", "rrelu", "rrelu_", "selu", "selu_", "silu", "softmax", "softplus",
    "softshrink", "threshold", "threshold_",
    # products, convolutions, attention
    "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "fold", "linear", "scaled_dot_product_attention", "unfold",
    # pooling
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d", "adaptive_max_pool3d_with_indices", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "max_pool1d", "max_pool1d_with_indices", "max_pool2d",
    "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices",
    # normalization and dropout
    "alpha_dropout", "batch_norm", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "feature_alpha_dropout", "group_norm", "layer_norm",
    # losses and distances
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_similarity", "ctc_loss",
    "huber_loss", "kl_div", "l1_loss", "mse_loss", "nll_loss", "pdist", "smooth_l1_loss",
    # look-up, padding, resampling
    "affine_grid", "embedding", "grid_sample", "interpolate", "one_hot", "pad", "pixel_shuffle",
    "pixel_unshuffle",
)


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"nn.functional has no operator {name!r}")
    found = NAMESPACES["nn.functional"].get(name)
    if found is None and name.endswith("_"):
        found = NAMESPACES["Tensor"].get(name)  # forms in place are registered as methods
    if found is None:
        raise AttributeError(
            f"operator {name!r} is not registered under nn.functional by any file of suiren/ops")
    globals()[name] = found  # the next access does not come here
    return found
