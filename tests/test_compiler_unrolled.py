"""Loops that Python unrolled: products and sums of the steps become few (compiler/unrolled.py).

``compiling()`` compares every program with the interpreter; here is counted what it was made of.
"""

from __future__ import annotations

import random

import pytest
from compiling import compiling, needs_compiler

import suiren as torch

pytestmark = needs_compiler


def _count(native, op: str) -> int:
    from suiren.compiler.operands import reachable

    return sum(node.op == op for node in reachable(native.graph))


def _largest(made):
    return max(made, key=lambda native: len(native.key[0]))


def _rnn(steps: int, cell, inputs=5, hidden=6, batch=3, out=4):
    torch.manual_seed(0)
    w_x = torch.randn(inputs, hidden, requires_grad=True)
    w_h = torch.randn(hidden, hidden, requires_grad=True)
    b = torch.randn(hidden, requires_grad=True)
    w_o = torch.randn(hidden, out, requires_grad=True)
    b_o = torch.randn(out, requires_grad=True)
    x = torch.randn(steps, batch, inputs)
    target = torch.randint(0, out, (steps * batch,))
    h = torch.randn(batch, hidden)
    torch.relu(h).sum().item()

    def forward(h):
        outputs = []
        for step in (x * 2).unbind():
            h = cell(step, h, w_x, w_h, b)
            outputs.append(h @ w_o + b_o)
        return torch.cat(outputs)

    loss = torch.nn.functional.cross_entropy(forward(h), target)
    loss.backward()
    return loss, [p.grad for p in (w_x, w_h, b, w_o, b_o)]


def _tanh(x, h, w_x, w_h, b):
    return torch.tanh(x @ w_x + h @ w_h + b)


@pytest.mark.parametrize("steps", [2, 3, 4, 9])
def test_an_rnn_in_a_loop(steps):
    with compiling() as made:
        loss, grads = _rnn(steps, _tanh)
        assert loss.item() > 0 and all(grad.abs().sum().item() > 0 for grad in grads)
        native = _largest(made)
        if steps >= 4:
            # one for each step and way, those with x, the outputs' and back, three for weights
            assert _count(native, "matmul") == 2 * steps - 1 + 6
            assert _count(native, "concat") == 3


def test_a_gated_cell():
    def cell(x, h, w_x, w_h, b):
        gate = torch.sigmoid(x @ w_x + h @ w_h + b)
        return gate * h + (1 - gate) * torch.tanh(x @ w_x * 2 + (gate * h) @ w_h)

    with compiling() as made:
        _rnn(7, cell)[0].item()
        assert _count(_largest(made), "matmul") < 7 * 6


@pytest.mark.parametrize("batch_first", [False, True])
def test_steps_along_any_dimension(batch_first):
    with compiling() as made:
        x = torch.randn(6, 6, 4) if batch_first else torch.randn(5, 6, 4)
        w, u = torch.randn(4, 8), torch.randn(8, 8)
        h = torch.zeros(6, 8)
        for step in x.unbind(1 if batch_first else 0):
            h = torch.tanh(step @ w + h @ u)
        h.sum().item()
        native = made[-1]
        count = x.shape[1 if batch_first else 0]
        assert _count(native, "matmul") == count + 1


def test_products_that_need_each_other_stay_apart():
    """Two weights in turn: to do all products with one at once would go in circles."""
    with compiling() as made:
        a, b = torch.randn(6, 6) / 3, torch.randn(6, 6) / 3
        first = [torch.randn(2, 6) for _ in range(4)]
        total = 0
        for i in range(4):
            # x0 a b, x1 b a, ...: each weight comes both before and after the other
            one, other = (a, b) if i % 2 else (b, a)
            total = total + ((first[i] @ one).sin() @ other).cos()
        total.sum().item()
        assert made


def test_sums_with_an_operand_in_common():
    with compiling() as made:
        a = torch.randn(9, 7)
        parts = [torch.randn(7, 5) for _ in range(5)]
        total = sum((a @ part for part in parts), torch.randn(9, 5))
        (total * 2).sum().item()
        assert _count(made[-1], "matmul") == 1


def test_sums_of_batches_and_of_reshaped_products():
    with compiling() as made:
        total = torch.randn(3, 5, 4)
        w = torch.randn(6, 4)
        for _ in range(5):
            total = total + torch.randn(3, 5, 2) @ torch.randn(3, 2, 4)
            total = total + (torch.randn(15, 6) @ w).view(3, 5, 4)
        (total * 2).sum().item()
        assert _count(made[-1], "matmul") == 2


def test_sums_of_operands_some_of_which_are_reshaped():
    w, flat = torch.randn(5, 3), torch.randn(12)
    rest = [torch.randn(3, 4) for _ in range(4)]
    for x in (w, flat, *rest):
        x.tolist()  # inputs of the program
    with compiling() as made:
        total = w @ flat.view(3, 4)
        for part in rest:
            total = total + w @ part
        (total * 2).sum().item()
        assert _count(made[-1], "matmul") == 1


def test_a_product_that_is_kept_is_not_summed():
    with compiling():
        pairs = [(torch.randn(4, 3), torch.randn(3, 5)) for _ in range(6)]
        products = [a @ b for a, b in pairs]
        total = sum(products[1:], products[0])
        assert torch.allclose(total, torch.stack(products).sum(0), atol=1e-5)


@pytest.mark.parametrize("dim", [0, 1])
def test_parts_computed_alike(dim):
    """What is done to parts of an array and put together again is done to the array."""
    with compiling() as made:
        x, y = torch.randn(8, 12), torch.randn(8, 12)
        pairs = zip((x + y).chunk(4, dim), (y - x).chunk(4, dim), strict=True)
        torch.cat([(p * q + q).exp() for p, q in pairs], dim).sum().item()
        assert _count(made[-1], "concat") == 0


def test_half_types():
    with compiling():
        x, w = torch.randn(6, 4, 8).bfloat16(), torch.randn(8, 8).bfloat16()
        h = torch.zeros(4, 8).bfloat16()
        total = torch.zeros(4, 8).bfloat16()
        for step in x:
            h = torch.tanh(step @ w + h @ w)
            total = total + h @ w
        total.float().sum().item()


def _random_loop(seed: int):
    """A loop of random steps: weights, parts of arrays and states in any order."""
    r = random.Random(seed)
    torch.manual_seed(seed)
    kind = r.choice([torch.float32, torch.float32, torch.float64])
    batch, n, steps = r.choice([1, 2, 5, 16]), r.choice([3, 8, 17]), r.randint(2, 9)
    weights = [(torch.randn(n, n, dtype=kind) / n).requires_grad_() for _ in range(3)]
    biases = [torch.randn(n, dtype=kind, requires_grad=True) for _ in range(2)]
    first = r.random() < 0.5
    x = torch.randn(*((steps, batch) if first else (batch, steps)), n, dtype=kind) * 2
    parts = list((x + x.mean()).unbind(0 if first else 1))
    if r.random() < 0.3:
        parts.reverse()
    body = [(r.randrange(3), 0, 0, 0)]
    for _ in range(r.randint(2, 7)):
        body.append((r.randrange(9), r.randrange(4), r.randrange(4), r.randrange(3)))
    states = [torch.zeros(batch, n, dtype=kind), torch.randn(batch, n, dtype=kind)]
    shown = []
    for part in parts:
        values = [part, *states, parts[r.randrange(steps)] if r.random() < 0.1 else part]
        for op, i, j, k in body:
            a, b = values[i % len(values)], values[-1 - j]
            values.append(
                a @ weights[k] if op < 3
                else a + b if op == 3
                else torch.tanh(a + biases[k % 2]) if op == 4
                else torch.nn.functional.linear(a, weights[k], biases[k % 2]) if op == 5
                else torch.sigmoid(a) * b if op == 6
                else a @ (b.T @ b) / n if op == 7
                else torch.relu(a - b)
            )  # fmt: skip
        states = [torch.tanh(values[-1] @ weights[0]), torch.tanh(values[-2] + states[0])]
        shown.append(states[0] @ weights[2] if seed % 2 else states[1])
    joined = torch.cat(shown, r.randrange(2)) if r.random() < 0.7 else torch.stack(shown)
    del shown, values, states, parts, a, b, part
    (joined.exp().mean() if seed % 3 else joined.logsumexp(-1).sum()).backward()
    return [p.grad for p in (*weights, *biases)]


@pytest.mark.parametrize("seed", range(24))
def test_random_loops(seed):
    with compiling() as made:
        grads = _random_loop(seed)
        torch.stack([grad.sum() for grad in grads if grad is not None]).sum().item()
        assert made
