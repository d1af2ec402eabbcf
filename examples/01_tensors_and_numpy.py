"""Tensors and NumPy.

You learn how tensors are made, what shape and dtype they have, how they are indexed, that a view
shares the memory of the tensor it looks into, how shapes broadcast, and how NumPy joins in.
Takes a second.
"""

import numpy as np
import torch
from common import options, pyplot, save, show


def main():
    arguments = options(__doc__).parse_args()

    # A tensor is an array of numbers of one dtype.
    table = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    print("table:", table.tolist())
    print("shape:", tuple(table.shape), "dtype:", table.dtype, "numbers:", table.numel())
    print("zeros, ones, range:", torch.zeros(2), torch.ones(2), torch.arange(0, 10, 3))

    # Indexing is that of NumPy.
    print("second row:", table[1])
    print("last column:", table[:, -1])
    print("larger than two:", table[table > 2])

    # Arithmetic goes number by number; @ is the matrix product.
    print("squares:", (table**2).tolist())
    print("table @ table.T:", (table @ table.T).tolist())
    print("mean of all:", table.mean().item(), "of each column:", table.mean(dim=0))

    # A view looks into the same memory: what is written through one is seen through the other.
    view = table.reshape(3, 2)
    view[0, 0] = 100.0
    print("after writing into the view, the table is", table.tolist())
    table[0, 0] = 1.0

    # NumPy and torch can share memory too. `torch.tensor` copies, `from_numpy` does not.
    array = np.arange(4.0)
    copy = torch.tensor(array)
    shared = torch.from_numpy(array)
    array[0] = -1.0
    print("the copy begins with", copy[0].item(), "and the shared one with", shared[0].item())
    print("NumPy's float64 stays float64:", shared.dtype, "but torch draws", torch.rand(1).dtype)

    # Broadcasting: a row and a column make a table. No loop is needed to draw a ball.
    size = 100 if arguments.quick else 400
    x = torch.linspace(-1, 1, size)  # W
    y = torch.linspace(-1, 1, size).unsqueeze(1)  # H, 1
    squared = x**2 + y**2  # H, W
    inside = squared < 0.8
    depth = (0.8 - squared).clamp(min=0).sqrt()  # H, W
    light = torch.tensor([-0.5, -0.6, 0.6])
    brightness = (x * light[0] + y * light[1] + depth * light[2]).clamp(min=0)  # H, W
    ball = torch.where(inside, 0.15 + 0.85 * brightness / brightness[inside].max(), 1.0)
    share = inside.float().mean().item()
    print(f"{share:.4f} of the picture is ball; a circle has pi * 0.8 / 4 = {np.pi * 0.2:.4f}")

    plot = pyplot()
    if plot:
        figure, axes = plot.subplots(1, 4, figsize=(11, 3))
        show(axes[0], x.expand(size, size), "x, repeated downwards")
        show(axes[1], y.expand(size, size), "y, repeated to the right")
        show(axes[2], squared, "x² + y²")
        show(axes[3], ball, "the ball", vmin=0, vmax=1)
        save(figure, arguments.pictures, __file__)
    print(f"Result: mean of the picture {ball.mean().item():.4f}, share of ball {share:.4f}")


if __name__ == "__main__":
    main()
