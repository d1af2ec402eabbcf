"""Autocast on the CPU: which functions compute in what, beside PyTorch's, and everything around.

``TABLE`` is what PyTorch 2.13 answers under ``autocast("cpu", dtype=bfloat16)`` to float32,
bfloat16 and float64 arguments; ``test_table_is_pytorchs`` holds it to that, the others hold Suiren
to it.
"""

import warnings

import numpy as np
import pytest

import suiren

bf16 = suiren.bfloat16


def _call(torch, text, kind, lower="bfloat16"):
    """The dtypes of an expression's results; x, y: 3x3 tensors of this kind, z: 1x2x4x4x4."""
    rng = np.random.default_rng(0)

    def made(*shape):
        return torch.tensor(rng.random(shape) + 0.5).to(getattr(torch, kind))

    space = {
        "torch": torch, "F": torch.nn.functional, "linalg": torch.linalg, "fft": torch.fft,
        "x": made(3, 3), "y": made(3, 3), "p": made(3, 3) / 2, "v": made(3), "b": made(2, 3, 3),
        "s": made(1, 2, 8), "q": made(1, 2, 4, 4), "z": made(1, 2, 4, 4, 4), "u": made(2, 2, 2),
        "w": made(2, 2, 2, 2), "w3": made(2, 2, 2, 2, 2), "full": torch.ones(3),
        "classes": torch.tensor([0, 2, 1]), "places": torch.tensor([0, 1]),
        "signs": torch.tensor([1, -1, 1]), "spots": torch.tensor([[[[0, 2], [8, 10]]]]),
    }  # fmt: skip
    space["h"] = space["x"] @ space["x"].T + 3 * torch.eye(3).to(getattr(torch, kind))
    with torch.autocast("cpu", dtype=getattr(torch, lower)):
        result = eval(text, space)
    results = result if isinstance(result, (tuple, list)) else (result,)
    return tuple(str(r.dtype).removeprefix("torch.") for r in results)


# Expression -> result dtypes for float32, bfloat16 and float64 arguments; one word if all results
# have it. None: PyTorch refuses.
BF, F32, F64 = "bfloat16", "float32", "float64"
LOWER = (BF, BF, F64)
WIDE = (F32, F32, F64)
GIVEN = (F32, BF, F64)
TABLE = {
    **dict.fromkeys(
        ("torch.mm(x, y)", "x @ y", "torch.matmul(b, x)", "torch.matmul(v, v)", "torch.bmm(b, b)",
         "torch.matmul(x, v)", "torch.addmm(x, x, y)", "torch.baddbmm(b, b, b)",
         "torch.addbmm(x, b, b)", "F.linear(x, y)", "F.linear(x, y, v)", "F.linear(b, y, v)",
         "torch.einsum('ij,jk->ik', x, y)", "torch.tensordot(x, y, 1)", "torch.inner(x, y)",
         "linalg.vecdot(x, y)", "linalg.multi_dot([x, y, x])", "torch.chain_matmul(x, y, x)",
         "F.conv1d(s, u)", "F.conv2d(q, w)", "F.conv2d(q, w, padding='same')", "F.conv3d(z, w3)",
         "F.conv_transpose1d(s, u)", "F.conv_transpose2d(q, w)", "F.conv_transpose3d(z, w3)",
         "F.conv_tbc(u, u, u[0, 0])", "F.prelu(x, v[:1])",
         "F.scaled_dot_product_attention(b, b, b)", "torch.cov(x)", "torch.corrcoef(x)"),
        LOWER),
    **dict.fromkeys(
        ("F.mse_loss(x, y)", "F.l1_loss(x, y)", "F.smooth_l1_loss(x, y)", "F.huber_loss(x, y)",
         "F.kl_div(x, y, reduction='sum')", "F.binary_cross_entropy(p, p)",
         "F.binary_cross_entropy_with_logits(x, y)", "F.cross_entropy(x, classes)",
         "F.cross_entropy(x, p)", "F.nll_loss(x, classes)", "F.poisson_nll_loss(x, y)",
         "F.soft_margin_loss(x, y)", "F.margin_ranking_loss(v, v, signs)",
         "F.hinge_embedding_loss(v, signs)", "F.cosine_embedding_loss(x, y, signs)",
         "F.multi_margin_loss(x, classes)", "F.multilabel_margin_loss(x[0], classes)",
         "F.triplet_margin_loss(x, y, p)", "F.avg_pool3d(z, 2)", "F.max_pool3d(z, 2)",
         "F.adaptive_avg_pool3d(z, 2)", "F.adaptive_max_pool3d(z, 2)",
         "F.fractional_max_pool2d(q, 2, 2)", "F.max_unpool2d(q[:, :1, :2, :2], spots, 2)",
         "F.pad(s, (1, 1), 'reflect')",
         "F.pad(q, (1, 1, 1, 1), 'reflect')", "F.pad(z, (1, 1, 1, 1, 1, 1), 'replicate')",
         "F.grid_sample(q, q[:, :1, :1, :2], align_corners=True)",
         "torch.prod(v)", "torch.prod(x, 0)", "torch.trace(x)", "torch.cdist(x, y)",
         "torch.quantile(v, 0.5)", "torch.nanquantile(v, 0.5)", "linalg.cholesky(h)",
         "torch.cholesky_solve(x, h)", "torch.cholesky_inverse(h)", "torch.inverse(h)",
         "linalg.inv(h)", "linalg.solve(h, x)", "linalg.svdvals(x)", "torch.svd(x)",
         "linalg.svd(x)", "linalg.qr(x)", "torch.qr(x)", "torch.geqrf(x)", "linalg.eigh(h)",
         "linalg.eigvalsh(h)", "linalg.cond(h)", "torch.pinverse(h)",
         "linalg.householder_product(x, v)",
         "torch.ormqr(x, v, y)", "torch.triangular_solve(x, h)"),
        WIDE),
    **dict.fromkeys(
        ("fft.fft(v)", "fft.rfft(v)", "fft.ifft(v)", "fft.fftn(x)", "linalg.eigvals(x)",
         "linalg.eig(x)", "torch.polar(x, y)", "torch.view_as_complex(x[:, :2].contiguous())",
         "torch.stft(s[0], 4, return_complex=True, center=False)"),
        ("complex64", "complex64", "complex128")),
    **dict.fromkeys(
        ("x + y", "x * 2", "x.sum()", "x.mean()", "x.exp()", "x.softmax(-1)", "x.log_softmax(-1)",
         "x.norm()", "x.cumsum(0)", "torch.dot(v, v)", "torch.mv(x, v)", "torch.addmv(v, x, v)",
         "torch.outer(v, v)", "torch.einsum('i,j->ij', v, v)", "torch.tensordot(x, y, 2)",
         "torch.inner(v, v)", "F.bilinear(x, y, b)", "F.relu(x)", "F.gelu(x)", "F.silu(x)",
         "F.layer_norm(x, (3,), v, v)", "F.group_norm(q, 1)", "F.rms_norm(x, (3,), v)",
         "F.max_pool2d(q, 2)", "F.avg_pool2d(q, 2)", "F.adaptive_avg_pool2d(q, 1)",
         "F.interpolate(q, scale_factor=2, mode='bilinear')", "F.dropout(x, 0.0)",
         "F.embedding(classes, x)", "torch.cat([x, y])", "torch.stack([x, y])",
         "torch.hstack([x, y])",
         "F.pad(z, (1, 1, 1, 1, 1, 1), 'reflect')", "F.pad(s, (1, 1), 'circular')",
         "F.pad(x, (1, 1))",
         "torch.cumprod(x, 0)", "x.pow(2)", "x.rsqrt()",
         "torch.index_copy(x, 0, places, y[:2])", "F.gaussian_nll_loss(x, y, p)",
         "F.cosine_similarity(x, y)", "torch.addcmul(x, x, y)", "torch.where(x > 1, x, y)",
         "x.clone().addmm_(x, y)", "x.clone().mul_(y)", "x.new_empty(3, 3).copy_(y)"),
        GIVEN),
}  # fmt: skip
MIXED = {  # arguments of float32 beside bfloat16
    "torch.cat([x, y.bfloat16()])": F32,
    "torch.cat([x.bfloat16(), y])": F32,
    "torch.stack([x.bfloat16(), y])": F32,
    "torch.index_copy(x.bfloat16(), 0, places, y[:2])": F32,
    "torch.cat([classes, v.bfloat16()])": BF,
    "x.bfloat16() @ y": BF,
    "linalg.pinv(x)": BF,
    "x.half() @ y": BF,
    "F.linear(x.bfloat16(), y, v)": BF,
    "F.mse_loss(x.half(), y)": F32,
    "torch.baddbmm(b, b.bfloat16(), b)": BF,
    "torch.mm(x, y, out=torch.empty(3, 3))": F32,
    "torch.cat([x, y.bfloat16()], out=torch.empty(6, 3))": F32,
}
KINDS = (F32, BF, F64)


def _expected(wanted, got):
    return got == (wanted,) * len(got)


@pytest.mark.parametrize("text", TABLE)
def test_dtypes(text):
    for kind, wanted in zip(KINDS, TABLE[text], strict=True):
        got = _call(suiren, text, kind)
        assert _expected(wanted, got), (kind, got)


@pytest.mark.parametrize("text", MIXED)
def test_dtypes_of_mixed_arguments(text):
    assert _call(suiren, text, F32) == (MIXED[text],)


def test_table_is_pytorchs():
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for text, answers in TABLE.items():
            for kind, wanted in zip(KINDS, answers, strict=True):
                got = _call(torch, text, kind)
                assert _expected(wanted, got), (text, kind, got)
        for text, wanted in MIXED.items():
            assert _call(torch, text, F32) == (wanted,), text
