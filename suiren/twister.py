"""The Mersenne Twister under PyTorch's default CPU generator: its words and its saved state.

:class:`Twister` is MT19937 (M. Matsumoto and T. Nishimura, 1998) with the state layout of
``torch.get_rng_state()``; :class:`suiren.mt19937.Stream` builds the distributions on it. The twist
itself is NumPy's (``numpy.random.MT19937``, imported at the first draw); this class keeps one
block of 624 outputs so that small draws are slices of it. Compiled kernels (``random_native``)
twist in NumPy's own memory and leave the block as NumPy would: the two ways alternate freely.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any, TypeVar

import numpy as np

from suiren import random_native

N = 624  # words of twister state, and outputs per twist
_STATE_BYTES = 5056
_LOW_24, _LOW_32 = np.uint64(0xFFFFFF), np.uint64(0xFFFFFFFF)
_HIGH_OF_53 = np.uint64(0x1FFFFF)  # the bits of a u64's first word that reach its 53
_SCRATCH_WORDS = 4 * N  # what a kernel draws at a time
_ARGUMENTS = struct.Struct("=11Q")  # key, block, position, end, scratch, out, count, four numbers
_PLACE = struct.Struct("=2Q")
_Self = TypeVar("_Self", bound="Twister")


class Twister:
    """A position in the stream of 32-bit words that a seed determines."""

    __slots__ = (
        "_seed", "_twister", "_seeder", "_pending", "_block", "_position", "_end",
        "_normal", "_float_normal", "_native",
    )  # fmt: skip

    def __init__(self, seed: int = 67280421310721):  # PyTorch's default seed
        self._twister: Any = None  # numpy.random.MT19937, made at the first draw
        self._seeder: Any = None  # the RandomState that seeds it
        self._native: tuple | None = None  # what kernels work with, made at their first draw
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Restarts the stream as torch.manual_seed does and forgets the cached normal.

        The twister takes the low 32 bits; ``initial_seed`` keeps 64 (negative seeds wrap around).
        Raises ValueError outside [-2**63, 2**64).
        """
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise ValueError(
                f"manual_seed got {seed}: Overflow when unpacking long long; "
                "a seed lies in [-2**63, 2**64)."
            )
        self._seed = seed & (2**64 - 1)
        self._pending = True  # the twister is seeded when first needed
        self._block = np.empty(0, np.uint64)  # outputs of the twister's present state
        self._position = self._end = 0  # the next output of the block, and where they end
        self._normal: float | None = None
        self._float_normal: int | None = None  # bits that only a foreign state can bring

    @property
    def initial_seed(self) -> int:
        """The seed as a number in [0, 2**64). Source: torch.Generator.initial_seed."""
        return self._seed

    def state(self) -> np.ndarray:
        """The state in torch.get_rng_state()'s layout: (5056,) uint8.

        As 64-bit words: 0 the seed; 1 the number of outputs left plus one (low half) and the mark
        "seeded" (high half); 2 the next output; 3 to 626 the twister; 628 the cached normal and
        630 whether there is one; 631 a cached float32 normal (low half) and its mark, which no
        CPU kernel uses.
        """
        words = np.zeros(_STATE_BYTES // 8, np.uint64)
        words[0] = self._seed
        words[1] = (self._end - self._position + 1) | (1 << 32)
        words[2] = self._position
        words[3 : 3 + N] = self._ready().state["state"]["key"]
        if self._normal is not None:
            words[628:629].view(np.float64)[0] = self._normal
            words[630] = 1
        if self._float_normal is not None:
            words[631] = self._float_normal | (1 << 32)
        return words.view(np.uint8)

    def set_state(self, state: np.ndarray) -> None:
        """Continues from a state that :meth:`state` or torch.get_rng_state() gave.

        Raises TypeError unless it is a uint8 array, RuntimeError for a wrong size or a state that
        no generator can be in. Source: torch.set_rng_state.
        """
        if not isinstance(state, np.ndarray) or state.dtype != np.uint8:
            got = getattr(state, "dtype", type(state).__name__)
            raise TypeError(f"RNG state must be a torch.ByteTensor (uint8), but got {got}.")
        if state.size != _STATE_BYTES:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {_STATE_BYTES} but found the input RNG "
                f"state size to be {state.size}."
            )
        words = np.frombuffer(state.tobytes(), np.uint64)
        left, seeded = (int(half) for half in words[1:2].view(np.int32))
        position = int(words[2])
        # PyTorch looks at the first three alone and would read past the twister in the fourth.
        if not seeded or not 1 <= left <= N or position > N or position + left - 1 > N:
            raise RuntimeError(
                f"Invalid mt19937 state: seeded {seeded}, outputs left {left - 1}, next output "
                f"{position}; take it from get_rng_state()."
            )
        self._seed = int(words[0])
        self._pending = False
        self._install((words[3 : 3 + N] & _LOW_32).astype(np.uint32), position, left - 1)
        cached = int(words[630]) & 0xFFFFFFFF
        self._normal = float(words[628:629].view(np.float64)[0]) if cached else None
        float_bits, float_cached = int(words[631]) & 0xFFFFFFFF, int(words[631]) >> 32 & 0xFF
        self._float_normal = float_bits if float_cached else None

    def clone(self: _Self) -> _Self:
        """An independent stream at the same place. Source: torch.Generator.clone_state."""
        other = type(self)(self._seed)
        if not self._pending:
            other._pending = False
            key = self._twister.state["state"]["key"]
            other._install(key, self._position, self._end - self._position)
        other._normal, other._float_normal = self._normal, self._float_normal
        return other

    def _install(self, key: np.ndarray, position: int, left: int) -> None:
        """Takes a twister state of which ``left`` outputs from ``position`` on are to be drawn."""
        twister = self._make_twister()
        place = {"key": key, "pos": position}
        twister.state = {"bit_generator": "MT19937", "state": place}
        self._block = np.zeros(N, np.uint64)
        self._position, self._end = position, position + left
        self._block[position : self._end] = twister.random_raw(left)
        place["pos"] = N  # what follows the block begins with a twist
        twister.state = {"bit_generator": "MT19937", "state": place}

    def _make_twister(self) -> Any:
        if self._twister is None:
            from numpy.random import MT19937, RandomState

            self._twister = MT19937(0)
            self._seeder = RandomState(self._twister)
        return self._twister

    def _ready(self) -> Any:
        """The twister, seeded and with all outputs of its present state drawn into the block."""
        twister = self._make_twister()
        if self._pending:
            self._seeder.seed(self._seed & 0xFFFFFFFF)  # Matsumoto's init_genrand
            self._pending = False
        return twister

    # -- compiled kernels ----------------------------------------------------------------------

    def _run(self, name: str, out: np.ndarray, count: int, *numbers: int) -> bool:
        """Fills ``out`` (contiguous) by the compiled kernel of this name; False if there is none.

        numbers: up to four, as the 64 bits that the kernel reads.
        """
        found = random_native.kernel(name, count)
        if found is None:
            return False
        kernel, functions = found
        self._ready()
        key, arguments, address, scratch, known, block, _ = self._native or self._prepare()
        if self._block is not known:
            key, arguments, address, scratch, _, block, _ = self._prepare()
        p0, p1, p2, p3 = (*numbers, 0, 0, 0, 0)[:4]
        _ARGUMENTS.pack_into(
            arguments, 0, key, block, self._position, self._end, scratch, _address(out), count,
            p0, p1, p2 or functions, p3,
        )  # fmt: skip
        kernel(address, 0)
        self._position, self._end = _PLACE.unpack_from(arguments, 16)
        return True

    def _prepare(self) -> tuple:
        """Where kernels find things; made again when NumPy has drawn a new block."""
        if len(self._block) != N:
            self._block = np.zeros(N, np.uint64)
        if self._native is None:
            arguments = ctypes.create_string_buffer(_ARGUMENTS.size)
            scratch = np.empty(_SCRATCH_WORDS, np.uint32)
            key = self._twister.ctypes.state_address  # NumPy's: uint32 key[624], int position
        else:
            key, arguments, _, _, _, _, scratch = self._native
        self._native = (
            key, arguments, ctypes.addressof(arguments), _address(scratch), self._block,
            _address(self._block), scratch,
        )  # fmt: skip
        return self._native

    # -- words and uniforms --------------------------------------------------------------------

    def _words(self, n: int) -> np.ndarray:
        """The next n words, (n,) uint64; not to be written to. Keep n to some 10**5."""
        position = self._position
        stop = position + n
        if stop <= self._end:
            self._position = stop
            return self._block[position:stop]
        out = np.empty(n, np.uint64)
        have = self._end - position
        out[:have] = self._block[position : self._end]
        missing = n - have
        twists = -(-missing // N)
        fresh = self._ready().random_raw(twists * N)
        out[have:] = fresh[:missing]
        self._block = fresh[-N:].copy() if twists > 1 else fresh
        self._position, self._end = missing - (twists - 1) * N, N
        return out

    def _wide(self, n: int) -> np.ndarray:
        """The next n 64-bit numbers of two words each, (n,) uint64."""
        words = self._words(2 * n)
        return (words[0::2] << 32) | words[1::2]

    def _u32(self, n: int) -> np.ndarray:
        out = np.empty(n, np.float32)
        if self._run("unit32", out, n):
            return out
        return (self._words(n) & _LOW_24).astype(np.float32) * np.float32(2.0**-24)

    def _u64(self, n: int) -> np.ndarray:
        out = np.empty(n, np.float64)
        if self._run("unit64", out, n):
            return out
        words = self._words(2 * n)
        return (((words[0::2] & _HIGH_OF_53) << 32) | words[1::2]) * 2.0**-53

    def _next_u64(self) -> float:
        """One u64 as a Python float, for the rejection loops."""
        position = self._position
        if position + 2 > self._end:
            high, low = self._words(2).tolist()
        else:
            self._position = position + 2
            high, low = self._block.item(position), self._block.item(position + 1)
        return ((high & 0x1FFFFF) << 32 | low) * 2.0**-53


def _address(array: np.ndarray) -> int:
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # bfloat16 has no buffers; this takes four times as long
        return array.__array_interface__["data"][0]
