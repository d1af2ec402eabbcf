"""Convolution by hand, on a photograph, and `nn.Conv2d`.

You learn what a convolution computes, that filters for edges can be written down, that `nn.Conv2d`
does the same, and how many parameters it has. Takes three seconds.
"""

from pathlib import Path

import torch
from common import options, photograph, pyplot, save, show
from torch import nn

FILTERS = {
    "horizontal edges": [[-1.0, -1.0, -1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]],
    "vertical edges": [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]],
    "Sobel, horizontal": [[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]],
    "Sobel, vertical": [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]],
}


def convolve(image, kernel):
    """Slide `kernel` (h, w) over `image` (H, W): at each place, the sum of the products.

    The loop goes over the few numbers of the kernel; each is multiplied with the whole image,
    shifted. The result is smaller by the kernel's rim: (H - h + 1, W - w + 1).
    """
    height, width = image.shape[0] - kernel.shape[0] + 1, image.shape[1] - kernel.shape[1] + 1
    result = torch.zeros(height, width)
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            shifted = image[row : row + height, column : column + width]
            result += kernel[row, column] * shifted
    return result


def count(layer):
    return sum(parameter.numel() for parameter in layer.parameters())


def main():
    parser = options(__doc__)
    parser.add_argument("--image", type=Path, help="a photograph (Grace Hopper's portrait)")
    arguments = parser.parse_args()
    image, name = photograph(arguments.image, 96 if arguments.quick else 256)
    print(f"The image: {name}, {tuple(image.shape)}")

    # A convolution layer with one input and four output channels holds four such kernels.
    layer = nn.Conv2d(1, 4, kernel_size=3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(list(FILTERS.values())).unsqueeze(1))  # 4, 1, 3, 3
        by_layer = layer(image.reshape(1, 1, *image.shape))[0]  # 4, H - 2, W - 2
    by_hand = torch.stack([convolve(image, torch.tensor(kernel)) for kernel in FILTERS.values()])
    difference = (by_hand - by_layer).abs().max().item()
    print("By hand:", tuple(by_hand.shape), "by the layer:", tuple(by_layer.shape))
    print(f"Largest difference: {difference:.1e}")
    for edge, found in zip(FILTERS, by_hand, strict=True):
        print(f"  {edge:<18} mean strength {found.abs().mean().item():.4f}")
    strength = (by_hand[2] ** 2 + by_hand[3] ** 2).sqrt()  # H - 2, W - 2

    # Each output channel has one kernel for each input channel, and one bias.
    with_bias, without = nn.Conv2d(3, 64, 3), nn.Conv2d(3, 64, 3, bias=False)
    print("Conv2d(3, 64, 3) has 64 * 3 * 3 * 3 + 64 =", count(with_bias), "parameters,")
    print("without bias 64 * 3 * 3 * 3 =", count(without))
    print("Sizes of the result for an image of 32 x 32:")
    for how in ({}, {"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2}):
        shape = nn.Conv2d(3, 64, 3, **how)(torch.zeros(1, 3, 32, 32)).shape
        print(f"  {str(how or 'as it is'):<28} {tuple(shape)}")

    plot = pyplot()
    if plot:
        figure, grid = plot.subplots(2, 3, figsize=(9, 7.6))
        show(grid[0, 0], image, "the photograph")
        show(grid[1, 0], strength, "strength of Sobel's edges")
        for axes, edge, found in zip(grid[:, 1:].flat, FILTERS, by_hand, strict=True):
            show(axes, found, edge, vmin=-2, vmax=2)
        save(figure, arguments.pictures, __file__)
    print(
        f"Result: with bias {count(with_bias)}, without {count(without)}, "
        f"mean edge {strength.mean().item():.4f}"
    )


if __name__ == "__main__":
    main()
