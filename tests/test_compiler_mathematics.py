"""The compiler's elementary functions against NumPy in longer types, and special values."""

import math
import re

import numpy as np
import pytest
import vector_functions
from vector_functions import BOUNDS, LEAST, REFERENCES, apply, errors, samples, text

from suiren.compiler import machine_code, target
from suiren.compiler.codegen import mathematics

pytestmark = pytest.mark.skipif(
    target.unavailable() is not None, reason=str(target.unavailable())
)

TYPES = [np.dtype("float32"), np.dtype("float64")]
NAMES = list(mathematics.FUNCTIONS)
LONG_DOUBLE = np.finfo(np.longdouble).nmant > 60  # not so on every machine
INF, NAN = math.inf, math.nan


def operands(name: str, dtype: np.dtype, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(len(name))
    x = samples(dtype, count, rng)
    return [x, rng.permutation(x)][: mathematics.FUNCTIONS[name].operands]


def off(name: str, result: np.ndarray, arrays: list[np.ndarray]) -> float:
    """The largest error in units in the last place."""
    wide = np.float64 if result.dtype == np.float32 else np.longdouble
    with np.errstate(all="ignore"):
        reference = REFERENCES[name](*[a.astype(wide) for a in arrays]).astype(wide)
        least = LEAST[name](arrays[0].astype(np.longdouble)) if name in LEAST else 0.0
    return float(errors(result, reference, least).max())


def test_every_function_has_a_reference():
    assert set(NAMES) == set(REFERENCES)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_within_two_units_of_the_last_place(name, dtype):
    """All kinds of numbers; tools/check_mathematics.py does hundreds of millions."""
    arrays = operands(name, dtype, 200_000)
    exact_reference = dtype == np.float32 or (LONG_DOUBLE and name not in ("erf", "erfc"))
    bound = 2 if exact_reference else 4
    bound = BOUNDS.get(name, bound) if dtype == np.float64 else bound
    assert off(name, apply(name, *arrays), arrays) <= bound


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_width_gives_the_same_bits(name, dtype):
    """Kernels use narrow vectors and scalars for what is left over."""
    arrays = operands(name, dtype, 5_000)
    expected = apply(name, *arrays)
    for width in (0, 2, 4, 8):
        result = apply(name, *arrays, width=width)
        assert np.array_equal(np.isnan(result), np.isnan(expected))
        integer = f"u{dtype.itemsize}"
        numbers = ~np.isnan(result)
        assert np.array_equal(result[numbers].view(integer), expected[numbers].view(integer))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_without_fused_multiply_add(name, dtype):
    arrays = operands(name, dtype, 20_000)
    bound = 2 if LONG_DOUBLE and name not in ("erf", "erfc", "lgamma", "digamma") else 4
    assert off(name, apply(name, *arrays, fused=False), arrays) <= bound


@pytest.mark.parametrize("machine", [target.AVX512, target.AVX2, target.NEON], ids=lambda t: t.name)
@pytest.mark.parametrize("scalar", ["float", "double"])
def test_no_library_is_called(machine, scalar):
    width = machine.lanes(4 if scalar == "float" else 8)
    for name in NAMES:
        code = machine_code.assembly(text(name, scalar, width, True, machine), machine)
        assert not re.search(r"^\s+(callq?|bl)\s", code, re.MULTILINE), name


SPECIAL_VALUES = [
    ("exp", 0.0, 1.0), ("exp", -0.0, 1.0), ("exp", INF, INF), ("exp", -INF, 0.0), ("exp", NAN, NAN),
    ("exp2", INF, INF), ("exp2", -INF, 0.0), ("exp2", 10.0, 1024.0),
    ("expm1", -0.0, -0.0), ("expm1", -INF, -1.0), ("expm1", INF, INF), ("expm1", NAN, NAN),
    ("log", 1.0, 0.0), ("log", 0.0, -INF), ("log", -0.0, -INF), ("log", -1.0, NAN),
    ("log", INF, INF), ("log", -INF, NAN), ("log", NAN, NAN),
    ("log2", 8.0, 3.0), ("log2", 0.0, -INF), ("log10", 1000.0, 3.0), ("log10", -2.0, NAN),
    ("log1p", -1.0, -INF), ("log1p", -2.0, NAN), ("log1p", -0.0, -0.0), ("log1p", INF, INF),
    ("sigmoid", 0.0, 0.5), ("sigmoid", INF, 1.0), ("sigmoid", -INF, 0.0), ("sigmoid", NAN, NAN),
    ("tanh", -0.0, -0.0), ("tanh", INF, 1.0), ("tanh", -1e30, -1.0), ("tanh", NAN, NAN),
    ("sinh", -INF, -INF), ("sinh", -0.0, -0.0), ("cosh", -INF, INF), ("cosh", 0.0, 1.0),
    ("erf", INF, 1.0), ("erf", -INF, -1.0), ("erf", -0.0, -0.0), ("erf", NAN, NAN),
    ("erfc", INF, 0.0), ("erfc", -INF, 2.0), ("erfc", 0.0, 1.0),
    ("sqrt", -0.0, -0.0), ("sqrt", -1.0, NAN), ("rsqrt", 0.0, INF), ("rsqrt", -0.0, -INF),
    ("rsqrt", INF, 0.0), ("rsqrt", -4.0, NAN),
    ("round", 2.5, 2.0), ("round", 3.5, 4.0), ("round", -0.5, -0.0), ("trunc", -0.5, -0.0),
    ("floor", -0.5, -1.0), ("ceil", -0.5, -0.0), ("floor", INF, INF),
    ("sin", -0.0, -0.0), ("sin", INF, NAN), ("cos", 0.0, 1.0), ("cos", -INF, NAN),
    ("tan", -0.0, -0.0), ("tan", INF, NAN),
    ("asin", 2.0, NAN), ("asin", -0.0, -0.0), ("acos", 1.0, 0.0), ("acos", -1.5, NAN),
    ("atan", -0.0, -0.0), ("atanh", 1.0, INF), ("atanh", -1.0, -INF), ("atanh", 1.5, NAN),
    ("acosh", 1.0, 0.0), ("acosh", 0.5, NAN), ("acosh", INF, INF), ("asinh", -INF, -INF),
    ("softplus", -INF, 0.0), ("softplus", INF, INF), ("log_sigmoid", -INF, -INF),
    ("log_sigmoid", INF, 0.0),
    ("pow", 0.0, 0.0, 1.0), ("pow", NAN, 0.0, 1.0), ("pow", 1.0, NAN, 1.0), ("pow", -1.0, INF, 1.0),
    ("pow", 0.0, -1.0, INF), ("pow", -0.0, -3.0, -INF), ("pow", -0.0, 3.0, -0.0),
    ("pow", -0.0, 2.0, 0.0), ("pow", -8.0, 1 / 3, NAN), ("pow", -2.0, 3.0, -8.0),
    ("pow", -2.0, -2.0, 0.25), ("pow", 2.0, NAN, NAN), ("pow", NAN, 2.0, NAN),
    ("pow", INF, -1.0, 0.0), ("pow", -INF, 3.0, -INF), ("pow", -INF, 0.5, INF),
    ("pow", 0.5, INF, 0.0), ("pow", 0.5, -INF, INF), ("pow", 2.0, 0.5, 2**0.5),
    ("atan2", 0.0, -1.0, math.pi), ("atan2", -0.0, -1.0, -math.pi), ("atan2", -0.0, 1.0, -0.0),
    ("atan2", 0.0, -0.0, math.pi), ("atan2", 0.0, 0.0, 0.0), ("atan2", 1.0, 0.0, math.pi / 2),
    ("atan2", INF, INF, math.pi / 4), ("atan2", INF, -INF, 3 * math.pi / 4),
    ("atan2", 1.0, NAN, NAN), ("atan2", -1.0, INF, -0.0),
    ("fmod", -5.0, 3.0, -2.0), ("fmod", 5.0, INF, 5.0), ("fmod", 5.0, 0.0, NAN),
    ("fmod", INF, 2.0, NAN), ("fmod", -6.0, 3.0, -0.0),
    ("lgamma", 0.0, INF), ("lgamma", -0.0, INF), ("lgamma", 1.0, 0.0), ("lgamma", 2.0, 0.0),
    ("lgamma", -3.0, INF), ("lgamma", INF, INF), ("lgamma", -INF, INF), ("lgamma", NAN, NAN),
    ("digamma", 0.0, -INF), ("digamma", -0.0, INF), ("digamma", -2.0, NAN), ("digamma", INF, INF),
    ("digamma", -INF, NAN), ("digamma", NAN, NAN),
    ("remainder", -5.0, 3.0, 1.0), ("remainder", 5.0, -3.0, -1.0), ("remainder", -6.0, 3.0, -0.0),
]  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_special_values(dtype):
    """As PyTorch 2.13 gives them."""
    for name, *inputs, expected in SPECIAL_VALUES:
        (result,) = apply(name, *[np.array([x], dtype) for x in inputs])
        assert result == dtype.type(expected) or (np.isnan(result) and np.isnan(expected)), (
            f"{name}{tuple(inputs)} gave {result}, not {expected}"
        )
        if expected == 0:
            assert np.signbit(result) == np.signbit(expected), f"{name}{tuple(inputs)}"


def test_special_values_are_those_of_torch(torch):
    names = {"softplus": "nn.functional.softplus", "log_sigmoid": "nn.functional.logsigmoid"}
    for name, *inputs, expected in SPECIAL_VALUES:
        if name == "log_sigmoid" and expected == 0:
            continue  # torch gives 0.0 on one path and -0.0 on the other
        function = torch
        for part in names.get(name, name).split("."):
            function = getattr(function, part)
        result = function(*[torch.tensor([x], dtype=torch.float64) for x in inputs]).item()
        assert result == expected or math.isnan(result) and math.isnan(expected), (name, inputs)
        assert math.isnan(expected) or math.copysign(1, result) == math.copysign(1, expected)


def test_the_ends_of_the_range():
    """The last finite and the first infinite results, and denormal ones."""
    float32, float64 = np.float32, np.float64
    assert np.isfinite(apply("exp", float32([88.72283])))[0]
    assert np.isinf(apply("exp", float32([88.72284])))[0]
    assert np.isfinite(apply("exp", float64([709.782712893384])))[0]
    assert np.isinf(apply("exp", float64([709.7827128933841])))[0]
    assert apply("exp", float32([-103.9, -104.1])).tolist() == [2.0**-149, 0.0]
    assert apply("exp", float64([-745.1, -745.2])).tolist() == [2.0**-1074, 0.0]
    assert apply("sigmoid", float32([-100, -200])).tolist() == [3.783505853677006e-44, 0.0]
    powers = [-1074, -1022, 1023]
    assert apply("exp2", float64(powers)).tolist() == [2.0**n for n in powers]
    assert apply("log", float64([2.0**-1074])).tolist() == [math.log(2.0**-1074)]
    assert apply("cosh", float64([710.4758])).tolist()[0] < INF


def test_angles_that_are_nearly_multiples_of_half_pi():
    """The hardest doubles for range reduction (Kahan; Muller's book) and some well-known ones."""
    hard = 6381956970095103 * 2.0**797
    assert apply("cos", np.array([hard])).tolist() == [-4.68716592425462761112e-19]
    assert apply("sin", np.array([1e22, 2.0**1023])).tolist() == [
        -0.8522008497671888, 0.5631277798508840
    ]  # fmt: skip
    near = np.float32([16367173 * 2.0**72])
    assert apply("cos", near) == np.cos(near.astype(np.float64)).astype(np.float32)


def test_erfinv_of_float64():
    """Recorded from mpmath at 140 bits."""
    values = {
        1e-300: 8.86226925452758e-301,
        0.1: 0.08885599049425769,
        -0.5: -0.4769362762044699,
        0.9: 1.1630871536766743,
        0.99: 1.8213863677184494,
        0.9999: 2.75106390571208,
        -1 + 2.0**-24: -3.832506856900711,
        1 - 2.0**-30: 4.328028275800946,
        1 - 2.0**-53: 5.8635847487551676,
        0.0: 0.0,
        1.0: INF,
        -1.0: -INF,
    }
    result = apply("erfinv", np.array(list(values)))
    expected = np.array(list(values.values()))
    finite = np.isfinite(expected)
    assert np.array_equal(result[~finite], expected[~finite])
    result, expected = result[finite], expected[finite]
    assert (np.abs(result - expected) <= 2 * np.spacing(np.abs(expected))).all()
    assert np.isnan(apply("erfinv", np.array([1.1, -2, NAN, INF]))).all()


def test_supports():
    assert mathematics.supports("exp", "float")
    assert not mathematics.supports("exp", "half")
    assert not mathematics.supports("no such function", "float")
    assert mathematics.exp is mathematics.FUNCTIONS["exp"]
    with pytest.raises(AttributeError):
        mathematics.no_such_function  # noqa: B018
    with pytest.raises(TypeError, match="pow takes 2 operands, got 1"):
        mathematics.pow(None, None)


def test_errors_sees_errors():
    one = np.float32([1.0])
    assert errors(one, np.array([1 + 2.0**-23])) == 1
    assert errors(one, np.array([NAN])) == INF
    assert errors(np.float32([0.0]), np.array([-0.0])) == INF
    assert vector_functions.spacing(np.array([1e-44]), np.dtype("float32")) == 2.0**-149
