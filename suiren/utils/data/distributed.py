"""DistributedSampler: each of several processes visits its own share of a data set.

Follows torch.utils.data.distributed. Nothing is communicated: every process permutes with the same
seed and takes every ``num_replicas``-th index, so only the two numbers are needed, and
``suiren.distributed`` is asked for them only when they are not given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import suiren
from suiren.utils.data.sampler import Sampler


def _process_group() -> Any:
    """``suiren.distributed``, or RuntimeError where this build has none."""
    from importlib import import_module

    try:
        return import_module("suiren.distributed")
    except ImportError as error:
        raise RuntimeError(
            "DistributedSampler: num_replicas and rank were not both given, and suiren.distributed,"
            " which would know them, is not available. Requires distributed package to be"
            " available; or pass both numbers"
        ) from error


class DistributedSampler(Sampler[int]):
    """The indices of ``dataset`` that process ``rank`` of ``num_replicas`` visits in this epoch.

    The order is a permutation drawn with seed ``seed + epoch`` (call :meth:`set_epoch` before each
    epoch, or all epochs have the same order), or 0, 1, 2, ... when ``shuffle`` is False. To give
    every process equally many, the order is repeated from its start, or cut when ``drop_last``.
    ValueError when ``rank`` is not in [0, num_replicas - 1]. Source:
    torch.utils.data.distributed.DistributedSampler.

    >>> from suiren.utils.data import DistributedSampler
    >>> list(DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
    [1, 3, 0]
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None:
            num_replicas = _process_group().get_world_size()
        if rank is None:
            rank = _process_group().get_rank()
        if rank >= num_replicas or rank < 0:
            raise ValueError(
                f"DistributedSampler: Invalid rank {rank}, rank should be in the interval [0,"
                f" {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        if drop_last:
            self.num_samples = len(dataset) // num_replicas
        else:
            self.num_samples = math.ceil(len(dataset) / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        if self.shuffle:
            generator = suiren.Generator()
            generator.manual_seed(self.seed + self.epoch)
            order = suiren.randperm(size, generator=generator).tolist()
        else:
            order = list(range(size))
        if self.total_size > size:
            repeats = math.ceil(self.total_size / size)
            order = order * repeats
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Chooses the permutation of epoch number ``epoch``."""
        self.epoch = epoch
