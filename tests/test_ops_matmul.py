"""Products: values, gradients, printed gradient nodes and errors, against recorded numbers."""

import pytest

import suiren as torch

F = torch.nn.functional


def filled(*shape, grad=False):
    n = 1
    for s in shape:
        n *= s
    found = (torch.arange(n).to(torch.float32) % 7 - 3).reshape(shape).clone()
    return found.requires_grad_() if grad else found


def nodes(tensor):
    names, node = [], tensor.grad_fn
    while node is not None:
        names.append(node.name())
        further = [f for f, _ in node.next_functions if f is not None]
        node = further[0] if further else None
    return names[:-1]


# (shape, shape, shape of the product, PyTorch 2.13's outermost gradient nodes)
CASES = [
    ((2, 3), (3, 4), (2, 4), ["MmBackward0"]),
    ((2, 3), (3,), (2,), ["MvBackward0"]),
    ((3,), (3,), (), ["DotBackward0"]),
    ((5, 2, 3), (3, 4), (5, 2, 4), ["UnsafeViewBackward0", "MmBackward0", "ViewBackward0"]),
    ((5, 2, 3), (3,), (5, 2), ["UnsafeViewBackward0", "MvBackward0", "ViewBackward0"]),
    ((3,), (5, 3, 4), (5, 4), ["UnsafeViewBackward0", "MvBackward0"]),
    ((2, 3), (5, 3, 4), (5, 2, 4), ["CloneBackward0", "TransposeBackward0", "UnsafeViewBackward0",
                                    "MmBackward0"]),
    ((5, 2, 3), (5, 3, 4), (5, 2, 4), ["UnsafeViewBackward0", "BmmBackward0", "ViewBackward0",
                                       "ExpandBackward0"]),
    ((6, 5, 2, 3), (5, 3, 4), (6, 5, 2, 4), ["UnsafeViewBackward0", "BmmBackward0"]),
]  # fmt: skip


@pytest.mark.parametrize("a,b,shape,names", CASES)
def test_matmul_by_dimensions(a, b, shape, names):
    x, y = filled(*a, grad=True), filled(*b, grad=True)
    found = x @ y
    assert tuple(found.shape) == shape
    assert nodes(found)[: len(names)] == names
    found.sum().backward()
    assert x.grad.shape == x.shape and y.grad.shape == y.shape


@pytest.mark.parametrize("a,b,shape,names", CASES)
def test_matmul_agrees_with_pytorch(a, b, shape, names):
    oracle = pytest.importorskip("torch")
    x, y = filled(*a, grad=True), filled(*b, grad=True)
    (x @ y * 2).sum().backward()
    u = oracle.tensor(x.tolist(), requires_grad=True)
    v = oracle.tensor(y.tolist(), requires_grad=True)
    (u @ v * 2).sum().backward()
    assert (x @ y).tolist() == (u @ v).tolist()
    assert x.grad.tolist() == u.grad.tolist() and y.grad.tolist() == v.grad.tolist()


def test_linear_prints_pytorchs_nodes():
    w, b = filled(4, 3, grad=True), filled(4, grad=True)
    assert nodes(F.linear(filled(2, 3), w, b))[0] == "AddmmBackward0"
    assert nodes(F.linear(filled(2, 3, grad=True), w))[0] == "MmBackward0"
    assert nodes(F.linear(filled(5, 2, 3), w, b))[:2] == ["ViewBackward0", "AddmmBackward0"]
    assert F.linear(filled(3), w, b).shape == (4,)


def test_addmm_scales_and_skips_an_unused_input():
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    found = torch.addmm(torch.tensor([1.0, float("nan")]), a, a, beta=0, alpha=0.5)
    assert found.tolist() == [[3.5, 5.0], [7.5, 11.0]]
    bias = torch.zeros(2, requires_grad=True)
    torch.addmm(bias, a, a, beta=3).sum().backward()
    assert bias.grad.tolist() == [6.0, 6.0]
    assert a.grad.tolist() == [[7.0, 11.0], [9.0, 13.0]]


def test_products_of_integers_and_half_types():
    a = torch.tensor([[1, 2], [3, 4]])
    assert (a @ a).tolist() == [[7, 10], [15, 22]]
    half = torch.full((1, 4096), 1.0).to(torch.bfloat16)
    assert (half @ half.t()).item() == 4096.0  # added in float32: bfloat16 sums would stop at 256
    assert (half @ half.t()).dtype is torch.bfloat16


def test_complex_gradients_are_conjugated():
    a = torch.tensor([[1 + 1j]], requires_grad=True)
    b = torch.tensor([[2 - 1j]])
    (a @ b).abs().sum().backward()
    out = (1 + 1j) * (2 - 1j)
    assert abs(a.grad.item() - out / abs(out) * (2 + 1j)) < 1e-6


def test_errors_say_what_does_not_fit():
    with pytest.raises(RuntimeError, match=r"cannot be multiplied \(2x3 and 4x5\)"):
        torch.mm(filled(2, 3), filled(4, 5))
    with pytest.raises(RuntimeError, match="same dtype, but got: float32 != float64"):
        filled(2, 2) @ filled(2, 2).double()
    with pytest.raises(RuntimeError, match="at least 1D"):
        torch.matmul(torch.tensor(1.0), filled(2, 2))
    with pytest.raises(RuntimeError, match=r"\[5, 3\] but got: \[5, 4\]"):
        torch.bmm(filled(5, 2, 3), filled(5, 4, 2))
    with pytest.raises(NotImplementedError, match="Bool"):
        torch.mm(filled(2, 2) > 0, filled(2, 2) > 0)
    with pytest.raises(TypeError):
        filled(2, 2) @ 2


EINSUMS = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,kj", [(2, 3), (4, 3)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("...ij,...jk->...ik", [(5, 2, 3), (1, 3, 4)]),
    ("bhid,bhjd->bhij", [(2, 2, 3, 4), (2, 2, 3, 4)]),
    ("i,j,k->ijk", [(2,), (3,), (4,)]),
    ("ij->", [(2, 3)]),
    ("aij,jk,akl->il", [(2, 3, 4), (4, 2), (2, 2, 3)]),
    ("i...,i...->...", [(3, 2), (3, 2)]),
]


@pytest.mark.parametrize("equation,shapes", EINSUMS)
def test_einsum_agrees_with_pytorch(equation, shapes):
    oracle = pytest.importorskip("torch")
    ours = [filled(*s, grad=True) for s in shapes]
    theirs = [oracle.tensor(x.tolist(), requires_grad=True) for x in ours]
    found, wanted = torch.einsum(equation, *ours), oracle.einsum(equation, *theirs)
    assert tuple(found.shape) == tuple(wanted.shape)
    assert found.tolist() == wanted.tolist()
    found.sum().backward()
    wanted.sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        assert x.grad.tolist() == y.grad.tolist()


def test_einsum_recorded():
    a = torch.tensor([[1, 2], [3, 4]])
    assert torch.einsum("ij,jk->ki", a, a).tolist() == [[7, 15], [10, 22]]
    assert torch.einsum(a, [0, 1], a, [1, 2], [0, 2]).tolist() == [[7, 10], [15, 22]]
    assert torch.einsum("ii", a).item() == 5


@pytest.mark.parametrize("equation,text", [
    ("ij,jk", "more operands were provided"),
    ("i", "does not match the number of dimensions"),
    ("ij->ik", "output subscript k does not appear"),
    ("ij->ii", "appears more than once"),
    ("i1", "subscripts must be in"),
])  # fmt: skip
def test_einsum_errors(equation, text):
    operands = [filled(2, 3)] * (3 if "," in equation else 1)
    with pytest.raises(RuntimeError, match=text):
        torch.einsum(equation, *operands)


def test_gradients_of_distances_by_products():
    torch.manual_seed(0)
    mode = {"compute_mode": "donot_use_mm_for_euclid_dist"}
    a = torch.randn(2, 27, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        b[1] = a[0, 2]  # no distance at all
    found = torch.autograd.grad(torch.cdist(a, b).pow(2).sin().sum(), (a, b))
    expected = torch.autograd.grad(torch.cdist(a, b, **mode).pow(2).sin().sum(), (a, b))
    assert all(torch.allclose(x, y) for x, y in zip(found, expected, strict=True))
    few = a[0, 3:6].detach().requires_grad_()
    use = {"compute_mode": "use_mm_for_euclid_dist"}
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda x, y: torch.cdist(x, y, **use), (few, b))


def test_chains_powers_and_others():
    a = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert torch.linalg.matrix_power(a, 5).tolist() == [[1.0, 5.0], [0.0, 1.0]]
    assert torch.linalg.matrix_power(a, -1).tolist() == [[1.0, -1.0], [0.0, 1.0]]
    assert torch.linalg.multi_dot([filled(2, 3), filled(3, 4), filled(4)]).shape == (2,)
    assert torch.kron(a, torch.ones(1, 2)).tolist()[0] == [1.0, 1.0, 1.0, 1.0]
    assert torch.tensordot(filled(2, 3, 4), filled(4, 3), ([1, 2], [1, 0])).shape == (2,)
    assert torch.cdist(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).item() == 5.0
    assert torch.trace(filled(3, 3)).item() == filled(3, 3).diagonal().sum().item()
