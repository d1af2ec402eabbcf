"""Small programs that the compiler once got wrong, each held against the interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
from compiling import compiling, host_operators, needs_compiler  # noqa: E402 (a sibling file)

pytestmark = needs_compiler


def values(*shape: int, dtype=suiren.float32) -> suiren.Tensor:
    """Numbers around zero, the same in every run."""
    count = int(np.prod(shape))
    return suiren.tensor(np.sin(np.arange(count) * 1.7 + 0.3).reshape(shape) * 3).to(dtype)


def test_sign_of_nan_is_zero():
    x = suiren.tensor([float("nan"), -0.0, -2.0, 3.0])
    with compiling() as made:
        assert suiren.sign(x).tolist() == [0.0, 0.0, -1.0, 1.0]
    assert not host_operators(made)


def test_bfloat16_is_compared_and_selected_natively():
    x = values(3, 7, dtype=suiren.bfloat16)
    with compiling():
        found = suiren.where(x > 0, x, -x).amax(1)
        np.testing.assert_array_equal(found.float().numpy(), x.float().abs().amax(1).numpy())


@pytest.mark.parametrize("name", ["lgamma", "digamma", "erfinv"])
def test_functions_without_code_run_on_the_host(name):
    with compiling():
        getattr(suiren, name)(values(5) / 4).tolist()


def test_a_value_that_is_the_same_along_the_row_is_stored_in_every_place():
    base = suiren.from_numpy(np.array([3, 0, 3, -1, 4, -4], "float64").reshape(3, 2))
    base.requires_grad_()
    with compiling():
        (base.as_strided([2, 2], [1, 0], 2).clamp(min=2.0) ** 2).sum().backward()
        assert base.grad.tolist() == [[0.0, 0.0], [12.0, 0.0], [0.0, 0.0]]


def test_writes_with_steps_and_to_columns():
    with compiling():
        x = suiren.tensor([1.0, -1.0, 3.0, 5.0, 2.0])
        x[::2] = values(3)
        x[-1] = x[1]
        y = values(3, 5)
        y[:, 1:3] = 7.0
        y[:, 4] = x[:3]
        assert (y * 2)[:, 1].tolist() == [14.0] * 3
        x.tolist()


def test_arrays_without_elements():
    with compiling():
        x = values(0, 3)
        assert (x * 2 + 1).reshape(3, 0).shape == (3, 0)
        assert x.sum(0).tolist() == [0.0, 0.0, 0.0]
        assert x.sum(1).tolist() == []
        assert (x @ values(3, 2)).shape == (0, 2)
        assert suiren.cat([x, values(2, 3)]).mean().item() == pytest.approx(
            values(2, 3).mean().item()
        )
        assert x.T.flatten()[None].shape == (1, 0)


def test_results_may_take_the_memory_of_inputs_that_were_read():
    x = values(3).double()
    with compiling():
        for _ in range(3):
            y = (values(3).double() * 2).trunc() + 1
            whole = y.trunc()
            total, product = whole.sum(), (whole * x).sum()
            del y
            x = x * 1.5
            assert [total.item(), product.item(), *whole.tolist()]
        scores = values(5, 40)
        for _ in range(3):
            scores = scores.softmax(1) * 10 - values(5, 40)
            scores.tolist()


def test_elements_are_taken_from_computed_arrays():
    index = suiren.tensor([[4, 0, 2], [1, 1, 0]])
    with compiling() as made:
        found = (values(5, 3).exp() * 2)[index] + 1
        found.tolist()
        (values(5, 3) * 3).gather(0, index.expand(2, 3)).sum().item()
    assert not host_operators(made)


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 2])
def test_adding_by_an_index_that_is_smaller_elsewhere_too(dim, count):
    shape = [1, 2, 3]
    shape[dim] = count
    random = np.random.default_rng(dim)
    places = suiren.tensor(random.integers(0, 2, shape))
    x = suiren.tensor(random.normal(size=(2, 3, 4)), requires_grad=True)
    with compiling() as made:
        x.gather(dim, places).square().sum().backward()
        x.grad.tolist()
        x.detach().scatter_add(dim, places, suiren.ones(2, 3, 4, dtype=suiren.float64)).tolist()
        x.detach().scatter(dim, places * 0, 5.0).tolist()
    assert not host_operators(made)
    expected = np.zeros((2, 3, 4))
    for at in np.ndindex(*shape):
        to = list(at)
        to[dim] = places[at].item()
        expected[tuple(to)] += 2 * x.detach().numpy()[tuple(to)]
    assert np.allclose(x.grad.numpy(), expected)


def test_what_is_stored_later_is_not_read_before():
    # the class numbers' reshape came to be stored in a loop that needed what was made of it
    scores = values(2, 6, 11).requires_grad_()
    classes = suiren.tensor([[7, 7, 3, 2, 3, 0], [0, 0, 1, 8, 3, 10]])
    with compiling() as made:
        for _ in range(2):
            scores.grad = None
            loss = suiren.nn.functional.cross_entropy(
                scores[:, :-1].reshape(-1, 11), classes[:, 1:].reshape(-1), ignore_index=3
            )
            loss.backward()
            loss.item()
    assert made


def test_equal_programs_have_equal_tables():
    # nothing may depend on where the compiler's own objects happen to lie
    from suiren.compiler.binding import Compilation

    scores = values(2, 3, 40, 16).requires_grad_()
    with compiling() as made:
        functional = suiren.nn.functional
        functional.scaled_dot_product_attention(scores, scores, scores).sum().backward()
    largest = max(made, key=lambda native: len(native.key[0]))
    held = [Compilation(*largest.key) for _ in range(20)]
    tables = {one.image(list(range(len(one.texts())))).dump() for one in held}
    assert len(tables) == 1


def test_reshapes_that_no_index_arithmetic_follows():
    x = values(18, 64)
    with compiling() as made:
        x.reshape(12, 4, 4, 3, 2).amin((1, 2)).tolist()
        (x.T.reshape(12, 4, 4, 3, 2) * 2).sum((0, 3)).tolist()
        ((x * 2).reshape(96, 12)[1:50, ::3] + 1).reshape(14, 14).softmax(0).tolist()
    assert not host_operators(made)


def test_remainders_before_loops():
    with compiling():
        x = values(1)
        (suiren.fmod(x, 0.7) + values(40, 30)).sum(1).tolist()
        suiren.remainder(values(9, 1), 0.3).expand(9, 70).mul(values(70)).tolist()


def test_what_is_observed_of_nothing_on_the_host():
    with compiling():
        suiren.nn.functional.pad(values()[None][0], (), value=1.0).item()
        suiren.median(values(3, 2), 0).values.tolist()
        (values(0, 3, 5) * 2).amax((1,), keepdim=True).tolist()


def test_constants_where_arrays_are_needed_in_memory():
    with compiling():
        suiren.zeros(1).index_add(0, suiren.zeros(1, dtype=suiren.int64), suiren.ones(1)).item()
        suiren.ones(1).gather(0, suiren.zeros(4, dtype=suiren.int64)).tolist()
        suiren.median(suiren.full((1,), 2.5)).item()
        x = values(1, 1).mul(0).add_(2.0)
        (x @ suiren.ones(1, 3) + suiren.full((1, 1), 2.0) @ suiren.ones(1, 1)).tolist()


@pytest.mark.parametrize("size", [100, 1 << 21])  # the larger one has pages of its own
def test_an_update_takes_the_memory_that_nobody_else_holds(size):
    from suiren.compiler import memory
    from suiren.tensor import value_of
    from suiren.trace.program import compiled_at_once

    w = suiren.zeros(size, requires_grad=True)
    optimizer = suiren.optim.SGD([w], lr=0.1, momentum=0.9)
    held = []
    with compiled_at_once():
        for _ in range(4):
            optimizer.zero_grad()
            w.sum().backward()
            optimizer.step()  # w.grad is still held: it may not be written over
            memory.pool.addresses.clear()  # as when much memory was handed out
            memory.pool._lent.clear()
            momentum = optimizer.state[w]["momentum_buffer"]
            held.append({value_of(t).get().ctypes.data for t in (w, momentum)})
            assert w.grad[0].item() == 1.0
    assert held[1] == held[2] == held[3]


def test_a_donated_array_has_another_shape():
    with compiling():
        for _ in range(4):
            x = values(3, 1, 8, 1)
            x.tolist()
            base = values(3, 8)
            base.unsqueeze(1).unsqueeze(3).sub_(x * 2)
            both = suiren.cat([base, base])
            del x
            assert base.shape == (3, 8)
            both.tolist(), base.tolist()


def test_doubles_are_rounded_once_to_float16():
    x = np.array([1 + 2**-11 + 2**-40, 1 + 2**-11 - 2**-40, 65520, 65519.999, 2**-25, 1e300,
                  -1 - 2**-11 - 2**-45, np.nan, -np.inf, 6.1e-5])  # fmt: skip
    with compiling() as made:
        found = suiren.tensor(x).half().numpy()
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, x.astype(np.float16))
    assert not host_operators(made)


def test_a_root_that_another_one_needs_still_names_what_it_reads():
    x, scale = values(8), suiren.tensor(0.7, dtype=suiren.float64)
    with compiling():
        y = (x.double() * scale).exp() / 3
        z = y + x.double().tanh()
        total, other = z.sum(), (y * z).sum()
        del z
        assert np.isfinite([y.sum().item(), total.item(), other.item()]).all()


@pytest.mark.parametrize(
    "shape, dims",
    [((1 << 18, 2), 0), ((1 << 20,), 0), ((1 << 19, 2), (0, 1)), ((2, 1 << 18), 1),
     ((1 << 17, 3, 3), (0, 2)), ((3, 1 << 17, 2), 1), ((1 << 16, 40), 1)],
)  # fmt: skip
def test_long_sums_round_little(shape, dims):
    # one after the other would be off by 1 %: 2 ** 24 has no room for 0.1
    x = suiren.full(shape, 0.1)
    with compiling() as made:
        found = x.add(0).sum(dims)
        wanted = np.float64(np.float32(0.1)) * x.numel() / found.numel()
        np.testing.assert_allclose(found.numpy(), wanted, rtol=4e-6)
        ones = suiren.ones(shape[0])
        sums = (x.reshape(shape[0], -1) * ones[:, None]).sum(1).sum()
        assert sums.item() == pytest.approx(np.float64(np.float32(0.1)) * x.numel(), rel=4e-6)
    assert not host_operators(made)


def test_remainders_as_float16():
    x, y = values(6).half(), suiren.tensor(0.7).half()
    with compiling() as made:
        suiren.fmod(x[0], y.abs()).tolist()
        suiren.fmod(x, y).tolist(), suiren.remainder(x[3].float(), y.float()).half().tolist()
    assert not host_operators(made)


def test_constants_of_float16_within_rows():
    x = values(4, 6).half()
    with compiling() as made:
        found = (suiren.triu(x.sum(1, keepdim=True), -2) + x).tolist()
        assert found
    assert not host_operators(made)


def test_a_tensor_made_of_a_number_is_an_array():
    with compiling():
        x = suiren.full((), 2.5, dtype=suiren.float64)
        both = x + suiren.full((), 0.1)
        assert both.dtype is suiren.float64
        both.tolist(), suiren.median(x).item(), suiren.logcumsumexp(x, 0).item()


def test_products_of_an_unrolled_loop_share_few_texts():
    steps, batch, width, hidden = 12, 6, 5, 7
    first, again, bias = (suiren.randn(*s) for s in ((width, hidden), (hidden, hidden), (hidden,)))
    parameters = [p.requires_grad_() for p in (first, again, bias)]
    x = suiren.randn(steps, batch, width)

    def unrolled():
        state, states = suiren.zeros(batch, hidden), []
        for at in x:
            state = suiren.tanh(at @ first + state @ again + bias)
            states.append(state)
        return suiren.cat(states).square().sum()

    with compiling() as made:  # which compares with the interpreter
        unrolled().backward()
    kernels = [
        step.kernel for native in made for step in native.plan.steps
        if step.kernel is not None and step.kernel.name.startswith("matmul")
    ]  # fmt: skip
    assert 20 < len(kernels) < 30  # the step itself forward and back: the rest is done at once
    assert len({kernel.text for kernel in kernels}) <= 14
    assert all(p.grad is not None for p in parameters)


def test_dear_values_that_each_row_would_compute_again_are_stored():
    with compiling() as made:
        x = suiren.randn(2, 5, 40, 40)
        y = suiren.randint(0, 5, (2, 40, 40))
        suiren.nn.functional.cross_entropy(x, y).item()
    kernels = [step.kernel for program in made for step in program.plan.steps if step.kernel]
    assert "log" in {getattr(key, "op", None) for kernel in kernels for key in kernel.keys}


@pytest.mark.parametrize(
    "shape, kernel", [((3, 4, 90), (9,)), ((2, 5, 100), (16,)), ((2, 3, 10, 40), (3, 9))]
)
def test_maxima_of_long_windows(shape, kernel):
    drawn = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)
    drawn.flat[7] = np.nan
    pool = getattr(suiren.nn.functional, f"max_pool{len(kernel)}d")
    with compiling() as made:  # which compares with the interpreter
        x = suiren.tensor(drawn, requires_grad=True)
        best, places = pool(x, kernel, return_indices=True)
        best.backward(suiren.arange(best.numel()).reshape(best.shape).float())
        places.tolist(), x.grad.tolist()
    assert made


@needs_compiler
def test_slices_of_what_was_put_together():
    """Within a part, over several, backwards, with steps, and of nothing."""
    suiren.manual_seed(0)
    parts = [suiren.randn(3, n, requires_grad=True) for n in (2, 4, 1)]
    for bounds in ((2, 5), (3, 3), (1, 4), (6, 7), (2, 6, 2), (0, 7, 3)):
        where = slice(*bounds)
        with compiling() as made:
            whole = suiren.cat([x.sin() for x in parts], 1)
            found = suiren.cat([whole[:, where].exp(), whole[1:2, where].cos()])
            found.sum().backward()
            turned = whole.flip(1)[:, where] * 2
            assert suiren.equal(turned, whole.flip(1)[:, where] + whole.flip(1)[:, where])
        assert made
