"""Logistic and softmax regression from scratch.

You learn to tell two classes, then ten, with nothing but tensors and gradients written by hand:
the gradient of the loss is (probability - truth) times the input, in both cases. At the end, `nn`
and `optim` find the same weights. Takes three seconds.
"""

import torch
from common import digits, options, pyplot, save, show
from torch import nn


def logistic(x, y, steps, rate=0.5):
    """Weights (F), bias and losses for x (N, F) and y (N) of zeros and ones."""
    w, b, losses = torch.zeros(x.shape[1]), torch.zeros(1), []
    for _ in range(steps):
        p = 1 / (1 + torch.exp(-(x @ w + b)))  # N: the probability of a one
        losses.append(-(y * p.log() + (1 - y) * (1 - p).log()).mean().item())
        error = p - y  # N
        w -= rate * (x.T @ error) / len(x)
        b -= rate * error.mean()
    return w, b, losses


def softmax(scores):
    """Shares of a whole, in each row; taking the largest away keeps exp from overflowing."""
    powers = torch.exp(scores - scores.amax(dim=1, keepdim=True))
    return powers / powers.sum(dim=1, keepdim=True)


def softmax_regression(x, labels, classes, steps, rate=0.5):
    """Weights (F, classes), bias (classes) and losses for x (N, F) and labels (N)."""
    w, b, losses = torch.zeros(x.shape[1], classes), torch.zeros(classes), []
    truth = torch.zeros(len(x), classes)
    truth[torch.arange(len(x)), labels] = 1.0  # one-hot: N, classes
    for _ in range(steps):
        p = softmax(x @ w + b)  # N, classes
        losses.append(-p[torch.arange(len(x)), labels].log().mean().item())
        error = p - truth  # N, classes
        w -= rate * (x.T @ error) / len(x)
        b -= rate * error.mean(dim=0)
    return w, b, losses


def main():
    arguments = options(__doc__).parse_args()
    steps = 100 if arguments.quick else 500
    torch.manual_seed(0)

    # Two clouds of points.
    clouds = torch.randn(200, 2)  # N, 2
    which = (torch.arange(200) % 2).float()  # N
    clouds += torch.where(which.unsqueeze(1) == 1, torch.tensor([1.2, 1.0]), torch.tensor(-1.0))
    w, b, losses_two = logistic(clouds, which, steps)
    two = ((clouds @ w + b > 0) == (which == 1)).float().mean().item()
    print(f"Two classes: loss {losses_two[-1]:.4f}, accuracy {two:.4f}")

    # Ten digits.
    train_images, train_labels, test_images, test_labels = digits()
    x, x_test = train_images.flatten(1), test_images.flatten(1)  # N, 64
    weights, bias, losses_ten = softmax_regression(x, train_labels, 10, steps)
    answers = (x_test @ weights + bias).argmax(dim=1)
    ten = (answers == test_labels).float().mean().item()
    print(f"Ten classes: loss {losses_ten[-1]:.4f}, accuracy on new digits {ten:.4f}")

    # The same with a layer, a loss and an optimizer. CrossEntropyLoss contains the softmax.
    layer = nn.Linear(64, 10)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    loss_function = nn.CrossEntropyLoss()
    for _ in range(steps):
        loss = loss_function(layer(x), train_labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    difference = (layer.weight.T - weights).abs().max().item()
    print(f"nn and optim end with the same weights, but for {difference:.0e}")

    plot = pyplot()
    if plot:
        figure = plot.figure(figsize=(12, 4))
        left, right = figure.subfigures(1, 2, width_ratios=[1.6, 1])
        axes = left.subplots(1, 2)
        for label, color in ((0, "C0"), (1, "C3")):
            points = clouds[which == label]
            axes[0].scatter(points[:, 0].tolist(), points[:, 1].tolist(), s=8, color=color)
        # The border is where the probability is one half: w · x + b = 0.
        axes[0].axline((0, (-b / w[1]).item()), slope=(-w[0] / w[1]).item(), color="black")
        axes[0].set(title=f"two classes, accuracy {two:.3f}", xlim=(-4, 4), ylim=(-4, 4))
        axes[1].plot(losses_two, label="two classes")
        axes[1].plot(losses_ten, label="ten digits")
        axes[1].set(title="loss", xlabel="step")
        axes[1].legend()
        right.suptitle("the weights of each digit: red speaks for it", fontsize="medium")
        for digit, axis in enumerate(right.subplots(2, 5).flat):
            weight = weights[:, digit].reshape(8, 8)
            show(axis, weight, str(digit), cmap="coolwarm", vmin=-1.5, vmax=1.5)
        save(figure, arguments.pictures, __file__)
    print(
        f"Result: losses {losses_two[-1]:.4f} and {losses_ten[-1]:.4f}, "
        f"accuracies {two:.4f} and {ten:.4f}"
    )


if __name__ == "__main__":
    main()
