"""Elementwise operators: values, dtypes, gradients, in-place and out= forms, errors.

Table-driven: PyTorch is the oracle where it is installed; ``RECORDED`` holds what it answered for
the operators that training uses, so that the most important numbers are checked without it.
"""

import contextlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
from compiling import compiling, needs_compiler  # noqa: E402 (a sibling file)

NAN, INF = math.nan, math.inf

# name -> what PyTorch 2.13 gives for POINTS (float64, rounded to 12 digits)
POINTS = [-2.0, -0.5, 0.0, 0.5, 2.0]
RECORDED = {
    "abs": [2.0, 0.5, 0.0, 0.5, 2.0],
    "exp": [0.135335283237, 0.606530659713, 1.0, 1.64872127070, 7.38905609893],
    "log": [NAN, NAN, -INF, -0.693147180560, 0.693147180560],
    "sqrt": [NAN, NAN, 0.0, 0.707106781187, 1.41421356237],
    "sigmoid": [0.119202922022, 0.377540668798, 0.5, 0.622459331202, 0.880797077978],
    "tanh": [-0.964027580076, -0.462117157260, 0.0, 0.462117157260, 0.964027580076],
    "erf": [-0.995322265019, -0.520499877813, 0.0, 0.520499877813, 0.995322265019],
    "lgamma": [INF, 1.26551212348, INF, 0.572364942925, 0.0],
    "digamma": [NAN, 0.0364899739786, -INF, -1.96351002602, 0.422784335098],
    "sign": [-1.0, -1.0, 0.0, 1.0, 1.0],
    "round": [-2.0, -0.0, 0.0, 0.0, 2.0],
    "reciprocal": [-0.5, -2.0, INF, 2.0, 0.5],
    "square": [4.0, 0.25, 0.0, 0.25, 4.0],
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_values(name):
    found = getattr(suiren, name)(suiren.tensor(POINTS, dtype=suiren.float64))
    assert found.tolist() == pytest.approx(RECORDED[name], rel=1e-11, abs=1e-12, nan_ok=True)


def test_recorded_gradients():
    x = suiren.tensor([-1.5, 0.5, 1.0, 3.0], requires_grad=True)
    (x.clamp(-1, 1) * suiren.sigmoid(x) + suiren.where(x > 0, x**2, -x)).sum().backward()
    expected = [-1.149146, 1.739961, 2.927671, 6.045177]
    assert x.grad.tolist() == pytest.approx(expected, rel=1e-5)


def test_ties_share_the_gradient():
    a = suiren.tensor([1.0, 2.0], requires_grad=True)
    b = suiren.tensor([1.0, 1.0], requires_grad=True)
    suiren.maximum(a, b).sum().backward()
    assert a.grad.tolist() == [0.5, 1.0] and b.grad.tolist() == [0.5, 0.0]
    a.grad = b.grad = None
    suiren.fmax(a, b).sum().backward()  # the first takes all of it
    assert a.grad.tolist() == [1.0, 1.0] and b.grad.tolist() == [0.0, 0.0]


def test_integers_by_zero_raise():
    whole = suiren.tensor([1, 2])
    for function in (suiren.floor_divide, suiren.remainder, suiren.fmod):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            function(whole, suiren.tensor([1, 0])).tolist()
    with pytest.raises(RuntimeError, match="negative integer powers"):
        whole**-1
    assert (whole**suiren.tensor([-1, -1])).tolist() == [1, 0]


def test_special_functions_are_exact_to_double_precision():
    """Values from mpmath with 60 digits; PyTorch's airy_ai(-2.5) is right to 5 digits only."""
    known = [
        ("airy_ai", -2.5, -0.11232506769296609),
        ("airy_ai", 2.1, 0.029952602115866523),
        ("ndtri", 1e-300, -37.0470962993612),
        ("log_ndtr", -1e5, -5000000012.431864),
        ("erfcx", 1e10, 5.641895835477563e-11),
        ("bessel_j0", 2.5, -0.04838377646819800),
        ("bessel_j0", 100.0, 0.01998585030422312),
        ("bessel_y1", 3.7, 0.41667437268380749),
    ]
    for name, at, value in known:
        found = getattr(suiren.special, name)(suiren.tensor(at, dtype=suiren.float64)).item()
        assert found == pytest.approx(value, rel=2e-13), name
    half = suiren.tensor([1e-30], dtype=suiren.float64)
    point = suiren.tensor([0.5], dtype=suiren.float64)
    upper = suiren.special.gammaincc(half, point).item()
    assert upper == pytest.approx(5.597735947761608e-31, rel=1e-13)


def test_parts_of_complex_numbers_are_views():
    z = suiren.tensor([1 + 2j, 3 - 4j])
    z.real.mul_(2)
    z.imag[0] = 7.0
    assert z.tolist() == [2 + 7j, 6 - 4j]
    suiren.view_as_real(z)[1, 0] = 0.0
    assert z.tolist() == [2 + 7j, -4j]
    assert z.conj().tolist() == [2 - 7j, 4j]


# --------------------------------------------------------------------------
# Against PyTorch

UNARY = (
    "abs neg sign sgn signbit ceil floor trunc round frac nan_to_num exp exp2 expm1 log log2 log10 "
    "log1p sqrt rsqrt reciprocal square sin cos tan asin acos atan sinh cosh tanh asinh acosh "
    "atanh sinc deg2rad rad2deg sigmoid logit isnan isinf isfinite isposinf isneginf isreal "
    "logical_not erf erfc erfinv lgamma digamma angle positive bitwise_not conj_physical "
    "special.ndtr special.entr special.i0e special.i1e special.erfcx special.ndtri "
    "special.log_ndtr special.bessel_j0 special.bessel_y1 special.modified_bessel_k0"
).split()
BINARY = (
    "add sub mul div true_divide floor_divide remainder fmod pow float_power maximum minimum fmax "
    "fmin hypot copysign nextafter xlogy logaddexp logaddexp2 atan2 eq ne lt le gt ge logical_and "
    "logical_or logical_xor gcd lcm bitwise_and bitwise_or bitwise_xor bitwise_left_shift "
    "bitwise_right_shift special.xlog1py"
).split()
DTYPES = ["float64", "float32", "bfloat16", "int64", "uint8", "bool", "complex128"]
TOLERANCE = {"float64": 1e-12, "complex128": 1e-12, "bfloat16": 1e-2}
REALS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.5, 3.7, 30.0, -20.3, INF, -INF, NAN]
SAMPLES = {
    "uint8": [0, 1, 2, 3, 7, 100, 255],
    "int64": [1, 2, 3, -1, -2, -7, 64, 100],
    "bool": [True, False],
    "complex128": [1 + 2j, -1 + 0.5j, 0.5 - 0.25j, -2 - 1j, 3 + 0j],
}


def _named(module, name):
    for part in name.split("."):
        module = getattr(module, part)
    return module


def _made(module, kind, values):
    if kind == "bfloat16":
        return module.tensor(values, dtype=module.float32).to(module.bfloat16)
    return module.tensor(values, dtype=getattr(module, kind))


def _run(function, *args):
    """The result, computed, or the exception."""
    try:
        found = function(*args)
        return found, _array(found)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        return error, None


def _array(tensor):
    if "float16" in str(tensor.dtype):
        tensor = tensor.float()
    return np.array(tensor.detach().clone().numpy())  # clone: PyTorch's zeros without memory


def _compare(expected, found, tolerance, what):
    (want, want_array), (got, got_array) = expected, found
    if want_array is None:
        assert type(got) is type(want), f"{what}: {got!r} where PyTorch gives {want!r}"
        return
    assert got_array is not None, f"{what}: {got!r}"
    assert str(got.dtype) == str(want.dtype), what
    np.testing.assert_allclose(
        got_array, want_array, rtol=tolerance, atol=tolerance * 1e-2, equal_nan=True, err_msg=what
    )


# In bfloat16 PyTorch has no kernels for some of these, or rounds after every step.
WIDER_THAN_PYTORCH = {
    (name, "bfloat16")
    for name in (
        "special.ndtr special.erfcx special.ndtri special.log_ndtr special.bessel_j0 "
        "special.bessel_y1 special.modified_bessel_k0 signbit"
    ).split()
}
# Bessel functions at infinity: 0 by their limit, where PyTorch gives NaN.
BESSEL = {"special.bessel_j0", "special.bessel_y1"}
LIMITS = {"special.bessel_j0", "special.bessel_y1", "special.i0e", "special.i1e"}


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_unary_agrees_with_pytorch(name, kind):
    torch = pytest.importorskip("torch")
    if (name, kind) in WIDER_THAN_PYTORCH:
        pytest.skip("PyTorch has no such kernel")
    values = SAMPLES.get(kind, REALS)
    if name in LIMITS:
        values = [v for v in values if isinstance(v, complex) or not math.isinf(v)]
    expected = _run(_named(torch, name), _made(torch, kind, values))
    found = _run(_named(suiren, name), _made(suiren, kind, values))
    tolerance = TOLERANCE.get(kind, 3e-6)
    if name in BESSEL:
        # PyTorch's own error, 1e-9 in double and 1e-5 in single precision; the exact values are
        # in test_special_functions_are_exact_to_double_precision
        tolerance = 1e-8 if kind == "float64" else 2e-5
    _compare(expected, found, tolerance, f"{name} {kind}")


@pytest.mark.parametrize("kind", ["float64", "int64", "uint8", "bool", "complex128"])
@pytest.mark.parametrize("name", BINARY)
def test_binary_agrees_with_pytorch(name, kind):
    torch = pytest.importorskip("torch")
    values = SAMPLES.get(kind, REALS)
    arguments = [
        (_made(module, kind, values), _made(module, kind, values).unsqueeze(1))
        for module in (torch, suiren)
    ]
    expected, found = (
        _run(_named(module, name), *pair)
        for module, pair in zip((torch, suiren), arguments, strict=True)
    )
    tolerance = TOLERANCE.get(kind, 3e-6)
    _compare(expected, found, tolerance, f"{name} {kind}")
    for number in (2, 0.5, True):
        expected, found = (
            _run(_named(module, name), pair[0], number)
            for module, pair in zip((torch, suiren), arguments, strict=True)
        )
        _compare(expected, found, tolerance, f"{name} {kind} with {number}")


PAIRS = ["float32", "float64", "float16", "bfloat16", "int64", "int8", "uint8", "bool", "complex64"]


@pytest.mark.parametrize("name", ["add", "mul", "div", "pow", "eq", "atan2", "where"])
def test_promotion_agrees_with_pytorch(name):
    torch = pytest.importorskip("torch")

    def answers(module, first, second, dims):
        a = module.ones(3, dtype=getattr(module, first))
        b = module.ones((3,) if dims else (), dtype=getattr(module, second))
        function = getattr(module, name)
        if name == "where":
            return str(function(module.tensor([True, False, True]), a, b).dtype)
        try:
            return str(function(a, b).dtype)
        except (RuntimeError, NotImplementedError) as error:
            return type(error)

    for first in PAIRS:
        for second in PAIRS:
            if {first, second} == {"float16", "complex64"}:
                continue  # complex numbers of halves, which Suiren does not have
            for dims in (0, 1):
                case = (first, second, dims)
                assert answers(suiren, *case) == answers(torch, *case), (name, case)


DIFFERENTIABLE = {  # name: the interval from which arguments are drawn
    "exp": (-2, 2), "log": (0.1, 3), "log1p": (-0.5, 3), "sqrt": (0.1, 3), "rsqrt": (0.1, 3),
    "sin": (-3, 3), "tan": (-1, 1), "asin": (-0.9, 0.9), "atan": (-2, 2), "tanh": (-2, 2),
    "acosh": (1.1, 3), "atanh": (-0.9, 0.9), "sigmoid": (-3, 3), "logit": (0.1, 0.9),
    "abs": (-2, 2), "reciprocal": (0.3, 2), "square": (-2, 2), "sinc": (-2, 2), "erf": (-2, 2),
    "erfc": (-2, 2), "erfinv": (-0.9, 0.9), "lgamma": (0.3, 4), "digamma": (0.3, 4),
    "floor": (-2, 2), "frac": (-2, 2), "special.ndtri": (0.1, 0.9), "special.log_ndtr": (-6, 3),
    "special.entr": (0.1, 2), "special.i0e": (-3, 3), "special.i1e": (-3, 3), "i0": (-3, 3),
    "special.erfcx": (-1, 3),
    "add": (-2, 2), "sub": (-2, 2), "mul": (-2, 2), "div": (0.3, 2), "pow": (0.3, 2),
    "maximum": (-2, 2), "fmin": (-2, 2), "remainder": (0.3, 2), "fmod": (0.3, 2),
    "hypot": (0.3, 2), "atan2": (0.3, 2), "copysign": (-2, 2), "xlogy": (0.3, 2),
    "logaddexp": (-2, 2), "logaddexp2": (-2, 2), "special.xlog1py": (0.3, 2),
    "addcmul": (-2, 2), "addcdiv": (0.3, 2), "lerp": (0.1, 0.9), "clamp": (-2, 2),
}  # fmt: skip
COUNT = {"addcmul": 3, "addcdiv": 3, "lerp": 3, "clamp": 3}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_agree_with_pytorch(name):
    """First and second derivatives, each weighted with a random direction; broadcast arguments."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    low, high = DIFFERENTIABLE[name]
    count = COUNT.get(name, 2 if name in BINARY else 1)
    shapes = [(3, 4), (4,), (3, 1)][:count]
    arrays = [rng.uniform(low, high, shape) for shape in shapes]
    directions = [rng.normal(size=(3, 4)), *[rng.normal(size=shape) for shape in shapes]]

    def derivatives(module):
        inputs = [module.tensor(a.tolist(), dtype=module.float64) for a in arrays]
        for tensor in inputs:
            tensor.requires_grad_()
        along = [module.tensor(d.tolist(), dtype=module.float64) for d in directions]
        total = (_named(module, name)(*inputs) * along[0]).sum()
        first = module.autograd.grad(total, inputs, create_graph=True)
        again = sum((g * d).sum() for g, d in zip(first, along[1:], strict=True))
        second = (
            module.autograd.grad(again, inputs, allow_unused=True)
            if again.requires_grad
            else [None] * count
        )
        second = [
            module.zeros_like(x) if g is None else g for g, x in zip(second, inputs, strict=True)
        ]
        return [_array(g) for g in (*first, *second)]

    for got, want in zip(derivatives(suiren), derivatives(torch), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("name", ["exp", "add", "mul", "clamp_min", "atan2", "logical_and", "eq"])
def test_in_place_and_out_forms(name):
    if name in ("exp",):
        rest = ()
    else:
        rest = (suiren.tensor([0.5, -2.0]),)
    x = suiren.tensor([1.0, -1.0])
    expected = getattr(suiren, name)(x, *rest)
    out = suiren.zeros(2, dtype=expected.dtype)
    assert getattr(suiren, name)(x, *rest, out=out) is out
    assert out.tolist() == expected.tolist()
    assert getattr(x, name + "_")(*rest) is x
    assert x.dtype is suiren.float32 and x.tolist() == expected.to(suiren.float32).tolist()


def test_in_place_forms_keep_the_dtype():
    whole = suiren.tensor([1, 2])
    for change in (
        lambda: whole.exp_(),
        lambda: whole.div_(2),
        lambda: whole.add_(1.5),
        lambda: suiren.tensor([True]).add_(1),
    ):
        with pytest.raises(RuntimeError, match="can't be cast"):
            change()


@pytest.mark.parametrize(
    ("error", "wrong"),
    [
        (RuntimeError, lambda m: m.tensor([True]) - m.tensor([True])),
        (RuntimeError, lambda m: m.add(m.tensor([1]), 1, alpha=0.5)),
        (RuntimeError, lambda m: m.clamp(m.ones(2))),
        (TypeError, lambda m: m.clamp(m.ones(2), 0, m.ones(2))),
        (TypeError, lambda m: m.maximum(m.ones(2), 1)),
        (RuntimeError, lambda m: m.div(m.ones(2), 2, rounding_mode="up")),
        (RuntimeError, lambda m: m.addcdiv(*[m.tensor([1])] * 3)),
        (RuntimeError, lambda m: m.where(m.tensor([1]), 1.0, 2.0)),
        (RuntimeError, lambda m: m.ones(2).masked_fill(m.tensor([1, 0]), 0)),
        (RuntimeError, lambda m: m.ones(2).masked_fill(m.tensor([True, False]), m.ones(2))),
        (RuntimeError, lambda m: m.isclose(m.ones(2), m.tensor([1, 1]))),
        (RuntimeError, lambda m: m.imag(m.ones(2))),
        (RuntimeError, lambda m: m.view_as_complex(m.ones(3))),
        (RuntimeError, lambda m: m.complex(m.ones(2), m.ones(2, dtype=m.float64))),
        (NotImplementedError, lambda m: m.bitwise_and(m.ones(2), m.ones(2))),
        (RuntimeError, lambda m: m.ones(3) + m.ones(2)),
    ],
)
def test_errors(error, wrong):
    with pytest.raises(error):
        wrong(suiren)
    try:
        import torch
    except ImportError:
        return
    with pytest.raises(error):
        wrong(torch)


# ---- out= that shares memory with an input


@pytest.mark.parametrize("call", [
    "T.add(x[:4], 1, out=x[1:5])", "T.exp(x[:4], out=x[2:6])", "T.cat([x[:4], x[4:]], out=x)",
    "T.gather(x[:4], 0, T.tensor([0, 1]), out=x[:2])", "T.take(x, T.tensor([0]), out=x[:1])",
    "T.index_select(x, 0, T.tensor([0]), out=x[:1])", "T.masked_select(x, x > 6, out=x[:1])",
    "T.stack([x[:4], x[:4]], out=x.view(2, 4))", "T.outer(x[:2], x[:2], out=x[4:].view(2, 2)[:])",
])  # fmt: skip
def test_out_that_shares_memory_is_refused(call):
    """PyTorch's kernels read while they write; programs that run here must run there."""
    x = suiren.arange(8.0)
    if call.startswith("T.outer"):
        suiren.outer(x[:2], x[:2], out=x[4:].view(2, 2))  # apart: allowed
        call = "T.outer(x[:2], x[:2], out=x[:4].view(2, 2))"
    with pytest.raises(RuntimeError, match="single memory location"):
        eval(call, {"T": suiren, "x": x})


def test_out_that_is_an_input_of_an_elementwise_function_is_allowed():
    x = suiren.arange(4.0)
    suiren.add(x, x, out=x)
    assert x.tolist() == [0.0, 2.0, 4.0, 6.0]


@pytest.mark.parametrize("name", ["gather", "index_select"])
def test_out_of_another_dtype_is_refused_where_pytorch_does_not_convert(name):
    x, index = suiren.arange(4.0), suiren.tensor([0, 1])
    with pytest.raises(RuntimeError, match="dtype"):
        getattr(suiren, name)(x, 0, index, out=suiren.empty(2, dtype=suiren.float64))
    assert suiren.add(x, 1, out=suiren.empty(4, dtype=suiren.float64)).dtype is suiren.float64


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_compiler)])
def test_a_zero_keeps_its_sign_where_pytorch_s_does(compiled):
    # -0. is printed: relu(-x) shows it wherever x is zero
    functional = suiren.nn.functional
    functions = [
        suiren.relu,
        functional.relu6,
        functional.elu,
        functional.hardtanh,
        lambda x: x.clamp(min=0),
        lambda x: x.clamp(0, 1),
    ]
    x = suiren.tensor([-0.0] * 9)
    with compiling() if compiled else contextlib.nullcontext():
        for function in functions:
            assert np.signbit(function(x).numpy()).all(), function
            assert not np.signbit(function(-x).numpy()).any(), function


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_compiler)])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_bound_of_zero_keeps_its_sign(compiled, zero):
    # -0. became 0.
    x = suiren.tensor([-2.0, 2.0] * 5)
    with compiling() if compiled else contextlib.nullcontext():
        for found, at in (
            (x.clamp(min=zero), 0), (x.clamp(max=zero), 1),
            (x.clamp(zero, 1.0), 0), (x.clamp(-1.0, zero), 1),
            (suiren.nn.functional.hardtanh(x, zero, 1.0), 0),
        ):  # fmt: skip
            values = found.numpy()[at::2]
            assert (values == 0).all()
            assert (np.signbit(values) == np.signbit(zero)).all()
