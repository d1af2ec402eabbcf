"""`FakeData`: noise in the shape of a data set, to try a program without one."""

from collections.abc import Callable
from typing import Any

import suiren as torch
from suiren.vision.datasets.vision import VisionDataset
from suiren.vision.transforms.kinds import to_pil_image


class FakeData(VisionDataset):
    """Random images with random labels; the same index gives the same ones.

    An item is `(image, label)`: a PIL image and an int, each after its transform. The default
    generator stays where it was.

    Args:
        size: how many there are.
        image_size: (C, H, W).
        num_classes: labels are below this.
        transform, target_transform: functions of the image and of the label.
        random_offset: added to the index to make its seed.

    Example:
        >>> from suiren.vision.datasets import FakeData
        >>> image, label = FakeData(10, (3, 8, 6))[4]
        >>> image.size, 0 <= label < 10
        ((6, 8), True)
    """

    def __init__(
        self,
        size: int = 1000,
        image_size: tuple[int, int, int] = (3, 224, 224),
        num_classes: int = 10,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        random_offset: int = 0,
    ) -> None:
        super().__init__(transform=transform, target_transform=target_transform)
        self.size = size
        self.num_classes = num_classes
        self.image_size = image_size
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if index >= len(self):
            raise IndexError(f"{type(self).__name__} index out of range")
        state = torch.get_rng_state()
        torch.manual_seed(index + self.random_offset)
        pixels = torch.randn(*self.image_size)
        target: Any = torch.randint(0, self.num_classes, size=(1,), dtype=torch.long)[0]
        torch.set_rng_state(state)
        image: Any = to_pil_image(pixels)
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target.item() if isinstance(target, torch.Tensor) else target

    def __len__(self) -> int:
        return self.size
