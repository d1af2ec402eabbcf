"""Where nn.functional finds the operators that have a derivative of their own.

Each name lives in `suiren/ops/<family>.py` ("one operator, one place") and is registered there for
the namespace "nn.functional". This table lists them all; attribute access fetches one from the
registry at first use. The other files of this package call them as `ops.name(...)`;
`nn/functional/__init__.py` re-exports them.
"""

from __future__ import annotations

from typing import Any

from suiren.operator import NAMESPACES

FAMILIES: dict[str, tuple[str, ...]] = {
    "activation": (
        "celu", "celu_", "elu", "elu_", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish",
        "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "logsigmoid", "mish", "prelu",
        "relu", "relu_", "rrelu", "rrelu_", "selu", "selu_", "silu", "softplus", "softshrink",
        "threshold", "threshold_",
    ),
    "attention": ("scaled_dot_product_attention",),
    "convolution": (
        "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
        "fold", "unfold",
    ),
    "distance": ("cosine_similarity", "pdist"),
    "dropout": (
        "alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d",
        "feature_alpha_dropout",
    ),
    "embedding": ("embedding", "one_hot"),
    "linear": ("bilinear", "linear"),
    "loss": (
        "binary_cross_entropy", "binary_cross_entropy_with_logits", "ctc_loss", "huber_loss",
        "kl_div", "l1_loss", "mse_loss", "nll_loss", "smooth_l1_loss",
    ),
    "normalization": ("batch_norm", "group_norm", "layer_norm"),
    "padding": ("pad",),
    "pooling": (
        "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
        "adaptive_max_pool1d", "adaptive_max_pool1d_with_indices",
        "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices",
        "adaptive_max_pool3d", "adaptive_max_pool3d_with_indices",
        "avg_pool1d", "avg_pool2d", "avg_pool3d",
        "max_pool1d", "max_pool1d_with_indices", "max_pool2d", "max_pool2d_with_indices",
        "max_pool3d", "max_pool3d_with_indices",
    ),
    "sampling": ("affine_grid", "grid_sample", "interpolate"),
    "shuffle": ("pixel_shuffle", "pixel_unshuffle"),
    "softmax": ("log_softmax", "softmax"),
}

NAMES: dict[str, str] = {name: family for family, names in FAMILIES.items() for name in names}


def __getattr__(name: str) -> Any:
    family = NAMES.get(name)
    if family is None:
        raise AttributeError(f"nn.functional has no operator {name!r}")
    found = NAMESPACES["nn.functional"].get(name)
    if found is None:
        raise AttributeError(
            f"operator {name!r} is not registered under nn.functional; its place is "
            f"suiren/ops/{family}.py")
    globals()[name] = found  # the next access does not come here
    return found
