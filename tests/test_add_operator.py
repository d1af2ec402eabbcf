"""The example of docs/architecture.md, "Adding an operator", performed as it stands there."""

import re
from pathlib import Path

import numpy as np

import suiren as torch
from suiren import operator
from suiren.tensor import Tensor

PAGE = Path(__file__).parent.parent / "docs" / "architecture.md"


def _defined():
    source = re.search(r"```python\n(@elementwise.*?)```", PAGE.read_text("utf-8"), re.S)[1]
    from suiren.ops.elementwise import elementwise

    scope = {"np": np, "elementwise": elementwise, "__name__": "the_page"}
    exec(source, scope)
    Tensor.logcosh = operator.NAMESPACES["Tensor"]["logcosh"]
    Tensor.logcosh_ = operator.NAMESPACES["Tensor"]["logcosh_"]
    return scope["logcosh"]


def test_the_page_s_operator_works_in_all_its_forms():
    try:
        logcosh = _defined()
        x = torch.tensor([0.0, 1.0, 1000.0], requires_grad=True)
        y = logcosh(x)
        assert str(logcosh(torch.tensor([0.0, 1000.0]))) == "tensor([  0.0000, 999.3068])"
        y.sum().backward()
        assert x.grad.tolist() == torch.tensor([0.0, 1.0, 1000.0]).tanh().tolist()
        assert logcosh(torch.tensor([1])).dtype is torch.float32
        assert logcosh(torch.ones(2, dtype=torch.float16)).dtype is torch.float16
        z = torch.tensor([1.0])
        assert z.logcosh_() is z and abs(z.item() - 0.43378) < 1e-5
        out = torch.empty(3)
        operator.NAMESPACES["torch"]["logcosh"](x.detach(), out=out)
        assert out.tolist() == y.tolist()
        w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad(logcosh(w), w, create_graph=True)
        (second,) = torch.autograd.grad(first, w)
        assert abs(second.item() - (1 - np.tanh(0.5) ** 2)) < 1e-12
    finally:
        for space in operator.NAMESPACES.values():
            space.pop("logcosh", None)
            space.pop("logcosh_", None)
        operator.OPERATORS.pop("logcosh", None)
        for name in ("logcosh", "logcosh_"):
            if hasattr(Tensor, name):
                delattr(Tensor, name)
