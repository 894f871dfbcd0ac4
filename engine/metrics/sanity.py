"""Whether a map depends on what it should: on the weights, on the class, and not on noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .metric import metric

if TYPE_CHECKING:
    import numpy as np

    from .judged import Judged

RADIUS = 0.02  # of the range of the image: Yeh et al. 2019, section 4, as Captum takes it by default
COPIES = 10
SEED = 0


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of the ranks of two arrays of one shape, -1 to 1; 0 where one is the same everywhere.

    Equal values share the mean of their ranks. Spearman 1904.
    """
    import numpy as np

    ranks = []
    for values in (a, b):
        _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
        rank = (np.cumsum(counts) - (counts - 1) / 2)[index.ravel()]
        ranks.append(rank - rank.mean())
    size = np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    return float((ranks[0] * ranks[1]).sum() / size) if size else 0.0


@metric(
    "randomisation",
    "Model parameter randomisation",
    "Adebayo et al. 2018, section 3.1, cascading",
    says="how alike the maps of models with random weights are: 1 for a method that looks at the photo alone",
    best="low",
    needs="maps",
)
def randomisation(judged: Judged) -> float | None:
    """The mean of |Spearman's ρ| between the map and those of the twins; None where there is no twin."""
    found = [abs(spearman(judged.heat, heat)) for heat in judged.twins()]
    return sum(found) / len(found) if found else None


@metric(
    "discrimination",
    "Class discrimination",
    "Selvaraju et al. 2017, section 4.1, by correlation instead of by people",
    says="how alike the map of the class that comes next is: 1 for a method that knows no class",
    best="low",
    needs="maps",
)
def discrimination(judged: Judged) -> float | None:
    """Spearman's ρ between the maps of the two classes; None where there is one class."""
    other = judged.other()
    return None if other is None else spearman(judged.heat, other)


@metric(
    "sensitivity",
    "Maximal sensitivity",
    "Yeh et al. 2019, definition 3.1",
    says="by how much a map changes at most, over its size, with noise that no one sees",
    best="low",
    needs="maps",
)
def sensitivity(judged: Judged) -> float | None:
    """max ‖φ(x + δ) - φ(x)‖ / ‖φ(x)‖ over COPIES, with each δ uniform in ±RADIUS of the range."""
    import numpy as np

    rng, size = np.random.default_rng(SEED), float(np.linalg.norm(judged.heat))
    reach = RADIUS * float(np.ptp(judged.image))
    if not size:
        return None
    noisy = (
        judged.image + rng.uniform(-reach, reach, judged.image.shape).astype(np.float32)
        for _ in range(COPIES)
    )
    return max(float(np.linalg.norm(judged.again(x) - judged.heat)) / size for x in noisy)
