"""AutoAugment, RandAugment, TrivialAugmentWide and AugMix: augmentations chosen at random.

Papers: Cubuk et al. 2019 (AutoAugment) and 2020 (RandAugment), Müller and Hutter 2021
(TrivialAugment), Hendrycks et al. 2020 (AugMix). Magnitudes are torchvision's, and so is the order
in which numbers are drawn from PyTorch's default generator.
"""

import enum
import math
from typing import Any

import suiren as torch
from suiren import nn
from suiren.tensor import Tensor
from suiren.vision.transforms import functional as F
from suiren.vision.transforms.draws import below, dirichlet
from suiren.vision.transforms.geometric import channel_fill
from suiren.vision.transforms.kinds import get_dimensions
from suiren.vision.transforms.modes import InterpolationMode
from suiren.vision.transforms.policies import CIFAR10, IMAGENET, SVHN, Policy

# An operation's magnitudes, weakest first, and whether half of the time they are taken negative.
# No magnitudes: the operation has no strength.
Space = dict[str, tuple[list[float], bool]]

_FACTORS = {
    "Brightness": F.adjust_brightness,
    "Color": F.adjust_saturation,
    "Contrast": F.adjust_contrast,
    "Sharpness": F.adjust_sharpness,
}
_PLAIN = {"AutoContrast": F.autocontrast, "Equalize": F.equalize, "Invert": F.invert}


def _apply(
    img: Any, operation: str, magnitude: float, interpolation: InterpolationMode, fill: Any
) -> Any:
    if operation in _FACTORS:
        return _FACTORS[operation](img, 1.0 + magnitude)
    if operation in _PLAIN:
        return _PLAIN[operation](img)
    if operation == "Identity":
        return img
    if operation == "Rotate":
        return F.rotate(img, magnitude, interpolation, fill=fill)
    if operation == "Posterize":
        return F.posterize(img, int(magnitude))
    if operation == "Solarize":
        return F.solarize(img, magnitude)
    move, shear, center = [0, 0], [0.0, 0.0], None
    axis = 0 if operation.endswith("X") else 1
    if operation.startswith("Translate"):
        move[axis] = int(magnitude)
    else:  # sheared from the upper left corner; the magnitude is the tangent
        shear[axis] = math.degrees(math.atan(magnitude))
        center = [0, 0]
    return F.affine(img, 0.0, move, 1.0, shear, interpolation, fill, center)


def _steps(largest: float, bins: int) -> list[float]:
    return torch.linspace(0.0, largest, bins).tolist()


def _bits(highest: int, fewer: int, bins: int) -> list[float]:
    """Bits kept, from `highest` down by `fewer`."""
    return [float(highest - round(i / ((bins - 1) / fewer))) for i in range(bins)]


def _thresholds(white: float, bins: int) -> list[float]:
    return torch.linspace(white, 0.0, bins).tolist()


def _space(
    shear: float,
    move_x: float,
    move_y: float,
    turn: float,
    factor: float,
    bits: list[float],
    n: int,
) -> Space:
    """The operations common to all, in the order by which they are drawn."""
    space: Space = {
        "ShearX": (_steps(shear, n), True),
        "ShearY": (_steps(shear, n), True),
        "TranslateX": (_steps(move_x, n), True),
        "TranslateY": (_steps(move_y, n), True),
        "Rotate": (_steps(turn, n), True),
        "Brightness": (_steps(factor, n), True),
        "Color": (_steps(factor, n), True),
        "Contrast": (_steps(factor, n), True),
        "Sharpness": (_steps(factor, n), True),
        "Posterize": (bits, False),
        "Solarize": (_thresholds(255.0, n), False),
        "AutoContrast": ([], False),
        "Equalize": ([], False),
    }
    return space


def _share(size: int) -> float:
    return 150.0 / 331.0 * size  # the papers' 150 pixels of 331


class AutoAugmentPolicy(enum.Enum):
    """The data set whose learned policy `AutoAugment` applies."""

    IMAGENET = "imagenet"
    CIFAR10 = "cifar10"
    SVHN = "svhn"


_POLICIES = {
    AutoAugmentPolicy.IMAGENET: IMAGENET,
    AutoAugmentPolicy.CIFAR10: CIFAR10,
    AutoAugmentPolicy.SVHN: SVHN,
}


class AutoAugment(nn.Module):
    """One of 25 learned pairs of operations, each done with its own probability.

    Args:
        policy: the data set on which they were learned.
        interpolation, fill: of the warps, as for `functional.affine`.

    Tensors have to be uint8.
    """

    def __init__(
        self,
        policy: AutoAugmentPolicy = AutoAugmentPolicy.IMAGENET,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__()
        if policy not in _POLICIES:
            raise ValueError(f"The provided policy {policy} is not recognized.")
        self.policy = policy
        self.interpolation = interpolation
        self.fill = fill
        self.policies: list[Policy] = _POLICIES[policy]

    @staticmethod
    def get_params(transform_num: int) -> tuple[int, Tensor, Tensor]:
        """Which pair, two probabilities, two signs."""
        return below(0, transform_num), torch.rand((2,)), torch.randint(2, (2,))

    def forward(self, img: Any) -> Any:
        """The augmented image."""
        fill = channel_fill(self.fill, img)
        _, height, width = get_dimensions(img)
        space = _space(0.3, _share(width), _share(height), 30.0, 0.9, _bits(8, 4, 10), 10)
        chosen, draws, signs = self.get_params(len(self.policies))
        for number, (operation, p, level) in enumerate(self.policies[chosen]):
            if draws[number].item() <= p:
                magnitude = 0.0
                if level is not None:
                    magnitudes, signed = space[operation]
                    magnitude = magnitudes[level]
                    if signed and signs[number].item() == 0:
                        magnitude = -magnitude
                img = _apply(img, operation, magnitude, self.interpolation, fill)
        return img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(policy={self.policy}, fill={self.fill})"


def _signed(magnitude: float, signed: bool) -> float:
    """A sign is drawn only where there is one."""
    return -magnitude if signed and below(0, 2) else magnitude


class RandAugment(nn.Module):
    """`num_ops` random operations, all of the same magnitude.

    Args:
        num_ops: how many.
        magnitude: from 0 to `num_magnitude_bins` - 1.
        num_magnitude_bins: how many magnitudes there are.
        interpolation, fill: of the warps, as for `functional.affine`.

    Tensors have to be uint8.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__()
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.num_magnitude_bins = num_magnitude_bins
        self.interpolation = interpolation
        self.fill = fill

    def forward(self, img: Any) -> Any:
        """The augmented image."""
        fill = channel_fill(self.fill, img)
        _, height, width = get_dimensions(img)
        n = self.num_magnitude_bins
        space: Space = {"Identity": ([], False)}
        space |= _space(0.3, _share(width), _share(height), 30.0, 0.9, _bits(8, 4, n), n)
        names = list(space)
        for _ in range(self.num_ops):
            operation = names[below(0, len(names))]
            magnitudes, signed = space[operation]
            magnitude = magnitudes[self.magnitude] if magnitudes else 0.0
            img = _apply(img, operation, _signed(magnitude, signed), self.interpolation, fill)
        return img

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_ops={self.num_ops}, magnitude={self.magnitude}, "
            f"num_magnitude_bins={self.num_magnitude_bins}, interpolation={self.interpolation}, "
            f"fill={self.fill})"
        )


class TrivialAugmentWide(nn.Module):
    """One random operation of a random magnitude.

    Args:
        num_magnitude_bins: how many magnitudes there are.
        interpolation, fill: of the warps, as for `functional.affine`.

    Tensors have to be uint8.
    """

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__()
        self.num_magnitude_bins = num_magnitude_bins
        self.interpolation = interpolation
        self.fill = fill

    def forward(self, img: Any) -> Any:
        """The augmented image."""
        fill = channel_fill(self.fill, img)
        n = self.num_magnitude_bins
        space: Space = {"Identity": ([], False)}
        space |= _space(0.99, 32.0, 32.0, 135.0, 0.99, _bits(8, 6, n), n)
        names = list(space)
        operation = names[below(0, len(names))]
        magnitudes, signed = space[operation]
        magnitude = magnitudes[below(0, len(magnitudes))] if magnitudes else 0.0
        return _apply(img, operation, _signed(magnitude, signed), self.interpolation, fill)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_magnitude_bins={self.num_magnitude_bins}, "
            f"interpolation={self.interpolation}, fill={self.fill})"
        )


class AugMix(nn.Module):
    """The image mixed with several chains of random operations on it.

    Args:
        severity: 1 to 10, the largest magnitude.
        mixture_width: how many chains.
        chain_depth: operations in a chain; -1 draws 1 to 3 for each.
        alpha: of the Dirichlet and Beta distributions of the weights.
        all_ops: with brightness, colour, contrast and sharpness.
        interpolation, fill: of the warps, as for `functional.affine`.

    Tensors have to be uint8.
    """

    def __init__(
        self,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        fill: Any = None,
    ) -> None:
        super().__init__()
        if not 1 <= severity <= 10:
            raise ValueError(f"The severity must be between [1, 10]. Got {severity} instead.")
        self.severity = severity
        self.mixture_width = mixture_width
        self.chain_depth = chain_depth
        self.alpha = alpha
        self.all_ops = all_ops
        self.interpolation = interpolation
        self.fill = fill

    def _operations(self, height: int, width: int) -> Space:
        everything = _space(0.3, width / 3.0, height / 3.0, 30.0, 0.9, _bits(4, 4, 10), 10)
        # Here the four factors come last, or not at all.
        space = {name: what for name, what in everything.items() if name not in _FACTORS}
        if self.all_ops:
            space |= {name: everything[name] for name in _FACTORS}
        return space

    def forward(self, orig_img: Any) -> Any:
        """The mixed image."""
        fill = channel_fill(self.fill, orig_img)
        _, height, width = get_dimensions(orig_img)
        img = orig_img if isinstance(orig_img, Tensor) else F.pil_to_tensor(orig_img)
        if not isinstance(orig_img, Tensor):
            fill = channel_fill(self.fill, img)
        space = self._operations(height, width)
        names = list(space)
        batch = img.reshape([1] * max(4 - img.ndim, 0) + list(img.shape))
        examples = batch.shape[0]
        spread = [examples] + [1] * (batch.ndim - 1)
        # How much of the image itself, and how much of the chains together.
        own = dirichlet([[self.alpha, self.alpha]] * examples)
        weights = dirichlet([[self.alpha] * self.mixture_width] * examples) * own[:, 1:]
        mix = torch.tensor(own[:, 0]).view(spread) * batch
        for chain in range(self.mixture_width):
            augmented = batch
            depth = self.chain_depth if self.chain_depth > 0 else below(1, 4)
            for _ in range(depth):
                operation = names[below(0, len(names))]
                magnitudes, signed = space[operation]
                magnitude = magnitudes[below(0, self.severity)] if magnitudes else 0.0
                magnitude = _signed(magnitude, signed)
                augmented = _apply(augmented, operation, magnitude, self.interpolation, fill)
            mix = mix + torch.tensor(weights[:, chain].copy()).view(spread) * augmented
        mix = mix.view(img.shape).to(img.dtype)
        return mix if isinstance(orig_img, Tensor) else F.to_pil_image(mix)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(severity={self.severity}, mixture_width={self.mixture_width}, "
            f"chain_depth={self.chain_depth}, alpha={self.alpha}, all_ops={self.all_ops}, "
            f"interpolation={self.interpolation}, fill={self.fill})"
        )
