"""Gradients and gradient descent: fitting y = 10x + 4 + noise in three ways.

You learn what a gradient is, that autograd finds the same one as you do with pencil and paper, and
what `nn` and `optim` do for you. All three ways end with the same numbers. Takes two seconds.
"""

import torch
from common import options, pyplot, save
from torch import nn

RATE = 0.1


def by_hand(x, y, steps):
    """The derivatives of the mean of (w x + b - y)², worked out on paper."""
    w, b, path = 0.0, 0.0, []
    for _ in range(steps):
        error = w * x + b - y  # N, 1
        path.append((w, b, (error**2).mean().item()))
        w -= RATE * (2 * error * x).mean().item()
        b -= RATE * (2 * error).mean().item()
    return w, b, path


def by_autograd(x, y, steps):
    """Only the loss is written down; `backward` puts the derivatives into `.grad`."""
    w = torch.zeros(1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    for _ in range(steps):
        loss = ((w * x + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():  # the steps themselves are not to be differentiated
            w -= RATE * w.grad
            b -= RATE * b.grad
        w.grad = b.grad = None  # otherwise the next gradients would be added to these
    return w.item(), b.item()


def by_modules(x, y, steps):
    """A layer keeps the parameters, an optimizer changes them."""
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(steps):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.weight.item(), model.bias.item()


def main():
    arguments = options(__doc__).parse_args()
    steps = 60 if arguments.quick else 300

    # First one gradient: the slope of z = x³ at 2 is 3 · 2² = 12.
    point = torch.tensor(2.0, requires_grad=True)
    (point**3).backward()
    print("slope of x³ at 2:", point.grad.item())

    torch.manual_seed(0)
    x = torch.rand(200, 1) * 4 - 2  # N, 1
    y = 10 * x + 4 + torch.randn(200, 1)  # N, 1

    w, b, path = by_hand(x, y, steps)
    print(f"by hand:      y = {w:.4f} x + {b:.4f}")
    print("by autograd:  y = {:.4f} x + {:.4f}".format(*by_autograd(x, y, steps)))
    print("by modules:   y = {:.4f} x + {:.4f}".format(*by_modules(x, y, steps)))

    plot = pyplot()
    if plot:
        figure, (fit, curve, valley) = plot.subplots(1, 3, figsize=(12, 3.6))
        fit.scatter(x.flatten().tolist(), y.flatten().tolist(), s=8, alpha=0.5, label="data")
        fit.axline((0, b), slope=w, color="C3", label=f"y = {w:.2f} x + {b:.2f}")
        fit.set(title="the fit", xlabel="x", ylabel="y")
        fit.legend()
        weights, biases, losses = zip(*path, strict=True)
        curve.semilogy(losses[:60])
        curve.set(title="mean squared error", xlabel="step, of the first 60")
        # The loss for every pair (w, b), at once by broadcasting.
        grid_w = torch.linspace(-1, 15, 60)
        grid_b = torch.linspace(-2, 7, 50)
        line = grid_w.reshape(1, -1, 1) * x.flatten() + grid_b.reshape(-1, 1, 1)  # B, W, N
        loss = ((line - y.flatten()) ** 2).mean(dim=2)  # B, W
        valley.contour(grid_w.numpy(), grid_b.numpy(), loss.numpy(), 25, cmap="viridis")
        valley.plot(weights, biases, "o-", color="C3", markersize=3)
        valley.set(title="the way down", xlabel="w", ylabel="b")
        save(figure, arguments.pictures, __file__)
    print(f"Result: w {w:.4f}, b {b:.4f}, loss {path[-1][2]:.4f}")


if __name__ == "__main__":
    main()
