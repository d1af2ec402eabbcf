"""Losses and optimizers, compared on one problem.

A line is fitted to points of which some are wrong. You learn that the loss decides *where* the line
ends (squares listen to outliers, absolute values do not), and the optimizer *how* it gets there.
Takes ten seconds.
"""

import torch
from common import options, pyplot, save
from torch import nn, optim

LOSSES = {
    "MSE: squares": nn.MSELoss(),
    "L1: absolute values": nn.L1Loss(),
    "Huber: both": nn.HuberLoss(delta=1.0),
}
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.02),
    "SGD with momentum": lambda p: optim.SGD(p, lr=0.02, momentum=0.9),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.5),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.05),
    "Adam": lambda p: optim.Adam(p, lr=0.1),
}


def fit(x, y, loss_function, make_optimizer, steps):
    """Fit a line; give back it and the way there: (w, b, loss) of each step."""
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, -2.0)
    nn.init.constant_(model.bias, 7.0)
    optimizer = make_optimizer(model.parameters())
    path = []
    for _ in range(steps):
        loss = loss_function(model(x), y)
        path.append((model.weight.item(), model.bias.item(), loss.item()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return path


def main():
    arguments = options(__doc__).parse_args()
    steps = 60 if arguments.quick else 300

    torch.manual_seed(0)
    x = torch.rand(80, 1) * 4  # N, 1
    y = 2 * x + 1 + 0.4 * torch.randn(80, 1)  # N, 1
    wrong = (x > 3).flatten() & (torch.rand(80) < 0.6)
    y[wrong] -= 8

    print("The true line is y = 2 x + 1, but", wrong.sum().item(), "of 80 points are wrong.")
    lines = {}
    for name, loss_function in LOSSES.items():
        w, b, _ = lines[name] = fit(x, y, loss_function, OPTIMIZERS["Adam"], 2 * steps)[-1]
        print(f"  {name:<20} y = {w:.3f} x + {b:.3f}")

    print(f"The squares by {len(OPTIMIZERS)} optimizers, {steps} steps each:")
    paths = {}
    for name, make_optimizer in OPTIMIZERS.items():
        paths[name] = path = fit(x, y, nn.MSELoss(), make_optimizer, steps)
        best = min(loss for _, _, loss in path)
        near = next(step for step, (_, _, loss) in enumerate(path) if loss < 1.05 * best)
        print(f"  {name:<20} loss {path[-1][2]:.4f}, within 5 % of its best at step {near}")

    plot = pyplot()
    if plot:
        figure, (left, middle, right) = plot.subplots(1, 3, figsize=(13, 4))
        left.scatter(x.flatten().tolist(), y.flatten().tolist(), s=10, color="0.6")
        left.axline((0, 1), slope=2, color="0.8", linestyle=":", label="true")
        for number, (name, (w, b, _)) in enumerate(lines.items()):
            left.axline((0, b), slope=w, color=f"C{number}", label=name)
        left.set(title="what the losses find", xlabel="x", ylabel="y")
        left.legend(fontsize="small")
        for name, path in paths.items():
            weights, biases, losses = zip(*path, strict=True)
            middle.semilogx(range(1, steps + 1), losses, label=name)
            right.plot(weights, biases, ".-", markersize=3, linewidth=1, alpha=0.8)
        middle.set(title="mean squared error", xlabel="step")
        middle.legend(fontsize="small")
        w, b = torch.linspace(-3, 5, 60), torch.linspace(-4, 9, 60)
        error = w.reshape(1, -1, 1) * x.flatten() + b.reshape(-1, 1, 1) - y.flatten()
        heights = (error**2).mean(dim=2).log().numpy()  # b, w
        right.contour(w.numpy(), b.numpy(), heights, 20, colors="0.85", zorder=0)
        right.set(title="their ways down", xlabel="w", ylabel="b")
        save(figure, arguments.pictures, __file__)
    slopes = ", ".join(f"{w:.3f}" for w, _, _ in lines.values())
    adam = paths["Adam"][-1][2]
    print(f"Result: slopes {slopes}, loss of SGD {paths['SGD'][-1][2]:.4f}, of Adam {adam:.4f}")


if __name__ == "__main__":
    main()
