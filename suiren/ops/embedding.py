"""Embedding: rows of a table by number, and the table's gradient.

Source: PyTorch's torch.nn.functional page, "Sparse functions".
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.autograd.mode import no_grad
from suiren.device import META
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import from_array, without_data
from suiren.ops.elementwise import assign
from suiren.ops.index_tensors import known_range
from suiren.tensor import Tensor, value_of
from suiren.trace import meta


@operator(where=(), name="embedding")
class _embedding:
    """``weight[indices]``; rows ``padding_idx`` get no gradient."""

    tensors = 2

    def call(weight, indices, padding_idx, by_frequency):
        found = known_range(indices)
        if found is not None and (found[0] < 0 or found[1] >= weight._meta.shape[0]):
            raise _out_of_range(found[0] if found[0] < 0 else found[1], weight._meta.shape[0])
        return apply(_embedding.operator, (weight, indices), (padding_idx, by_frequency))

    def infer(weight, indices, padding_idx, by_frequency):
        return meta((*indices.shape, *weight.shape[1:]), weight.dtype, weight.device)

    def evaluate(weight, indices, padding_idx, by_frequency):
        _check_range(indices, len(weight))
        return np.take(weight, indices, axis=0)

    def decompose(g, weight, indices, padding_idx, by_frequency):
        return g.take(weight, indices, 0)

    def grad_weight(grad, indices, weight_meta, padding_idx, by_frequency):
        return _gradient(grad, indices, weight_meta.shape[0], padding_idx, by_frequency)


def _check_range(indices: np.ndarray, rows: int) -> None:
    if indices.size and (indices.min() < 0 or indices.max() >= rows):
        raise _out_of_range(indices[(indices < 0) | (indices >= rows)][0], rows)


def _out_of_range(index: int, rows: int) -> IndexError:
    return IndexError(
        f"index out of range in self: embedding got the index {index}, but its table has "
        f"{rows} rows, numbered from 0"
    )


@operator(
    where=(), name="embedding_dense_backward", node_name="EmbeddingDenseBackwardBackward0"
)
class _gradient:
    """Gradients of the looked-up rows, added up per row of the table."""

    tensors = 2
    widen = True

    def call(grad_output, indices, rows, padding_idx, by_frequency):
        return apply(
            _gradient.operator, (grad_output, indices), (rows, padding_idx, by_frequency)
        )

    def infer(grad_output, indices, rows, padding_idx, by_frequency):
        columns = grad_output.shape[indices.ndim :]
        return meta((rows, *columns), grad_output.dtype, grad_output.device)

    def evaluate(grad_output, indices, rows, padding_idx, by_frequency):
        flat = indices.reshape(-1)
        columns = grad_output.shape[indices.ndim :]
        grad = grad_output.reshape(flat.size, *columns)
        result = np.zeros((rows, *columns), grad.dtype)
        if not flat.size:
            return result
        if by_frequency:
            counts = np.bincount(flat, minlength=rows).astype(grad.dtype)
            grad = grad / counts[flat].reshape(-1, *(1,) * len(columns))
        # Equal indices side by side, then one sum for each run: add.at with whole rows is slower.
        order = np.argsort(flat, kind="stable")
        ordered = flat[order]
        first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        result[ordered[first]] = np.add.reduceat(grad[order], first, axis=0)
        if padding_idx >= 0:
            result[padding_idx] = 0
        return result

    def decompose(g, grad_output, indices, rows, padding_idx, by_frequency):
        if by_frequency:
            raise g.NotNative("gradients divided by frequencies")
        count = indices.numel
        columns = grad_output.shape[indices.ndim :]
        zeros = g.full((rows, *columns), 0, grad_output.dtype)
        grad = grad_output.reshape(count, *columns)
        result = g.scatter_add(zeros, indices.reshape(count), grad, 0)
        if padding_idx >= 0:
            result = g.where(g.iota(result.shape, 0).eq(padding_idx), 0, result)
        return result

    def grad_grad_output(grad, indices, rows, padding_idx, by_frequency):
        picked = _embedding(grad, indices, padding_idx, by_frequency)
        if padding_idx >= 0:
            picked = picked.masked_fill((indices == padding_idx).unsqueeze(-1), 0)
        if by_frequency:
            if indices._meta.device is META:
                return picked
            counts = np.bincount(indices.peek().reshape(-1), minlength=rows)
            factors = from_array(1 / np.maximum(counts, 1)).to(grad._meta.dtype)
            picked = picked * _embedding(factors, indices, -1, False).unsqueeze(-1)
        return picked


def _check_indices(indices: Tensor, rows: int) -> None:
    if indices._meta.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got {indices._meta.dtype} instead (while checking arguments for "
            "embedding)"
        )
    known = value_of(indices).buffer
    if known is not None:  # computed already, so a mistake can be reported where it is made
        _check_range(known, rows)


@composite(where=("nn.functional",), out=False)
def embedding(
    input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False,
    sparse=False,
):  # fmt: skip
    """Rows of ``weight`` (rows, columns) by the numbers in ``input``: (*, columns).

    The row padding_idx gets no gradient. max_norm shrinks, in place, the rows used whose
    norm_type norm is larger. scale_grad_by_freq divides a row's gradient by how often it is used.
    Raises IndexError for a number out of range: here if the numbers are known, else when values
    are needed.
    Source: torch.nn.functional.embedding.

    >>> import suiren as torch
    >>> torch.nn.functional.embedding(torch.tensor([1, 0]), torch.tensor([[1., 2.], [3., 4.]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    rows = weight._meta.shape[0] if weight._meta.ndim else 0
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= rows
    if weight._meta.ndim != 2:
        raise RuntimeError(f"'weight' must be 2-D, got {list(weight._meta.shape)}")
    _check_indices(input, rows)
    if max_norm is not None:
        with no_grad():
            embedding_renorm_(weight, input, max_norm, norm_type)
    _refuse_sparse(sparse, weight)
    return _embedding(weight, input, -1 if padding_idx is None else padding_idx,
                      bool(scale_grad_by_freq))  # fmt: skip


def _refuse_sparse(sparse: bool, weight: Tensor) -> None:
    if sparse and weight._requires_grad:
        raise NotImplementedError(
            "embedding: sparse gradients are not supported; pass sparse=False for dense ones"
        )


@composite(where=("torch",), name="embedding", out=False)
def torch_embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    """Rows of ``weight`` by number. Source: torch.embedding."""
    if weight._meta.ndim != 2:
        raise RuntimeError(f"'weight' must be 2-D, got {list(weight._meta.shape)}")
    _check_indices(indices, weight._meta.shape[0])
    _refuse_sparse(sparse, weight)
    return _embedding(weight, indices, padding_idx, bool(scale_grad_by_freq))


@operator(where=(), name="embedding_renorm")
class _renorm:
    """The table with the used rows shrunk to a norm of max_norm."""

    tensors = 3
    widen = True

    def call(weight, indices, max_norm, norm_type):
        return apply(_renorm.operator, (weight, indices, float(max_norm)), (float(norm_type),))

    def infer(weight, indices, max_norm, norm_type):
        return weight.flat

    def evaluate(weight, indices, max_norm, norm_type):
        _check_range(indices, len(weight))
        result = np.array(weight)
        used = np.unique(indices)
        norms = np.linalg.norm(weight[used].astype(np.float64), norm_type, axis=1)
        large = norms > max_norm
        factors = max_norm / (norms[large] + 1e-7)
        result[used[large]] *= factors[:, None].astype(weight.dtype)
        return result


@composite(where=("torch",), name="embedding_renorm_", out=False)
def embedding_renorm_(weight, indices, max_norm, norm_type):
    """Shrinks the used rows of ``weight`` to a norm of at most max_norm, in place."""
    return assign(weight, _renorm(weight, indices, max_norm, norm_type), "embedding_renorm_")


@composite(where=("nn.functional",), out=False)
def one_hot(input, num_classes=-1):
    """Class numbers as vectors with a one at that place: (*, num_classes), int64.

    num_classes is the largest number plus one by default, which has to look at the input.
    Raises RuntimeError for a negative number or one too large. Source: F.one_hot.
    """
    if input._meta.dtype is not dtypes.int64:
        raise RuntimeError(
            "one_hot is only applicable to index tensor of type LongTensor, got "
            f"{input._meta.dtype}"
        )
    if input._meta.device is META and num_classes > 0:
        return without_data(meta((*input._meta.shape, num_classes), dtypes.int64))
    values = input.peek()
    if not values.size and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if values.size and values.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(values.max()) + 1
    elif num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    elif values.size and values.max() >= num_classes:
        raise RuntimeError(f"Class values must be smaller than num_classes ({num_classes}).")
    result = np.zeros((values.size, num_classes), np.int64)
    result[np.arange(values.size), values.reshape(-1)] = 1
    return from_array(result.reshape(*values.shape, num_classes))
