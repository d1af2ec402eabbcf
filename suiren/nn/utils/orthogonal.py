"""A matrix kept orthogonal while it is learned: ``nn.utils.parametrizations.orthogonal``.

The unconstrained matrix is mapped to one with orthonormal columns (rows, where it is wider than
tall): by the exponential of its skew-symmetric part, by that part's Cayley transform, or as a
product of Householder reflections. Sources: Lezcano-Casado and Martinez-Rubio 2019,
arXiv:1901.08428; Lezcano-Casado 2019 (dynamic trivializations), arXiv:1909.09501; PyTorch,
"torch.nn.utils.parametrizations.orthogonal".
"""

from __future__ import annotations

import suiren
from suiren.nn.modules.module import Module
from suiren.nn.utils.parametrize import register_parametrization
from suiren.tensor import Tensor

__all__ = ["orthogonal"]
MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """The map; with trivialization it is multiplied from the left by the buffer ``base``."""

    base: Tensor | None

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        wide = X.shape[-2] < X.shape[-1]
        if wide:
            X = X.mT
        n, k = X.shape[-2:]
        if self.orthogonal_map == "householder":
            vectors = X.tril(-1)
            tau = 2 / (1 + (vectors * vectors).sum(-2))
            signs = X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
            Q = suiren.linalg.householder_product(vectors, tau) * signs
        else:
            X = X.tril()
            if n != k:
                X = suiren.cat([X, X.new_zeros(*X.shape[:-2], n, n - k)], -1)
            skew = X - X.mH
            if self.orthogonal_map == "matrix_exp":
                Q = suiren.matrix_exp(skew)
            else:
                one = suiren.eye(n, dtype=skew.dtype, device=skew.device)
                Q = suiren.linalg.solve(one + skew * -0.5, one + skew * 0.5)
            if n != k:
                Q = Q[..., :k]
        base = getattr(self, "base", None)
        if base is not None:
            Q = base @ Q
        return Q.mT if wide else Q

    @suiren.no_grad()
    def right_inverse(self, Q: Tensor) -> Tensor:
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of "
                f"shape {Q.shape}."
            )
        given = Q
        n, k = Q.shape[-2:]
        wide = n < k
        if wide:
            Q = Q.mT
            n, k = k, n
        if not self.use_trivialization:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    f"a matrix cannot be assigned where orthogonal_map={self.orthogonal_map!r} "
                    "without use_trivialization=True: that map has no right inverse here"
                )
            vectors, tau = suiren.geqrf(Q)
            diagonal = vectors.diagonal(dim1=-2, dim2=-1)
            diagonal.sign_()
            diagonal[tau == 0] *= -1  # a column that needed no reflection
            return vectors.mT if wide else vectors
        if n == k and _is_orthogonal(Q):
            Q = Q.clone()
        elif n == k:
            Q = _orthonormal(Q)
        else:
            filling = suiren.randn(
                *Q.shape[:-2], n, n - k, dtype=Q.dtype, device=Q.device)
            Q = _orthonormal(suiren.cat([Q, filling], -1))
        self.base = Q
        minus_one = suiren.zeros_like(given)  # what every map takes to the first columns of 1
        minus_one.diagonal(dim1=-2, dim2=-1).fill_(-1)
        return minus_one


def _is_orthogonal(Q: Tensor) -> bool:
    """Whether the columns are orthonormal up to rounding."""
    n, k = Q.shape[-2:]
    one = suiren.eye(k, dtype=Q.dtype, device=Q.device)
    return suiren.allclose(Q.mH @ Q, one, atol=10 * n * suiren.finfo(Q.dtype).eps)


def _orthonormal(A: Tensor) -> Tensor:
    """The factor Q of A = Q R in which R has a positive diagonal."""
    vectors, tau = suiren.geqrf(A)
    Q = suiren.linalg.householder_product(vectors, tau)
    return Q * vectors.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *,
    use_trivialization: bool = True,
) -> Module:
    """Keep a matrix (or batch of them) orthogonal: ``Q Q^T`` or ``Q^T Q`` is the identity.

    ``orthogonal_map`` is "matrix_exp" (the default for square matrices), "cayley" or
    "householder" (the default for others). With ``use_trivialization`` the parameter moves around
    a base that any matrix can be assigned to.

    >>> import suiren as torch
    >>> from suiren import nn
    >>> layer = nn.utils.parametrizations.orthogonal(nn.Linear(20, 40))
    >>> bool(torch.dist(layer.weight.T @ layer.weight, torch.eye(20)) < 1e-4)
    True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions.")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1] or weight.is_complex()
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in MAPS:
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
            f"Got: {orthogonal_map}"
        )
    register_parametrization(
        module, name, _Orthogonal(weight, orthogonal_map, use_trivialization), unsafe=True)
    return module
