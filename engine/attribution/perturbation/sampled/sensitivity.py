"""How much an answer varies with each segment: Sobol indices, and dependence by kernels."""

from __future__ import annotations

import numpy as np

from ..asked import Asked, Maps
from ..hidden import moves
from .segments import Answers, answering, segments_of, spread

PAIRED = 1000  # draws whose distances from each other are looked at
ROWS = 256  # of a kernel matrix that are held


def sobol(asked: Asked, segments: str, cells: int, designs: int, fill: str, random_seed: int) -> Maps:
    """The share of the variance that each segment takes part in."""
    numbers, rng = segments_of(asked, segments, cells), np.random.default_rng(random_seed)
    count = int(numbers.max()) + 1
    answers = answering(asked, numbers, fill, designs * (count + 1))
    return Maps(spread(total_indices(answers, count, designs, rng), numbers))


def total_indices(answers: Answers, count: int, designs: int, rng: np.random.Generator) -> np.ndarray:
    """Total-order Sobol indices (K, T) of functions of K numbers between 0 and 1, evenly distributed.

    S_i = 1 / 2N Σ (f(A) - f(A with column i of B))² / Var f(A), Jansen 1999; 0 where nothing varies
    by more than rounding.
    """
    first, second = np.split(hypercube(rng, designs, 2 * count), 2, axis=1)
    whole, parts = answers(first).astype(float), []
    for i in range(count):
        other = first.copy()
        other[:, i] = second[:, i]
        parts.append(((whole - answers(other)) ** 2).mean(0) / 2)
    varies = np.array([moves(answers) for answers in whole.T])
    return np.divide(parts, whole.var(0), out=np.zeros((count, len(varies))), where=varies)


def hypercube(rng: np.random.Generator, designs: int, count: int) -> np.ndarray:
    """Points (N, K) of the unit cube, of which each coordinate falls once into each of N equal parts: a Latin
    hypercube, McKay, Beckman & Conover 1979.
    """
    parts = np.stack([rng.permutation(designs) for _ in range(count)], axis=1)
    return (parts + rng.random(parts.shape)) / designs


def hsic(asked: Asked, segments: str, cells: int, samples: int, fill: str, random_seed: int) -> Maps:
    """How much the answer depends on whether each segment is seen."""
    numbers, rng = segments_of(asked, segments, cells), np.random.default_rng(random_seed)
    seen = rng.random((samples, int(numbers.max()) + 1)) < 0.5
    answers = answering(asked, numbers, fill, samples)(seen)
    return Maps(spread(np.stack([dependence(seen, y) for y in answers.T.astype(float)], axis=1), numbers))


def dependence(seen: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The Hilbert-Schmidt independence criterion of each column of coalitions (N, K) bool and answers (N,):
    (K,), 0 for independence. tr(K H L H) / (N - 1)², Gretton et al. 2005.

    The kernel K of a column is 1 where two are the same, else 0; centred it is c cᵀ / 2 with c = ±1 less its
    mean, so that neither matrix is held. L is exp(-d² / 2σ²), with σ the median distance of two answers.
    """
    count, signs = len(seen), np.where(seen, 1.0, -1.0)
    signs -= signs.mean(0)
    distances = np.abs(answers[:PAIRED, None] - answers[:PAIRED])[np.triu_indices(min(count, PAIRED), 1)]
    width = np.median(distances) or distances.mean()
    if not (moves(answers) and width):
        return np.zeros(seen.shape[1])
    total = np.zeros(seen.shape[1])
    for start in range(0, count, ROWS):
        rows = slice(start, start + ROWS)
        near = np.exp(-((answers[rows, None] - answers) ** 2) / (2 * width**2))
        total += (signs[rows] * (near @ signs)).sum(0)
    return np.maximum(total, 0) / 2 / (count - 1) ** 2
