"""Optimizers and learning-rate schedulers, under the names of PyTorch's `torch.optim`.

`optimizer` is the base class, `groupwise` the loop and the arithmetic that the algorithms
share, and each algorithm has its own file. Learning rates over time are in `lr_scheduler`,
averages of weights in `swa_utils`.
"""

from suiren.optim import lr_scheduler, swa_utils
from suiren.optim.adadelta import Adadelta
from suiren.optim.adafactor import Adafactor
from suiren.optim.adagrad import Adagrad
from suiren.optim.adam import Adam, AdamW
from suiren.optim.adamax import Adamax
from suiren.optim.asgd import ASGD
from suiren.optim.lbfgs import LBFGS
from suiren.optim.muon import Muon
from suiren.optim.nadam import NAdam
from suiren.optim.optimizer import Optimizer
from suiren.optim.radam import RAdam
from suiren.optim.rmsprop import RMSprop
from suiren.optim.rprop import Rprop
from suiren.optim.sgd import SGD
from suiren.optim.sparse_adam import SparseAdam
from suiren.optim.swap import swap_in_optimizer_params_and_state

__all__ = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LBFGS",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "SparseAdam",
    "lr_scheduler",
    "swa_utils",
    "swap_in_optimizer_params_and_state",
]
