"""Whether a model answers otherwise without what a map calls important: no truth has to be known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .metric import metric

if TYPE_CHECKING:
    import numpy as np

    from .judged import Judged

STEPS = 50  # of the curves of deletion and insertion
AT_ONCE = 16  # masks that are held in memory
SHARES = (0.2, 0.4, 0.6, 0.8)  # of the pixels that ROAD removes: Rong et al. 2022, section 5
NOISE = 0.01  # of the range of an image, beside what ROAD puts in: as in the authors' code
PATCHES = 100  # of infidelity
SEED = 0


def ranks(heat: np.ndarray) -> np.ndarray:
    """The place of each pixel (h, w) from the strongest, 0, to the weakest; equal ones in reading order."""
    import numpy as np

    found = np.empty(heat.size, np.int64)
    found[np.argsort(-heat, axis=None, kind="stable")] = np.arange(heat.size)
    return found.reshape(heat.shape)


def curve(judged: Judged, shown: bool, fill: str) -> np.ndarray:
    """The probability of the class (STEPS + 1,) as the strongest pixels are hidden or shown, ever more."""
    import numpy as np

    place, counts = ranks(judged.heat), np.linspace(0, judged.heat.size, STEPS + 1)
    found = []
    for start in range(0, len(counts), AT_ONCE):
        strongest = place < counts[start : start + AT_ONCE, None, None]
        found.append(judged.through((strongest == shown).astype(np.float32), fill))
    return np.concatenate(found)


def area(values: np.ndarray) -> float:
    """The area under a curve over 0 to 1, by trapezoids."""
    return float((values[1:] + values[:-1]).sum() / 2 / (len(values) - 1))


@metric(
    "deletion",
    "Deletion",
    "Petsiuk, Das & Saenko 2018, section 4.3",
    says="the mean probability of the class while the strongest pixels are hidden, more and more",
    best="low",
    needs="answers",
)
def deletion(judged: Judged) -> float:
    """The area under the curve, hidden under what the model takes as zero."""
    return area(curve(judged, False, "mean"))


@metric(
    "insertion",
    "Insertion",
    "Petsiuk, Das & Saenko 2018, section 4.3",
    says="the mean probability of the class while the strongest pixels are shown, more and more",
    needs="answers",
)
def insertion(judged: Judged) -> float:
    """The area under the curve, beginning with the blurred image."""
    return area(curve(judged, True, "blur"))


@metric(
    "road",
    "ROAD",
    "Rong et al. 2022, sections 4 and 5",
    says="how much less probable the class is without the strongest pixels than without the weakest",
    needs="answers",
)
def road(judged: Judged) -> float:
    """The mean over SHARES of the probability without the least important pixels minus that without the most
    important ones, with what was there imputed from what lies around.
    """
    import numpy as np

    rng, place = np.random.default_rng(SEED), ranks(judged.heat)
    counts = [round(share * judged.heat.size) for share in SHARES]
    holes = [place < n for n in counts] + [place >= judged.heat.size - n for n in counts]
    found = judged.answers(np.stack([imputed(judged.image, hole, judged.last, rng) for hole in holes]))
    return float(found[len(SHARES) :].mean() - found[: len(SHARES)].mean())


def imputed(image: np.ndarray, hole: np.ndarray, last: bool, rng: np.random.Generator) -> np.ndarray:
    """An image in which each pixel of a hole (h, w) bool is the mean of its neighbours, with noise.

    Rong et al. 2022, section 4.2: of the eight around it, those at a side count twice those at a corner. That
    is a system of linear equations, symmetric and positive definite where anything is left of the image, and
    solved by conjugate gradients to 1e-4.
    """
    import numpy as np

    planes = np.moveaxis(image, -1, 0) if last else image
    known = np.where(hole, 0, planes).astype(float)
    whole = _around(np.ones(hole.shape))
    right = np.where(hole, _around(known), 0)
    x = np.where(hole, planes[:, ~hole].mean(1)[:, None, None] if not hole.all() else 0, 0).astype(float)
    apply = lambda v: np.where(hole, whole * v - _around(np.where(hole, v, 0)), 0)
    x = _conjugate_gradients(apply, right, x) if not hole.all() else x
    noise = NOISE * np.ptp(image) * rng.standard_normal(planes.shape)
    filled = np.where(hole, x + noise, planes).astype(image.dtype)
    return np.moveaxis(filled, 0, -1) if last else filled


def _around(planes: np.ndarray) -> np.ndarray:
    """The weighted sum of the up to eight neighbours of each pixel of planes (..., h, w)."""
    import numpy as np

    padded = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(1, 1)] * 2)
    rows = padded[..., :-2, :] + padded[..., 2:, :]
    columns = lambda p: p[..., :-2] + p[..., 2:]
    return rows[..., 1:-1] / 6 + columns(padded[..., 1:-1, :]) / 6 + columns(rows) / 12


def _conjugate_gradients(apply, right: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x with A x = b, A being symmetric and positive definite: Hestenes & Stiefel 1952."""
    residual = right - apply(x)
    direction, size = residual, (residual**2).sum()
    enough = 1e-8 * (right**2).sum()
    for _ in range(1000):
        if size <= enough:
            break
        turned = apply(direction)
        step = size / (direction * turned).sum()
        x, residual = x + step * direction, residual - step * turned
        before, size = size, (residual**2).sum()
        direction = residual + size / before * direction
    return x


@metric(
    "infidelity",
    "Infidelity",
    "Yeh et al. 2019, definition 2.1 and section 2.3",
    says="how badly the sums of a map under patches foretell what hiding them costs: 0 exactly, 1 not at all",
    best="low",
    needs="answers",
)
def infidelity(judged: Judged) -> float | None:
    """min over β of E[(β Iᵀφ - Δ)²] / E[Δ²], with Δ what hiding a random square patch takes of the
    probability; None where none takes anything.
    """
    import numpy as np

    rng, (height, width) = np.random.default_rng(SEED), judged.heat.shape
    parts, drops = [], []
    whole = judged.answers(judged.image[None])[0]
    for _ in range(PATCHES):
        side = rng.integers(max(1, min(height, width) // 8), max(2, min(height, width) // 2))
        y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        parts.append((slice(y, y + side), slice(x, x + side)))
    for start in range(0, PATCHES, AT_ONCE):
        masks = np.ones((len(parts[start : start + AT_ONCE]), height, width), np.float32)
        for mask, part in zip(masks, parts[start:], strict=False):
            mask[part] = 0
        drops += (whole - judged.through(masks, "mean")).tolist()
    drops, sums = np.array(drops), np.array([judged.heat[part].sum(dtype=float) for part in parts])
    drop, size = float((drops**2).sum()), float((sums**2).sum())
    if not drop:
        return None
    return 1 - float((sums * drops).sum()) ** 2 / (size * drop) if size else 1.0
