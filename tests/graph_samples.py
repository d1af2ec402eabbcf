"""Programs whose recorded operations `test_decompositions.py` holds against their lowering."""

from __future__ import annotations

TRAINING = []


def training(function):
    """Registers a program that takes training steps."""
    TRAINING.append(function)
    return function


def run_training(torch) -> None:
    for function in TRAINING:
        torch.manual_seed(0)
        function(torch)


def steps(torch, model, loss_of, optimizer, count=3):
    """Some training steps; the last loss."""
    for _ in range(count):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
    return loss.item()


def optimizers(torch):
    """Constructors of the usual optimizers."""
    optim = torch.optim
    return [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: optim.Adam(p, lr=0.01),
        lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
        lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
        lambda p: optim.Adagrad(p, lr=0.01),
    ]


@training
def perceptron(torch):
    nn = torch.nn
    x, y = torch.randn(8, 5), torch.randint(0, 3, (8,))
    for optimizer_of in optimizers(torch):
        model = nn.Sequential(
            nn.Linear(5, 7), nn.BatchNorm1d(7), nn.GELU(), nn.Dropout(0.2), nn.Linear(7, 3)
        )
        steps(
            torch, model, lambda m: nn.functional.cross_entropy(m(x), y),
            optimizer_of(model.parameters()), 2,
        )  # fmt: skip


@training
def convolutions(torch):
    nn = torch.nn
    x, y = torch.randn(4, 3, 8, 8), torch.randint(0, 5, (4,))
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 5),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    steps(torch, model, lambda m: nn.functional.cross_entropy(m(x), y, label_smoothing=0.1),
          optimizer)  # fmt: skip
    model.eval()
    model(x).argmax(1).tolist()


@training
def transformer(torch):
    nn = torch.nn
    words = torch.randint(0, 11, (2, 6))

    class Model(nn.Module):
        """An embedding, one encoder layer with a causal mask, a head that shares its weights."""

        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(11, 8)
            self.place = nn.Parameter(torch.randn(6, 8))
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
            self.norm = nn.LayerNorm(8)

        def forward(self, x):
            h = self.embed(x) + self.place
            mask = nn.Transformer.generate_square_subsequent_mask(6)
            h = self.norm(self.layer(h, src_mask=mask))
            return h @ self.embed.weight.t()

    model = Model()

    def loss_of(m):
        scores = m(words)
        return nn.functional.cross_entropy(
            scores[:, :-1].reshape(-1, 11), words[:, 1:].reshape(-1), ignore_index=3
        )

    for optimizer_of in optimizers(torch)[1:3]:
        optimizer = optimizer_of(model.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            loss_of(model).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    q = torch.randn(2, 2, 5, 4, requires_grad=True)
    for causal in (False, True):
        nn.functional.scaled_dot_product_attention(q, q, q, is_causal=causal).sum().backward()
    q.grad.sum().item()


@training
def recurrent(torch):
    nn = torch.nn
    x, y = torch.randn(5, 3, 4), torch.randn(3, 2)
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        body, head = kind(4, 6, num_layers=2), nn.Linear(6, 2)
        parameters = [*body.parameters(), *head.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            out, _ = body(x)
            nn.functional.mse_loss(head(out[-1]), y).backward()
            optimizer.step()
        head(body(x)[0][-1]).sum().item()
    cell = nn.LSTMCell(4, 6)
    h, c = cell(x[0])
    cell(x[1], (h, c))[0].sum().backward()
    cell.weight_ih.grad.sum().item()


@training
def losses(torch):
    F = torch.nn.functional
    a = torch.randn(4, 3, requires_grad=True)
    p = torch.rand(4, 3)
    target = torch.tensor([0, 2, 1, 0])
    for reduction in ("mean", "sum", "none"):
        found = [
            F.mse_loss(a, p, reduction=reduction), F.l1_loss(a, p, reduction=reduction),
            F.smooth_l1_loss(a, p, reduction=reduction), F.huber_loss(a, p, reduction=reduction),
            F.binary_cross_entropy(a.sigmoid(), p, reduction=reduction),
            F.binary_cross_entropy(a.sigmoid(), p, weight=p, reduction=reduction),
            F.binary_cross_entropy_with_logits(a, p, reduction=reduction),
            F.binary_cross_entropy_with_logits(a, p, p, pos_weight=p[0], reduction=reduction),
            F.kl_div(a.log_softmax(1), p, reduction=reduction),
            F.nll_loss(a.log_softmax(1), target, reduction=reduction),
            F.nll_loss(a.log_softmax(1), target, weight=p[0], reduction=reduction, ignore_index=2),
            F.cross_entropy(a, p.softmax(1), reduction=reduction),
            F.soft_margin_loss(a, p.sign(), reduction=reduction),
            F.multi_margin_loss(a, target, reduction=reduction),
            F.cosine_embedding_loss(a, p, torch.ones(4), reduction=reduction),
            F.triplet_margin_loss(a, p, -p, reduction=reduction),
            F.poisson_nll_loss(a, p, reduction=reduction),
            F.gaussian_nll_loss(a, p, p + 0.1, reduction=reduction),
            F.hinge_embedding_loss(a, p.sign(), reduction=reduction),
            F.margin_ranking_loss(a, p, p.sign(), reduction=reduction),
            F.multilabel_soft_margin_loss(a, p.round(), reduction=reduction),
        ]  # fmt: skip
        sum(x.sum() for x in found).backward()
    image = torch.randn(2, 3, 4, 4, requires_grad=True)
    places = torch.randint(0, 3, (2, 4, 4))
    F.cross_entropy(image, places).backward()
    F.nll_loss(image[0, :, 0, 0], places[0, 0, 0]).backward()
    F.cosine_similarity(image, image.flip(0), 1).sum().backward()
    a.grad.sum().item()
    image.grad.sum().item()


# ---- types and edges

FLOATS = "float32 float64 float16 bfloat16".split()
WHOLE = "int64 int32 uint8 int8 bool".split()
NAN, INF = float("nan"), float("inf")

# over a (2, 3, 4) floating tensor a with a NaN, infinities and zeros, b without, whole numbers i
ANY_FLOAT = """
a + 1 | a - b | a * 2.5 | b / a | 1 / a | a // b | a % b | a // 0.3 | a % -0.4 | torch.fmod(a, b)
a ** 2 | b.abs() ** 1.5
torch.div(a, b, rounding_mode="trunc") | a.addcmul(a, b, value=0.5) | a.addcdiv(a, b, value=-2)
a.lerp(b, 0.3) | a.lerp(b, 0.7)
a.lerp(b, b.abs()) | a.lerp(b, 1) | a.clamp(-0.5, 0.5) | a.clamp(min=0) | a.clamp(max=b)
a.maximum(b) | a.fmax(b) | a.fmin(b)
a.isnan() | a.isinf() | a.isfinite() | a.isposinf() | a.isneginf() | a.signbit() | a.sign()
a.sgn() | a > b | a == a | a <= 0
a.logical_and(b) | a.logical_or(b) | a.logical_xor(b) | a.logical_not() | torch.isclose(a, b)
torch.isclose(a, a, equal_nan=True)
a.nan_to_num() | a.nan_to_num(1, 2, 3) | a.round() | a.round(decimals=1) | a.round(decimals=-1)
a.frac() | a.trunc()
a.hypot(b) | a.logaddexp(b) | a.logaddexp2(b) | torch.xlogy(a, b) | torch.xlogy(a, 2)
torch.xlogy(2, a) | a.heaviside(b) | a.sinc()
torch.special.entr(a) | torch.special.xlog1py(a, b) | a.logit(0.1) | a.rad2deg()
torch.special.ndtr(b) | a.copysign(b) | a.atan2(b)
a.relu() | F.leaky_relu(a, 0.1) | F.threshold(a, 0.1, 7) | F.hardtanh(a) | F.hardsigmoid(a)
F.hardswish(a) | F.hardshrink(a)
F.softshrink(a) | F.elu(a, 0.5) | F.selu(a) | F.celu(a, 2) | F.silu(a) | F.mish(a)
F.softplus(a, 2, 5) | F.logsigmoid(a) | F.gelu(a)
F.gelu(a, approximate="tanh") | F.prelu(a, b[0, 0, :1]) | F.glu(a) | F.glu(a[:, :2], 1)
F.softmin(b, 1) | F.softsign(a) | F.relu6(a)
a.sum() | b.sum(0) | b.sum((0, 2), True) | b.mean(1) | b.prod(2) | a.amax(1) | a.amin((0, 2))
a.aminmax(dim=1) | a.all() | a.any(1)
a.count_nonzero(1) | a.nansum(1) | a.logsumexp(1) | a.logsumexp((0, 2), True) | b.var(1)
b.std((0, 1), keepdim=True) | b.var(0, correction=0)
torch.var_mean(b, 2) | torch.std_mean(b) | b.norm() | b.norm(1, 0) | b.norm(INF, 0)
b.norm(-INF, 1) | b.norm(0) | b.norm(3, (0, 1))
torch.dist(b, b + 1, 3) | a.argmax() | a.argmax(1) | a.argmin(2, True) | a.argmax(keepdim=True)
a.max(1) | a.min(0, True) | b.max()
a.softmax(1) | b.softmax(0) | b.log_softmax(2) | b[0, 0, 0].softmax(0) | b[0, 0, 0].log_softmax(0)
b.cumsum(1) | b.cumprod(2) | a.cummax(1) | a.cummin(2)
torch.cat([a, b[:0], b], 0) | torch.stack([a, b], 3) | a.repeat(2, 1, 3) | a.repeat(2, 2, 1, 1)
a.flip(0, 2) | a.roll((1, -1), (1, 2))
a.roll(5) | a.tril() | a.triu(1) | a.tril(-1) | a.diagonal(0, 1, 2) | a.diagonal(1, 2, 0)
a.diagonal(-1, 0, 1) | torch.diag_embed(a, 1)
torch.diag_embed(b[0], -1, 0, 2) | a[0].trace() | a.unfold(2, 2, 1) | a.unfold(2, 2, 2)
a.unfold(1, 2, 3) | a.unfold(2, 3, 1)
a.as_strided((2, 3), (1, 2), 1) | a.as_strided((2, 4), (12, 1), 3)
torch.linalg.cross(b[:, :, 0], b[:, :, 1]) | torch.cdist(b, b)
torch.cdist(b, b, 1) | torch.cdist(b, b, INF) | torch.cdist(b, b, 3)
F.pixel_shuffle(b.reshape(1, 4, 2, 3), 2) | F.pixel_unshuffle(b.reshape(1, 1, 6, 4), 2)
F.pad(a, (1, 2)) | F.pad(a, (1, -1, 2, 0), value=3) | F.pad(a, (-1, 2, 0, -2))
F.pad(b, (2, 1), mode="reflect") | F.pad(b, (3, 1), mode="replicate")
F.pad(b, (2, 3), mode="circular") | F.pad(b[None], (1, 2, 2, 1), mode="reflect")
F.pad(b[None], (1, -1, 2, 3), mode="replicate")
torch.where(a > 0, a, b) | torch.where(a > 0, a, 0) | torch.where(a > 0, 1.0, b)
a.masked_fill(a > 0, -1) | a.masked_fill(a > 0, b[0, 0, 0])
a.gather(2, i % 4) | a.gather(1, i[:1, :2, :3] % 3) | a.index_select(1, i[0, 0] % 3)
a.take(i % 24) | a[:, i[0, 0] % 3 - 1] | a[i[0, 0] % 2, :, i[0, 0] % 4]
a[i[0, :, :1] % 2, i[0, 0] % 3] | a[a > 0] | b.scatter(2, i % 4, b)
b.scatter(1, i[:, :2] % 3, 5) | b.scatter_add(2, i % 4, b)
b.scatter_add(0, i[:1, :2] % 2, b) | b.index_add(1, i[0, 0] % 3, b.repeat(1, 2, 1)[:, :4])
b.index_copy(2, i[0, :, 0] % 4, b[:, :, :3]) | b.index_fill(1, i[0, 0, :2] % 3 - 1, 4)
b.index_put((i[0, 0] % 2, i[0, 0] % 3), b[0, :1], accumulate=True) | b.put(i % 24 - 24, b, True)
F.embedding(i % 2, a[0]) | b.scatter_reduce(2, i % 4, b, "sum")
a.to(torch.float64) | a.to(torch.float32) | a.half() | a.bfloat16() | b.long()
(b * 100).to(torch.uint8) | (b * 300).to(torch.int8) | a.bool() | b.int()
torch.mm(b[0], b[1].t()) | torch.mv(b[0], b[1, 0]) | torch.dot(b[0, 0], b[1, 0])
torch.bmm(b, b.transpose(1, 2)) | torch.addmm(b[0, :, :3], b[0], b[1].t(), beta=0.5, alpha=2)
torch.addmm(a[0, 0, :3], b[0], b[1].t(), beta=0) | torch.addmv(b[0, :, 0], b[0], b[1, 0], alpha=3)
torch.baddbmm(b[:, :, :3], b, b.transpose(1, 2), beta=2)
torch.addbmm(b[0, :, :3], b, b.transpose(1, 2))
torch.addr(b[0, :3, :3], b[0, :, 0], b[0, 0, :3], beta=2) | b @ b[0].t()
torch.einsum("bij,bkj->bik", b, b)
F.layer_norm(b, (4,)) | F.layer_norm(b, (3, 4), b[0], b[1]) | F.group_norm(b, 3)
F.group_norm(b, 1, b[0, :, 0], b[1, :, 0]) | F.instance_norm(b)
F.batch_norm(b, None, None, training=True)
F.batch_norm(b, b[0, :, 0], b[0, :, 1].abs() + 1, b[1, :, 0], b[1, :, 1]) | F.normalize(b, dim=1)
torch.full_like(a, 3) | torch.zeros_like(a) | torch.empty_like(a).fill_(NAN)
torch.eye(3, 4, dtype=a.dtype) | torch.linspace(0, 1, 5, dtype=a.dtype)
torch.arange(7, dtype=a.dtype) | torch.linspace(3, -1, 6, dtype=a.dtype)
torch.linspace(2, 5, 1, dtype=a.dtype) | a.sum(()) | a[0, 0, 0].sum() | a.mean(())
a[:0].sum() | a[:, :0].sum(1) | a[:0].mean(0) | a[:0].var(0) | a[:0].any() | a[:0].all()
a[:0].softmax(0) | a[:0] + 1 | a[:0].prod(0) | a[:0] @ b[0].t() | b[:, :, :0] @ b[0, :0]
a[:0].cumsum(0) | a[:0].flip(0) | torch.cat([a[:0], b[:0]]) | F.pad(a[:0], (1, 1))
a[..., None].expand(2, 3, 4, 2).sum(3) | a.unsqueeze(0).squeeze() | a.view(torch.int16)[:1]
""".split("\n")  # fmt: skip

ANY_WHOLE = """
i + 1 | i - j | i * j | -i | i // (j + 1) | i % (j + 1) | torch.fmod(i, j + 1)
torch.div(i, -(j + 1), rounding_mode="trunc") | i // -2 | i % -2
i / j | i.maximum(j) | i.fmin(j) | i.clamp(1, 3) | i > j | i == 2 | i.isnan() | i.isfinite()
i.sign() | i.abs() | i.floor() | i.round() | i.signbit()
i & 3 | i.bitwise_or(j) | i ^ 5 | ~i | i << 1 | i >> 1 | i << (j + 7) | i >> (j + 63)
i.logical_and(j) | i.logical_not() | torch.isclose(i, j) | i.sgn()
i.sum() | i.sum(1) | i.prod(0) | i.amax(1) | i.amin((0, 1)) | i.all(1) | i.any()
i.count_nonzero(2) | i.argmax(1) | i.max(1) | i.min(0) | i.aminmax()
i.cumsum(1) | i.cummax(2) | i.cumprod(1) | i.flip(1) | i.roll(1, 0) | i.tril() | i.diagonal()
i[0].trace() | torch.diag_embed(i) | i.isposinf() | i.isinf()
i.float() | i.bool() | i.to(torch.uint8) | i.double() | i.half() | i.bfloat16() | i.exp()
i.sqrt() | i.sigmoid() | i.mean(dtype=torch.float32)
i[0] @ i[0].t() | torch.bmm(i, i.transpose(1, 2)) | torch.mv(i[0], i[0, 0])
torch.dot(i[0, 0], i[0, 1]) | torch.addmm(i[0, :, :3], i[0], i[1].t(), beta=2, alpha=3)
torch.where(i > 2, i, j) | torch.where(i > 2, i, 0) | i.masked_fill(i > 2, 1)
i.addcmul(i, j, value=2) | F.pad(i, (1, 2), value=3) | F.relu(i) | i.clamp(max=2)
torch.full_like(i, 1) | torch.zeros_like(i) | i.clone().fill_(1)
torch.arange(2, 20, 3, dtype=i.dtype) | torch.eye(3, dtype=i.dtype) | torch.cat([i, j])
i.gather(2, k % 4) | i.index_select(1, k[0, 0] % 3) | i.take(k % 24) | i.scatter(2, k % 4, j)
i.index_add(1, k[0, 0] % 3, i.repeat(1, 2, 1)[:, :4]) | i.index_put((k[0, 0] % 2,), i[0])
i < j | i >= j | i != j | i.eq(1) | i.lt(1) | i.heaviside(j) | i.repeat(1, 2, 1)
i.as_strided((2, 2), (1, 3)) | i[:0].sum(0) | i.unfold(2, 2, 1)
""".split("\n")  # fmt: skip

WRITES = """
x[0] = 1 | x[:, 1] = x[:, 0] | x[:, ::2] = 5 | x[..., 1:3] += 2 | x[1, 2, 3] = 7
x.diagonal(0, 1, 2).fill_(3) | x.t_() if x.ndim == 2 else None
x.fill_(2) | x.zero_() | x.copy_(x.flip(0)) | x.add_(1).mul_(2) | x.view(-1)[::5] = 0
x.transpose(0, 1)[1] = 4 | x.unfold(2, 2, 2).mul_(2)
x[x > 1] = 0 | x[[0, 1], [2, 0]] = 9 | x.as_strided((2, 2), (1, 12)).zero_()
x.as_strided((2, 3), (12, 1), 2).fill_(1) | x.squeeze(0).add_(1) | x.permute(2, 0, 1)[1:, :1] = 3
x.index_add_(0, k[0, 0] % 2, x[:1].repeat(4, 1, 1)) | x.unfold(2, 3, 1)[0, 0, 0] = 1
x.narrow(1, 1, 2).copy_(x.narrow(1, 0, 2).clone()) | x.unsqueeze(1).fill_(4)
x.expand(2, 2, 3, 4)[0]
""".split("\n")  # fmt: skip


def _each(lines):
    return [text.strip() for line in lines for text in line.split(" | ") if text.strip()]


def _tensors(torch):
    start = [-2.0, -0.75, -0.1, 0.0, -0.0, 0.3, 1.0, 2.5, NAN, INF, -INF, 3.0] * 2
    a = torch.tensor(start).view(2, 3, 4)
    b = torch.linspace(-1.5, 1.7, 24).view(2, 3, 4)
    k = torch.arange(24).view(2, 3, 4) * 7 % 11
    return a, b, k


def _value(text, scope):
    """Flushed results and, for floating inputs, gradients; what is not supported is passed over."""
    try:
        found = eval(text, scope)
    except (RuntimeError, TypeError, NotImplementedError, IndexError):
        return
    for result in found if isinstance(found, tuple) else (found,):
        try:
            result.tolist()
            if result.requires_grad:
                result.sum().backward()
                for name in "ab":
                    if scope[name].grad is not None:
                        scope[name].grad.tolist()
                        scope[name].grad = None
        except (RuntimeError, NotImplementedError, IndexError):
            pass


def run_samples(torch) -> None:
    """Every sample for every type it is known for, with gradients."""
    F = torch.nn.functional
    for name in FLOATS:
        kind = getattr(torch, name)
        a, b, k = _tensors(torch)
        scope = {"torch": torch, "F": F, "INF": INF, "NAN": NAN, "i": k, "k": k}
        for text in _each(ANY_FLOAT):
            scope["a"] = a.to(kind).requires_grad_()
            scope["b"] = b.to(kind).requires_grad_()
            _value(text, scope)
    for name in WHOLE:
        kind = getattr(torch, name)
        _, _, k = _tensors(torch)
        i, j = (k - 3 if name != "uint8" else k).to(kind), (k * 5 % 7).to(kind)
        scope = {"torch": torch, "F": F, "i": i, "j": j, "k": k, "a": i, "b": i}
        for text in _each(ANY_WHOLE):
            _value(text, scope)
    for name in ("float32", "int64", "bool", "float16"):
        for text in _each(WRITES):
            _, b, k = _tensors(torch)
            x = (b * 2).to(getattr(torch, name))
            try:
                exec(text, {"torch": torch, "x": x, "k": k})
                x.tolist()
            except (RuntimeError, TypeError, NotImplementedError):
                continue
