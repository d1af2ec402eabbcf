"""repr of tensors that operators made, equal to PyTorch's letter for letter, grad_fn included."""

import pytest

import suiren
from suiren import nn

# Each is evaluated with t = the library; x, m, w, i, b, c as below.
EXPRESSIONS = """
x|m|w|i|b|c|p|x.double()|x.half()|x.to(t.bfloat16)|i.int()|i.short()|i.byte()|i.to(t.int8)
c.to(t.complex128)
x.detach()|w.detach()|w.data|x[0]|m[0]|m[:, 1]|m.t()|m[None]|x[2:2]|m[:0]|t.zeros(0, 3)
t.zeros(2, 0, 3)|t.zeros(())
w + 1|w - x|w * 2|w / 3|w ** 2|-w|1 / w|2 ** w|w.abs()|w.exp()|w.log()|w.sqrt()|w.sin()|w.cos()
w.tanh()|w.sigmoid()
w.sum()|w.mean()|w.prod()|m.sum(0)|(m * w).sum(1)|w.max()|w.min()|w.var()|w.std()|w.norm()
w.cumsum(0)|w.relu()
w.clone()|w.view(4)|w.reshape(2, 2)|w.unsqueeze(0)|w.expand(2, 4)|w[1]|w[1:]|w[:2] * 2|w[None]
w.double()|w.t()
t.cat([w, w])|t.stack([w, w])|t.where(w > 1, w, x)|w.clamp(0, 1)|w.masked_fill(w > 1, 0)|w.flip(0)
w.repeat(2)
w @ x|m @ w|w.dot(x)|t.nn.functional.softmax(w, 0)|t.nn.functional.log_softmax(w, 0)|w.softmax(0)
t.nn.functional.mse_loss(w, x)|t.nn.functional.relu(w)|t.nn.functional.gelu(x)
t.nn.functional.silu(w)|t.erf(w)
w.pow(3)|w.reciprocal()|w.rsqrt()|w.square()|w.sign()|w.floor()|w.round()|w.trunc()|w.atan()
w.log1p()|w.expm1()
t.maximum(w, x)|t.minimum(w, x)|t.atan2(w, x)|w.index_select(0, t.tensor([0, 2]))
w.gather(0, t.tensor([0, 2]))
w.argmax()|w.sort()[0]|w.topk(2)[0]|w.unbind(0)[1]|w.split(2)[0]|w.chunk(2)[1]|w.squeeze()
w.transpose(0, 0)
w > 1|w == x|i + 1|i // 2|i % 2|i * 1.5|b & b|~b|b.sum()|i.sum()|i.float().mean()|x.isnan()
x.bool()|i.bool()
x * 1e10|x * 1e-6|x * 1e5|x + 1e6|x / 0|x * 0|x * float("nan")|x.long()|(x * 1e8).long()|-x
x.abs() * 1000
t.arange(10)|t.arange(5.)|t.arange(0, 1, 0.25)|t.linspace(0, 1, 5)|t.eye(3)|t.ones(2, 3)
t.zeros(3)|t.full((2,), 7)
t.arange(2000)|t.arange(2000.)|t.zeros(40, 40)|t.ones(20, 20, 20)|t.arange(1001.).view(7, 143)
t.arange(100.)
t.tensor(1)|t.tensor(1.5)|t.tensor(True)|t.tensor(2 + 3j)|t.tensor([1.5, 2])
t.tensor([[1, 2], [3, 4]])|t.tensor([])
t.tensor([1e-5, 1])|t.tensor([1e10, 1])|t.tensor([1., float("inf")])|t.tensor([float("nan")])
t.tensor([-0.0, 0.5])
t.tensor([True, False])|t.tensor([1 + 2j, -1.5j])|t.tensor(3, dtype=t.uint8)
t.tensor([0.1], dtype=t.float64)
t.tensor([1, 2], dtype=t.uint16)|t.tensor([123456789, 1])|t.tensor([0.123456789])
t.tensor([1e-4, 1e3])
t.tensor([[[1., 2.], [3., 4.]], [[5., 6.], [7., 8.]]])|t.zeros(1, 1, 1, 1)|t.zeros(2, 1, 2, 1, 2)
p * 2|p.sum()
t.nn.Parameter(t.tensor(3.))|t.nn.Parameter(t.ones(2), requires_grad=False)
t.nn.Parameter(t.ones(0))|p.data|p.detach()
x.size()|m.shape|x.dtype|x.device|t.Size([])|w.grad_fn is None|(w * 2).grad_fn.name()
w.sum().grad_fn.name()
w.mean(0, keepdim=True)|w.logsumexp(0)|w.outer(x)|w.diag()|w.tril() if w.ndim > 1 else w
w.neg().neg()
"""


def values(t):
    x = t.tensor([0.5, 1.0, 1.5, -2.0])
    w = t.tensor([0.25, 1.0, 2.0, 3.0], requires_grad=True)
    return {
        "t": t, "x": x, "w": w, "m": t.arange(12.0).view(3, 4), "i": t.tensor([1, -2, 30]),
        "b": t.tensor([True, False]), "c": t.tensor([1 + 2j, 0.5 - 1j]),
        "p": t.nn.Parameter(t.tensor([1.0, 2.0])),
    }  # fmt: skip


CASES = [case for line in EXPRESSIONS.split("\n") for case in line.split("|") if case]


@pytest.mark.parametrize("expression", CASES)
def test_equal_to_torch(expression):
    torch = pytest.importorskip("torch")
    expected = repr(eval(expression, values(torch)))
    assert repr(eval(expression, values(suiren))) == expected


def test_after_writing_in_place():
    torch = pytest.importorskip("torch")

    def texts(t):
        w = t.tensor([1.0, 2.0], requires_grad=True)
        y = w * 2
        y.add_(1)
        yield repr(y)
        y[0] = 5
        yield repr(y)
        yield repr(y[1:])
        z = t.zeros(2)
        z[:1] = w[:1]
        yield repr(z)
        z.detach_()
        yield repr(z)
        with t.no_grad():
            yield repr(w * 2)
        w.sum().backward()
        yield repr(w.grad)

    assert list(texts(suiren)) == list(texts(torch))


def test_print_options():
    torch = pytest.importorskip("torch")
    for options in ({"precision": 2}, {"sci_mode": True}, {"threshold": 5, "edgeitems": 1},
                    {"linewidth": 30}, {"profile": "full"}):  # fmt: skip
        try:
            suiren.set_printoptions(**options)
            torch.set_printoptions(**options)
            for make in (lambda t: t.arange(12.0) / 7, lambda t: t.arange(12).view(3, 4)):
                assert repr(make(suiren)) == repr(make(torch))
        finally:
            suiren.set_printoptions(profile="default")
            torch.set_printoptions(profile="default")


def test_recorded_texts():
    w = suiren.tensor([1.0, 2.0], requires_grad=True)
    assert repr(w * 2) == "tensor([2., 4.], grad_fn=<MulBackward0>)"
    assert repr(w) == "tensor([1., 2.], requires_grad=True)"
    assert repr(nn.Parameter(suiren.ones(1))) == (
        "Parameter containing:\ntensor([1.], requires_grad=True)"
    )
    assert repr(suiren.ones(2, dtype=suiren.float64)) == "tensor([1., 1.], dtype=torch.float64)"
