"""A generative adversarial network that draws digits.

You learn how two networks train each other (Goodfellow and others, "Generative adversarial nets",
2014): a generator makes images from noise, a discriminator tells them from real ones, and each
one's success is the other's loss. Note `detach`: it keeps the discriminator's training away from
the generator. Takes half a minute.
"""

import torch
from common import batches, digits, options, pyplot, save, show
from torch import nn

NOISE = 32


def make_generator():
    """Noise (N, 32) to images (N, 1, 8, 8) from 0 to 1."""
    return nn.Sequential(
        nn.Linear(NOISE, 64 * 2 * 2), nn.Unflatten(1, (64, 2, 2)),
        nn.BatchNorm2d(64), nn.ReLU(),  # N, 64, 2, 2
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(),  # N, 32, 4, 4
        nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1), nn.Sigmoid(),  # N, 1, 8, 8
    )  # fmt: skip


def make_discriminator():
    """Images (N, 1, 8, 8) to one number each: above 0 for real, below for made."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.LeakyReLU(0.2),  # N, 32, 8, 8
        nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2),  # N, 64, 4, 4
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 4 * 4, 1),
    )  # fmt: skip


def main():
    arguments = options(__doc__, epochs=60).parse_args()
    epochs = 1 if arguments.quick else arguments.epochs
    torch.manual_seed(0)
    train_images, _, test_images, _ = digits()
    real_images = torch.cat([train_images, test_images])
    if arguments.quick:
        real_images = real_images[:320]

    generator, discriminator = make_generator(), make_discriminator()
    # The smaller first beta is that of DCGAN (Radford, Metz and Chintala, 2015).
    train_generator = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    train_discriminator = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    loss_function = nn.BCEWithLogitsLoss()
    watched = torch.randn(40, NOISE)  # the same noise all along, to see the drawings improve
    snapshots, history = [], []

    for epoch in range(epochs):
        sums, steps = [0.0, 0.0], 0
        for chosen in batches(len(real_images), 64):
            real = real_images[chosen]
            made = generator(torch.randn(len(real), NOISE))
            ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)

            # The discriminator should say one to real images and zero to those made.
            loss_d = loss_function(discriminator(real), 0.9 * ones)  # 0.9: never quite sure
            loss_d = loss_d + loss_function(discriminator(made.detach()), zeros)
            train_discriminator.zero_grad()
            loss_d.backward()
            train_discriminator.step()

            # The generator should make it say one.
            loss_g = loss_function(discriminator(made), ones)
            train_generator.zero_grad()
            loss_g.backward()
            train_generator.step()

            sums[0] += loss_d.item()
            sums[1] += loss_g.item()
            steps += 1
        history.append((sums[0] / steps, sums[1] / steps))
        if epoch in (0, epochs // 8, epochs - 1):
            generator.eval()
            with torch.no_grad():
                snapshots.append((epoch + 1, generator(watched)))
            generator.train()
        if epoch % max(1, epochs // 10) == 0 or epoch == epochs - 1:
            print("epoch {:3}  discriminator {:.4f}  generator {:.4f}".format(
                epoch + 1, *history[-1]))  # fmt: skip

    drawn = snapshots[-1][1]
    plot = pyplot()
    if plot:
        pictures = {f"epoch {epoch}": images for epoch, images in snapshots}
        pictures["real ones"] = real_images[:: len(real_images) // 40][:40]
        figure, axes = plot.subplots(1, len(pictures) + 1, figsize=(14, 4.4))
        for axis, (title, images) in zip(axes, pictures.items(), strict=False):
            # 40 images, 8 rows of 5, with a rim between them.
            sheet = nn.functional.pad(images, (1, 1, 1, 1), value=0.5).reshape(8, 5, 10, 10)
            show(axis, sheet.permute(0, 2, 1, 3).reshape(80, 50), title, vmin=0, vmax=1)
        for name, losses in zip(("discriminator", "generator"), zip(*history, strict=True),
                                strict=True):  # fmt: skip
            axes[-1].plot(range(1, epochs + 1), losses, label=name)
        axes[-1].set(title="losses", xlabel="epoch")
        axes[-1].legend()
        save(figure, arguments.pictures, __file__)
    print(
        "Result: discriminator {:.3f}, generator {:.3f}, ".format(*history[-1])
        + f"mean ink {drawn.mean().item():.3f} (real {real_images.mean().item():.3f})"
    )


if __name__ == "__main__":
    main()
