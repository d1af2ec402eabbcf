"""Random tensors: PyTorch's numbers from PyTorch's seeds, generators, and in-place fills."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import suiren


def test_recorded_numbers():
    suiren.manual_seed(0)
    assert suiren.rand(3).tolist() == pytest.approx([0.49625659, 0.76822180, 0.08847743])
    suiren.manual_seed(0)
    assert suiren.randperm(8).tolist() == [4, 0, 7, 3, 2, 5, 1, 6]
    suiren.manual_seed(0)
    assert suiren.randint(10, (6,)).tolist() == [4, 9, 3, 0, 3, 9]
    generator = suiren.Generator().manual_seed(1)
    first = suiren.rand(2, generator=generator)
    assert first.tolist() == pytest.approx([0.75763160, 0.27931088])


CALLS = {
    "rand": lambda t, g: t.rand(3, 4, generator=g),
    "rand double": lambda t, g: t.rand((3, 4), dtype=t.float64, generator=g),
    "rand complex": lambda t, g: t.rand(5, dtype=t.complex64, generator=g),
    "randn": lambda t, g: t.randn(37, generator=g),
    "randn small": lambda t, g: t.randn(7, generator=g),
    "randn complex": lambda t, g: t.randn(20, dtype=t.complex64, generator=g),
    "randn bfloat16": lambda t, g: t.randn(20, dtype=t.bfloat16, generator=g).float(),
    "randint": lambda t, g: t.randint(3, 50, (2, 5), generator=g),
    "randint keyword": lambda t, g: t.randint(high=50, size=(2, 5), generator=g),
    "randint float": lambda t, g: t.randint(-9, 50, (9,), dtype=t.float32, generator=g),
    "randperm": lambda t, g: t.randperm(30, generator=g),
    "randperm int32": lambda t, g: t.randperm(30, generator=g, dtype=t.int32),
    "normal sized": lambda t, g: t.normal(2.0, 3.0, size=(4, 8), generator=g),
    "normal mean": lambda t, g: t.normal(t.arange(20.0), 2.0, generator=g),
    "normal std": lambda t, g: t.normal(1.0, t.arange(20.0), generator=g),
    "normal both": lambda t, g: t.normal(t.arange(4.0), t.ones(3, 1), generator=g),
    "bernoulli": lambda t, g: t.bernoulli(t.full((5, 5), 0.3), generator=g),
    "bernoulli p": lambda t, g: t.bernoulli(t.zeros(9), 0.3, generator=g),
    "multinomial": lambda t, g: t.multinomial(t.tensor([1.0, 2, 3, 4]), 3, generator=g),
    "multinomial rows": lambda t, g: t.multinomial(t.ones(3, 5), 20, True, generator=g),
    "poisson": lambda t, g: t.poisson(t.arange(30.0), generator=g),
    "uniform_": lambda t, g: t.zeros(9).uniform_(-1, 2, generator=g),
    "uniform_ from": lambda t, g: t.zeros(9).uniform_(to=2, generator=g, **{"from": -3}),
    "normal_": lambda t, g: t.zeros(4, 9).normal_(1, 2, generator=g),
    "random_": lambda t, g: t.zeros(9, dtype=t.int64).random_(generator=g),
    "random_ to": lambda t, g: t.zeros(9).random_(7, generator=g),
    "random_ range": lambda t, g: t.zeros(9, dtype=t.int16).random_(-7, 7, generator=g),
    "random_ bool": lambda t, g: t.zeros(9, dtype=t.bool).random_(generator=g),
    "bernoulli_": lambda t, g: t.zeros(9, dtype=t.int64).bernoulli_(0.4, generator=g),
    "bernoulli_ each": lambda t, g: t.zeros(3, 2).bernoulli_(t.tensor([0.1, 0.9]), generator=g),
    "exponential_": lambda t, g: t.zeros(9).exponential_(2, generator=g),
    "geometric_": lambda t, g: t.zeros(9).geometric_(0.2, generator=g),
    "cauchy_": lambda t, g: t.zeros(9).cauchy_(1, 2, generator=g),
    "log_normal_": lambda t, g: t.zeros(9).log_normal_(generator=g),
    "like": lambda t, g: t.randn_like(t.zeros(5, 5), generator=g),
    "rand_like": lambda t, g: t.rand_like(t.zeros(5), dtype=t.float64, generator=g),
    "randint_like": lambda t, g: t.randint_like(t.zeros(5), 3, 9, generator=g),
    "transposed uniform": lambda t, g: t.zeros(4, 6).t().uniform_(generator=g),
    "transposed normal": lambda t, g: t.zeros(4, 6).t().normal_(generator=g),
    "strided normal": lambda t, g: t.zeros(5, 8)[:, ::2].normal_(generator=g),
    "permuted random": lambda t, g: t.zeros(2, 3, 4).permute(1, 2, 0).random_(99, generator=g),
    "like transposed": lambda t, g: t.randn_like(t.zeros(6, 5).t(), generator=g),
}


@pytest.mark.parametrize("name", CALLS)
def test_numbers_equal_torchs(name):
    torch = pytest.importorskip("torch")
    call = CALLS[name]
    theirs = torch.Generator().manual_seed(7)
    ours = suiren.Generator().manual_seed(7)
    for _ in range(2):
        expected, found = call(torch, theirs), call(suiren, ours)
        assert tuple(found.shape) == tuple(expected.shape)
        assert str(found.dtype) == str(expected.dtype)
        assert found.stride() == expected.stride()
        np.testing.assert_array_equal(found.numpy_copy(), expected.numpy())
    np.testing.assert_array_equal(ours.get_state().numpy_copy(), theirs.get_state().numpy())


def test_in_place_on_a_view_changes_only_what_it_shows():
    base = suiren.full((4, 4), 9.0)
    base[1:3, ::2].uniform_()
    assert base[0].tolist() == [9.0] * 4
    assert base[1, 1].item() == 9 and base[1, 0].item() < 1


def test_gradients_of_drawn_tensors_are_zero():
    x = suiren.ones(3, requires_grad=True)
    y = x.clone().uniform_()
    assert y.grad_fn.name() == "UniformBackward0"
    (y.sum() + suiren.bernoulli(x).sum() + suiren.normal(x, x).sum()).backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


def test_leaf_that_requires_grad_cannot_be_filled():
    with pytest.raises(RuntimeError, match="leaf"):
        suiren.ones(3, requires_grad=True).normal_()


def test_generator_state():
    generator = suiren.Generator()
    assert generator.initial_seed() == 67280421310721
    assert generator.manual_seed(3) is generator and generator.initial_seed() == 3
    state = generator.get_state()
    assert state.dtype is suiren.uint8 and tuple(state.shape) == (5056,)
    first = suiren.rand(5, generator=generator).tolist()
    generator.set_state(state)
    other = generator.clone_state()
    assert suiren.rand(5, generator=generator).tolist() == first
    assert suiren.rand(5, generator=other).tolist() == first
    for again in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        a, b = suiren.rand(3, generator=again), suiren.rand(3, generator=generator.clone_state())
        assert a.tolist() == b.tolist()
    assert str(generator.device) == "cpu"
    assert generator.seed() == generator.initial_seed()


def test_default_generator_functions():
    assert suiren.manual_seed(5) is suiren.default_generator
    assert suiren.initial_seed() == 5 == suiren.random.initial_seed()
    state = suiren.get_rng_state()
    first = suiren.randn(20).tolist()
    suiren.set_rng_state(state)
    assert suiren.randn(20).tolist() == first
    suiren.set_rng_state(state)
    with suiren.random.fork_rng():
        suiren.randn(100)
    assert suiren.randn(20).tolist() == first
    assert suiren.seed() == suiren.initial_seed()


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda t: t.rand(3, dtype=t.int64), NotImplementedError),
        (lambda t: t.randn(3, dtype=t.int64), NotImplementedError),
        (lambda t: t.rand(-1), RuntimeError),
        (lambda t: t.zeros(3).uniform_(2, 1), RuntimeError),
        (lambda t: t.zeros(3).normal_(0, -1), RuntimeError),
        (lambda t: t.normal(0.0, t.tensor([-1.0])), RuntimeError),
        (lambda t: t.zeros(3).bernoulli_(2), RuntimeError),
        (lambda t: t.bernoulli(t.tensor([2.0])), RuntimeError),
        (lambda t: t.bernoulli(t.tensor([1, 0])), NotImplementedError),
        (lambda t: t.zeros(3).exponential_(-1), RuntimeError),
        (lambda t: t.zeros(3, dtype=t.int64).exponential_(), RuntimeError),
        (lambda t: t.zeros(3).geometric_(0), RuntimeError),
        (lambda t: t.zeros(3).cauchy_(0, -1), RuntimeError),
        (lambda t: t.zeros(3).log_normal_(0, -1), RuntimeError),
        (lambda t: t.randperm(-1), RuntimeError),
        (lambda t: t.randperm(300, dtype=t.int8), RuntimeError),
        (lambda t: t.multinomial(t.tensor([1, 2]), 1), RuntimeError),
        (lambda t: t.multinomial(t.tensor([1.0, 2]), 3), RuntimeError),
        (lambda t: t.poisson(t.tensor([1, 2])), NotImplementedError),
        (lambda t: t.poisson(t.tensor([-1.0])), RuntimeError),
        (lambda t: t.randint(5, 5, (2,)), RuntimeError),
        (lambda t: t.randint(0, 500, (2,), dtype=t.uint8), RuntimeError),
        (lambda t: t.zeros(3, dtype=t.bool).random_(0, 5), RuntimeError),
        (lambda t: t.zeros(3, dtype=t.complex64).random_(), NotImplementedError),
        (lambda t: t.normal(t.zeros(2), t.ones(3)), RuntimeError),
        (lambda t: t.rand(3, generator=5), TypeError),
        (lambda t: t.rand(), TypeError),
        (lambda t: t.multinomial(t.ones(2), 1.5), TypeError),
        (lambda t: t.multinomial(t.ones(2), 1, out=t.ones(1)), RuntimeError),
        (lambda t: t.multinomial(t.zeros(2**24 + 1), 1), RuntimeError),
        (lambda t: t.multinomial(t.zeros(3, 0), 1), RuntimeError),
        (lambda t: t.Generator().manual_seed(1.5), RuntimeError),
        (lambda t: t.manual_seed(2**64), ValueError),
        (lambda t: t.set_rng_state(t.zeros(3, dtype=t.uint8)), RuntimeError),
        (lambda t: t.set_rng_state(t.zeros(3)), TypeError),
    ],
)
def test_errors(call, error):
    with pytest.raises(error):
        call(suiren)
    torch = pytest.importorskip("torch")
    with pytest.raises(error):
        call(torch)


def test_numpy_random_is_imported_at_the_first_draw():
    code = (
        "import sys, suiren; suiren.manual_seed(1); assert 'numpy.random' not in sys.modules;"
        "suiren.rand(2); assert 'numpy.random' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
