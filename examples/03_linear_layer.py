"""A linear layer, by a matrix product and by `nn.Linear`.

You learn that a linear layer is `x @ weight.T + bias`, how many parameters it has, what its
gradients are, and that two linear layers without an activation between them are only one.
Takes a second.
"""

import torch
from common import options, pyplot, save
from torch import nn


def main():
    arguments = options(__doc__).parse_args()
    torch.manual_seed(0)

    x = torch.randn(5, 8)  # batch, inputs
    layer = nn.Linear(8, 3)
    print("weight:", tuple(layer.weight.shape), "bias:", tuple(layer.bias.shape))
    count = sum(parameter.numel() for parameter in layer.parameters())
    print("parameters:", count, "= 8 * 3 + 3")

    # The same numbers, with nothing but a product and a sum.
    by_layer = layer(x)  # batch, outputs
    by_product = x @ layer.weight.T + layer.bias  # batch, outputs
    forward = (by_layer - by_product).abs().max().item()
    print(f"largest difference of the outputs: {forward:.1e}")

    # The gradients too. For a loss L and G = dL/d(output):
    #     dL/d(weight) = G.T @ x        dL/d(bias) = sum of G over the batch
    target = torch.randn(5, 3)
    loss = ((by_layer - target) ** 2).sum()
    loss.backward()
    with torch.no_grad():
        gradient = 2 * (by_layer - target)  # batch, outputs
        weight_gradient = gradient.T @ x  # outputs, inputs
        bias_gradient = gradient.sum(dim=0)  # outputs
    backward = (layer.weight.grad - weight_gradient).abs().max().item()
    print(f"largest difference of the weight's gradients: {backward:.1e}")
    print(f"and of the bias': {(layer.bias.grad - bias_gradient).abs().max().item():.1e}")

    # Two linear layers in a row: (x A.T + a) B.T + b = x (B A).T + (B a + b).
    first, second = nn.Linear(8, 16), nn.Linear(16, 3)
    both = nn.Linear(8, 3)
    with torch.no_grad():
        both.weight.copy_(second.weight @ first.weight)
        both.bias.copy_(second.weight @ first.bias + second.bias)
        collapsed = (second(first(x)) - both(x)).abs().max().item()
    print(f"two layers less the one that replaces them: {collapsed:.1e}")

    plot = pyplot()
    if plot:
        pictures = {
            "x  (5, 8)": x,
            "weight.T  (8, 3)": layer.weight.T,
            "bias  (3)": layer.bias.unsqueeze(0),
            "output  (5, 3)": by_layer,
        }
        figure, axes = plot.subplots(1, 4, figsize=(11, 4.6), width_ratios=[8, 3, 3, 3])
        signs = ["=  ", "@", "+", "="]
        for axis, sign, (title, values) in zip(axes, signs, pictures.items(), strict=True):
            values = values.detach().numpy()
            axis.imshow(values, cmap="coolwarm", vmin=-2, vmax=2)
            for row, line in enumerate(values):
                for column, value in enumerate(line):
                    axis.text(column, row, f"{value:.1f}", ha="center", va="center", size=8)
            axis.set(title=title, xticks=[], yticks=[])
            axis.set_ylabel("" if axis is axes[0] else sign, rotation=0, size=16, labelpad=14)
        save(figure, arguments.pictures, __file__)
    print(f"Result: loss {loss.item():.4f}, parameters {count}, output {by_layer[0, 0].item():.4f}")


if __name__ == "__main__":
    main()
