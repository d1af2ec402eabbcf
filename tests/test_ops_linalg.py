"""Linear algebra and Fourier transforms: what defines each result, gradients, errors."""

import pytest

import suiren as torch

LA = torch.linalg


def matrix(m, n, batch=(), kind=None, seed=0):
    """Well conditioned numbers that need no random generator."""
    count = m * n
    for b in batch:
        count *= b
    numbers = [((i * 37 + seed * 11) * 7919 % 101) / 50 - 1 for i in range(count)]
    found = torch.tensor(numbers, dtype=torch.float64).reshape(*batch, m, n)
    if kind is torch.complex128:
        found = found + 1j * matrix(m, n, batch, seed=seed + 1)
    eye = torch.tensor([[float(i == j) * 3 for j in range(n)] for i in range(m)])
    return found + eye.to(torch.float64)


def hermitian(n, kind=None):
    a = matrix(n, n, (2,), kind)
    return a @ a.mH


def close(a, b, bound=1e-9):
    return (a - b).abs().max().item() < bound


KINDS = [torch.float64, torch.complex128]
SHAPES = [(4, 3), (3, 4), (3, 3)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m,n", SHAPES)
def test_decompositions_multiply_back(m, n, kind):
    a = matrix(m, n, (2,), kind)
    u, s, vh = LA.svd(a, full_matrices=False)
    assert close((u * s.unsqueeze(-2)) @ vh, a)
    assert (s[..., :-1] >= s[..., 1:]).all()
    q, r = LA.qr(a)
    assert close(q @ r, a) and close(r.triu(), r)
    p, lower, upper = LA.lu(a)
    assert close(p @ lower @ upper, a) and close(upper.triu(), upper)
    packed, pivots = LA.lu_factor(a)
    p, lower, upper = torch.lu_unpack(packed, pivots)
    assert close(p @ lower @ upper, a)
    pinv = LA.pinv(a)
    assert close(a @ pinv @ a, a) and close(pinv @ a @ pinv, pinv)


@pytest.mark.parametrize("kind", KINDS)
def test_hermitian_decompositions(kind):
    a = hermitian(4, kind)
    w, v = LA.eigh(a)
    assert close((v * w.unsqueeze(-2)) @ v.mH, a)
    lower = LA.cholesky(a)
    assert close(lower @ lower.mH, a) and close(lower.tril(), lower)
    upper = LA.cholesky(a, upper=True)
    assert close(upper.mH @ upper, a)
    b = matrix(4, 2, (2,), kind)
    assert close(a @ torch.cholesky_solve(b, lower), b)
    factors, pivots = LA.ldl_factor(a, hermitian=True)
    assert close(a @ LA.ldl_solve(factors, pivots, b, hermitian=True), b)


@pytest.mark.parametrize("kind", KINDS)
def test_solving(kind):
    a, b = matrix(4, 4, (2,), kind), matrix(4, 2, (2,), kind)
    assert close(a @ LA.solve(a, b), b)
    assert close(LA.solve(a, b.mT, left=False) @ a, b.mT)
    assert close(a @ LA.inv(a), torch.eye(4, dtype=torch.float64))
    packed, pivots = LA.lu_factor(a)
    assert close(a @ LA.lu_solve(packed, pivots, b), b)
    assert close(a.mH @ LA.lu_solve(packed, pivots, b, adjoint=True), b)
    lower = a.tril()
    assert close(lower @ LA.solve_triangular(a, b, upper=False), b)
    values, vectors = LA.eig(a)
    assert close(a.to(torch.complex128) @ vectors, vectors * values.unsqueeze(-2))
    assert close(LA.lstsq(a, b).solution, LA.solve(a, b))


FUNCTIONS = {
    "inv": LA.inv,
    "det": LA.det,
    "slogdet": lambda a: LA.slogdet(a).logabsdet,
    "solve": lambda a: LA.solve(a, a[..., :, :1] * 2 + 1),
    "svdvals": LA.svdvals,
    "svd": lambda a: (lambda r: r.U[..., :1] * r.Vh[..., :1, :])(LA.svd(a, False)),
    "qr": lambda a: LA.qr(a).R + LA.qr(a).Q,
    "cholesky": lambda a: LA.cholesky(a @ a.mH),
    "eigvalsh": lambda a: LA.eigvalsh(a @ a.mH),
    "eigh": lambda a: LA.eigh(a @ a.mH).eigenvectors.abs(),
    "eig": lambda a: LA.eig(a).eigenvalues.abs().sum(-1),
    "lu": lambda a: LA.lu(a).L + LA.lu(a).U,
    "lu_factor": lambda a: LA.lu_factor(a).LU,
    "pinv": LA.pinv,
    "matrix_exp": LA.matrix_exp,
    "triangular": lambda a: LA.solve_triangular(a, a * 2, upper=True),
    "lstsq": lambda a: LA.lstsq(a, a[..., :, :1] + 1).solution,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_match_differences(name):
    function = FUNCTIONS[name]
    a = matrix(3, 3).requires_grad_()

    def loss(x):
        found = function(x).reshape(-1)
        weights = torch.arange(found.numel()).to(torch.float64) + 1
        return (found * weights).sum()

    loss(a).backward()
    base, step = a.detach(), 1e-6
    for i in range(3):
        for j in range(3):
            moved = torch.zeros(3, 3, dtype=torch.float64)
            moved[i, j] = step
            slope = (loss(base + moved) - loss(base - moved)).item() / (2 * step)
            assert abs(slope - a.grad[i, j].item()) < 1e-5 * max(1, abs(slope))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_gradients_agree_with_pytorch(name):
    oracle = pytest.importorskip("torch")
    a = matrix(3, 3).requires_grad_()
    b = oracle.tensor(a.tolist(), dtype=oracle.float64, requires_grad=True)
    FUNCTIONS[name](a).abs().sum().backward()
    kept = {"LA": oracle.linalg}
    function = FUNCTIONS[name]
    if hasattr(function, "__code__") and function.__name__ == "<lambda>":
        function = type(function)(function.__code__, kept)
    else:
        function = getattr(oracle.linalg, function.__name__)
    function(b).abs().sum().backward()
    assert close(a.grad, torch.tensor(b.grad.tolist(), dtype=torch.float64), 1e-8)


def test_second_derivatives():
    a = matrix(2, 2).requires_grad_()
    (g,) = torch.autograd.grad(LA.inv(a).sum(), a, create_graph=True)
    (g * g).sum().backward()
    assert a.grad.abs().sum().item() > 0


def test_recorded():
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    assert LA.det(a).item() == pytest.approx(5.0)
    assert LA.svdvals(a).tolist() == pytest.approx([3.618034, 1.381966], abs=1e-5)
    assert LA.matrix_rank(torch.ones(3, 3)).item() == 1
    assert LA.cond(a).item() == pytest.approx(2.618034, abs=1e-5)
    assert torch.logdet(-torch.eye(1)).isnan().item()
    singular = torch.tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)
    LA.det(singular).backward()
    assert close(singular.grad, torch.tensor([[4.0, -2.0], [-2.0, 1.0]]), 1e-5)


def test_failures_are_linear_algebra_errors():
    with pytest.raises(LA.LinAlgError, match="singular"):
        LA.inv(torch.ones(2, 2))
    with pytest.raises(LA.LinAlgError, match="leading minor of order 2 is not positive"):
        LA.cholesky(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    assert LA.cholesky_ex(torch.tensor([[1.0, 2.0], [2.0, 1.0]])).info.item() == 2
    with pytest.raises(RuntimeError, match="square"):
        LA.inv(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="(Batch element 1)"):
        LA.solve(torch.stack([torch.eye(2), torch.zeros(2, 2)]), torch.ones(2, 2, 1))
    assert issubclass(LA.LinAlgError, RuntimeError)


def test_results_have_names():
    found = LA.svd(torch.eye(2))
    assert repr(found).startswith("torch.return_types.linalg_svd(\nU=tensor(")
    u, s, vh = found
    assert found.S is s


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
def test_fourier_round_trips(norm):
    x = matrix(4, 6)
    assert close(torch.fft.ifft(torch.fft.fft(x, norm=norm), norm=norm).real, x)
    assert close(torch.fft.irfft(torch.fft.rfft(x, norm=norm), 6, norm=norm), x)
    assert close(torch.fft.ifftn(torch.fft.fftn(x, norm=norm), norm=norm).real, x)
    assert close(torch.fft.irfft2(torch.fft.rfft2(x, norm=norm), norm=norm), x)
    assert close(torch.fft.hfft(torch.fft.ihfft(x, norm=norm), 6, norm=norm), x)


def test_fourier_recorded():
    found = torch.fft.fft(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert found.tolist() == [10 + 0j, -2 + 2j, -2 + 0j, -2 - 2j]
    assert torch.fft.fftfreq(5).tolist() == pytest.approx([0, 0.2, 0.4, -0.4, -0.2])
    assert torch.fft.fftshift(torch.arange(5)).tolist() == [3, 4, 0, 1, 2]
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    (torch.fft.rfft(x).abs() ** 2).sum().backward()
    # of 10^2 + |-2+2i|^2 + (-2)^2, only the stored half
    assert x.grad.tolist() == pytest.approx([12.0, 20.0, 20.0, 28.0])
