import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlens.kernels.topk import NOBODY, merge


def empty(rows, k):
    return np.full((rows, k), -np.inf, np.float32), np.full((rows, k), NOBODY), np.zeros((rows, k), np.int64)


def twin(candidates, k):
    """The best k of (score, owner, place): sorted by score, then owner, each once."""
    sound = {(s, o): p for s, o, p in candidates if not np.isnan(s)}
    return [(s, o, sound[s, o]) for s, o in sorted(sound, key=lambda c: (-c[0], c[1]))][:k]


scores = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 0.5, 1.0, 2.0, np.inf, np.nan])


@given(st.lists(st.lists(scores, min_size=3, max_size=3), max_size=30), st.integers(1, 9), st.data())
def test_agrees_with_the_slow_twin(rows, k, data):
    new = np.array(rows, np.float32).reshape(-1, 3)
    owners = np.repeat(np.arange(len(new))[:, None], 3, 1)
    order = np.array(data.draw(st.permutations(range(len(new)))), int)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(new)), max_size=4)))
    best = empty(3, k)
    for part in np.split(order, cuts):
        merge(*best, new[part], owners[part], owners[part] * 7)
    for row in range(3):
        expected = twin([(float(s), o, o * 7) for o, s in enumerate(new[:, row])], k)
        found = [v for v in zip(*(a[row].tolist() for a in best), strict=True) if v[1] != NOBODY]
        assert found == expected


def test_what_is_there_is_not_taken_twice():
    best = empty(1, 3)
    one = np.ones((1, 1), np.float32), np.full((1, 1), 5), np.zeros((1, 1), np.int64)
    merge(*best, *one)
    merge(*best, *one)
    assert best[1].tolist() == [[5, NOBODY, NOBODY]]


@pytest.mark.parametrize("shapes", [((2, 0), (1, 2)), ((2, 3), (1, 3)), ((2, 3), (2,))])
def test_shapes_that_do_not_fit(shapes):
    kept, new = shapes
    with pytest.raises(ValueError, match="shapes"):
        merge(
            *(np.zeros(kept, t) for t in (np.float32, np.int64, np.int64)),
            *(np.zeros(new, t) for t in (np.float32, np.int64, np.int64)),
        )
