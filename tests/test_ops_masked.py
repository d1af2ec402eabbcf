"""torch.masked by value and gradient against PyTorch, with rows in which nothing is kept."""

import numpy as np
import pytest

import suiren

CASES = [
    "m.sum(x, 1, mask=k)", "m.prod(x, (0, 1), mask=k)", "m.amax(x, 1, mask=k)", "m.amin(x, mask=k)",
    "m.mean(x, 0, mask=k[:1])", "m.mean(x, 1)", "m.norm(x, 3., 1, mask=k)", "m.var(x, 0, mask=r)",
    "m.std(x, (0, 1), correction=0, mask=k)", "m.cumsum(x, 1, mask=k)", "m.cumprod(x, 1, mask=k)",
    "m.softmax(x, 1, mask=r)", "m.log_softmax(x, 0, mask=r)", "m.softmin(x, 1, mask=r)",
    "m.normalize(x, 2., 1, mask=k)", "m.logsumexp(x, 1, mask=r)", "m.median(x, 1, mask=r)",
    "m.logaddexp(x, x * 2, input_mask=k, other_mask=r)", "m.argmax(x, 1, mask=k)",
    "m.argmin(x, mask=k, keepdim=True)", "m.sum(x.int(), 1, mask=k)", "m.amin(x.int(), 1, mask=k)",
]  # fmt: skip


def evaluate(library, text, grad=False):
    import importlib

    x = library.tensor([[1.0, 2.0, 3.0], [4.0, 6.0, 5.0]], requires_grad=grad)
    k = library.tensor([[True, False, True], [False, False, False]])
    r = library.tensor([[True, False, True], [True, True, True]])
    scope = {"m": importlib.import_module(f"{library.__name__}.masked"), "x": x, "k": k, "r": r}
    return eval(text, scope), x


@pytest.mark.parametrize("text", CASES)
def test_value_and_gradient(text):
    torch = pytest.importorskip("torch")
    (want, a), (got, b) = (evaluate(library, text, True) for library in (torch, suiren))
    assert str(want.dtype) == str(got.dtype)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-5)
    if want.requires_grad and not want.isinf().any() and not want.isnan().any():
        want.sum().backward()
        got.sum().backward()
        np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_recorded():
    assert evaluate(suiren, "m.sum(x, 1, mask=k)")[0].tolist() == [4, 0]
    assert evaluate(suiren, "m.amax(x, 1, mask=k)")[0].tolist() == [3, -float("inf")]
    assert evaluate(suiren, "m.mean(x, mask=k)")[0].item() == 2
    with pytest.raises(ValueError, match="floating point"):
        evaluate(suiren, "m.mean(x.long())")
