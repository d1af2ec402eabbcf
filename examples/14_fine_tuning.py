"""Fine-tuning with two learning rates.

You learn to reuse a trained network for a new task: its last layer is replaced, the new layer
learns fast, the rest slowly. A network that knows the digits 0 to 4 is taught 5 to 9 from a few
examples of each, and compared with one that starts from nothing and one whose old layers are
frozen. Takes ten seconds.
"""

import copy

import torch
from common import batches, digits, options, pyplot, save
from torch import nn


def make_network():
    """A backbone, which sees, and a head, which names one of five classes."""
    backbone = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip
    return nn.ModuleDict({"backbone": backbone, "head": nn.Linear(64 * 2 * 2, 5)})


def run(model, images):
    return model["head"](model["backbone"](images))  # N, 5


def train(model, data, groups, epochs):
    """Train the parameters in `groups`; the accuracy on new images after each epoch."""
    images, labels, test_images, test_labels = data
    optimizer = torch.optim.Adam(groups)
    accuracies = []
    for _ in range(epochs):
        for chosen in batches(len(labels), 16):
            loss = nn.functional.cross_entropy(run(model, images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = run(model, test_images).argmax(dim=1) == test_labels
        accuracies.append(right.float().mean().item())
    return accuracies


def only(data, digits_wanted, each=None):
    """The part of the data with these digits, which become classes 0 to 4; `each` to train."""
    train_images, train_labels, test_images, test_labels = data
    chosen = []
    for digit in digits_wanted:
        chosen.append((train_labels == digit).nonzero().flatten()[:each])
    chosen = torch.cat(chosen)
    testing = (test_labels >= digits_wanted[0]) & (test_labels <= digits_wanted[-1])
    first = digits_wanted[0]
    return (train_images[chosen], train_labels[chosen] - first,
            test_images[testing], test_labels[testing] - first)  # fmt: skip


def main():
    parser = options(__doc__, epochs=15)
    parser.add_argument("--examples", type=int, default=8, help="of each new digit (8)")
    arguments = parser.parse_args()
    epochs = 2 if arguments.quick else arguments.epochs
    torch.manual_seed(0)
    everything = digits()
    old = only(everything, range(0, 5), 40 if arguments.quick else None)
    new = only(everything, range(5, 10), arguments.examples)

    trained = make_network()
    known = train(trained, old, [{"params": trained.parameters(), "lr": 1e-3}], max(2, epochs // 3))
    print(f"The network knows 0 to 4: accuracy {known[-1]:.4f}")
    print(f"Now 5 to 9, from {arguments.examples} examples of each:")

    curves = {}

    torch.manual_seed(1)
    scratch = make_network()
    curves["from nothing"] = train(
        scratch, new, [{"params": scratch.parameters(), "lr": 3e-3}], epochs
    )

    torch.manual_seed(1)
    frozen = copy.deepcopy(trained)
    frozen["head"] = nn.Linear(64 * 2 * 2, 5)
    frozen["backbone"].requires_grad_(False)
    curves["frozen, new head"] = train(
        frozen, new, [{"params": frozen["head"].parameters(), "lr": 1e-2}], epochs
    )

    torch.manual_seed(1)
    tuned = copy.deepcopy(trained)
    tuned["head"] = nn.Linear(64 * 2 * 2, 5)
    groups = [
        {"params": tuned["backbone"].parameters(), "lr": 1e-3},
        {"params": tuned["head"].parameters(), "lr": 1e-2},
    ]
    curves["two learning rates"] = train(tuned, new, groups, epochs)

    for name, accuracies in curves.items():
        print(f"  {name:<20} accuracy {accuracies[-1]:.4f}, after one epoch {accuracies[0]:.4f}")

    plot = pyplot()
    if plot:
        figure, axes = plot.subplots(figsize=(6.5, 4))
        for name, accuracies in curves.items():
            axes.plot(range(1, epochs + 1), accuracies, "o-", label=name)
        title = f"accuracy on 5 to 9, learnt from {arguments.examples} examples of each"
        axes.set(title=title, xlabel="epoch", ylim=(0, 1.02))
        axes.legend(loc="lower right")
        save(figure, arguments.pictures, __file__)
    ends = ", ".join(f"{name} {accuracies[-1]:.4f}" for name, accuracies in curves.items())
    print(f"Result: {ends}")


if __name__ == "__main__":
    main()
