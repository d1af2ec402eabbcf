"""`VisionDataset`, the base of the image data sets: root folder and transforms."""

import os
from collections.abc import Callable
from typing import Any

from suiren.utils.data import Dataset

Function = Callable[[Any], Any]


class StandardTransform:
    """A `transform` of the image and a `target_transform` of the target, as one of both."""

    def __init__(
        self, transform: Function | None = None, target_transform: Function | None = None
    ) -> None:
        self.transform = transform
        self.target_transform = target_transform

    def __call__(self, input: Any, target: Any) -> tuple[Any, Any]:
        """Both, transformed."""
        if self.transform is not None:
            input = self.transform(input)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return input, target

    def __repr__(self) -> str:
        lines = [type(self).__name__]
        if self.transform is not None:
            lines += _indented(self.transform, "Transform: ")
        if self.target_transform is not None:
            lines += _indented(self.target_transform, "Target transform: ")
        return "\n".join(lines)


def _indented(transform: Any, head: str) -> list[str]:
    first, *others = repr(transform).splitlines()
    return [head + first] + [" " * len(head) + line for line in others]


class VisionDataset(Dataset):
    """The base of data sets of images: subclasses give `__getitem__` and `__len__`.

    Args:
        root: the folder of the data.
        transforms: a function of (image, target) that returns both.
        transform, target_transform: functions of the image and of the target; not together with
            `transforms`.

    Raises:
        ValueError: `transforms` together with one of the others.
    """

    def __init__(
        self,
        root: str | os.PathLike | None = None,
        transforms: Callable[..., Any] | None = None,
        transform: Function | None = None,
        target_transform: Function | None = None,
    ) -> None:
        self.root: Any = os.path.expanduser(root) if isinstance(root, str) else root
        separate = transform is not None or target_transform is not None
        if transforms is not None and separate:
            raise ValueError(
                "Only transforms or transform/target_transform can be passed as argument"
            )
        self.transform = transform
        self.target_transform = target_transform
        if separate:
            transforms = StandardTransform(transform, target_transform)
        self.transforms = transforms

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not say how many examples it has")

    def __repr__(self) -> str:
        body = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            body.append(f"Root location: {self.root}")
        body += self.extra_repr().splitlines()
        if self.transforms is not None:
            body.append(repr(self.transforms))
        return "\n    ".join([f"Dataset {type(self).__name__}", *"\n".join(body).splitlines()])

    def extra_repr(self) -> str:
        """More lines for `repr`."""
        return ""
