"""An autoencoder: 64 pixels through a bottleneck of two numbers, and back.

You learn that a network finds a short code by itself when it must repeat its input, and what such
a code looks like: the two numbers of each digit are drawn as a point, and every point of the plane
can be decoded to an image. Takes ten seconds.
"""

import torch
from common import batches, digits, options, pyplot, save, show
from torch import nn


class Autoencoder(nn.Module):
    def __init__(self, code=2):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU(),
            nn.Linear(32, code),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(code, 32), nn.ReLU(), nn.Linear(32, 128), nn.ReLU(),
            nn.Linear(128, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)),
        )  # fmt: skip

    def forward(self, images):  # N, 1, 8, 8
        return self.decoder(self.encoder(images))  # N, 1, 8, 8


def main():
    arguments = options(__doc__, epochs=60).parse_args()
    epochs = 2 if arguments.quick else arguments.epochs
    torch.manual_seed(0)
    train_images, _, test_images, test_labels = digits()
    if arguments.quick:
        train_images = train_images[:320]

    model = Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    history = []
    for epoch in range(epochs):
        total = 0.0
        for chosen in batches(len(train_images), 32):
            images = train_images[chosen]
            loss = nn.functional.mse_loss(model(images), images)  # no labels anywhere
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        with torch.no_grad():
            test = nn.functional.mse_loss(model(test_images), test_images).item()
        history.append((total / len(train_images), test))
        if epoch % max(1, epochs // 10) == 0 or epoch == epochs - 1:
            print("epoch {:3}  training {:.5f}  test {:.5f}".format(epoch + 1, *history[-1]))
    mean = nn.functional.mse_loss(train_images.mean(dim=0).expand_as(test_images), test_images)
    print(f"Always answering the mean image would give {mean.item():.5f}")

    plot = pyplot()
    if plot:
        with torch.no_grad():
            codes = model.encoder(test_images)  # N, 2
            repeated = model(test_images)
            low, high = codes.quantile(torch.tensor([0.02, 0.98]), dim=0)  # 2, 2
            x = torch.linspace(low[0].item(), high[0].item(), 14)
            y = torch.linspace(high[1].item(), low[1].item(), 14)  # images begin above
            plane = torch.cartesian_prod(y, x).flip(1)  # 196, 2: x, then y
            drawn = model.decoder(plane)  # 196, 1, 8, 8
        figure, (pairs, scatter, decoded) = plot.subplots(
            1, 3, figsize=(14, 4.8), width_ratios=[0.6, 1.1, 1]
        )
        both = torch.cat([test_images[:16], repeated[:16]], dim=3)  # 16, 1, 8, 16
        both = nn.functional.pad(both, (1, 1, 1, 1), value=0.5)  # 16, 1, 10, 18
        both = both.reshape(8, 2, 10, 18).permute(0, 2, 1, 3)  # 8, 10, 2, 18
        show(pairs, both.reshape(80, 36), "digits and what comes back")
        colours = plot.get_cmap("tab10")
        for digit in range(10):
            across, up = codes[test_labels == digit].T.tolist()
            scatter.scatter(across, up, s=10, color=colours(digit), label=str(digit))
        scatter.set(title="the codes of new digits")
        scatter.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2)
        drawn = nn.functional.pad(drawn, (1, 1, 1, 1), value=0.5)  # 196, 1, 10, 10
        sheet = drawn.reshape(14, 14, 10, 10).permute(0, 2, 1, 3).reshape(140, 140)
        show(decoded, sheet, "the plane, decoded")
        save(figure, arguments.pictures, __file__)
    print("Result: training {:.5f}, test {:.5f}".format(*history[-1]))


if __name__ == "__main__":
    main()
