"""Multi-head attention as a function of all its weights.

Used by `nn.MultiheadAttention`. Sources: Vaswani et al. 2017, arXiv:1706.03762; PyTorch,
F.multi_head_attention_forward.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import suiren
from suiren.nn.functional import _from_ops as ops
from suiren.tensor import Tensor


def _additive_mask(
    mask: Tensor | None, name: str, dtype: Any, other: Tensor | None = None, other_name: str = "",
    check_other: bool = True,
) -> Tensor | None:
    """A mask as numbers to add to the scores: a boolean True becomes minus infinity."""
    if mask is None:
        return None
    if mask.dtype != suiren.bool and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if check_other and other is not None and mask.dtype != other.dtype:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for "
            "both instead.", stacklevel=3)
    if mask.is_floating_point():
        return mask
    return suiren.zeros_like(mask, dtype=dtype).masked_fill_(mask, -suiren.inf)


def _check_shapes(
    query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None,
    attn_mask: Tensor | None, num_heads: int,
) -> bool:
    """Whether the inputs are batched; AssertionError if the others do not fit the query."""
    if query.dim() not in (2, 3):
        raise AssertionError(
            "query should be unbatched 2D or batched 3D tensor but received "
            f"{query.dim()}-D query tensor")
    batched = query.dim() == 3
    kind = "batched (3-D)" if batched else "unbatched (2-D)"
    if key.dim() != query.dim() or value.dim() != query.dim():
        raise AssertionError(
            f"For {kind} `query`, expected `key` and `value` to be {query.dim()}-D but found "
            f"{key.dim()}-D and {value.dim()}-D tensors respectively")
    if key_padding_mask is not None and key_padding_mask.dim() != query.dim() - 1:
        raise AssertionError(
            f"For {kind} `query`, expected `key_padding_mask` to be `None` or "
            f"{query.dim() - 1}-D but found {key_padding_mask.dim()}-D tensor instead")
    if attn_mask is not None:
        if attn_mask.dim() not in (2, 3):
            raise AssertionError(
                f"For {kind} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
                f"{attn_mask.dim()}-D tensor instead")
        if not batched and attn_mask.dim() == 3:
            expected = (num_heads, query.shape[0], key.shape[0])
            if tuple(attn_mask.shape) != expected:
                raise AssertionError(
                    f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}")
    return batched


def _project_packed(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None
) -> list[Tensor]:
    """The three projections by one weight (3 * embed, embed), in as few products as possible."""
    embed = query.shape[-1]
    if key is value and query is key:
        return list(ops.linear(query, weight, bias).chunk(3, -1))
    query_bias = None if bias is None else bias[:embed]
    queries = ops.linear(query, weight[:embed], query_bias)
    if key is value:
        rest_bias = None if bias is None else bias[embed:]
        return [queries, *ops.linear(key, weight[embed:], rest_bias).chunk(2, -1)]
    key_bias = None if bias is None else bias[embed:2 * embed]
    value_bias = None if bias is None else bias[2 * embed:]
    return [
        queries,
        ops.linear(key, weight[embed:2 * embed], key_bias),
        ops.linear(value, weight[2 * embed:], value_bias),
    ]


def _project_separately(
    query: Tensor, key: Tensor, value: Tensor, weights: tuple[Any, Any, Any], bias: Tensor | None
) -> list[Tensor]:
    """The three projections by weights of their own; keys and values may be of other sizes."""
    embed = query.shape[-1]
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    biases = (None, None, None) if bias is None else bias.chunk(3)
    projected = []
    for x, weight, one_bias, name in zip((query, key, value), weights, biases, names, strict=True):
        if weight is None:
            raise AssertionError(f"use_separate_proj_weight is True but {name} is None")
        if tuple(weight.shape) != (embed, x.shape[-1]):
            raise AssertionError(
                f"expecting {name} shape of {(embed, x.shape[-1])}, but got {weight.shape}")
        projected.append(ops.linear(x, weight, one_bias))
    return projected


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Project, attend with each head, project back.

    query: (target, batch, embed), key and value: (source, batch, ...); or all without batch.
    key_padding_mask: (batch, source); attn_mask: (target, source) or (batch * heads, target,
    source); boolean with True for "not allowed", or numbers added to the scores.
    is_causal: a hint that attn_mask is the causal one.

    Returns the result (target, batch, embed) and, if need_weights, the attention weights
    (batch, target, source), averaged over heads, or (batch, heads, target, source).
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same_as_query, same_as_key = key is query, value is key
        query = query.unsqueeze(1)
        key = query if same_as_query else key.unsqueeze(1)
        value = key if same_as_key else value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    target, batch, embed = query.shape
    source = key.shape[0]
    if embed != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {embed}")
    head = embed // num_heads
    if head * num_heads != embed:
        raise AssertionError(f"embed_dim {embed} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        if tuple(key.shape[:2]) != tuple(value.shape[:2]):
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's "
                f"{value.shape[:2]}")
    elif tuple(key.shape) != tuple(value.shape):
        raise AssertionError(
            f"key shape {key.shape} does not match value shape {value.shape}")

    key_padding_mask = _additive_mask(
        key_padding_mask, "key_padding_mask", query.dtype, attn_mask, "attn_mask")
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None  # scaled_dot_product_attention makes it itself
    else:
        attn_mask = _additive_mask(attn_mask, "attn_mask", query.dtype, check_other=False)
        is_causal = False
    attn_mask = _check_attention_mask(attn_mask, target, source, batch * num_heads)

    if use_separate_proj_weight:
        separate = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = _project_separately(query, key, value, separate, in_proj_bias)
    else:
        if in_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = _project_packed(query, key, value, in_proj_weight, in_proj_bias)

    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or value.")
        k = suiren.cat([k, bias_k.repeat(1, batch, 1)])
        v = suiren.cat([v, bias_v.repeat(1, batch, 1)])
        attn_mask, key_padding_mask = _one_more_source(attn_mask, key_padding_mask)
    elif bias_k is not None or bias_v is not None:
        raise AssertionError("bias_k and bias_v must both be given or both be None")

    def by_head(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], batch * num_heads, head).transpose(0, 1)

    q = by_head(q)  # batch * heads, target, head
    k = by_head(k) if static_k is None else _checked_static(static_k, "k", batch * num_heads, head)
    v = by_head(v) if static_v is None else _checked_static(static_v, "v", batch * num_heads, head)
    if add_zero_attn:
        zeros = suiren.zeros((batch * num_heads, 1, head), dtype=k.dtype, device=k.device)
        k, v = suiren.cat([k, zeros], 1), suiren.cat([v, zeros], 1)
        attn_mask, key_padding_mask = _one_more_source(attn_mask, key_padding_mask)
    source = k.shape[1]

    if key_padding_mask is not None:
        if tuple(key_padding_mask.shape) != (batch, source):
            raise AssertionError(
                f"expecting key_padding_mask shape of {(batch, source)}, but got "
                f"{key_padding_mask.shape}")
        padding = key_padding_mask.view(batch, 1, 1, source).expand(-1, num_heads, -1, -1)
        padding = padding.reshape(batch * num_heads, 1, source)
        attn_mask = padding if attn_mask is None else attn_mask + padding
    if not training:
        dropout_p = 0.0

    weights: Tensor | None = None
    if need_weights:
        scores = (q * math.sqrt(1.0 / head)).bmm(k.transpose(1, 2))
        if attn_mask is not None:
            scores = scores + attn_mask
        weights = ops.softmax(scores, -1)  # batch * heads, target, source
        if dropout_p > 0.0:
            weights = ops.dropout(weights, dropout_p)
        result = weights.bmm(v).transpose(0, 1)  # target, batch * heads, head
    else:
        if attn_mask is not None:
            if attn_mask.shape[0] == 1:
                attn_mask = attn_mask.unsqueeze(0)  # 1, 1, target, source
            else:
                attn_mask = attn_mask.view(batch, num_heads, -1, source)
        result = ops.scaled_dot_product_attention(
            q.view(batch, num_heads, target, head),
            k.view(batch, num_heads, source, head),
            v.view(batch, num_heads, source, head),
            attn_mask, dropout_p, is_causal)
        result = result.permute(2, 0, 1, 3)  # target, batch, heads, head
    result = result.reshape(target * batch, embed)
    result = ops.linear(result, out_proj_weight, out_proj_bias)
    result = result.view(target, batch, result.shape[1])
    if weights is not None:
        weights = weights.view(batch, num_heads, target, source)
        if average_attn_weights:
            weights = weights.mean(1)
    if not batched:
        result = result.squeeze(1)
        weights = None if weights is None else weights.squeeze(0)
    return result, weights


def _check_attention_mask(
    mask: Tensor | None, target: int, source: int, batch_heads: int
) -> Tensor | None:
    """The mask with three axes, (1 or batch * heads, target, source)."""
    if mask is None:
        return None
    expected = (target, source) if mask.dim() == 2 else (batch_heads, target, source)
    if tuple(mask.shape) != expected:
        raise RuntimeError(
            f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be "
            f"{expected}.")
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


def _one_more_source(*masks: Tensor | None) -> list[Tensor | None]:
    """Masks for one more source position, which everyone may see."""
    return [None if mask is None else ops.pad(mask, (0, 1)) for mask in masks]


def _checked_static(given: Tensor, name: str, batch_heads: int, head: int) -> Tensor:
    if given.shape[0] != batch_heads or given.shape[2] != head:
        raise AssertionError(
            f"expecting static_{name} of shape ({batch_heads}, source, {head}), but got "
            f"{given.shape}")
    return given
