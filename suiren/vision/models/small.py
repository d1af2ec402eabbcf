"""Three classifiers small enough to train within seconds or minutes on a CPU.

They are what `suiren train` uses unless told otherwise. All accept square images of any size from
4 pixels up; `num_classes` is the number of outputs, whatever they stand for.
"""

from suiren import nn
from suiren.tensor import Tensor
from suiren.vision.models.registry import register_model

_WIDEST = 64  # channels stop doubling here: more do not help at these image sizes


@register_model("cnn")
class SmallCNN(nn.Module):
    """3x3 convolutions with ReLU and halving, then one linear layer.

    The first convolution has 16 channels and is followed by halving from 16 pixels up only (an
    8x8 digit has no pixels to give away). Then, while the side is above 4, a convolution with
    twice the channels (64 at most) and a halving. At 8x8 with one channel: 1 -> 16 -> 32 -> pool
    -> linear, 9,930 parameters.

    Args:
        channels: C, channels of the images.
        image_size: S, height and width in pixels.
        num_classes: K.

    Shape:
        input (N, C, S, S) float32, output (N, K) logits.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.models import SmallCNN
        >>> SmallCNN(channels=1, image_size=8, num_classes=10)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU()]
        width, side = 16, image_size
        if side >= 16:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        while side > 4:
            wider = min(2 * width, _WIDEST)
            layers += [nn.Conv2d(width, wider, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            width, side = wider, side // 2
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.25)
        self.classifier = nn.Linear(width * side * side, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, S, S)."""
        features = self.features(images)
        features = features.flatten(1)  # N, channels * side * side
        return self.classifier(self.dropout(features))


@register_model("cnn4")
class CNN4(nn.Module):
    """Four 3x3 convolutions with batch norm and ReLU, halved after two and after four, and two
    linear layers.

    The first two convolutions have 16 channels on grey images and 32 on coloured ones, the other
    two twice as many; the hidden linear layer has 128. While the side is still above 8 after that,
    it is halved once more. For 28x28 and 32x32; MNIST's test accuracy is above 99% after three
    epochs. At 28x28 with one channel: 218,586 parameters.

    Args:
        channels: C, channels of the images.
        image_size: S, height and width in pixels.
        num_classes: K.

    Shape:
        input (N, C, S, S) float32, output (N, K) logits.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.models import CNN4
        >>> CNN4(channels=1, image_size=28, num_classes=10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        width = 16 if channels == 1 else 32
        layers: list[nn.Module] = []
        before, side = channels, image_size
        for wide in (width, 2 * width):
            for _ in range(2):
                # Batch norm has a bias of its own.
                convolution = nn.Conv2d(before, wide, 3, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(wide), nn.ReLU()]
                before = wide
            layers.append(nn.MaxPool2d(2))
            side //= 2
        while side > 8:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(before * side * side, 128),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Linear(128, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, S, S)."""
        return self.classifier(self.features(images).flatten(1))


@register_model("mlp")
class MLP(nn.Module):
    """Two hidden layers of 128 with ReLU.

    Args:
        channels: C, channels of the images.
        image_size: S, height and width in pixels.
        num_classes: K.

    Shape:
        input (N, C, S, S) float32, output (N, K) logits.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.models import MLP
        >>> MLP(channels=1, image_size=8, num_classes=10)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * image_size * image_size, 128),
            nn.ReLU(),
            nn.Linear(128, 128),
            nn.ReLU(),
            nn.Linear(128, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, S, S)."""
        return self.layers(images)
