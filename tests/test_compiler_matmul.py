"""suiren.compiler.codegen.matmul against NumPy in float64: shapes, strides, types, orders."""

from __future__ import annotations

import random

import numpy as np
import pytest

from suiren.compiler import target

if not target.available():
    pytest.skip("this machine compiles nothing", allow_module_level=True)

from matmul_harness import SCALARS, Runner, matrix  # noqa: E402

from suiren.compiler import machine_code  # noqa: E402
from suiren.compiler.codegen import matmul  # noqa: E402

SIZES = (1, 1, 2, 3, 5, 7, 8, 13, 14, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 100, 128, 150, 257)


def numbers(generator, shape, kind):
    """Random numbers; uint16 stands for bfloat16."""
    if kind.startswith("int"):
        return generator.integers(-50, 50, shape).astype(kind)
    values = generator.standard_normal(shape)
    if kind == "uint16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(kind)


def operand(choice, generator, shape, kind):
    """An array of this shape: contiguous, transposed, or with steps forth and back."""
    how = choice.choice("nnts")
    if how == "n":
        return numbers(generator, shape, kind)
    if how == "t":
        return numbers(generator, (*shape[:-2], shape[-1], shape[-2]), kind).swapaxes(-1, -2)
    cuts = []
    for size in shape:
        cuts.append(choice.choice([slice(0, 2 * size, 2), slice(1, size + 1), slice(None)]))
        if cuts[-1] == slice(None):
            cuts[-1] = slice(size, 0, -1)
    return numbers(generator, tuple(2 * size + 1 for size in shape), kind)[tuple(cuts)]


def exact(array):
    """In float64."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)


def check(a, b, compute, runner, got=None):
    """The result is that of float64, as near as the type allows."""
    got = exact(runner().copy()) if got is None else got
    left, right = exact(a), exact(b)
    want, size = left @ right, np.abs(left) @ np.abs(right)
    relative = {"float": 2e-6, "double": 1e-14}.get(compute, 0.0)
    allowed = size * relative + (np.abs(want) * 2**-8 if runner.out.dtype == np.uint16 else 0)
    assert (np.abs(got - want) <= allowed + 1e-30).all(), [p.name for p in runner.plan.parts]


@pytest.mark.parametrize("seed", range(60))
def test_random_products(seed):
    choice, generator = random.Random(seed), np.random.default_rng(seed)
    random_product(choice, generator, choice.choice(
        ["float32"] * 5 + ["float64", "float64", "float16", "uint16", "int32", "int64"]
    ))  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_random_products_of_bfloat16(seed):
    random_product(random.Random(seed), np.random.default_rng(seed), "uint16")


def random_product(choice, generator, kind):
    """Some sizes, batches and layouts: against float64, and in another order of tasks."""
    if kind == "float16" and not target.host().fma:
        pytest.skip("a processor without conversions of float16")
    m, n, k = (choice.choice(SIZES) for _ in range(3))
    if choice.random() < 0.2:
        k = choice.choice([500, 1024, 2500, 5000])
    if choice.random() < 0.1:
        m = 600
    batch = choice.choice([(), (), (), (3,), (2, 3), (4, 1, 2)])
    if m * n * k * np.prod(batch) > 3e7:
        batch = ()
    shapes = [tuple(s if choice.random() < 0.7 else 1 for s in batch) for _ in range(2)]
    a = operand(choice, generator, (*shapes[0], m, k), kind)
    b = operand(choice, generator, (*shapes[1], k, n), kind)
    compute = SCALARS[kind] if kind not in ("float16", "uint16") else "float"
    out = None
    if kind == "uint16":
        out = np.zeros((*np.broadcast_shapes(*shapes), m, n), np.uint16)
    runner = Runner(a, b, compute, out)
    check(a, b, compute, runner)
    once = runner.out.copy()
    runner.out[...] = 0
    np.testing.assert_array_equal(runner.in_order(lambda n: reversed(range(n))), once)


@pytest.mark.parametrize(
    "m, n, k, turned, parts",
    [
        (1, 2000, 600, "", "rows combine"),  # a vector times a matrix in rows: k in chunks
        (3, 1030, 333, "", "rows combine"),
        (2000, 1, 600, "a", "rows combine"),  # the same, transposed
        (1500, 4, 100, "a", "rows"),
        (9, 1, 5000, "", "dots"),
        (1, 35, 700, "b", "dots"),
        (5, 7, 70000, "b", "dots combine"),
        (300, 300, 130, "b", "pack_b 1x300"),  # panels of b made by transposing
        (500, 700, 1024, "", "pack_a pack_b 1x500"),  # rows of 4096 bytes
        (500, 600, 300, "a", "pack_a pack_b 1x500"),  # panels of a
        (6, 640, 1024, "a", "pack_a"),  # tiles of few rows
        (64, 250, 784, "", "1x64"),
        (13, 17, 2100, "a", "1x13"),
    ],
)
def test_each_way_of_computing(m, n, k, turned, parts):
    generator = np.random.default_rng(0)
    a, b = (
        numbers(generator, size[::-1] if name in turned else size, "float32")
        for name, size in (("a", (m, k)), ("b", (k, n)))
    )
    a, b = a.T if "a" in turned else a, b.T if "b" in turned else b
    runner = Runner(a, b)
    check(a, b, "float", runner)
    once = runner.out.copy()
    np.testing.assert_array_equal(runner.in_order(lambda n: reversed(range(n))), once)
    if target.host().masked:  # elsewhere tiles differ, and with them some choices
        names = " ".join(part.name for part in runner.plan.parts)
        assert all(f"matmul_{part}" in names for part in parts.split()), names


@pytest.mark.parametrize("turned", ["", "a", "b", "ab"])
def test_what_lies_beside_a_row_of_an_odd_length_does_not_count(turned):
    """A pair that lacks its second number: an infinite neighbour would make a NaN of it."""
    generator = np.random.default_rng(0)
    pair = []
    for name in "ab":
        wide = np.full((40, 40), 0x7F80, np.uint16)  # infinity
        matrix = (wide.T if name in turned else wide)[:17, :17]
        matrix[...] = numbers(generator, (17, 17), "uint16")
        pair.append(matrix)
    a, b = pair
    check(a, b, "float", Runner(a, b))


@pytest.mark.parametrize("m, n, k", [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_empty(m, n, k):
    runner = Runner(np.ones((m, k), np.float32), np.ones((k, n), np.float32))
    np.testing.assert_array_equal(runner(), np.zeros((m, n), np.float32))


@pytest.mark.parametrize("m, n, k", [(20, 70, 30), (3, 2, 500), (1, 40, 64), (16, 16, 20000)])
def test_nan_and_infinity_stay_where_they_belong(m, n, k):
    generator = np.random.default_rng(0)
    a, b = (numbers(generator, shape, "float32") for shape in ((m, k), (k, n)))
    a[m - 1, k - 1] = np.nan
    b[0, n - 1] = np.inf
    got = Runner(a, b)()
    assert np.isnan(got[m - 1]).all()
    assert np.isinf(got[: m - 1, n - 1]).all()
    assert np.isfinite(got[: m - 1, : n - 1]).all()


@pytest.mark.parametrize("m, n, k", [(45, 70, 33), (4, 300, 64), (16, 16, 40000), (300, 3, 64)])
def test_every_element_is_finished_once(m, n, k):
    """An epilogue that adds to what it overwrites: no element may be finished twice."""
    generator = np.random.default_rng(0)
    a, b = (numbers(generator, shape, "float32") for shape in ((m, k), (k, n)))
    bias = numbers(generator, (n,), "float32")
    out = np.full((m, n), 3, np.float32)

    def finish(b, value, batch, row, column, mask):
        place = b.pointer(b.buffer(2), b.iadd(b.imul(row, n), column), "float")
        extra = b.pointer(b.buffer(3), column, "float")
        mask = mask or b.const("<16 x i1>".replace("16", value.type[1:].split()[0]), 1)
        for address in (place, extra):
            value = b.fadd(value, b.masked_load(address, value.type, mask))
        b.masked_store(value, place, mask)

    runner = Runner(a, b, out=out, finish=finish, extra=(bias,))
    np.testing.assert_allclose(runner(), exact(a) @ exact(b) + bias + 3, 1e-4, 2e-3)


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("m, n, k", [(64, 64, 64), (300, 100, 200), (7, 5, 33)])
def test_computed_operands(side, m, n, k):
    """A fused producer: the square of an array is multiplied."""
    generator = np.random.default_rng(0)
    a, b = (numbers(generator, shape, "float32") for shape in ((m, k), (k, n)))
    slot, row_stride = (0, k) if side == "a" else (1, n)

    def load(b, batch, row, column, width, mask):
        index = b.iadd(b.imul(row, row_stride), column)
        at = b.pointer(b.buffer(slot), index, "float")
        type = f"<{width} x float>" if width else "float"
        value = b.load(at, type) if mask is None else b.masked_load(at, type, mask)
        return b.fmul(value, value)

    out = np.zeros((m, n), np.float32)
    product = matmul.Product(
        (), m, n, k,
        matrix(0, a, load if side == "a" else None), matrix(1, b, load if side == "b" else None),
    )  # fmt: skip
    runner = Runner(a, b, out=out, product=product)
    left, right = (x * x if s == side else x for s, x in (("a", a), ("b", b)))
    check(left, right, "float", runner, runner())


@pytest.mark.parametrize("on", [target.AVX2, target.NEON, target.SSE2])
def test_code_for_other_targets(on):
    """It compiles for them; what this machine can run is run by SUIREN_TARGET in other tests."""
    for m, n, k in ((64, 100, 50), (5, 1, 300), (100, 64, 33)):
        product = matmul.Product((), m, n, k, matmul.Matrix(0, 0, k, 1), matmul.Matrix(1, 0, 1, k))
        plan = matmul.plan(product, on, matmul.store_finish(2, "float", n), 3)
        for part in plan.parts:
            assert machine_code.object_code(part.text, on)
