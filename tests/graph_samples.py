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


def run_samples(torch) -> None:
    pass


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
