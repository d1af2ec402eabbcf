"""Transforms made of transforms: one after the other, some of them, in some order."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from suiren import nn
from suiren.vision.transforms.draws import uniform

Transform = Callable[[Any], Any]


class Compose:
    """Several transforms, one after the other.

    Args:
        transforms: callables of one argument.

    Example:
        >>> from PIL import Image
        >>> from suiren.vision import transforms
        >>> prepare = transforms.Compose([transforms.CenterCrop(4), transforms.ToTensor()])
        >>> prepare(Image.new("RGB", (8, 6))).shape
        torch.Size([3, 4, 4])
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        """The image after all transforms."""
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms)


def _listed(name: str, transforms: Sequence[Transform], first: str = "") -> str:
    lines = "".join(f"\n    {transform}" for transform in transforms)
    return f"{name}({first}{lines}\n)"


class Lambda:
    """Any function as a transform.

    Raises:
        TypeError: it cannot be called.
    """

    def __init__(self, lambd: Transform) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        """What the function returns."""
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class RandomTransforms:
    """The base of `RandomOrder` and `RandomChoice`: a sequence of transforms.

    Raises:
        TypeError: `transforms` is no sequence.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        if not isinstance(transforms, Sequence):
            raise TypeError("Argument transforms should be a sequence")
        self.transforms = transforms

    def __call__(self, *args: Any) -> Any:
        """Written by the subclasses."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to choose")

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms)


class RandomApply(nn.Module):
    """All transforms with probability `p`, otherwise none.

    Args:
        transforms: a sequence, or an `nn.ModuleList`.
        p: probability.
    """

    def __init__(self, transforms: Any, p: float = 0.5) -> None:
        super().__init__()
        self.transforms = transforms
        self.p = p

    def forward(self, img: Any) -> Any:
        """The image, transformed or not."""
        if self.p < uniform(0.0, 1.0):
            return img
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms, f"\n    p={self.p}")


class RandomOrder(RandomTransforms):
    """All transforms, in an order drawn from Python's `random`."""

    def __call__(self, img: Any) -> Any:
        """The image after all transforms."""
        order = list(range(len(self.transforms)))
        random.shuffle(order)
        for position in order:
            img = self.transforms[position](img)
        return img


class RandomChoice(RandomTransforms):
    """One of the transforms, drawn from Python's `random`.

    Args:
        transforms: a sequence.
        p: the weight of each; None for equal ones.
    """

    def __init__(self, transforms: Sequence[Transform], p: Sequence[float] | None = None) -> None:
        super().__init__(transforms)
        if p is not None and not isinstance(p, Sequence):
            raise TypeError("Argument p should be a sequence")
        self.p = p

    def __call__(self, *args: Any) -> Any:
        """The image after the chosen transform."""
        return random.choices(self.transforms, weights=self.p)[0](*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"
