"""The random state that users hold: `Generator`, the default one, and functions that seed them.

Sits above Tensor (states are given out as uint8 tensors) and below the random operators, which draw
from ``generator.stream`` while they hold ``generator.lock``. The stream itself, PyTorch's CPU
generator bit for bit, is :mod:`suiren.mt19937`. Source: PyTorch's torch.Generator and torch.random
pages.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from suiren import dtypes, random_native
from suiren.device import CPU, META, check_available
from suiren.device import device as _device
from suiren.mt19937 import Stream
from suiren.tensor import Tensor, new_tensor, value_of
from suiren.trace import Value, meta


class Generator:
    """A source of random numbers with a state of its own. Source: torch.Generator.

    Generators on the CPU only: other devices raise RuntimeError or NotImplementedError. Draws from
    several threads are safe; which thread gets which numbers is then up to chance.

    >>> import suiren as torch
    >>> generator = torch.Generator().manual_seed(0)
    >>> torch.rand(2, generator=generator)
    tensor([0.4963, 0.7682])
    """

    __slots__ = ("stream", "lock", "device", "__weakref__")

    def __init__(self, device: Any = "cpu"):
        self.device: _device = check_available(device)
        if self.device is META:
            raise RuntimeError("the meta device has no random numbers and so no Generator")
        self.stream = Stream()
        self.lock = threading.Lock()

    def manual_seed(self, seed: int) -> Generator:
        """Restarts from this seed and returns the generator.

        Raises ValueError outside [-2**63, 2**64), RuntimeError for what is no integer.
        """
        number = _as_seed(seed)
        with self.lock:
            self.stream.seed(number)
        return self

    def seed(self) -> int:
        """Restarts from a seed that the operating system draws, and returns that seed."""
        number = int.from_bytes(os.urandom(8), "little")
        self.manual_seed(number)
        return number

    def initial_seed(self) -> int:
        """The seed that the generator was last started from."""
        return self.stream.initial_seed

    def get_state(self) -> Tensor:
        """The state as a uint8 tensor of 5056 elements, in PyTorch's own layout."""
        with self.lock:
            state = np.array(self.stream.state())
        return new_tensor(Value(meta(state.shape, dtypes.uint8), state))

    def set_state(self, new_state: Tensor) -> Generator:
        """Continues from what ``get_state`` returned, here or in PyTorch.

        Raises TypeError unless it is a uint8 tensor, RuntimeError for one that is no state.
        """
        if not isinstance(new_state, Tensor):
            raise TypeError(
                f"expected a torch.ByteTensor, but got {type(new_state).__name__}: a state is the "
                "tensor that get_state() returned"
            )
        state = np.ascontiguousarray(value_of(new_state).get())
        with self.lock:
            self.stream.set_state(state)
        return self

    def clone_state(self) -> Generator:
        """Another generator in the same state, independent from now on."""
        other = Generator()
        with self.lock:
            other.stream = self.stream.clone()
        return other

    def __reduce__(self) -> tuple:
        return _rebuild_generator, (self.device, self.get_state())

    def __deepcopy__(self, memo: dict) -> Generator:
        return memo.setdefault(id(self), self.clone_state())

    def __repr__(self) -> str:
        return f"<torch._C.Generator object at {id(self):#x}>"


def _rebuild_generator(device: Any, state: Tensor) -> Generator:
    return Generator(device).set_state(state)


def _as_seed(seed: Any) -> int:
    if isinstance(seed, Tensor):
        return int(seed.item())
    try:
        return seed.__index__()
    except (AttributeError, TypeError):
        pass
    raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")


def _compiled(name: str) -> random_native.Found:
    """A kernel of the streams, unless compiling is turned off."""
    if os.environ.get("SUIREN_JIT") == "0":
        return None
    from suiren.compiler import random_numbers

    return random_numbers.find(name)


random_native.provider = _compiled
default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator and returns it. Source: torch.manual_seed.

    >>> import suiren as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.rand(2)
    tensor([0.4963, 0.7682])
    """
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seeds the default generator by chance and returns the seed. Source: torch.seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator. Source: torch.initial_seed."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state. Source: torch.get_rng_state."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Sets the default generator's state. Source: torch.set_rng_state."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str = "cuda",
) -> Iterator[None]:
    """What is drawn inside the ``with`` leaves the default generator as it was before.

    ``devices`` and ``device_type`` name accelerators and matter to none so far.
    Source: torch.random.fork_rng.
    """
    if not enabled:
        yield
        return
    state = default_generator.get_state()
    try:
        yield
    finally:
        default_generator.set_state(state)


def generator_of(generator: Generator | None, name: str) -> Generator:
    """The generator to draw from; raises TypeError for anything but a Generator or None."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(
            f"{name}(): argument 'generator' must be torch.Generator, "
            f"not {type(generator).__name__}"
        )
    return generator


__all__ = [
    "CPU",
    "Generator",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]
