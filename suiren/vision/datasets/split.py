"""A train/test split that keeps every class in proportion and depends on the seed alone.

Used by `Digits` and by `suiren train`. It draws from a `Generator` of its own, so making a split
leaves the default random stream, and with it initial weights and shuffles, where it was.
"""

from collections.abc import Sequence

import suiren as torch


def stratified_split(
    labels: Sequence[int], test_fraction: float = 0.2, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Positions of the training examples and of the test examples, each in ascending order.

    Every class is shuffled by itself, in the order of the class numbers and from one generator
    seeded with `seed`; the first `round(count * test_fraction)` of it, at least one and at most
    all but one, become test examples.

    Args:
        labels: class number of each example, length N.
        test_fraction: share of every class that is tested, between 0 and 1 (both excluded).
        seed: seed of the split.

    Raises:
        ValueError: `test_fraction` is not between 0 and 1, or a class has a single example,
            which cannot be both trained on and tested.

    Example:
        >>> from suiren.vision.datasets import stratified_split
        >>> train, test = stratified_split([0] * 5 + [1] * 10)
        >>> len(train), len(test)
        (12, 3)
    """
    if not 0.0 < test_fraction < 1.0:
        raise ValueError(
            f"stratified_split() got test_fraction={test_fraction}; it must lie between 0 and 1"
        )
    members: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        members.setdefault(int(label), []).append(position)

    generator = torch.Generator()
    generator.manual_seed(seed)
    train: list[int] = []
    test: list[int] = []
    for label in sorted(members):
        positions = members[label]
        if len(positions) < 2:
            raise ValueError(
                f"stratified_split() got a single example of class {label}; "
                "at least two are needed, one to train on and one to test"
            )
        order = torch.randperm(len(positions), generator=generator).tolist()
        count = min(max(1, round(len(positions) * test_fraction)), len(positions) - 1)
        test.extend(positions[i] for i in order[:count])
        train.extend(positions[i] for i in order[count:])
    return sorted(train), sorted(test)
