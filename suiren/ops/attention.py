"""Scaled dot product attention and cosine similarity, composed of other operators.

Source: PyTorch's torch.nn.functional.scaled_dot_product_attention and cosine_similarity pages;
Vaswani et al. 2017, arXiv:1706.03762.
"""

from __future__ import annotations

import math

import numpy as np

from suiren import dtypes
from suiren.autocasting import in_lower
from suiren.operator import NAMESPACES, composite
from suiren.ops.creation import from_array
from suiren.ops.dropout import _drop
from suiren.ops.elementwise import result_type_of
from suiren.ops.softmax import safe_softmax


@composite(where=("nn.functional",), out=False)
@in_lower
def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
    enable_gqa=False,
):  # fmt: skip
    """``softmax(query @ key.T * scale + attn_mask) @ value`` over the last two dimensions.

    query: (..., L, E); key: (..., S, E); value: (..., S, Ev); result (..., L, Ev). attn_mask
    broadcasts to (..., L, S): True where attention is allowed, or numbers to add. is_causal:
    place i sees the places up to i. scale is 1 / sqrt(E) by default. enable_gqa: each head of key
    and value (dimension -3) serves several of query. A row that may see nothing gives zeros.
    Raises RuntimeError for is_causal with a mask, ValueError for wrong sizes.
    Source: torch.nn.functional.scaled_dot_product_attention.
    """
    _check(query, key, value, attn_mask, is_causal)
    if enable_gqa:
        heads = query._meta.shape[-3]
        key = _for_each_head(key, heads)
        value = _for_each_head(value, heads)
    if scale is None:
        width = query._meta.shape[-1]
        scale = 1 / math.sqrt(width) if width else 1.0
    length, seen = query._meta.shape[-2], key._meta.shape[-2]
    kind = query._meta.dtype
    if kind.is_half:  # scores of half types are kept in float32 up to the result
        query, key, value = query.float(), key.float(), value.float()
    if is_causal:
        attn_mask = from_array(
            np.tri(length, seen, dtype=np.bool_), where=query._meta.device
        )
    scores = query @ key.transpose(-2, -1) * scale  # ..., L, S
    if attn_mask is None:
        weights = scores.softmax(-1)
    else:
        if attn_mask._meta.dtype is dtypes.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        else:
            scores = scores + attn_mask
        weights = safe_softmax(scores, -1)
    if dropout_p > 0:
        weights = _drop(weights, dropout_p, True)
    result = weights @ value
    return result.to(kind)


def _check(query, key, value, attn_mask, is_causal) -> None:
    kinds = {x._meta.dtype for x in (query, key, value)}
    if len(kinds) != 1:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{query._meta.dtype} key.dtype: {key._meta.dtype} and value.dtype: "
            f"{value._meta.dtype} instead."
        )
    if min(x._meta.ndim for x in (query, key, value)) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be at least 2 dimensional, but got "
            f"query.dim(): {query._meta.ndim}, key.dim(): {key._meta.ndim} and value.dim(): "
            f"{value._meta.ndim} instead."
        )
    if attn_mask is None:
        return
    if is_causal:
        raise RuntimeError(
            "scaled_dot_product_attention: Explicit attn_mask should not be set when "
            "is_causal=True"
        )
    if attn_mask._meta.dtype not in (dtypes.bool, query._meta.dtype, dtypes.float32):
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
            f"attn_mask.dtype: {attn_mask._meta.dtype} and query.dtype: {query._meta.dtype} "
            "instead."
        )


def _for_each_head(x, heads: int):
    own = x._meta.shape[-3]
    if own == heads:
        return x
    if not own or heads % own:
        raise RuntimeError(
            f"scaled_dot_product_attention: number of heads in key and value must divide the "
            f"number of heads in query, got {own} and {heads}"
        )
    return x.repeat_interleave(heads // own, -3)


@composite(where=("torch", "nn.functional"), out=False)
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """``x1 * x2 / (max(norm(x1), eps) * max(norm(x2), eps))``, summed along ``dim``.

    Source: torch.nn.functional.cosine_similarity.

    >>> import suiren as torch
    >>> torch.cosine_similarity(torch.tensor([3., 4.]), torch.tensor([4., 3.]), dim=0)
    tensor(0.9600)
    """
    kind = result_type_of((x1._meta, x2._meta))
    if not kind.is_floating_point:
        raise RuntimeError(
            f"expected common dtype to be floating point, yet common dtype is {kind}: "
            "cosine_similarity takes floating types"
        )
    x1, x2 = NAMESPACES["torch"]["broadcast_tensors"](x1.to(kind), x2.to(kind))
    return (_unit(x1, dim, eps) * _unit(x2, dim, eps)).sum(dim)


def _unit(x, dim: int, eps: float):
    length = NAMESPACES["linalg"]["vector_norm"](x, 2, dim, True)
    # The limit changes the value, not the derivative, as in PyTorch.
    limited = length + (length.detach().clamp(min=eps) - length.detach())
    return x / limited
