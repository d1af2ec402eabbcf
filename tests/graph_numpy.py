"""The meaning of the compiler's graph in NumPy: node after node, no optimisation.

The living definition of every kind of node in `suiren/compiler/node.py`, against which
decompositions (`test_decompositions.py`) and generated code can be held.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren.compiler.graph import Graph
from suiren.compiler.node import COMPARISONS, Node
from suiren.interpreter import accurate, convolution
from suiren.operator import OPERATORS
from suiren.trace.meta import meta


class CheckFailed(Exception):
    """A truth value of the graph's checks does not hold: the host would run the program."""


def run_graph(graph: Graph, inputs: dict[int, Any]) -> list[np.ndarray]:
    """The arrays of the graph's outputs; ``inputs`` are arrays and numbers by slot.

    Raises :class:`CheckFailed` where a program would fall back to the host.
    """
    values: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for check in graph.checks:
            if np.any(_value(check, values, inputs)):
                raise CheckFailed(repr(check))
        return [_value(node, values, inputs) for node in graph.outputs]


def _value(wanted: Node, values: dict[int, Any], inputs: dict[int, Any]) -> Any:
    todo = [wanted]
    while todo:
        node = todo[-1]
        if node.index in values:
            todo.pop()
            continue
        missing = [i for i in node.inputs if i.index not in values]
        if missing:
            todo += missing
            continue
        values[node.index] = run_node(node, [values[i.index] for i in node.inputs], inputs)
        todo.pop()
    return values[wanted.index]


def run_node(node: Node, arrays: list[Any], inputs: dict[int, Any]) -> Any:
    """The array of one node (a tuple of them for ``host``)."""
    if node.op == "host":
        return _host(node, arrays, inputs)
    if node.op == "none":
        return None
    if node.op == "number" and node.dtype.is_complex:
        return np.asarray(inputs[node.attributes[0]])
    function = _MOVED.get(node.op)
    if function is not None:
        found = function(node, arrays, inputs)
    elif node.op in COMPARISONS:
        found = _COMPARED[node.op](*arrays)
    else:
        found = _arithmetic(node, arrays)
    found = np.asarray(found)
    kind = node.dtype.numpy
    assert found.dtype == kind, f"{node} came out as {found.dtype}"
    assert found.shape == node.shape, f"{node} came out as {found.shape}"
    return found


def _host(node: Node, arrays: list[Any], inputs: dict[int, Any]) -> tuple:
    operator, attributes, results = node.attributes
    given, metas = [], []
    for child, array in zip(node.inputs, arrays, strict=True):
        if child.op == "number":
            array = inputs[child.attributes[0]]
        elif operator.consumes == len(given):
            array = np.array(array, order="C")
        given.append(array)
        metas.append(
            meta(child.shape, child.dtype)
            if isinstance(array, np.ndarray | np.generic)
            else array.__class__
        )
    found = operator.evaluate_for(metas, results)(*given, *attributes)
    return found if len(results) > 1 else (found,)


# ---- movement, reductions, indices


def _slice(node, arrays, inputs):
    key = []
    for first, count, step in node.attributes[0]:
        stop = first + count * step
        key.append(slice(first, stop if stop >= 0 else None, step) if count else slice(0, 0))
    return arrays[0][tuple(key)]


def _update(node, arrays, inputs):
    result = np.array(arrays[0])
    key = [slice(first, first + count * step, step) for first, count, step in node.attributes[0]]
    result[tuple(key)] = arrays[1]
    return result


def _reduce(node, arrays, inputs):
    kind, dims = node.attributes
    function = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}[kind]
    same = {"dtype": arrays[0].dtype} if kind in ("sum", "prod") else {}
    return function(arrays[0], axis=dims, keepdims=True, **same)


def _iota(node, arrays, inputs):
    dim = node.attributes[0]
    along = np.arange(node.shape[dim]).astype(node.dtype.numpy)
    return np.broadcast_to(
        along.reshape([-1 if d == dim else 1 for d in range(len(node.shape))]), node.shape
    )


def _pad(node, arrays, inputs):
    sides, value = node.attributes
    return np.pad(arrays[0], sides, constant_values=np.asarray(value).astype(arrays[0].dtype))


_AT = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _scatter(node, arrays, inputs):
    base, index, values = arrays
    how, dim = node.attributes
    result = np.array(base)
    key = (slice(None),) * dim + (index,)
    if how in _AT:
        _AT[how].at(result, key, values)
    else:
        result[key] = values
    return result


def _scatter_along(node, arrays, inputs):
    base, index, values = arrays
    how, dim = node.attributes
    result = np.array(base)
    grid = list(np.indices(index.shape, sparse=True))
    grid[dim] = index
    if how in _AT:
        _AT[how].at(result, tuple(grid), values)
    else:
        result[tuple(grid)] = values
    return result


def _scan(node, arrays, inputs):
    kind, dim, wide, backwards = node.attributes
    function = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}[kind]
    x = np.flip(arrays[0], dim) if backwards else arrays[0]
    found = function.accumulate(x, axis=dim, dtype=wide.numpy).astype(x.dtype)
    return np.flip(found, dim) if backwards else found


def _first(array):
    return array.transpose(0, 3, 1, 2)


def _last(array):
    return array.transpose(0, 2, 3, 1)


def _numbers(node):
    stride, padding, dilation, groups = node.attributes
    return stride, padding, dilation, False, (0, 0), groups


def _conv(node, arrays, inputs):
    return _last(convolution.convolution(_first(arrays[0]), arrays[1], None, *_numbers(node)))


def _conv_input_gradient(node, arrays, inputs):
    n, h, w, c = node.shape
    found = convolution.convolution_input_gradient(
        _first(arrays[0]), arrays[1], (n, c, h, w), *_numbers(node)
    )
    return _last(found)


def _conv_weight_gradient(node, arrays, inputs):
    grad, x = arrays
    return convolution.convolution_weight_gradient(
        _first(grad), _first(x), node.shape, *_numbers(node)
    )


def _cast(node, arrays, inputs):
    return np.asarray(arrays[0]).astype(node.dtype.numpy)


_MOVED = {
    "input": lambda node, arrays, inputs: inputs[node.attributes[0]],
    "number": lambda node, arrays, inputs: np.asarray(
        inputs[node.attributes[0]], node.dtype.numpy
    ),
    "constant": lambda node, arrays, inputs: np.asarray(node.attributes[1], node.dtype.numpy),
    "part": lambda node, arrays, inputs: arrays[0][node.attributes[0]],
    "table": lambda node, arrays, inputs: np.frombuffer(
        node.attributes[0], node.dtype.numpy
    ).reshape(node.shape),
    "reshape": lambda node, arrays, inputs: np.reshape(arrays[0], node.shape),
    "permute": lambda node, arrays, inputs: np.transpose(arrays[0], node.attributes[0]),
    "expand": lambda node, arrays, inputs: np.broadcast_to(arrays[0], node.shape),
    "slice": _slice,
    "pad": _pad,
    "update": _update,
    "concat": lambda node, arrays, inputs: np.concatenate(arrays, axis=node.attributes[0]),
    "reduce": _reduce,
    "iota": _iota,
    "take": lambda node, arrays, inputs: np.take(arrays[0], arrays[1], axis=node.attributes[0]),
    "take_along": lambda node, arrays, inputs: np.take_along_axis(
        arrays[0], arrays[1], node.attributes[0]
    ),
    "scatter": _scatter,
    "scatter_along": _scatter_along,
    "scan": _scan,
    "conv": _conv,
    "conv_input_gradient": _conv_input_gradient,
    "conv_weight_gradient": _conv_weight_gradient,
    "matmul": lambda node, arrays, inputs: np.matmul(
        *(array.astype(node.dtype.numpy) for array in arrays)
    ),
    "where": lambda node, arrays, inputs: np.where(*arrays),
    "cast": _cast,
}

# ---- arithmetic

_COMPARED = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "isnan": np.isnan,
}  # fmt: skip

_COMPUTED = {
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "exp": accurate.exp, "exp2": accurate.exp2, "expm1": accurate.expm1, "log": accurate.log,
    "log1p": accurate.log1p, "log2": accurate.log2, "log10": accurate.log10,
    "tanh": accurate.tanh, "sin": accurate.sin, "cos": accurate.cos, "tan": accurate.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": accurate.arctan, "sinh": accurate.sinh,
    "cosh": accurate.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round": np.rint,
    "not": np.bitwise_not, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "shl": np.left_shift, "shr": np.right_shift, "add": np.add, "sub": np.subtract,
    "mul": np.multiply, "div": np.true_divide, "min": np.minimum, "max": np.maximum,
    "floor_div": np.floor_divide, "pow": accurate.power, "atan2": np.arctan2,
    "copysign": np.copysign, "fma": lambda a, b, c: a * b + c,
}  # fmt: skip

# Where the node means what an operator means: signs of zeros, truncation, sign(NaN) and the like.
_BY_OPERATOR = {
    **{name: name for name in ("sign", "sigmoid", "erf", "erfc", "erfinv", "lgamma", "digamma",
                               "log_sigmoid", "fmod", "remainder")},
    "trunc_div": "div_trunc",
}  # fmt: skip


def _arithmetic(node: Node, arrays: list[np.ndarray]) -> Any:
    function = _COMPUTED.get(node.op)
    if function is None:
        function = OPERATORS[_BY_OPERATOR[node.op]].evaluate
    if node.dtype.is_half:
        found = function(*[x.astype(np.float32) for x in arrays])
        return np.asarray(found).astype(node.dtype.numpy)
    return function(*arrays)
