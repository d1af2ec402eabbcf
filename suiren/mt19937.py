"""PyTorch's default CPU random stream, bit for bit, on NumPy.

:class:`Stream` is the generator under ``manual_seed``, ``rand``, ``randn``, ``randperm``, dropout
and the initialisers: a Mersenne Twister (M. Matsumoto and T. Nishimura, MT19937, 1998), and for
each distribution the protocol by which PyTorch 2.13 turns its 32-bit outputs into values. The
protocols were found by experiment; every method states its own. It knows arrays, not tensors, and
imports NumPy alone. State, seeding and words are :class:`suiren.twister.Twister`'s.

Words below are successive 32-bit outputs of the twister. ``u32`` is a float32 uniform in [0, 1)
from one word (its low 24 bits / 2**24). ``u64`` is a float64 uniform from two words, the first
being the high half of a 64-bit number whose low 53 bits are divided by 2**53.

Exactness: integers, uniforms and masks always agree. float32 normals of 16 elements and more
follow PyTorch's AVX2 kernel (x86 with AVX2 or AVX-512; its plain kernel differs by a few units in
the last place); none of 60 million differed, though a rounding may once in some 10**8. float64
values agree where Python's libm is PyTorch's (glibc). Measured against the Linux x86-64 wheel on
an AMD processor; whether Intel ones take other paths through MKL has not been seen.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from suiren import random_kernels as kernels
from suiren import random_native
from suiren.twister import N, Twister

Shape = int | tuple[int, ...]

_CHUNK = 16 * N  # words per pass over large draws: 78 KiB stay in cache; a multiple of 16
_WIDE_RANGE = 1 << 28  # integer ranges from here on take two words a value
_LONG = 4096  # from here on the largest of a row are not found by sorting all of it
_INSIDE_OUT_FROM = (2**32 - 1) // 20  # randperm's other algorithm starts at this length
_DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}  # of the significand


def _as_dtype(dtype: Any) -> np.dtype:
    if isinstance(dtype, str) and dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype)


def _cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Floating values in ``dtype``; to the 16-bit types by way of float32, as PyTorch does."""
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype.name in ("float16", "bfloat16"):
            values = values.astype(np.float32, copy=False)
        elif dtype.kind in "iu":
            values = values.astype(np.int64)
        return values.astype(dtype, copy=False)


def _bits(number: Any, dtype: Any) -> int:
    """The number in this floating type, as the integer with the same bits."""
    try:
        return int.from_bytes(struct.pack("<f" if dtype is np.float32 else "<d", number), "little")
    except OverflowError:
        return int.from_bytes(np.asarray(number, dtype).tobytes(), "little")


def _chunks(n: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, _CHUNK):
        yield start, min(start + _CHUNK, n)


class Stream(Twister):
    """A position in PyTorch's CPU random stream.

    ``shape`` arguments are an int or a tuple of ints; results are C-contiguous arrays of that
    shape and of ``dtype`` (anything ``np.dtype`` takes, or ``"bfloat16"``). Arguments are taken as
    valid (the operators check them) except where a method says what it raises.
    Not safe against simultaneous draws from several threads. Source: torch.Generator.

    >>> from suiren.mt19937 import Stream
    >>> Stream(0).uniform(3)
    array([0.4962566 , 0.7682218 , 0.08847743], dtype=float32)
    """

    __slots__ = ()

    # -- uniforms ------------------------------------------------------------------------------

    def _each_u64(
        self,
        shape: Shape,
        dtype: Any,
        transform: Callable[..., Any],
        kernel: str = "",
        inner: Any = np.float64,
        numbers: tuple[float, ...] = (),
    ) -> np.ndarray:
        """An array of ``transform`` of one u64 an element, cast to ``dtype``.

        kernel: the compiled one, if any, that gives ``transform`` in the type ``inner``.
        """
        out = np.empty(shape, _as_dtype(dtype))
        flat = out.reshape(-1)
        bits = [_bits(number, np.float64) for number in numbers]
        if kernel and flat.dtype == inner and self._run(kernel, flat, flat.size, *bits):
            return out
        for start, stop in _chunks(flat.size):
            values = np.empty(stop - start, inner)
            if not (kernel and self._run(kernel, values, values.size, *bits)):
                values = transform(self._u64(values.size))
            flat[start:stop] = _cast(values, out.dtype)
        return out

    def uniform(
        self,
        shape: Shape,
        low: float = 0.0,
        high: float = 1.0,
        dtype: Any = np.float32,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Uniform values in [low, high). Source: torch.Tensor.uniform_, torch.rand.

        One u32 an element (float32, and the 16-bit types, which round its value) or one u64
        (float64), then ``u * (high - low) + low`` rounded once in that type, with the ends first
        rounded to it; a value that rounds to ``high`` becomes ``low``.
        ``out``: an array of the shape and dtype to fill, instead of a new one.
        """
        if out is None:
            out = np.empty(shape, _as_dtype(dtype))
        flat = out.reshape(-1)
        double = out.dtype == np.float64
        draw, fma = (self._u64, kernels.fma64) if double else (self._u32, kernels.fma32)
        digits = "64" if double else "32"
        if low == 0 and high == 1 and out.dtype.itemsize > 2:
            if not self._run("unit" + digits, flat, flat.size):
                for start, stop in _chunks(flat.size):
                    flat[start:stop] = draw(stop - start)
            return out
        inner = np.float64 if double else np.float32
        first = inner(low)
        span = float(inner(high) - first)
        bits = [_bits(number, inner) for number in (first, span, inner(high))]
        if flat.dtype == inner and self._run("uniform" + digits, flat, flat.size, *bits):
            return out
        bits[2] = _bits(math.nan, inner)  # here the end is looked for after the cast
        for start, stop in _chunks(flat.size):
            values = np.empty(stop - start, inner)
            if not self._run("uniform" + digits, values, values.size, *bits):
                values = fma(draw(values.size), span, float(first))
            flat[start:stop] = _cast(values, out.dtype)
        first, last = _cast(np.array([low, high], np.float64), out.dtype)
        flat[flat == last] = first
        return out

    # -- normals -------------------------------------------------------------------------------

    def normal(
        self,
        shape: Shape,
        mean: float | np.ndarray = 0.0,
        std: float | np.ndarray = 1.0,
        dtype: Any = np.float32,
        one_by_one: bool = False,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Normal values. Source: torch.Tensor.normal_, torch.randn, torch.normal.

        Fewer than 16 elements, any dtype: pairs from two u64 each, ``sqrt(-2 log1p(-b))`` times
        cos and sin of ``2 pi a``, computed in float64; the second of a pair is cached in the
        state and serves the next call of this kind (also :meth:`log_normal`).

        16 elements and more leave the cache alone: as many uniforms as elements (u32, or u64 for
        float64) become normals in blocks of 16 (``kernels.box_muller32``); if the size is no
        multiple of 16, the last 16 elements are then replaced by a block of 16 new uniforms. The
        16-bit types draw uniforms for whole blocks only and round float32 results.

        ``one_by_one`` draws any number of elements the first way: PyTorch's ``normal_`` of tensors
        that are not contiguous.

        ``mean`` and ``std`` may be arrays that broadcast to ``shape`` (then standard normals, or
        with mean 0 and a number ``std``, are multiplied and added to in steps rounded to
        ``dtype``). ``out``: an array of the shape and dtype to fill, instead of a new one, where
        they are numbers. Exactness: see the module's notes.
        """
        dtype = _as_dtype(dtype)
        if isinstance(mean, np.ndarray) or isinstance(std, np.ndarray):
            return self._normal_about(shape, mean, std, dtype)
        if out is None:
            out = np.empty(shape, dtype)
        flat = out.reshape(-1)
        if flat.size >= 16 and not one_by_one:
            self._fill_normal(flat, mean, std)
        elif dtype == np.float64:
            flat[:] = kernels.fma64(self._cached_normals(flat.size), float(std), float(mean))
        else:
            flat[:] = _cast(self._cached_normals(flat.size) * float(std) + float(mean), dtype)
        return out

    def _normal_about(self, shape: Shape, mean: Any, std: Any, dtype: np.dtype) -> np.ndarray:
        inner = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        if isinstance(std, np.ndarray):
            values = self.normal(shape, dtype=dtype).astype(inner)
            values = _cast(values * std.astype(inner), dtype)
        else:
            values = self.normal(shape, 0.0, std, dtype)
        # A number is rounded to the dtype first, like the elements of a tensor.
        shift = _cast(np.asarray(mean, np.float64), dtype).astype(inner)
        return _cast(values.astype(inner) + shift, dtype)

    def _fill_normal(self, flat: np.ndarray, mean: float, std: float) -> None:
        whole = flat.size & ~15
        self._fill_blocks(flat[:whole], mean, std)
        if whole < flat.size:
            if flat.dtype.itemsize > 2:
                draw = self._u64 if flat.dtype == np.float64 else self._u32
                draw(flat.size - whole)  # drawn, and replaced at once
            self._fill_blocks(flat[-16:], mean, std)

    def _fill_blocks(self, flat: np.ndarray, mean: float, std: float) -> None:
        """Normals for a multiple of 16 elements."""
        double = flat.dtype == np.float64
        inner, name = (np.float64, "normal64") if double else (np.float32, "normal32")
        bits = (_bits(mean, inner), _bits(std, inner))
        if flat.dtype == inner and self._run(name, flat, flat.size, *bits):
            return
        for start, stop in _chunks(flat.size):
            values = np.empty(stop - start, inner)
            if not self._run(name, values, values.size, *bits):
                if double:
                    values = kernels.box_muller64(self._u64(values.size), mean, std)
                else:
                    values = kernels.box_muller32(self._u32(values.size), mean, std)
            flat[start:stop] = _cast(values, flat.dtype)

    def _cached_normals(self, n: int) -> np.ndarray:
        """n standard normals of the scalar kind, (n,) float64, by way of the cached second one."""
        out = np.empty(n, np.float64)
        if n == 0:
            return out
        begin = 0
        if self._normal is not None:
            out[0], self._normal, begin = self._normal, None, 1
        for start, stop in _chunks(n - begin):  # whole pairs: _CHUNK is even
            values = self._normal_pairs((stop - start + 1) // 2)
            out[begin + start : begin + stop] = values[: stop - start]
            if (stop - start) % 2:
                self._normal = float(values[-1])
        return out

    def _normal_pairs(self, pairs: int) -> np.ndarray:
        values = np.empty(2 * pairs)
        if self._run("pairs", values, values.size):
            return values
        u = self._u64(2 * pairs)
        radius = np.sqrt(-2.0 * kernels.libm(math.log1p, -u[1::2]))
        angle = (2.0 * math.pi) * u[0::2]
        values[0::2] = radius * kernels.libm(math.cos, angle)
        values[1::2] = radius * kernels.libm(math.sin, angle)
        return values

    def log_normal(
        self, shape: Shape, mean: float = 1.0, std: float = 2.0, dtype: Any = np.float32
    ) -> np.ndarray:
        """``exp`` of normal values. Source: torch.Tensor.log_normal_.

        Of every size by the scalar way of :meth:`normal`, cache included, in float64.
        """
        out = np.empty(shape, _as_dtype(dtype))
        values = self._cached_normals(out.size)
        bits = (_bits(mean, np.float64), _bits(std, np.float64))
        if not self._run("exp of", values, values.size, *bits):
            values = kernels.exponential_function(kernels.fma64(values, float(std), float(mean)))
        out.reshape(-1)[:] = _cast(values, out.dtype)
        return out

    # -- integers ------------------------------------------------------------------------------

    def randint(self, shape: Shape, low: int, high: int, dtype: Any = np.int64) -> np.ndarray:
        """Whole numbers in [low, high), of any real dtype. Source: torch.randint, random_.

        ``low + word % (high - low)``; ranges of 2**28 and more take two words (a 64-bit number).
        Where a floating type cannot hold all of the range, PyTorch moves its ends inwards first.
        Raises RuntimeError if the range is empty.
        """
        dtype = _as_dtype(dtype)
        low, high = int(low), int(high)
        if dtype.name in _DIGITS and low < high:
            low, high = _representable_range(low, high, dtype)
        if low >= high:
            raise RuntimeError(
                f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}."
            )
        return self._integers(shape, low, high - low, high - low >= _WIDE_RANGE, dtype)

    def random(self, shape: Shape, dtype: Any = np.float32, low: int | None = None) -> np.ndarray:
        """Whole numbers over all of a dtype's range. Source: torch.Tensor.random_.

        Without ``low``: from 0 to the largest value (floating types: 2**digits), one word modulo
        that range (two for int64 and float64). With ``low``, ``random_(low, None)``: from ``low``
        to the largest value as :meth:`randint` draws; for int64 from -2**63 the raw 64 bits.
        Raises NotImplementedError for uint16, uint32 and uint64 without ``low``, as PyTorch does.
        """
        dtype = _as_dtype(dtype)
        if low is None and dtype.kind == "u" and dtype.itemsize > 1:
            raise NotImplementedError(
                f"random_() is not implemented for {dtype.name}; give the range: random_(0, high)."
            )
        if dtype.kind == "b":
            largest = 1
        elif dtype.kind in "iu":
            largest = int(np.iinfo(dtype).max)
        else:
            largest = 1 << _DIGITS[dtype.name]
        if low is None:
            wide = dtype in (np.int64, np.float64)
            return self._integers(shape, 0, largest + 1, wide, dtype)
        count = largest + 1 - int(low)
        return self._integers(shape, int(low), count, count >= _WIDE_RANGE, dtype)

    def _integers(
        self, shape: Shape, low: int, count: int, wide: bool, dtype: np.dtype
    ) -> np.ndarray:
        """``low + bits % count`` where bits are a word, or two if ``wide``."""
        out = np.empty(shape, dtype)
        flat = out.reshape(-1)
        kernel = "wide integers" if wide else "integers"
        ends = (low & (2**64 - 1), count)  # wraps around below zero
        if dtype in (np.int64, np.uint64) and count < 2**64:
            if self._run(kernel, flat, flat.size, *ends):
                return out
        for start, stop in _chunks(flat.size):
            if count == 2**64:  # everything from -2**63 on: PyTorch gives the bits themselves
                flat[start:stop] = self._wide(stop - start).view(np.int64).astype(dtype)
                continue
            values = np.empty(stop - start, np.uint64)
            if not self._run(kernel, values, values.size, *ends):
                bits = self._wide(stop - start) if wide else self._words(stop - start)
                divisor = np.uint64(count)
                values = bits - bits // divisor * divisor  # NumPy's division by a scalar is quick
                values += np.uint64(ends[0])
            unsigned = low >= 0 and dtype == np.uint64
            signed: np.ndarray = values if unsigned else values.view(np.int64)
            if dtype.name in _DIGITS and dtype.itemsize <= 2:
                signed = signed.astype(np.float32)
            flat[start:stop] = signed.astype(dtype)
        return out

    def randperm(self, n: int, dtype: Any = np.int64) -> np.ndarray:
        """A permutation of 0 .. n - 1. Source: torch.randperm.

        Fisher and Yates' swaps with one word each: for i from 0 to n - 2, slot i changes places
        with slot ``i + word % (n - i)``. From n = 214,748,364 on: an inside-out shuffle, for i
        from 0 to n - 1, with a 64-bit number of two words modulo ``i + 1``.
        """
        dtype = _as_dtype(dtype)
        if n >= _INSIDE_OUT_FROM:
            return _cast(self._inside_out(n), dtype)
        swaps = max(n - 1, 0)
        slots = np.arange(n, dtype=np.int32) if random_native.kernel("shuffle", swaps) else None
        if slots is not None and self._run("shuffle", slots, swaps):
            return _cast(slots, dtype)
        offsets = np.empty(swaps, np.int64)
        for start, stop in _chunks(swaps):
            counts = np.arange(n - start, n - stop, -1, dtype=np.uint64)
            offsets[start:stop] = self._words(stop - start) % counts
        permutation = kernels.swap_forward(offsets) if n else np.empty(0, np.int64)
        return _cast(permutation, dtype)

    def _inside_out(self, n: int) -> np.ndarray:
        slots = np.empty(n, np.int64)
        for start, stop in _chunks(n):
            counts = np.arange(start + 1, stop + 1, dtype=np.uint64)
            kernels.insert_inside_out(self._wide(stop - start) % counts, slots, start)
        return slots

    # -- yes or no -----------------------------------------------------------------------------

    def bernoulli(
        self, shape: Shape, p: float | np.ndarray = 0.5, dtype: Any = np.float32
    ) -> np.ndarray:
        """Ones with probability p, else zeros. Source: torch.bernoulli, torch.Tensor.bernoulli_.

        A number ``p``: one u64 an element, one where it is less than p. An array (broadcasting to
        ``shape``): one u64 an element against float64 probabilities, one u32 against all others.
        """
        if not isinstance(p, np.ndarray):
            return self._mask(shape, p, np.ones(1, _as_dtype(dtype)))
        out = np.empty(shape, _as_dtype(dtype))
        flat = out.reshape(-1)
        double = p.dtype == np.float64
        limits = p.astype(np.float64 if double else np.float32, copy=False)
        limits = np.broadcast_to(limits, out.shape).reshape(-1)
        draw = self._u64 if double else self._u32
        for start, stop in _chunks(flat.size):
            flat[start:stop] = draw(stop - start) < limits[start:stop]
        return out

    def _mask(self, shape: Shape, p: float, one: np.ndarray) -> np.ndarray:
        """``one`` (of shape (1,)) with probability p, else zeros."""
        out = np.empty(shape, one.dtype)
        flat = out.reshape(-1)
        # u < p for u = k / 2**53 is k < p * 2**53; products with powers of two are exact.
        ends = (math.ceil(p * 2.0**53), int.from_bytes(one.tobytes(), "little"))
        size = one.dtype.itemsize
        if size <= 8 and self._run(f"mask{size}", flat, flat.size, *ends):
            return out
        for start, stop in _chunks(flat.size):
            flat[start:stop] = (self._u64(stop - start) < p) * one
        return out

    def dropout_mask(
        self, shape: Shape, p: float, dtype: Any = np.float32, scaled: bool = False
    ) -> np.ndarray:
        """The 0/1 mask of what dropout with probability p keeps: ``bernoulli(shape, 1 - p)``.

        F.dropout multiplies by ``mask / (1 - p)``, which is what comes if ``scaled``; for p = 0,
        p = 1 and in evaluation it draws nothing, and the caller must not call this. ``dropout2d``
        and ``feature_alpha_dropout`` draw for (batch, channels, 1, ...), ``alpha_dropout`` for
        every element.
        """
        one = np.ones(1, _as_dtype(dtype))
        if scaled:
            one = (one / one.dtype.type(1 - p)).astype(one.dtype, copy=False)
        return self._mask(shape, 1 - p, one)

    # -- other distributions -------------------------------------------------------------------

    def exponential(
        self, shape: Shape, lambd: float = 1.0, dtype: Any = np.float32
    ) -> np.ndarray:
        """``-1 / lambd * log1p(-u)`` with one u64 an element. Source: exponential_."""
        factor = -1.0 / lambd
        if _as_dtype(dtype) == np.float64:
            return self._each_u64(
                shape,
                dtype,
                lambda u: factor * kernels.libm(math.log1p, -u),
                "exponential64",
                numbers=(factor,),
            )
        # A float64 wrong in its last bit almost never shows after rounding to float32.
        return self._each_u64(
            shape,
            dtype,
            lambda u: factor * np.log1p(-u),
            "exponential32",
            np.float32,
            (factor,),
        )

    def geometric(self, shape: Shape, p: float, dtype: Any = np.float32) -> np.ndarray:
        """``ceil(log(u) / log1p(-p))`` with one u64 an element. Source: geometric_."""
        scale = math.log1p(-p)
        tiny = 2.0**-1074  # u = 0 (once in 2**53): PyTorch's infinity, kept finite for integers
        return self._each_u64(
            shape,
            dtype,
            lambda u: np.ceil(kernels.libm(math.log, np.maximum(u, tiny)) / scale),
            "geometric",
            numbers=(scale,),
        )

    def cauchy(
        self, shape: Shape, median: float = 0.0, sigma: float = 1.0, dtype: Any = np.float32
    ) -> np.ndarray:
        """``median + sigma * tan(pi * (u - 1/2))`` with one u64 an element. Source: cauchy_."""
        return self._each_u64(
            shape,
            dtype,
            lambda u: kernels.fma64(
                kernels.libm(math.tan, math.pi * (u - 0.5)), float(sigma), float(median)
            ),
            "cauchy",
            numbers=(median, sigma),
        )

    def rrelu_noise(self, x: np.ndarray, lower: float, upper: float) -> np.ndarray:
        """The slopes of a randomized leaky ReLU in training: one where x > 0 (or is NaN).

        For each other element one u64, in order: ``u * (upper - lower) + lower`` in float64, the
        ends rounded to x's dtype (float32 or float64). Source: torch.rrelu_with_noise.
        """
        if x.dtype not in (np.float32, np.float64):
            raise NotImplementedError(
                f"rrelu_with_noise got {x.dtype}; it is implemented for float32 and float64."
            )
        low, high = float(x.dtype.type(lower)), float(x.dtype.type(upper))
        noise = np.ones(x.shape, x.dtype)
        negative = np.nonzero(x.reshape(-1) <= 0)[0]
        noise.reshape(-1)[negative] = self._each_u64(
            negative.size, x.dtype, lambda u: u * (high - low) + low
        )
        return noise

    def poisson(self, rate: np.ndarray) -> np.ndarray:
        """Counts of mean ``rate``, in its shape and dtype. Source: torch.poisson.

        An element of rate 0 draws nothing; below 10, u64s are multiplied until the product falls
        to ``exp(-rate)`` (Knuth); from 10 on, transformed rejection with two u64 a trial
        (W. Hormann, PTRS, 1993). A Python loop: about a microsecond a trial.
        Raises RuntimeError for a negative rate or NaN.
        """
        flat = rate.astype(np.float64).reshape(-1)
        if not (flat >= 0).all():
            raise RuntimeError(
                "poisson: invalid Poisson rate, expected rate to be non-negative; clamp it at 0."
            )
        counts = [kernels.poisson_one(value, self._next_u64) for value in flat.tolist()]
        return _cast(np.array(counts, np.float64), rate.dtype).reshape(rate.shape)

    def gamma(self, concentration: np.ndarray) -> np.ndarray:
        """Gamma numbers of rate 1, of these concentrations, in their shape and dtype.

        Rejection of a transformed normal number (G. Marsaglia, W. W. Tsang, "A Simple Method for
        Generating Gamma Variables", 2000); below 1 the concentration is raised by one and the
        result multiplied by a power of a uniform number. A Python loop.
        Source: torch.distributions.Gamma.
        """
        flat = concentration.astype(np.float64).reshape(-1)

        def normal() -> float:
            return float(self._cached_normals(1)[0])

        numbers = [kernels.gamma_one(value, self._next_u64, normal) for value in flat.tolist()]
        drawn = np.array(numbers, np.float64)
        return _cast(drawn, concentration.dtype).reshape(concentration.shape)

    def multinomial(
        self, probabilities: np.ndarray, num_samples: int, replacement: bool = False
    ) -> np.ndarray:
        """Indices drawn by weight. Source: torch.multinomial.

        probabilities: (categories,) or (rows, categories), floating, not negative.
        Returns (num_samples,) or (rows, num_samples) int64.

        Without replacement, or for one sample: exponentials q in the weights' dtype and shape
        (:meth:`exponential`), then the indices of the largest ``weight / q``, largest first. Equal
        quotients (weights of zero, 16-bit types, a few among 10**5 float32 weights) come lowest
        index first, where PyTorch's order is whatever its selection leaves.
        With replacement: row by row one u64 a sample, looked up in the running sum of the weights
        divided by their total.
        Raises RuntimeError for weights or counts that PyTorch refuses.
        """
        weights = np.ascontiguousarray(probabilities)
        if weights.ndim not in (1, 2):
            raise RuntimeError(
                f"multinomial got {weights.ndim} dimensions: prob_dist must be 1 or 2 dim."
            )
        if num_samples <= 0:
            raise RuntimeError(f"multinomial: cannot sample n_sample <= 0 samples ({num_samples}).")
        rows = weights.reshape(-1, weights.shape[-1])  # (rows, categories)
        categories = rows.shape[1]
        if not replacement and num_samples > categories:
            raise RuntimeError(
                "multinomial: cannot sample n_sample > prob_dist.size(-1) samples without "
                f"replacement ({num_samples} of {categories})."
            )
        inner = np.float64 if weights.dtype == np.float64 else np.float32
        values: np.ndarray = rows.astype(inner, copy=False)
        if not ((values >= 0) & (values < np.inf)).all():
            raise RuntimeError(
                "multinomial: probability tensor contains either `inf`, `nan` or element < 0"
            )
        if rows.shape[0] and not (values > 0).any(axis=1).all():
            raise RuntimeError(
                "multinomial: invalid multinomial distribution (sum of probabilities <= 0)"
            )
        if replacement and num_samples > 1:
            picks = self._pick_with_replacement(values, num_samples)
        else:
            picks = self._pick_largest(values, weights.dtype, num_samples)
        return picks.reshape(weights.shape[:-1] + (num_samples,))

    def _pick_largest(self, values: np.ndarray, dtype: np.dtype, num_samples: int) -> np.ndarray:
        noise = self.exponential(values.shape, 1.0, dtype).astype(values.dtype, copy=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            race = _cast(values / noise, dtype).astype(values.dtype, copy=False)
        if num_samples == 1:
            return np.argmax(race, axis=1)[:, None]  # (rows, 1)
        if race.size and race.shape[1] >= max(_LONG, 8 * num_samples):
            return np.stack([kernels.largest(row, num_samples) for row in race])
        order = np.argsort(-race, axis=1, kind="stable")
        return order[:, :num_samples]

    def _pick_with_replacement(self, values: np.ndarray, num_samples: int) -> np.ndarray:
        picks = np.empty((values.shape[0], num_samples), np.int64)
        for row, pick in zip(values, picks, strict=True):
            running = np.cumsum(row, dtype=row.dtype)
            running /= running[-1]
            running[-1] = 1
            limits = running.astype(np.float64)
            for start, stop in _chunks(num_samples):
                pick[start:stop] = np.searchsorted(limits, self._u64(stop - start))
        return picks


def _representable_range(low: int, high: int, dtype: np.dtype) -> tuple[int, int]:
    """The range moved inwards where the floating dtype rounds its ends outwards."""
    digits = _DIGITS[dtype.name]

    def rounded(value: int) -> int:
        return int(_cast(np.array([value], np.float64), dtype)[0])

    limit = 1 << digits
    if low < -limit and rounded(low + 1) < low:
        low = rounded(low + 1) + (1 << (abs(low + 1).bit_length() - digits))
    if high > limit and rounded(high - 1) >= high:
        high = rounded(high - 1) - (1 << ((high - 1).bit_length() - digits))
    return low, high
