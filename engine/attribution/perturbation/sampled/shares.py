"""What each segment adds to an answer: Shapley values by orders and by least squares, and LIME's weights."""

from __future__ import annotations

import numpy as np

from ..asked import Asked, Maps
from .means import BATCH, Ending, Sums, drawn
from .segments import answering, segments_of, spread


def shapley(
    asked: Asked,
    segments: str,
    cells: int,
    permutations: int,
    fill: str,
    random_seed: int,
    tolerance: float | None,
    seconds: float | None,
) -> Maps:
    """What segments add when they come into view one after the other, on average over random orders."""
    numbers, rng = segments_of(asked, segments, cells), np.random.default_rng(random_seed)
    count = int(numbers.max()) + 1
    answers = answering(asked, numbers, fill, permutations * (count - 1) + 2)
    ends = answers(np.stack([np.zeros(count), np.ones(count)]))

    def draw(times: int, squared: bool) -> Sums:
        total, squares = np.zeros((2, ends.shape[1], count))
        for _ in range(times):
            order = rng.permutation(count)
            place = np.argsort(order)  # when each segment comes into view
            between = answers(place < np.arange(1, count)[:, None])
            steps = np.diff(np.concatenate([ends[:1], between, ends[1:]]).astype(float), axis=0)
            total += steps[place].T
            squares += steps[place].T ** 2
        return Sums(total, squares if squared else 0.0)

    found = drawn(draw, 1, Ending(permutations, tolerance, seconds), lambda done, of: None)
    return Maps(spread((found.total / found.draws).T, numbers), extras=found.said)


def kernel_shap(asked: Asked, segments: str, cells: int, samples: int, fill: str, random_seed: int) -> Maps:
    """Shapley values as the weights of the linear model that is nearest under the kernel of theorem 2."""
    numbers, rng = segments_of(asked, segments, cells), np.random.default_rng(random_seed)
    count = int(numbers.max()) + 1
    sizes = np.arange(1, count)
    kernel = 1 / (sizes * (count - sizes))
    seen = np.zeros((samples + 2, count), np.float32)
    seen[0] = 1
    for row, size in zip(seen[2:], rng.choice(sizes, samples, p=kernel / kernel.sum()), strict=True):
        row[rng.random(count).argsort()[:size]] = 1
    whole, none, *others = answering(asked, numbers, fill, len(seen))(seen)
    # The last value is what the others leave of the rise, so that they sum to it.
    last, rise = seen[2:, -1:], whole - none
    found = np.linalg.lstsq(seen[2:, :-1] - last, others - none - last * rise, rcond=None)[0]
    return Maps(spread(np.concatenate([found, [rise - found.sum(0)]]), numbers))


def lime(
    asked: Asked,
    segments: str,
    cells: int,
    samples: int,
    fill: str,
    kernel_width: float,
    ridge: float,
    random_seed: int,
) -> Maps:
    """The weights of the linear model that is nearest to the answers close to the photo as it is."""
    numbers, rng = segments_of(asked, segments, cells), np.random.default_rng(random_seed)
    count = int(numbers.max()) + 1
    answers = answering(asked, numbers, fill, samples)
    squares, products = np.diag([ridge] * count + [0.0]), 0.0  # the constant is not held small
    for start in range(0, samples, BATCH):
        seen = rng.random((min(BATCH, samples - start), count)) < 0.5
        seen[0] |= start == 0  # the photo itself comes first
        row = np.column_stack([seen, np.ones(len(seen))])
        weighted = row * closeness(seen, kernel_width)[:, None]
        squares, products = squares + weighted.T @ row, products + weighted.T @ answers(seen)
    return Maps(spread(np.linalg.lstsq(squares, products, rcond=None)[0][:-1], numbers))


def closeness(seen: np.ndarray, width: float) -> np.ndarray:
    """The weights (n,) of coalitions (n, K) bool: sqrt(exp(-d² / width²)), d the cosine distance from all."""
    distance = 1 - np.sqrt(seen.mean(1))
    return np.exp(-(distance**2) / width**2 / 2)
