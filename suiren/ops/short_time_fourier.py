"""Short-time Fourier transforms: spectra of overlapping frames, and back by overlap-add.

Written with the transforms of ``fourier.py``, so their derivatives come by composition. Source:
PyTorch's torch.stft and torch.istft pages; Griffin & Lim 1984 for the inverse.
"""

from __future__ import annotations

import numpy as np

from suiren.autocasting import in_float32
from suiren.operator import NAMESPACES, composite
from suiren.ops.creation import fill, from_array
from suiren.ops.fourier import fft, ifft, irfft, resized, rfft
from suiren.tensor import Tensor


def _window(name: str, window: Tensor | None, n_fft: int, length: int, like: Tensor) -> Tensor:
    """The window, zeros on both sides, of size n_fft."""
    if not 0 < length <= n_fft:
        raise RuntimeError(f"{name}: expected 0 < win_length <= n_fft, but got {length}")
    if window is None:
        kind = np.zeros(0, like._meta.dtype.numpy).real.dtype
        window = from_array(np.ones(length, kind), where=like._meta.device)
    elif window._meta.ndim != 1 or window._meta.shape[0] != length:
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={length}, but got "
            f"window with size {list(window._meta.shape)}"
        )
    left = (n_fft - length) // 2
    return NAMESPACES["nn.functional"]["pad"](window, (left, n_fft - length - left))


@composite(out=False)
@in_float32
def stft(input, n_fft, hop_length=None, win_length=None, window=None, center=True,
         pad_mode="reflect", normalized=False, onesided=None, return_complex=None,
         align_to_window=None):  # fmt: skip
    """Transforms of frames of n_fft samples, hop_length (n_fft // 4) apart, times a window.

    (..., time) gives (..., frequencies, frames), complex; with ``return_complex=False`` real and
    imaginary parts as a last dimension. ``center`` pads both ends by n_fft // 2. Raises
    RuntimeError for frames that do not fit. Source: torch.stft.
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    m = input._meta
    if return_complex is None:
        if not (m.dtype.is_complex or (window is not None and window._meta.dtype.is_complex)):
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will "
                "further require that return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if m.ndim not in (1, 2):
        raise RuntimeError(f"stft: expected a 1D or 2D tensor, got {m.ndim}D")
    if align_to_window is not None and center:
        raise RuntimeError("stft: align_to_window should only be set when center = false")
    if hop <= 0:
        raise RuntimeError(f"stft: expected hop_length > 0, but got hop_length={hop}")
    weights = _window("stft", window, n_fft, length, input)
    x = input if m.ndim == 2 else input.unsqueeze(0)
    if center:
        pad = NAMESPACES["nn.functional"]["pad"]
        x = pad(x.unsqueeze(1), (n_fft // 2, n_fft // 2), mode=pad_mode).squeeze(1)
    if not 0 < n_fft <= x._meta.shape[-1]:
        raise RuntimeError(
            f"stft: expected 0 < n_fft <= {x._meta.shape[-1]} samples, but got n_fft={n_fft}"
        )
    frames = x.unfold(-1, n_fft, hop) * weights
    whole = frames._meta.dtype.is_complex
    onesided = not whole if onesided is None else onesided
    if onesided and whole:
        raise RuntimeError(
            "Cannot have onesided output if window or input is complex: pass onesided=False"
        )
    norm = "ortho" if normalized else None
    found = (rfft if onesided else fft)(frames, norm=norm).transpose(1, 2)
    found = found if m.ndim == 2 else found.squeeze(0)
    return found if return_complex else NAMESPACES["torch"]["view_as_real"](found)


@composite(out=False)
def istft(input, n_fft, hop_length=None, win_length=None, window=None, center=True,
          normalized=False, onesided=None, length=None, return_complex=False):  # fmt: skip
    """The signal whose :func:`stft` this is (in least squares).

    (..., frequencies, frames), complex, gives (..., time). Raises RuntimeError where the windows
    leave samples uncovered. Source: torch.istft.
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    size = n_fft if win_length is None else win_length
    m = input._meta
    if not m.dtype.is_complex:
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with "
            "return_complex=True."
        )
    if m.ndim not in (2, 3) or not m.numel:
        raise RuntimeError(
            f"istft: expected a tensor with 2 or 3 dimensions and elements, got {list(m.shape)}"
        )
    if not 0 < hop <= size:
        raise RuntimeError(f"istft: expected 0 < hop_length <= win_length, but got {hop}")
    half = n_fft // 2 + 1
    onesided = m.shape[-2] != n_fft if onesided is None else onesided
    if m.shape[-2] != (half if onesided else n_fft):
        raise RuntimeError(
            f"istft: expected the frequency dimension (3rd to the last) of the input tensor to be "
            f"{half if onesided else n_fft} when onesided={onesided}, but got {m.shape[-2]}"
        )
    weights = _window("istft", window, n_fft, size, input)
    x = (input if m.ndim == 3 else input.unsqueeze(0)).transpose(1, 2)
    norm = "ortho" if normalized else None
    if return_complex:
        frames = ifft(x, norm=norm)
    else:
        frames = irfft(x[..., :half], n_fft, norm=norm)
    frames = frames * weights
    count = m.shape[-1]
    total = n_fft + hop * (count - 1)
    at = (np.arange(count)[:, None] * hop + np.arange(n_fft)).reshape(-1)
    place = frames._meta.device
    places = from_array(at, where=place)
    batch = frames._meta.shape[0]
    signal = fill((batch, total), 0, frames._meta.dtype, False, place)
    signal = signal.index_add(1, places, frames.reshape(batch, count * n_fft))
    power = (weights * weights).expand(count, n_fft).reshape(-1)
    envelope = fill((total,), 0, power._meta.dtype, False, place).index_add(0, places, power)
    start = n_fft // 2 if center else 0
    if length is not None:
        stop = start + length
    else:
        stop = total - n_fft // 2 if center else total
    signal, envelope = signal[:, start:stop], envelope[start:stop]
    if (np.abs(envelope.peek()) < 1e-11).any():
        raise RuntimeError(
            "istft: window overlap add min: 1, some samples are covered by no window; use a "
            "smaller hop_length or another window"
        )
    signal = signal / envelope
    if length is not None:
        signal = resized(signal, (1,), (length,))
    return signal if m.ndim == 3 else signal.squeeze(0)
