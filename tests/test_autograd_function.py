"""User-written derivatives (autograd.Function), gradcheck, and autograd.functional."""

from __future__ import annotations

import importlib
import weakref

import pytest

import suiren as torch

Function = torch.autograd.Function


def leaf(*numbers: float, dtype=None) -> torch.Tensor:
    return torch.tensor(numbers, dtype=dtype, requires_grad=True)


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


# ---- Function


def test_backward_is_called_and_can_be_differentiated() -> None:
    x = leaf(2.0)
    y = Cube.apply(x)
    assert (y.grad_fn.name(), type(y.grad_fn).__name__) == ("CubeBackward", "CubeBackward")
    assert "grad_fn=<CubeBackward>" in repr(y)
    (first,) = torch.autograd.grad(y, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert (first.item(), second.item()) == (12.0, 12.0)


def test_arguments_that_are_no_tensors_and_what_ctx_knows() -> None:
    seen = {}

    class Scale(Function):
        @staticmethod
        def forward(ctx, x, factor, other=None):
            seen.update(needs=ctx.needs_input_grad, grad_mode=torch.is_grad_enabled())
            ctx.factor = factor
            return x * factor, "text", None

        @staticmethod
        def backward(ctx, *grads):
            seen.update(grads=grads)
            return grads[0] * ctx.factor, None

    x = leaf(1.0)
    y, text, nothing = Scale.apply(x, 3)
    assert (text, nothing) == ("text", None)
    assert seen["needs"] == (True, False) and seen["grad_mode"] is False
    assert y.grad_fn.factor == 3
    y.backward()
    assert x.grad.item() == 3.0
    assert seen["grads"][1:] == (None, None)


def test_setup_context_gets_all_inputs() -> None:
    class Scale(Function):
        @staticmethod
        def forward(x, factor=4.0):
            return x * factor

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.factor = inputs[1]
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx, grad):
            assert ctx.saved_tensors[0].item() == 4.0
            return grad * ctx.factor, None

    x = leaf(1.0)
    Scale.apply(x).backward()
    assert x.grad.item() == 4.0


def test_materialized_and_missing_gradients() -> None:
    seen = []

    class Pair(Function):
        materialize = True

        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(Pair.materialize)
            whole = x.long()
            marked = x * 5
            ctx.mark_non_differentiable(marked)
            return x * 2, x * 3, whole, marked

        @staticmethod
        def backward(ctx, *grads):
            seen.append([g if g is None else g.tolist() for g in grads])
            return grads[0] * 2

    for Pair.materialize in (True, False):
        a, b, whole, marked = Pair.apply(leaf(1.0))
        assert a.requires_grad and b.requires_grad
        assert not whole.requires_grad and not marked.requires_grad
        a.backward()
    assert seen == [[[1.0], [0.0], [0], [0.0]], [[1.0], None, None, None]]


def test_dirty_inputs_keep_their_identity() -> None:
    class Double(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            x.mul_(2)
            return x

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    w = leaf(1.0, 2.0)
    x = w * 1
    assert Double.apply(x) is x
    assert x.grad_fn.name() == "DoubleBackward"
    x.sum().backward()
    assert w.grad.tolist() == [2.0, 2.0]
    base = w * 1
    part = base[:1]
    Double.apply(part)
    assert base.tolist() == [2.0, 2.0]
    assert base.grad_fn.name() == "CopySlices"
    w.grad = None
    base.sum().backward()
    assert w.grad.tolist() == [2.0, 1.0]
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        Double.apply(leaf(1.0))


def test_inputs_and_views_returned() -> None:
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, grad):
            return grad * 5

    x = leaf(1.0)
    y = Same.apply(x)
    assert y is not x and not y.is_leaf and x.is_leaf
    with pytest.raises(RuntimeError, match="Output 0 of Same is a view"):
        Same.apply(x * 1).add_(1)
    y.backward()
    assert x.grad.item() == 5.0


def test_mistakes_are_named() -> None:
    class Mul(Function):
        answer: tuple = ()

        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, grad):
            return Mul.answer

    x, one = leaf(1.0), torch.ones(1)

    def backward_of(y, answer):
        Mul.answer = answer
        Mul.apply(x, y).backward()

    with pytest.raises(RuntimeError, match=r"incorrect number of gradients \(expected 2, got 1\)"):
        backward_of(x, one)
    with pytest.raises(RuntimeError, match=r"expected Variable or None \(got float\)"):
        backward_of(x, (one, 3.0))
    with pytest.raises(RuntimeError, match="different than None at position 2"):
        backward_of(2.0, (one, one))
    with pytest.raises(RuntimeError, match="invalid gradient at index 1"):
        Mul.answer = (torch.ones(2), torch.ones(3))
        Mul.apply(leaf(1.0, 2.0), leaf(1.0, 2.0)).sum().backward()
    with pytest.raises(TypeError, match="save_for_backward can only save variables"):

        class Saves(Cube):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(3)

        Saves.apply(x)
    with pytest.raises(NotImplementedError, match="must implement the forward"):
        type("Empty", (Function,), {}).apply(x)
    with pytest.raises(NotImplementedError, match="backward or vjp"):
        type("Half", (Function,), {"forward": staticmethod(lambda ctx, x: x * 1)}).apply(
            x
        ).backward()
    with pytest.warns(DeprecationWarning, match="should not be instantiated"):
        legacy = Cube()
    with pytest.raises(RuntimeError, match="Legacy autograd function"):
        legacy(x)
    y = Cube.apply(x)
    y.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.grad_fn.saved_tensors  # noqa: B018


def test_once_differentiable() -> None:
    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return grad * 2

    x, v = leaf(1.0), leaf(1.0)
    (g,) = torch.autograd.grad(Once.apply(x), x, v, create_graph=True)
    assert g.item() == 2.0
    with pytest.raises(RuntimeError, match="marked with @once_differentiable"):
        g.backward()


def test_saved_outputs_make_no_reference_cycle() -> None:
    class Exp(Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0]

    x = leaf(0.0)
    y = Exp.apply(x)
    node, tensor = weakref.ref(y.grad_fn), weakref.ref(y)
    del y
    assert node() is None and tensor() is None


def test_variable_is_a_tensor() -> None:
    v = torch.autograd.Variable(torch.ones(2), requires_grad=True)
    assert type(v) is torch.Tensor and v.requires_grad
    assert isinstance(v, torch.autograd.Variable)
    assert not isinstance(3, torch.autograd.Variable)
    with pytest.raises(TypeError, match="Variable data has to be a tensor"):
        torch.autograd.Variable(3.0)


# ---- gradcheck


def test_gradcheck_is_callable_after_its_module_was_imported() -> None:
    module = importlib.import_module("suiren.autograd.gradcheck")
    a = leaf(1.0, 2.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: a * a, (a,)) and module(lambda a: a * a, a)


def test_gradcheck_finds_right_and_wrong_derivatives() -> None:
    class Wrong(Cube):
        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 3 * x.detach() ** 2 * grad

    a = leaf(1.0, 2.0, -0.5, dtype=torch.float64)
    b = torch.tensor([[0.3], [0.7]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: (a * b + a.exp(), a.sum()), (a, b))
    assert torch.autograd.gradgradcheck(lambda a, b: a * b + a.exp(), (a, b))
    assert torch.autograd.gradcheck(Cube.apply, (a,))
    assert torch.autograd.gradgradcheck(Cube.apply, (a,))
    assert torch.autograd.gradcheck(Wrong.apply, (a,))
    with pytest.raises(torch.autograd.GradcheckError, match="Jacobian mismatch"):
        torch.autograd.gradgradcheck(Wrong.apply, (a,))
    assert not torch.autograd.gradcheck(lambda a: a.detach() * a, a, raise_exception=False)
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        torch.autograd.gradcheck(lambda a: a * 2, (a.detach(),))
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.autograd.gradcheck(lambda a: a * 2, (a,), check_forward_ad=True)


def test_gradcheck_of_complex_functions() -> None:
    c = leaf(1 + 2j, 0.5 - 1j, dtype=torch.complex128)
    assert torch.autograd.gradcheck(lambda c: c * c, (c,))
    assert torch.autograd.gradcheck(lambda c: c.real * c.imag, (c,))
    assert torch.autograd.gradgradcheck(lambda c: c * c, (c,))


# ---- functional


def pair(a, b):
    return a * a * b, (a + b).sum()


def scalar(a, b):
    return (a * a * b).sum() + (b**3).sum()


def test_jacobian_and_hessian() -> None:
    functional = torch.autograd.functional
    x, y = leaf(1.0, 2.0), torch.tensor([3.0, 4.0])
    (by_x, by_y), (sum_by_x, _) = functional.jacobian(pair, (x, y))
    assert by_x.tolist() == [[6.0, 0.0], [0.0, 16.0]]
    assert by_y.tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert sum_by_x.tolist() == [1.0, 1.0]
    (xx, xy), (yx, yy) = functional.hessian(scalar, (x, y))
    assert xx.tolist() == [[6.0, 0.0], [0.0, 8.0]]
    assert xy.tolist() == [[2.0, 0.0], [0.0, 4.0]] and yx.tolist() == xy.tolist()
    assert yy.tolist() == [[18.0, 0.0], [0.0, 24.0]]
    assert functional.jacobian(lambda a: a**2, x, create_graph=True).requires_grad
    assert functional.jacobian(lambda a: a**2, x, vectorize=True).tolist() == [[2, 0], [0, 4]]
    assert functional.jacobian(lambda a: y * 2, x).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    with pytest.raises(RuntimeError, match="strict mode"):
        functional.jacobian(lambda a: y * 2, x, strict=True)
    with pytest.raises(NotImplementedError, match="forward-mode"):
        functional.jacobian(lambda a: a**2, x, strategy="forward-mode")
    with pytest.raises(RuntimeError, match="should contain a single element"):
        functional.hessian(lambda a: a**2, x)
    with pytest.raises(TypeError, match="either a Tensor or a tuple of Tensors"):
        functional.jacobian(lambda a: 3, x)


def test_products_with_jacobians_and_hessians() -> None:
    functional = torch.autograd.functional
    x, y, v = leaf(1.0, 2.0), torch.tensor([3.0, 4.0]), torch.tensor([1.0, -1.0])
    out, (by_x, by_y) = functional.vjp(pair, (x, y), (v, torch.tensor(2.0)))
    assert out[0].tolist() == [3.0, 16.0]
    assert (by_x.tolist(), by_y.tolist()) == ([8.0, -14.0], [3.0, -2.0])
    _, (first, second) = functional.jvp(pair, (x, y), (v, v))
    assert (first.tolist(), second.item()) == ([7.0, -20.0], 0.0)
    out, (hx, hy) = functional.vhp(scalar, (x, y), (v, v))
    assert out.item() == 110.0
    assert (hx.tolist(), hy.tolist()) == ([8.0, -12.0], [20.0, -28.0])
    assert [h.tolist() for h in functional.hvp(scalar, (x, y), (v, v))[1]] == [
        hx.tolist(), hy.tolist(),
    ]  # fmt: skip
    with pytest.raises(RuntimeError, match="v has invalid size"):
        functional.vjp(lambda a: a, x, torch.ones(3))
    with pytest.raises(RuntimeError, match="can only be None"):
        functional.vjp(lambda a: a, x)
