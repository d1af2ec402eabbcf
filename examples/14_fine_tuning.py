"""Fine-tuning with two learning rates.

You learn to reuse a trained network for a new task: its last layer is replaced, the new layer
learns fast, the rest slowly. A network that knows the ten digits is to tell even from odd ones, and
sees only two of each to learn that. It is compared with one that starts from nothing and one whose
old layers are frozen. Takes ten seconds.
"""

import copy

import torch
from common import batches, digits, options, pyplot, save
from torch import nn


def make_network(classes):
    """A backbone, which sees, and a head, which names the class."""
    backbone = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip
    return nn.ModuleDict({"backbone": backbone, "head": nn.Linear(64 * 2 * 2, classes)})


def run(model, images):
    return model["head"](model["backbone"](images))  # N, classes


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


def main():
    parser = options(__doc__, epochs=15)
    parser.add_argument("--examples", type=int, default=2, help="of each digit (2)")
    arguments = parser.parse_args()
    epochs = 2 if arguments.quick else arguments.epochs
    torch.manual_seed(0)
    images, labels, test_images, test_labels = digits()
    old = images, labels, test_images, test_labels
    if arguments.quick:
        old = images[:300], labels[:300], test_images, test_labels
    few = torch.cat([(labels == d).nonzero().flatten()[: arguments.examples] for d in range(10)])
    new = images[few], labels[few] % 2, test_images, test_labels % 2

    trained = make_network(10)
    known = train(trained, old, [{"params": trained.parameters(), "lr": 1e-3}], max(2, epochs // 3))
    print(f"The network knows the digits: accuracy {known[-1]:.4f}")
    print(f"Now even or odd, from {len(few)} images:")

    curves = {}

    torch.manual_seed(1)
    scratch = make_network(2)
    curves["from nothing"] = train(
        scratch, new, [{"params": scratch.parameters(), "lr": 3e-3}], epochs
    )

    torch.manual_seed(1)
    frozen = copy.deepcopy(trained)
    frozen["head"] = nn.Linear(64 * 2 * 2, 2)
    frozen["backbone"].requires_grad_(False)
    curves["frozen, new head"] = train(
        frozen, new, [{"params": frozen["head"].parameters(), "lr": 1e-2}], epochs
    )

    torch.manual_seed(1)
    tuned = copy.deepcopy(trained)
    tuned["head"] = nn.Linear(64 * 2 * 2, 2)
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
        axes.set(title=f"even or odd, learnt from {len(few)} images: accuracy on new ones")
        axes.set(xlabel="epoch", ylim=(0.4, 1.02))
        axes.legend(loc="lower right")
        save(figure, arguments.pictures, __file__)
    ends = ", ".join(f"{name} {accuracies[-1]:.4f}" for name, accuracies in curves.items())
    print(f"Result: {ends}")


if __name__ == "__main__":
    main()
