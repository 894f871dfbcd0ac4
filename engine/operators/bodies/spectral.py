"""The short-time Fourier transform: pieces of a signal, each weighted by a window and transformed."""

from __future__ import annotations

from ...graph.graph import Tensor, op
from ..rules.spectral import transformed


def stft(
    signal: Tensor,
    step: Tensor,
    window: Tensor | None = None,
    length: Tensor | None = None,
    onesided: int = 1,
) -> Tensor:
    """signal (B, L, 1 or 2) in frames of `length` numbers, one each `step`: (B, frames, bins, 2)."""
    wide = op.Cast(step, to=7)
    size = op.Cast(length, to=7) if length is not None else op.Squeeze(window.dim(0), [0])  # pyright: ignore
    frames = op.Add(op.Div(op.Sub(op.Squeeze(signal.dim(1), [0]), size), wide), 1)
    starts = op.Mul(op.Range(0, frames, 1), wide)
    where = op.Add(op.Unsqueeze(starts, [1]), op.Unsqueeze(op.Range(0, size, 1), [0]))
    pieces = op.Gather(signal, where, axis=1)  # (B, frames, length, 1 or 2)
    pieces = pieces if window is None else pieces * op.Unsqueeze(window, [0, 1, 3])
    return transformed(pieces, 2, inverse=0, onesided=onesided)


BODIES = {"STFT": stft}
