"""Data sets, samplers and the loader that turns them into batches: what ``torch.utils.data`` is.

Sits above the operators and ``nn``; knows Tensor only through the public names of ``suiren``. It
follows the page torch.utils.data of PyTorch's documentation, including how the random stream is
consumed: with the same seed the shuffles, splits and worker seeds are PyTorch's.
``multiprocessing`` is imported only when workers are asked for.
"""

from suiren.utils.data import _utils
from suiren.utils.data.collate import default_collate, default_convert
from suiren.utils.data.dataloader import DataLoader
from suiren.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from suiren.utils.data.distributed import DistributedSampler
from suiren.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from suiren.utils.data.worker import get_worker_info

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "_utils",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
]
