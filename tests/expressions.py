"""Expressions over the public interface, and what PyTorch 2.13 makes of them.

`test_expressions.py` evaluates each with Suiren and compares with `recorded/expressions.json`: the
text that is printed, the numbers, and the gradients of the floating inputs. So the numbers and the
printing of most operators are checked where PyTorch is not installed. To record anew, with PyTorch
installed:  python tests/expressions.py
"""

from __future__ import annotations

import json
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded" / "expressions.json"

EXPRESSIONS = """
a + b | a - 2 * b | a * b | a / (b + 3) | a ** 2 | (a + 2) ** b | 2 ** a | a.detach() // 0.3 | a % 0.4 | -a
torch.add(a, b, alpha=3) | torch.sub(a, b, alpha=0.5) | torch.div(a, b + 3, rounding_mode="floor")
torch.div(a, b + 3, rounding_mode="trunc") | torch.remainder(a, -0.3) | torch.fmod(a, 0.3)
torch.addcmul(a, a, b, value=0.5) | torch.addcdiv(a, a, b + 3) | torch.lerp(a, b, 0.3)
torch.maximum(a, b) | torch.minimum(a, b) | a.clamp(-0.5, 0.5) | a.clamp(min=0) | torch.atan2(a, b)
torch.hypot(a, b) | torch.where(a > 0, a, b) | torch.logaddexp(a, b) | torch.xlogy(a, b + 3)
a.exp() | (a + 3).log() | a.expm1() | (a + 2).log1p() | (a + 3).log2() | (a + 3).log10() | a.exp2()
(a + 3).sqrt() | (a + 3).rsqrt() | a.sin() | a.cos() | a.tan() | a.asin() | a.acos() | a.atan()
a.sinh() | a.cosh() | a.tanh() | a.sigmoid() | a.erf() | a.erfc() | a.abs() | a.sign() | a.floor()
a.ceil() | a.round() | a.trunc() | a.frac() | a.square() | (a + 3).reciprocal() | a.sinc()
(a + 3).lgamma() | (a + 3).digamma() | a.nan_to_num() | (a / 3).logit(0.1) | a.rad2deg()
a > b | a <= 0 | a == a | a != b | torch.isclose(a, a + 1e-9) | (a > 0) & (b > 0) | ~(a > 0)
i & 3 | i | 5 ^ i | i << 2 | i >> 1 | i // 2 | i % 3 | -i // 4 | i.float() / 3 | i.double()
a.sum() | a.sum(0) | a.sum((0, 2)) | a.sum(1, keepdim=True) | a.mean() | a.mean(-1) | a.prod(2)
a.var() | a.var(1) | a.std(0) | a.var(unbiased=False) | a.norm() | a.norm(1, dim=1) | a.norm(p=3)
a.max() | a.min() | a.max(1).values | a.min(2).indices | a.amax((0, 1)) | a.amin(2) | a.argmax()
a.argmin(1) | a.median() | a.median(1).values | a.logsumexp(1) | a.cumsum(1) | a.cumprod(2)
a.cummax(1).values | a.logcumsumexp(2) | a.diff() | torch.trapezoid(a) | (a > 0).all() | (a > 0).any(1)
torch.count_nonzero(i) | a.softmax(0) | a.softmax(-1) | a.log_softmax(1) | torch.var_mean(a, 1)[1]
a.sort(1).values | a.sort(descending=True).indices | a.argsort(2) | a.topk(2).values | a.kthvalue(2).values
i.flatten().unique() | torch.unique(i, return_counts=True)[1] | a.quantile(0.3) | a.nanmean()
torch.searchsorted(torch.arange(5.), torch.tensor([0.5, 3.2])) | torch.bincount(i.flatten())
torch.histc(a, 4) | i.flatten().mode().values | torch.cov(m) | torch.corrcoef(m) | torch.msort(a)
a.view(3, 8) | a.reshape(-1) | a.transpose(0, 2) | a.permute(2, 0, 1) | m.t() | a.flatten(1) | a.mT
a.unsqueeze(1) | a[:1].squeeze(0) | a.expand(2, 2, 3, 4)[1, 0] | a.narrow(2, 1, 2) | a.select(1, 1)
a.unbind(1)[2] | a.chunk(2, 2)[1] | a.split([1, 2], 1)[1] | a.tensor_split(3, 2)[1] | a.diagonal(0, 1, 2)
a.unfold(2, 2, 1) | a.movedim(0, 2) | a.swapaxes(0, 1) | m.as_strided((2, 2), (1, 2), 1) | a.ravel()
a.unflatten(2, (2, 2)) | torch.atleast_3d(m) | a.T.shape | a.stride() | a[:, 1:, ::2].stride()
torch.cat([a, b], 1) | torch.stack([m, m], 1) | torch.hstack([m, m]) | torch.vstack([m, m]) | torch.dstack([m, m])
a.repeat(1, 2, 1) | torch.tile(m, (2,)) | m.repeat_interleave(2, 0) | a.flip(0, 2) | a.roll(1, 2) | a.rot90(1, (0, 1))
m.tril() | m.triu(1) | torch.diag(m) | torch.diag_embed(m) | torch.block_diag(m, m) | torch.meshgrid(m[0], m[1], indexing="ij")[0]
torch.cartesian_prod(m[0], m[1]) | torch.combinations(m[0]) | torch.broadcast_to(m[0], (2, 3)) | torch.tril_indices(3, 3)
a[0] | a[..., 1] | a[:, 1] | a[0, 1:, ::2] | a[-1] | a[None, :, 0] | a[[1, 0]] | a[:, [0, 2]] | a[torch.tensor([1, 1, 0])]
a[a > 0] | a[0][i[0] > 4] | a[torch.tensor([0, 1]), :, torch.tensor([3, 0])] | a[:, torch.tensor([[0], [2]]), 1] | a[True].shape
a.gather(2, i % 4) | a.take(torch.tensor([0, 5, 23])) | a.index_select(1, torch.tensor([2, 0])) | a.masked_select(a > 0)
torch.take_along_dim(a, i % 4, 2) | a.masked_fill(a > 0, -1) | a.index_add(1, torch.tensor([0, 2]), a[:, :2]) | a.scatter(2, i % 4, 0.5)
a.scatter_add(2, i % 4, b) | a.scatter_reduce(2, i % 4, b, "amax") | a.index_fill(1, torch.tensor([1]), 2) | a.index_copy(0, torch.tensor([1, 0]), a)
torch.nonzero(i % 3) | torch.argwhere(a > 0.5) | torch.select_scatter(a, m[0], 0, 0)[0] if False else a | torch.slice_scatter(a, b[:, :1], 1, 1, 2)
torch.zeros(2, 3) | torch.ones(2, dtype=torch.int32) | torch.full((2, 2), 1.5) | torch.arange(0, 1, 0.1) | torch.arange(5, 0, -2)
torch.linspace(-1, 1, 7) | torch.logspace(0, 2, 4) | torch.eye(2, 3) | torch.zeros_like(i) | torch.full_like(a, 3)[0] | torch.hann_window(5)
torch.tensor([[1, 2], [3, 4]]) | torch.tensor([1.5, 2]) | torch.tensor([True, False]) | torch.tensor([1 + 2j]) | torch.tensor([]) | torch.vander(m[0].detach())
torch.tensor([1e10, 1.0]) | torch.tensor([1e-8, 1.0]) | torch.tensor([float("nan"), float("inf"), -1]) | torch.tensor(3.0) | torch.tensor(3)
torch.arange(2000) | torch.arange(3000.).view(30, 100) | torch.zeros(0, 3) | torch.tensor([0.1, 100.25, 1e5]) | torch.tensor([123456789.0])
torch.ones(2, dtype=torch.float64) | torch.ones(2, dtype=torch.float16) | torch.ones(2, dtype=torch.bfloat16) | torch.ones(2, dtype=torch.uint8)
torch.ones(2, dtype=torch.int8) | torch.ones(2, dtype=torch.complex128) | torch.tensor([[-1.5, 2], [3, -0.25]]) | torch.rand(3) | torch.randn(3)
torch.randint(0, 10, (4,)) | torch.randperm(6) | torch.rand(20).mean() | torch.randn(40).sum() | torch.normal(0.0, 2.0, (3,)) | torch.bernoulli(torch.full((6,), 0.4))
m @ m.t() | torch.mm(m, m.t()) | torch.mv(m, m[0]) | torch.dot(m[0], m[1]) | torch.bmm(a, a.mT) | a @ a.mT | torch.outer(m[0], m[1]) | m[0] @ m.t()
torch.einsum("ijk,ilk->ijl", a, b) | torch.einsum("ij->ji", m) | torch.tensordot(a, b, dims=([2], [2]))[0, 0] | torch.kron(m, m) | torch.cross(m[0], m[1], dim=0)
torch.addmm(s, s, s, beta=0.5, alpha=2) | torch.baddbmm(a @ a.mT, a, a.mT) | torch.trace(s) | torch.cdist(m, m + 1) | torch.matrix_power(s, 3) | torch.chain_matmul(s, s)
torch.linalg.inv(s) | torch.linalg.det(s) | torch.linalg.solve(s, s.t()) | torch.svd(m)[1] | torch.linalg.svdvals(m) | torch.linalg.eigvalsh(s @ s.t()) | torch.linalg.cholesky(s @ s.t())
torch.linalg.norm(m) | torch.linalg.matrix_norm(m, 1) | torch.linalg.vector_norm(m, 3) | torch.slogdet(s)[1] | torch.linalg.pinv(m) | torch.linalg.matrix_exp(s / 3) | torch.linalg.matrix_rank(m)
F.relu(a) | F.leaky_relu(a, 0.1) | F.elu(a) | F.selu(a) | F.celu(a, 0.5) | F.gelu(a) | F.gelu(a, approximate="tanh") | F.silu(a) | F.mish(a) | F.hardswish(a)
F.hardsigmoid(a) | F.hardtanh(a) | F.hardshrink(a) | F.softshrink(a, 0.2).abs() | F.softplus(a) | F.logsigmoid(a) | F.tanhshrink(a) | F.softsign(a) | F.glu(a) | F.relu6(a * 9) | F.threshold(a, 0.1, 2)
F.mse_loss(a, b) | F.l1_loss(a, b) | F.smooth_l1_loss(a, b) | F.huber_loss(a, b, delta=0.3) | F.kl_div(m.log_softmax(1), m.softmax(1), reduction="batchmean") | F.cross_entropy(m, torch.tensor([0, 2]))
F.nll_loss(m.log_softmax(1), torch.tensor([2, 1])) | F.binary_cross_entropy(m.sigmoid(), (m > 0).float()) | F.binary_cross_entropy_with_logits(m, (m > 0).float()) | F.cosine_similarity(m, m + 1)
F.cross_entropy(m, m.softmax(1), label_smoothing=0.1) | F.margin_ranking_loss(m, m + 1, m.sign()) | F.triplet_margin_loss(m, m + 1, m - 1) | F.poisson_nll_loss(m, m.abs()) | F.soft_margin_loss(m, m.detach().sign())
F.conv1d(a, w1) | F.conv2d(a[None], w2, padding=1) | F.conv2d(a[None], w2, stride=2, padding=1, dilation=1) | F.conv_transpose2d(a[None], w2.transpose(0, 1)[:2], stride=2) | F.conv2d(a[None], w2[:2, :1], groups=2)
F.max_pool2d(a, 2) | F.avg_pool2d(a, 2, padding=1) | F.adaptive_avg_pool2d(a, (2, 2)) | F.adaptive_max_pool1d(a, 2) | F.max_pool1d(a, 2, 1) | F.lp_pool1d(a + 3, 2, 2) | F.interpolate(a[None], scale_factor=2)
F.interpolate(a[None], size=(2, 3), mode="bilinear") | F.pad(a, (1, 2)) | F.pad(a[None], (1, 1, 1, 1), mode="reflect") | F.pad(a, (1, 1), mode="replicate") | F.pixel_shuffle(a.view(1, 4, 2, 3), 2) | F.unfold(a[None], 2)
F.batch_norm(a, None, None, training=True) | F.layer_norm(a, (4,)) | F.group_norm(a.view(1, 4, 6), 2) | F.instance_norm(a) | F.normalize(m) | F.embedding(torch.tensor([0, 1, 0]), m) | F.one_hot(torch.tensor([0, 2]))
F.local_response_norm(a, 2) | F.rms_norm(a, (4,)) | F.softmin(a, 1) | F.linear(m, w1[0].t()[:2].t()) if False else m | F.scaled_dot_product_attention(a, b, a) | F.bilinear(m, m, torch.ones(2, 3, 3)) | F.grid_sample(a[None], g)
torch.fft.fft(m).abs() | torch.fft.rfft(m).real | torch.fft.ifft(torch.fft.fft(m)).real | torch.view_as_real(torch.fft.fft(m)) | torch.special.expit(m) | torch.special.i0(m) | torch.fft.fftshift(m) | torch.special.entr(m.abs())
torch.complex(m, m + 1) | torch.complex(m, m).abs() | torch.complex(m, m).angle() | torch.complex(m, m).conj() * 2 | torch.polar(m.abs(), m) | (m + 0j) @ (m.t() + 1j) | torch.real(m + 1j) | torch.complex(m, m).imag
torch.zeros(3).index_put((torch.tensor([0, 2]),), torch.tensor([1., 2.])) | m.clone().add_(1).mul_(2) | m.clone().fill_(3) | m.clone().zero_() | m.clone().copy_(m[0]) | m.clone().clamp_(0, 0.5) | m.clone().t_()
torch.promote_types(torch.int8, torch.uint8) | torch.result_type(m, 1j) | torch.finfo(torch.float16) | torch.iinfo(torch.int16) | m.dtype | m.device | m.shape | i.type() | torch.Size([2, 3]) | torch.can_cast(torch.int, torch.bool)
"""  # noqa: E501 (a table)


def expressions() -> list[str]:
    """The expressions, in order. A bar with blanks around it separates them."""
    found = []
    for line in EXPRESSIONS.strip().splitlines():
        parts = line.split(" | ")
        # "i | 5 ^ i" is an expression with a bar of its own
        found += [part.strip() for part in parts if part.strip() not in ("i",)]
    return found


def outcome(torch, expression: str) -> dict:
    """What the expression prints, its numbers, and the gradients of the inputs."""
    torch.manual_seed(0)
    a = ((torch.arange(24.0) * 7 % 23) / 12 - 0.95).reshape(2, 3, 4)
    b = ((torch.arange(24.0) * 5 % 19) / 9 - 0.98).reshape(2, 3, 4)
    m = torch.tensor([[0.5, -1.25, 0.75], [1.5, 0.25, -0.6]])
    s = torch.tensor([[2.0, 0.5, 0.1], [0.3, 1.5, -0.2], [0.0, 0.4, 1.25]])
    w1 = ((torch.arange(18.0) * 5 % 17) / 8 - 1).reshape(2, 3, 3)
    w2 = ((torch.arange(54.0) * 5 % 17) / 8 - 1).reshape(3, 2, 3, 3)
    g = ((torch.arange(12.0) * 5 % 11) / 6 - 0.9).reshape(1, 2, 3, 2)
    i = (torch.arange(24) * 7 % 11).reshape(2, 3, 4)
    inputs = {"a": a, "b": b, "m": m, "s": s, "w1": w1, "w2": w2, "g": g}
    for x in inputs.values():
        x.requires_grad_()
    scope = {**inputs, "i": i, "torch": torch, "F": torch.nn.functional}
    result = eval(expression, scope)
    found = {"text": str(result)}
    if isinstance(result, torch.Tensor):
        numbers = result.detach()
        if numbers.is_complex():
            numbers = torch.view_as_real(numbers.resolve_conj())
        if numbers.numel() <= 200:
            found["numbers"] = numbers.double().flatten().tolist()
        if result.requires_grad and result.is_floating_point():
            weights = torch.arange(1.0, result.numel() + 1).reshape(result.shape) / 7
            try:
                (result * weights.to(result.dtype)).sum().backward()
            except RuntimeError:  # NotImplementedError is one: no derivative, as of floor_divide
                return found
            found["gradients"] = {
                name: x.grad.flatten().tolist() for name, x in inputs.items() if x.grad is not None
            }
    return found


def record() -> None:
    """Writes what PyTorch gives to the recorded file."""
    import warnings

    import torch

    warnings.simplefilter("ignore")
    lines = []
    for expression in expressions():
        found = outcome(torch, expression)
        lines.append(f"{json.dumps(expression)}: {json.dumps(shortened(found))}")
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def shortened(x):
    """The same with floats of nine significant digits, enough for float32."""
    if isinstance(x, float):
        return float(f"{x:.9g}")
    if isinstance(x, dict):
        return {key: shortened(value) for key, value in x.items()}
    return [shortened(value) for value in x] if isinstance(x, list) else x


if __name__ == "__main__":
    record()
