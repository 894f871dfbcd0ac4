"""Images as spectra: decorrelated frequencies and colours, in which ascent finds pictures and not noise.

Olah, Mordvintsev & Schubert, "Feature Visualization", Distill 2017, section Preconditioning and
Parameterization; numbers as in their library Lucid. In place of complex numbers the spectrum has real ones,
for the products of cosines and sines, so that an image is two matrix products:

    pixels = 255 · sigmoid(C · F_h (S ∘ 1/f) F_wᵀ)
"""

from __future__ import annotations

import numpy as np

from ..graph.graph import Tensor, op

# The square root of the covariance of ImageNet's colours, as Lucid has it: columns are independent colours.
COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COLOURS /= np.linalg.norm(COLOURS, axis=0).max()
_SPREAD = 0.01  # of the spectrum that ascent starts from
_GAIN = np.sqrt(2) / 4  # Lucid's quarter, and two for the halves of the spectrum that a real one has once


def waves(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The real Fourier basis: orthonormal columns (size, size) and their frequencies in cycles a pixel."""
    frequencies = (np.arange(size) + 1) // 2 / size
    phases = 2 * np.pi * np.outer(np.arange(size), frequencies)
    basis = np.where(np.arange(size) % 2, np.cos(phases), np.sin(phases))
    basis[:, 0] = 1
    return basis / np.linalg.norm(basis, axis=0), frequencies


def falloff(height: int, width: int) -> np.ndarray:
    """How much of each frequency an image has, (height, width): 1/f, as photos do."""
    fy, fx = waves(height)[1], waves(width)[1]
    f = np.hypot(fy[:, None], fx[None, :])
    return _GAIN / np.maximum(f, 1 / max(height, width))


def noise(rng: np.random.Generator, shape: tuple[int, int, int, int]) -> np.ndarray:
    """A spectrum to start from, (N, 3, H, W) float32."""
    return (_SPREAD * rng.standard_normal(shape)).astype(np.float32)


def from_spectrum(spectrum: Tensor, height: int, width: int) -> Tensor:
    """The pixels (N, 3, height, width) from 0 to 255 of spectra of the same shape, as an expression."""
    graph = spectrum.graph
    down, across = (graph.constant(waves(n)[0].astype(np.float32)) for n in (height, width))
    scaled = spectrum * graph.constant(falloff(height, width).astype(np.float32))
    planes = down @ scaled @ op.Transpose(across, perm=[1, 0])
    mix = graph.constant(COLOURS.astype(np.float32)[:, :, None, None])
    return op.Sigmoid(op.Conv(planes, mix)) * 255


def to_spectrum(pixels: np.ndarray) -> np.ndarray:
    """The spectra (N, 3, H, W) float32 of pixels (N, 3, H, W), 0 to 255: a photo to start from."""
    level = np.clip(pixels.astype(np.float64) / 255, 0.02, 0.98)
    logits = np.log(level / (1 - level))
    planes = np.einsum("ck,nkhw->nchw", np.linalg.inv(COLOURS), logits)
    (down, _), (across, _) = waves(pixels.shape[2]), waves(pixels.shape[3])
    return (down.T @ planes @ across / falloff(*pixels.shape[2:])).astype(np.float32)
