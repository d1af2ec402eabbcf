"""Suiren: PyTorch's interface over an engine written in Python. ``import suiren as torch``.

What is here is the table of contents of torch's namespace. Operators come from ``suiren.ops``
(registered there, one definition each); ``nn``, ``optim`` and other subpackages are imported when
they are first used, so that ``import suiren`` stays quick.
"""

from __future__ import annotations

import importlib as _importlib
from math import e, inf, nan, pi  # noqa: F401
from typing import Any as _Any

from suiren import dtypes as _dtypes
from suiren import operator as _operator
from suiren import ops as _ops  # noqa: F401 (registers the operators)
from suiren import tensor_methods as _tensor_methods
from suiren import tensor_numpy as _tensor_numpy
from suiren import tensor_protocol as _tensor_protocol
from suiren.autograd import graph as _graph  # noqa: F401
from suiren.autograd.anomaly import (  # noqa: F401
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
)
from suiren.autograd.mode import (  # noqa: F401
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from suiren.device import device  # noqa: F401
from suiren.dtypes import (  # noqa: F401
    bfloat16,
    can_cast,
    cdouble,
    cfloat,
    complex64,
    complex128,
    double,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    set_default_dtype,
    short,
    uint8,
    uint16,
    uint32,
    uint64,
)
from suiren.ops import python_operators as _python_operators
from suiren.printing import set_printoptions  # noqa: F401
from suiren.random import (  # noqa: F401
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from suiren.settings import *  # noqa: F403
from suiren.size import Size  # noqa: F401
from suiren.tensor import Tensor  # noqa: F401
from suiren.version import __version__  # noqa: F401

_tensor_methods.attach()
_tensor_numpy.attach()
_tensor_protocol.attach()
for _name, _function in _operator.NAMESPACES["Tensor"].items():
    setattr(Tensor, _name, _function)
_python_operators.attach()
globals().update(_operator.NAMESPACES["torch"])

newaxis = None

# Python's own names, bound last: nothing above may mean the builtins by them.
bool = _dtypes.bool
float = _dtypes.float32
int = _dtypes.int32

_LAZY = ("nn", "optim", "utils", "vision", "linalg", "fft", "special", "signal", "masked",
         "autograd", "random", "cli", "serialization", "backends", "cuda", "amp", "jit", "testing",
         "types", "version", "compiler", "cpu", "distributed", "distributions", "func", "hub",
         "mps", "multiprocessing", "onnx", "profiler", "torch_version", "xpu",
         "accelerator", "ao", "quantization")  # fmt: skip
# Functions whose modules are imported when they are first used.
_LAZY_FUNCTIONS = {
    "save": "suiren.serialization",
    "load": "suiren.serialization",
    "autocast": "suiren.amp",
    "to_dlpack": "suiren.utils.dlpack",
    "install": "suiren.imports",
    "uninstall": "suiren.imports",
    "compile": "suiren.compilation",
    "GradScaler": "suiren.amp",
    "explain": "suiren.explanation",
    "set_log": "suiren.compiler.listing",
    "vmap": "suiren.func",
}
_LAZY_FUNCTIONS |= dict.fromkeys(
    ("autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache",
     "get_autocast_dtype", "is_autocast_cache_enabled", "is_autocast_enabled",
     "set_autocast_cache_enabled", "set_autocast_dtype", "set_autocast_enabled"),
    "suiren.amp.autocast_mode",
)
_LAZY_FUNCTIONS |= dict.fromkeys(
    ("get_autocast_cpu_dtype", "get_autocast_gpu_dtype", "get_autocast_ipu_dtype",
     "get_autocast_xla_dtype", "is_autocast_cpu_enabled", "is_autocast_ipu_enabled",
     "is_autocast_xla_enabled", "set_autocast_cpu_dtype", "set_autocast_cpu_enabled",
     "set_autocast_gpu_dtype", "set_autocast_ipu_dtype", "set_autocast_ipu_enabled",
     "set_autocast_xla_dtype", "set_autocast_xla_enabled"),
    "suiren.amp.old_names",
)
_LAZY_FUNCTIONS |= dict.fromkeys(
    ("channel_shuffle", "conv_tbc", "cosine_embedding_loss", "hinge_embedding_loss",
     "instance_norm", "margin_ranking_loss", "native_channel_shuffle", "pairwise_distance",
     "poisson_nll_loss", "rms_norm", "triplet_margin_loss"),
    "suiren.nn.functional.in_torch",
)  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _LAZY:
        try:
            return _importlib.import_module(f"suiren.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"suiren.{name}":  # it is there, and something that it needs is not
                raise
    if name in _LAZY_FUNCTIONS:
        found = getattr(_importlib.import_module(_LAZY_FUNCTIONS[name]), name)
        globals()[name] = found
        return found
    from suiren.missing import missing

    raise AttributeError(missing("suiren", name, [*globals(), *_LAZY, *_LAZY_FUNCTIONS]))
