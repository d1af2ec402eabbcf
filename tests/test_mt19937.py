"""The random stream against torch's default CPU generator, and against recorded torch values.

Every comparison ends by comparing the whole 5056-byte state: a draw that gave the right values but
took a word too many would pass by luck once, not there.
"""

import random
import warnings

import numpy as np
import pytest

from suiren import random_kernels
from suiren.mt19937 import Stream

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="compares with torch")
SIZES = (0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 100, 623, 624, 625, 1000)
FLOATS = ("float32", "float64", "float16", "bfloat16")


# -- recorded values -------------------------------------------------------------------------


def test_recorded_draws():
    """torch 2.13.0 CPU, each after manual_seed(0)."""
    uniform = np.float32([0.49625659, 0.7682218, 0.08847743])
    np.testing.assert_array_equal(Stream(0).uniform(3), uniform)
    assert Stream(0).randperm(10).tolist() == RECORDED["randperm"]
    assert Stream(0).randint(6, 0, 100).tolist() == RECORDED["randint"]
    assert Stream(0).randint(3, 0, 2**40).tolist() == RECORDED["wide"]
    assert Stream(0).bernoulli(12, 0.5).tolist() == RECORDED["bernoulli"]
    few, many = Stream(0).normal(3), Stream(0).normal(17)
    np.testing.assert_allclose(few, RECORDED["normal 3"], rtol=2e-7)
    np.testing.assert_array_equal(many[[0, 8, 16]], np.float32(RECORDED["normal 17"]))
    np.testing.assert_allclose(Stream(0).exponential(2), RECORDED["exponential"], rtol=2e-7)
    weights = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    assert Stream(0).multinomial(weights, 3).tolist() == RECORDED["multinomial"]
    assert Stream(0).multinomial(weights, 6, True).tolist() == RECORDED["with replacement"]
    assert Stream(0).poisson(np.float32([1.0, 5.0, 20.0, 300.0])).tolist() == RECORDED["poisson"]


RECORDED = {
    "randperm": [4, 1, 7, 5, 3, 9, 0, 8, 6, 2],
    "randint": [44, 39, 33, 60, 63, 79],
    "wide": [741280623151, 506137267392, 291447657211],
    "bernoulli": [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
    "normal 3": [1.5409960746765137, -0.293428897857666, -2.1787893772125244],
    "normal 17": [-1.1258398294448853, 0.46809640526771545, 0.9318265914916992],
    "exponential": [3.508326292037964, 1.2303847074508667],
    "multinomial": [2, 1, 3],
    "with replacement": [3, 3, 2, 3, 3, 3],
    "poisson": [2.0, 6.0, 19.0, 293.0],
}


def test_state_round_trip_and_clone():
    stream = Stream(7)
    stream.normal(3)  # leaves a cached normal
    stream.uniform(1000)
    copy, other = stream.clone(), Stream(1)
    other.set_state(stream.state())
    expected = (stream.normal(1), stream.uniform(700))
    for again in (copy, other):
        assert again.initial_seed == 7
        np.testing.assert_array_equal(again.normal(1), expected[0])
        np.testing.assert_array_equal(again.uniform(700), expected[1])
    assert Stream(3).state().shape == (5056,)
    np.testing.assert_array_equal(Stream(3).clone().state(), Stream(3).state())


def test_chunks_do_not_show():
    """One large draw equals the same draw in pieces (uniforms; the chunk is 9,984 words)."""
    whole, pieces = Stream(5), Stream(5)
    sizes = (9_983, 2, 624, 1, 20_000, 39_936)
    parts = np.concatenate([pieces.uniform(n) for n in sizes])
    np.testing.assert_array_equal(whole.uniform(sum(sizes)), parts)
    np.testing.assert_array_equal(whole.state(), pieces.state())


@pytest.mark.parametrize("n", [1, 2, 3, 256, 257, 258, 1000, 40_001])
def test_parallel_swaps_equal_sequential_swaps(n):
    generator = np.random.default_rng(n)
    offsets = (generator.random(n - 1) * np.arange(n, 1, -1)).astype(np.int64)
    slots = list(range(n))
    for i, offset in enumerate(offsets.tolist()):
        slots[i], slots[i + offset] = slots[i + offset], slots[i]
    np.testing.assert_array_equal(random_kernels.swap_forward(offsets), slots)


def test_inside_out_shuffle(monkeypatch):
    """randperm's algorithm from 214,748,364 elements on, at a size that a test can afford.

    That torch uses it there was checked by hand: manual_seed(3); rand(1);
    randperm(214748364, dtype=int32)[:3] is 134349597, 32795009, 204186139.
    """
    monkeypatch.setattr("suiren.mt19937._INSIDE_OUT_FROM", 10)
    stream, words = Stream(3), Stream(3)
    bits = [int(b) for b in words.random(50_000, np.int64, low=-(2**63)).view(np.uint64)]
    slots = []
    for i, b in enumerate(bits):
        slots.append(i)
        z = b % (i + 1)
        slots[i] = slots[z]
        slots[z] = i
    np.testing.assert_array_equal(stream.randperm(50_000), slots)
    np.testing.assert_array_equal(stream.state(), words.state())


def test_fma_rounds_once():
    from fractions import Fraction

    generator = np.random.default_rng(0)
    a = generator.random(2000)
    b, c = 1.7, -0.3
    exact = [float(Fraction(x) * Fraction(b) + Fraction(c)) for x in a.tolist()]
    np.testing.assert_array_equal(random_kernels.fma64(a, b, c), exact)
    # 1 + 2**-24 lies midway between two float32 numbers; 2**-60 decides, and float64 loses it.
    narrow = np.array([1.0, -1.0], np.float32)
    got = random_kernels.fma32(narrow * np.float32(2.0**-60), 1.0, 0.0)
    assert got.tolist() == [2.0**-60, -(2.0**-60)]
    x = np.float32([2.0**-12 + 2.0**-35])
    b32 = float(np.float32(2.0**-12 - 2.0**-35))
    assert random_kernels.fma32(x, b32, 1.0)[0] == 1.0  # 1 + 2**-24 - 2**-70
    x = np.float32([2.0**-12 + 2.0**-30])
    assert random_kernels.fma32(x, 2.0**-12, 1.0)[0] == np.float32(1 + 2.0**-23)


def test_bad_seeds_and_states():
    with pytest.raises(ValueError, match="2\\*\\*64"):
        Stream(2**64)
    stream = Stream(0)
    with pytest.raises(TypeError):
        stream.set_state(np.zeros(5056, np.float32))
    with pytest.raises(TypeError):
        stream.set_state([1, 2])
    with pytest.raises(RuntimeError, match="5056"):
        stream.set_state(np.zeros(5055, np.uint8))
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        stream.set_state(np.zeros(5056, np.uint8))
    with pytest.raises(RuntimeError, match="less than"):
        stream.randint(3, 5, 5)
    with pytest.raises(RuntimeError, match="Poisson"):
        stream.poisson(np.float32([-1.0]))
    for weights, count in (([-1.0, 2.0], 1), ([0.0, 0.0], 1), ([1.0, 2.0], 3), ([1.0], 0)):
        with pytest.raises(RuntimeError):
            stream.multinomial(np.float32(weights), count)


# -- against torch ---------------------------------------------------------------------------


def as_torch(name):
    return getattr(torch, name)


def array_of(tensor):
    """A tensor as an array of numbers that NumPy compares (bfloat16 widened)."""
    return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def widened(array):
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def bfloat16_array(tensor):
    return pytest.importorskip("ml_dtypes") and tensor.float().numpy().astype("bfloat16")


def check(ours, theirs, stream, label, ulp=0):
    theirs = array_of(theirs)
    ours = widened(ours)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, label
    if ulp:
        np.testing.assert_array_max_ulp(ours, theirs, maxulp=ulp)
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=label)
    np.testing.assert_array_equal(stream.state(), torch.get_rng_state().numpy(), err_msg=label)


def start(seed):
    torch.manual_seed(seed)
    return Stream(seed)


@needs_torch
@pytest.mark.parametrize("seed", [0, 1, -1, -5, 2**32, 2**40 + 5, 2**63, 2**64 - 1, -(2**63)])
def test_seeds(seed):
    stream = start(seed)
    assert stream.initial_seed == torch.initial_seed()
    np.testing.assert_array_equal(stream.state(), torch.get_rng_state().numpy())
    check(stream.uniform(5), torch.rand(5), stream, f"seed {seed}")


@needs_torch
def test_states_pass_both_ways():
    stream = start(11)
    torch.randn(3)
    torch.rand(1000)
    stream.set_state(torch.get_rng_state().numpy())
    check(stream.normal(2), torch.randn(2), stream, "from torch")
    stream.uniform(77)
    torch.set_rng_state(torch.from_numpy(stream.state()))
    check(stream.randperm(30), torch.randperm(30), stream, "to torch")
    words = stream.state().view(np.uint64)
    words[1], words[2] = (1 << 32) | 100, 5  # 99 outputs from the fifth on, then a twist
    words[627:630], words[630], words[631] = 7, 2**64 - 1, 2**64 - 1
    stream.set_state(words.view(np.uint8))
    torch.set_rng_state(torch.from_numpy(words.view(np.uint8)))
    np.testing.assert_array_equal(stream.state(), torch.get_rng_state().numpy())
    check(stream.uniform(50), torch.rand(50), stream, "odd position")
    np.testing.assert_array_equal(stream.clone().state(), stream.state())
    check(stream.uniform(200), torch.rand(200), stream, "past its end")


@needs_torch
@pytest.mark.parametrize("name", FLOATS)
def test_uniform(name):
    dtype = as_torch(name)
    stream = start(1)
    for n in (*SIZES, (3, 5, 7), 100_003):
        for low, high in ((0, 1), (-0.3, 0.7), (0, 2.5), (2.5, 2.75), (-1e3, 1e4), (1, 1.001)):
            theirs = torch.empty(n, dtype=dtype).uniform_(low, high)
            check(stream.uniform(n, low, high, name), theirs, stream, f"{n} {low} {high}")


@needs_torch
@pytest.mark.parametrize("name", FLOATS)
def test_normal(name):
    dtype = as_torch(name)
    stream = start(2)
    for n in (*SIZES, (4, 9), 40_000, 100_003):
        for mean, std in ((0, 1), (0.3, 1.7), (0, 0.02)):
            theirs = torch.empty(n, dtype=dtype).normal_(mean, std)
            check(stream.normal(n, mean, std, name), theirs, stream, f"{n} {mean} {std}")


@needs_torch
@pytest.mark.parametrize("name", FLOATS)
def test_normal_with_tensors(name):
    dtype = as_torch(name)
    as_array = bfloat16_array if name == "bfloat16" else array_of
    stream = start(3)
    for n in (1, 7, 16, 40):
        mean = torch.linspace(-1, 1, n).to(dtype)
        std = torch.linspace(0.5, 2, n).to(dtype)
        m, s = as_array(mean), as_array(std)
        check(stream.normal(n, m, s, name), torch.normal(mean, std), stream, f"both {n}")
        check(stream.normal(n, m, 1.7, name), torch.normal(mean, 1.7), stream, f"mean {n}")
        check(stream.normal(n, 0.37, s, name), torch.normal(0.37, std), stream, f"std {n}")
    wide = torch.normal(torch.zeros(3, 1), torch.ones(1, 4))
    ours = stream.normal((3, 4), np.zeros((3, 1), np.float32), np.ones((1, 4), np.float32))
    check(ours, wide, stream, "broadcast")


@needs_torch
def test_integers():
    stream = start(4)
    for count in (1, 2, 10, 255, 2**16, 2**28 - 1, 2**28, 2**31, 2**32 + 1, 2**40, 2**62):
        for n in (0, 1, 17, 1000):
            check(stream.randint(n, 0, count), torch.randint(count, (n,)), stream, f"{count}")
    for low, high in ((-(2**63), 2**63 - 1), (-7, 9), (-(2**40), 5)):
        check(stream.randint(50, low, high), torch.randint(low, high, (50,)), stream, f"{low}")
    for name in ("uint8", "int8", "int16", "int32", "int64", "bool", *FLOATS):
        dtype = as_torch(name)
        theirs = torch.empty(100, dtype=dtype).random_()
        check(stream.random(100, name), theirs, stream, f"default {name}")
        theirs = torch.empty(100, dtype=dtype).random_(1, None)
        check(stream.random(100, name, low=1), theirs, stream, f"from 1 {name}")
        if name != "bool":
            theirs = torch.empty(100, dtype=dtype).random_(3, 100)
            check(stream.randint(100, 3, 100, name), theirs, stream, f"3..100 {name}")
    theirs = torch.empty(50, dtype=torch.int64).random_(-(2**63), None)
    check(stream.random(50, np.int64, low=-(2**63)), theirs, stream, "all of int64")
    for name in ("uint16", "uint32", "uint64"):
        with pytest.raises(NotImplementedError):
            stream.random(3, name)
        theirs = torch.empty(50, dtype=as_torch(name)).random_(5, 2**15)
        check(stream.randint(50, 5, 2**15, name), theirs, stream, name)


@needs_torch
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("float16", 0, 3000), ("float16", 0, 65504), ("float16", -4001, 5000), ("bfloat16", 0, 600)]
    + [("bfloat16", -1001, 999), ("float32", 0, 2**30), ("float32", -33554439, 2**25)]
    + [("float64", -(2**55) - 3, 2**54), ("float16", 0, 2050), ("float32", 0, 2**28)],
)
def test_ranges_beyond_the_digits_of_a_float(name, low, high):
    stream = start(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch.empty(500, dtype=as_torch(name)).random_(low, high)
    check(stream.randint(500, low, high, name), theirs, stream, f"{name} {low} {high}")


@needs_torch
def test_randperm():
    stream = start(5)
    for n in (0, 1, 2, 3, 10, 255, 256, 257, 258, 1000, 5000, 60_000, 100_000, 1_000_000):
        check(stream.randperm(n), torch.randperm(n), stream, f"randperm {n}")
    for name in ("int32", "float32", "float16", "int16"):
        theirs = torch.randperm(300, dtype=as_torch(name))
        check(stream.randperm(300, name), theirs, stream, name)


@needs_torch
def test_bernoulli_and_dropout():
    stream = start(6)
    for name in (*FLOATS, "int64", "bool", "uint8"):
        dtype = as_torch(name)
        for n in (0, 1, 100, 50_000):
            theirs = torch.empty(n, dtype=dtype).bernoulli_(0.3)
            check(stream.bernoulli(n, 0.3, name), theirs, stream, f"{name} {n}")
        for p_name in FLOATS:
            p = torch.linspace(0, 1, 200).to(as_torch(p_name))
            array = bfloat16_array(p) if p_name == "bfloat16" else array_of(p)
            theirs = torch.empty(200, dtype=dtype).bernoulli_(p)
            check(stream.bernoulli(200, array, name), theirs, stream, f"{name} p {p_name}")
    p = torch.rand(3, 4)
    stream.uniform((3, 4))
    check(stream.bernoulli((3, 4), p.numpy()), torch.bernoulli(p), stream, "torch.bernoulli")
    kept = torch.nn.functional.dropout(torch.ones(500), 0.3)
    mask = stream.dropout_mask(500, 0.3) / np.float32(1 - 0.3)
    check(mask, kept, stream, "dropout")


@needs_torch
@pytest.mark.parametrize("name", FLOATS)
def test_transformed_distributions(name):
    dtype = as_torch(name)
    stream = start(7)
    for n in (0, 1, 15, 16, 1000, 45_000):
        def empty(n=n):
            return torch.empty(n, dtype=dtype)

        for rate in (1.0, 1.3):
            ours = stream.exponential(n, rate, name)
            check(ours, empty().exponential_(rate), stream, f"exponential {n}")
        check(stream.geometric(n, 0.3, name), empty().geometric_(0.3), stream, f"geometric {n}")
        ours = stream.cauchy(n, 0.4, 1.7, name)
        check(ours, empty().cauchy_(0.4, 1.7), stream, f"cauchy {n}")
        ours = stream.log_normal(n, 0.3, 0.7, name)
        check(ours, empty().log_normal_(0.3, 0.7), stream, f"log_normal {n}")
    for other in ("uint8", "int64"):
        theirs = torch.empty(99, dtype=as_torch(other)).geometric_(0.4)
        check(stream.geometric(99, 0.4, other), theirs, stream, f"geometric {other}")


@needs_torch
@pytest.mark.parametrize("name", ["float32", "float64"])
def test_rrelu_and_poisson(name):
    dtype = as_torch(name)
    stream = start(8)
    x = torch.linspace(-1, 1, 401).to(dtype)
    noise = torch.empty_like(x)
    torch._C._nn.rrelu_with_noise(x, noise, 0.1, 0.3, True)
    check(stream.rrelu_noise(x.numpy(), 0.1, 0.3), noise, stream, "rrelu")
    for rate in (0.0, 0.5, 9.99, 10.0, 37.5, 1e4, 1e7):
        rates = torch.full((10, 20), rate, dtype=dtype)
        check(stream.poisson(rates.numpy()), torch.poisson(rates), stream, f"poisson {rate}")


@needs_torch
@pytest.mark.parametrize("name", FLOATS)
def test_multinomial(name):
    stream = start(9)
    for shape, count in (((50,), 5), ((7, 50), 1), ((7, 50), 20), ((3, 1000), 3), ((20_000,), 9)):
        weights = torch.rand(shape).to(as_torch(name))
        stream.uniform(shape)
        array = bfloat16_array(weights) if name == "bfloat16" else array_of(weights)
        for replacement in (True, False):
            samples = 5000 if replacement and count > 1 else count
            if name in ("float16", "bfloat16") and not replacement and count > 1:
                continue  # equal quotients come in an order that torch leaves open
            theirs = torch.multinomial(weights, samples, replacement)
            ours = stream.multinomial(array, samples, replacement)
            check(ours, theirs, stream, f"{shape} {samples} {replacement}")


KINDS = (
    "uniform", "normal", "few", "randint", "wide", "randperm", "bernoulli", "exponential",
    "log_normal", "poisson",
)  # fmt: skip


def draw_both(stream, kind, n, name):
    """One draw of a kind from the stream and from torch."""
    dtype = as_torch(name)
    empty = torch.empty(n, dtype=dtype)
    if kind == "uniform":
        return stream.uniform(n, -1, 3, name), empty.uniform_(-1, 3)
    if kind == "normal":
        return stream.normal(n, 1, 0.7, name), empty.normal_(1, 0.7)
    if kind == "few":
        return stream.normal(n % 16, dtype=name), torch.randn(n % 16, dtype=dtype)
    if kind == "randint":
        return stream.randint(n, 0, 99), torch.randint(99, (n,))
    if kind == "wide":
        return stream.randint(n, 0, 2**50), torch.randint(2**50, (n,))
    if kind == "randperm":
        return stream.randperm(n), torch.randperm(n)
    if kind == "bernoulli":
        return stream.bernoulli(n, 0.4, name), empty.bernoulli_(0.4)
    if kind == "exponential":
        return stream.exponential(n, 2.0, name), empty.exponential_(2.0)
    if kind == "log_normal":
        return stream.log_normal(n, 0, 0.5, name), empty.log_normal_(0, 0.5)
    return stream.poisson(np.full(n, 4, np.float32)), torch.poisson(torch.full((n,), 4.0))


@needs_torch
@pytest.mark.parametrize("seed", range(12))
def test_interleaved(seed):
    """Kinds of draws in random order: the position, and the cached normal, stay in step."""
    choose = random.Random(seed)
    stream = start(seed)
    for step in range(80):
        n = choose.choice(SIZES)
        name = choose.choice(FLOATS)
        kind = choose.choice(KINDS)
        ours, theirs = draw_both(stream, kind, n, name)
        check(ours, theirs, stream, f"seed {seed} step {step} {kind} {n} {name}")
        if step % 20 == 19:
            stream.set_state(torch.get_rng_state().numpy())
