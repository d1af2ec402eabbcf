"""The work of the usual tutorials, as functions of the library: `scenario(torch)` -> numbers.

`test_material.py` runs each under Suiren and compares with what PyTorch 2.13 gave, recorded in
`recorded/material.json`, and with PyTorch itself where it is installed. Run this file with PyTorch
installed to record anew:  python tests/material.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

RECORDED = Path(__file__).parent / "recorded" / "material.json"
SCENARIOS = {}


def scenario(function):
    """Registers a scenario under its function's name."""
    SCENARIOS[function.__name__] = function
    return function


def numbers(*tensors) -> list[float]:
    """All elements as Python floats, in order."""
    found = []
    for t in tensors:
        values = t.detach().reshape(-1).tolist() if hasattr(t, "detach") else np.ravel(t).tolist()
        found += [float(v) for v in values]
    return found


# ---- tensors


@scenario
def creation(torch):
    torch.manual_seed(0)
    return numbers(
        torch.zeros(2, 3), torch.ones(2), torch.rand(2, 3), torch.randn(3), torch.arange(0, 1, 0.3),
        torch.tensor([[1, 2], [3, 4]]), torch.linspace(0, 1, 5), torch.full((2,), 7.0),
        torch.eye(3), torch.zeros_like(torch.ones(2)), torch.rand_like(torch.ones(2)),
        torch.from_numpy(np.array([1.5, 2.5])), torch.empty(0), torch.randn_like(torch.ones(3)),
    )  # fmt: skip


@scenario
def arithmetic(torch):
    a = torch.arange(6.0).reshape(2, 3)
    b = torch.tensor([[1.0], [2.0]])
    return numbers(
        a + b, a - b, a * b, a / b, a**2, a // b, a % b, -a, a.exp(), torch.square(a), a @ a.T,
        torch.mm(a, a.T), torch.mv(a, a[0]), torch.dot(a[0], a[1]),
        torch.bmm(a.view(1, 2, 3), a.T.view(1, 3, 2)), torch.einsum("ij,kj->ik", a, a),
        torch.matmul(a, a.T), 2 - a, 1 / (a + 1), a.clamp(1, 4), torch.abs(a - 3),
    )  # fmt: skip


@scenario
def reductions(torch):
    a = torch.arange(12.0).reshape(3, 4) ** 0.5
    values, indices = a.max(dim=1)
    return numbers(
        a.sum(), a.sum(dim=0), a.sum(dim=1, keepdim=True), a.mean(), a.mean(dim=1), a.var(),
        a.std(dim=0), a.argmax(), a.argmax(dim=1), values, indices, a.min(), a.prod(dim=0),
        a.cumsum(dim=1), a.norm(), a.sum(axis=0), a.mean(axis=1, keepdims=True),
        a.var(dim=1, unbiased=False), a.logsumexp(dim=1), a.softmax(dim=1),
    )  # fmt: skip


@scenario
def shapes(torch):
    a = torch.arange(24).reshape(2, 3, 4)
    first, second = torch.split(a, 2, dim=2)
    x, y, z = a.unbind(1)
    parts = a.chunk(2, dim=0)
    return numbers(
        a.transpose(0, 2), a.permute(2, 0, 1), first, second, x, y, z, *parts,
        torch.stack([x, y]), torch.cat([x, y], dim=1), a.unsqueeze(0).squeeze(),
        a.view(-1, 2), a.flatten(1), a[:, 1], a[..., -1], a[0, 1:, ::2], a[a > 10],
        a[[0, 1], [2, 0]], a[torch.tensor([1, 0])], a.gather(2, torch.zeros(2, 3, 1).long()),
        torch.where(a > 5, a, -a), a.repeat(1, 2, 1), a.flip(0), a[0].T, a.numel(),
        a.index_select(1, torch.tensor([2, 0])), torch.tril(a[0]), a.expand(2, 3, 4),
    )  # fmt: skip


@scenario
def decomposition(torch):
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    u, s, v = torch.svd(a)
    return numbers(u @ torch.diag(s) @ v.T, s)


@scenario
def numpy_bridge(torch):
    a = np.ones(5)
    t = torch.from_numpy(a)
    np.add(a, 1, out=a)
    seen = numbers(t)
    t.mul_(3)
    b = torch.ones(3)
    n = b.numpy()
    b.add_(1)
    n[0] = 9
    return seen + numbers(a, n, b, torch.tensor(n), torch.as_tensor([1, 2]))


# ---- gradients


@scenario
def quadratic_at_a_point(torch):
    x = torch.tensor(2.0, requires_grad=True)
    (x**2).backward()
    return numbers(x.grad)


@scenario
def small_graph(torch):
    a = torch.tensor(2.0, requires_grad=True)
    b = a.detach() * 0 + 1
    x = 2 * a + 3 * b
    y = 5 * a * a + 3 * b**3
    z = 2 * x + 3 * y
    z.backward()
    return numbers(z, a.grad)


@scenario
def vector_gradient(torch):
    x = torch.ones(2, 2, requires_grad=True)
    y = (x + 2) ** 2 * 3
    y.backward(gradient=torch.ones_like(y))
    first = numbers(x.grad)
    (x * x).sum().backward()
    both = numbers(x.grad)
    x.grad.zero_()
    return first + both + numbers(x.grad)


@scenario
def old_variable(torch):
    x = torch.autograd.Variable(torch.tensor([1.0, 2.0]), requires_grad=True)
    y = (x * x).sum()
    y.backward()
    x.data -= 0.1 * x.grad.data
    return numbers(x, x.grad, y.data)


@scenario
def quadratic_by_sgd(torch):
    x = torch.tensor(0.0, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.01)
    trail = []
    for _ in range(300):
        optimizer.zero_grad()
        f = x**2 - 2 * x + 1
        f.backward()
        optimizer.step()
        trail.append(x.item())
    return trail[::30]


# ---- regression


def _points(torch):
    torch.manual_seed(0)
    x = torch.rand(100, 1)
    return x, 10 * x + 4 + torch.randn(100, 1)


@scenario
def line_by_hand(torch):
    x, y = _points(torch)
    w, b, trail = torch.zeros(1), torch.zeros(1), []
    for _ in range(200):
        error = w * x + b - y
        w = w - 0.1 * 2 * (error * x).mean()
        b = b - 0.1 * 2 * error.mean()
        trail += [w.item(), b.item()]
    return trail[::20]


@scenario
def line_by_autograd(torch):
    x, y = _points(torch)
    w = torch.zeros(1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    trail = []
    for _ in range(200):
        loss = ((w * x + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
            b -= 0.1 * b.grad
        w.grad.zero_()
        b.grad.zero_()
        trail.append(loss.item())
    return trail[::20] + numbers(w, b)


@scenario
def line_by_module(torch):
    x, y = _points(torch)

    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(1, 1)

        def forward(self, x):
            return self.linear(x)

    torch.manual_seed(1)
    model = Line()
    loss_of = torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trail = []
    for _ in range(200):
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trail.append(loss.item())
    return trail[::20] + numbers(*model.parameters())


@scenario
def softmax_regression_from_scratch(torch):
    torch.manual_seed(0)
    x, y = torch.randn(64, 20), torch.randint(0, 5, (64,))
    w = torch.normal(0, 0.01, size=(20, 5), requires_grad=True)
    b = torch.zeros(5, requires_grad=True)
    trail = []
    for _ in range(20):
        scores = torch.exp(x @ w + b)
        p = scores / scores.sum(dim=1, keepdim=True)
        loss = -torch.log(p.gather(1, y.view(-1, 1))).mean()
        loss.backward()
        for parameter in (w, b):
            parameter.data -= 0.5 * parameter.grad
            parameter.grad.data.zero_()
        trail.append(loss.item())
    accuracy = ((x @ w + b).argmax(dim=1) == y).float().mean().item()
    return [*trail, accuracy]


@scenario
def softmax_regression_with_nn(torch):
    torch.manual_seed(0)
    nn = torch.nn
    x, y = torch.randn(64, 4, 5), torch.randint(0, 5, (64,))
    data = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)
    net = nn.Sequential(nn.Flatten(), nn.Linear(20, 5))
    nn.init.normal_(net[1].weight, std=0.01)
    nn.init.constant_(net[1].bias, val=0)
    trainer = torch.optim.SGD(net.parameters(), lr=0.1)
    trail = []
    for _ in range(3):
        for a, b in loader:
            loss = nn.functional.cross_entropy(net(a), b)
            trainer.zero_grad()
            loss.backward()
            trainer.step()
            trail.append(loss.item())
    return trail


# ---- networks


@scenario
def point_classification(torch):
    torch.manual_seed(0)
    nn = torch.nn
    zeros = torch.normal(2 * torch.ones(50, 2), 1)
    ones = torch.normal(-2 * torch.ones(50, 2), 1)
    x = torch.cat((zeros, ones), 0).type(torch.FloatTensor)
    y = torch.cat((torch.zeros(50), torch.ones(50)), 0).type(torch.LongTensor)
    net = nn.Sequential(nn.Linear(2, 10), nn.ReLU(), nn.Linear(10, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
    trail = []
    for _ in range(50):
        out = net(x)
        loss = nn.CrossEntropyLoss()(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trail.append(loss.item())
    prediction = torch.max(out, 1)[1].numpy()
    return [*trail[::5], float((prediction == y.numpy()).mean())]


@scenario
def two_learning_rates(torch):
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(
        [{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.1}],
        lr=0.01, momentum=0.9,
    )  # fmt: skip
    x, y = torch.randn(32, 4), torch.randn(32, 1)
    trail = []
    for step in range(20):
        loss = nn.MSELoss()(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 10:
            for group in optimizer.param_groups:
                group["lr"] *= 0.1
        trail.append(loss.item())
    return trail


@scenario
def activations(torch):
    x = torch.linspace(-6, 6, 25)
    f = torch.nn.functional
    return numbers(
        torch.relu(x), torch.sigmoid(x), torch.tanh(x), f.softplus(x), f.leaky_relu(x, 0.1),
        f.elu(x), f.gelu(x), f.silu(x), f.softmax(x, dim=0), f.hardswish(x), f.selu(x),
    )  # fmt: skip


def mlp(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10)
    )


def cnn(torch):
    nn = torch.nn

    class Net(nn.Module):
        """4 convolutions and 2 linear layers."""

        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
                nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            )  # fmt: skip
            self.classify = nn.Sequential(
                nn.Linear(16 * 7 * 7, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10)
            )

        def forward(self, x):
            x = self.features(x)
            return self.classify(x.view(x.size(0), -1))

    return Net()


def losses(torch, model_of, shape, optimizer_of, steps=20):
    """Losses of some training steps from seed 0 on random data."""
    torch.manual_seed(0)
    model = model_of(torch)
    x, y = torch.randn(16, *shape), torch.randint(0, 10, (16,))
    optimizer = optimizer_of(model.parameters())
    trail = []
    for _ in range(steps):
        loss = torch.nn.CrossEntropyLoss()(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trail.append(loss.item())
    return trail


@scenario
def twenty_steps_mlp_sgd(torch):
    return losses(torch, mlp, (1, 8, 8), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))


@scenario
def twenty_steps_mlp_adam(torch):
    return losses(torch, mlp, (1, 8, 8), lambda p: torch.optim.Adam(p, lr=0.01))


@scenario
def twenty_steps_cnn_sgd(torch):
    return losses(torch, cnn, (1, 28, 28), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))


@scenario
def cnn_with_accuracies(torch):
    torch.manual_seed(0)
    nn, data = torch.nn, torch.utils.data
    x, y = torch.rand(60, 1, 28, 28), torch.randint(0, 10, (60,))
    train, test = data.random_split(data.TensorDataset(x, y), [48, 12])
    model = cnn(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    trail = []
    for _ in range(2):
        model.train()
        right = total = 0.0
        for a, b in data.DataLoader(train, batch_size=16, shuffle=True):
            out = model(a)
            loss = nn.functional.cross_entropy(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += (out.argmax(1) == b).sum().item()
            total += loss.item()
        schedule.step()
        model.eval()
        with torch.no_grad():
            hits = sum(
                (model(a).argmax(1) == b).sum().item() for a, b in data.DataLoader(test, 6)
            )
        trail += [total, right, hits, optimizer.param_groups[0]["lr"]]
    return trail


@scenario
def gan(torch):
    torch.manual_seed(0)
    nn = torch.nn
    generator = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2))
    critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1), nn.Sigmoid())
    first = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    second = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    loss_of = nn.BCELoss()
    real_label, fake_label = torch.ones(32, 1), torch.zeros(32, 1)
    trail = []
    for _ in range(20):
        real = torch.randn(32, 2) + 3
        fake = generator(torch.randn(32, 5))
        critic_loss = loss_of(critic(real), real_label) + loss_of(
            critic(fake.detach()), fake_label
        )
        second.zero_grad()
        critic_loss.backward()
        second.step()
        generator_loss = loss_of(critic(fake), real_label)
        first.zero_grad()
        generator_loss.backward()
        first.step()
        trail += [critic_loss.item(), generator_loss.item()]
    return trail


def record() -> None:
    """Writes what PyTorch gives to the recorded file."""
    import torch

    found = {name: function(torch) for name, function in SCENARIOS.items()}
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in found.items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    record()
