"""Activation functions, drawn with their slopes.

You learn what the common activation functions look like, and, by autograd, how steep they are: a
function that is flat far from zero lets no gradient through, and a deep network of such functions
learns nothing in its first layers. Takes two seconds.
"""

import torch
from common import options, pyplot, save
from torch import nn

FUNCTIONS = {
    "Sigmoid": nn.Sigmoid(),
    "Tanh": nn.Tanh(),
    "ReLU": nn.ReLU(),
    "LeakyReLU (0.1)": nn.LeakyReLU(0.1),
    "ELU": nn.ELU(),
    "SELU": nn.SELU(),
    "GELU": nn.GELU(),
    "SiLU": nn.SiLU(),
    "Mish": nn.Mish(),
    "Softplus": nn.Softplus(),
    "Softsign": nn.Softsign(),
    "Hardswish": nn.Hardswish(),
}


def gradient_below(function, layers=20):
    """The size of the gradient that arrives at the input of a deep network of this function."""
    torch.manual_seed(0)
    network = nn.Sequential()
    for _ in range(layers):
        network.append(nn.Linear(64, 64)).append(function)
    x = torch.randn(32, 64, requires_grad=True)
    network(x).sum().backward()
    return x.grad.norm().item()


def main():
    arguments = options(__doc__).parse_args()
    x = torch.linspace(-5, 5, 401, requires_grad=True)
    curves = {}
    print(f"{'function':<16} {'f(-2)':>8} {'f(2)':>8} {'slope at 5':>11} {'through 20 layers':>18}")
    for name, function in FUNCTIONS.items():
        y = function(x)
        # The sum of all y has the slope of each point as its gradient.
        (slope,) = torch.autograd.grad(y.sum(), x)
        curves[name] = y.detach(), slope
        low, high = function(torch.tensor([-2.0, 2.0])).tolist()
        arrives = gradient_below(function)
        print(f"{name:<16} {low:8.4f} {high:8.4f} {slope[-1].item():11.4f} {arrives:18.1e}")

    # Softmax is another kind: it makes numbers of any size into shares of a whole.
    shares = torch.softmax(torch.tensor([1.0, 2.0, 3.0]), dim=0)
    print("softmax of 1, 2, 3:", [round(share, 4) for share in shares.tolist()])

    plot = pyplot()
    if plot:
        figure, grid = plot.subplots(3, 4, figsize=(11, 7.5), sharex=True, sharey=True)
        for axes, (name, (y, slope)) in zip(grid.flat, curves.items(), strict=True):
            axes.axhline(0, color="0.85", linewidth=1)
            axes.axvline(0, color="0.85", linewidth=1)
            axes.plot(x.tolist(), y.tolist(), label="f(x)")
            axes.plot(x.tolist(), slope.tolist(), "--", label="its slope")
            axes.set(title=name, ylim=(-2.2, 3.2))
        grid[0, 0].legend(loc="upper left")
        save(figure, arguments.pictures, __file__)
    total = sum(y.sum().item() for y, _ in curves.values())
    steep = sum(slope.sum().item() for _, slope in curves.values())
    print(f"Result: functions {len(curves)}, sum of values {total:.2f}, of slopes {steep:.2f}")


if __name__ == "__main__":
    main()
