"""The table of the strongest: any order, any batches, any shards give the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlens.engine.features.strongest import NOBODY, Strongest, merged

ROWS = 4


def entries(table):
    """What a table says, whatever lies behind it."""
    return [
        [
            (float(s), table.paths[o], int(p), table.boxes[o])
            for s, o, p in zip(table.scores[r], table.owners[r], table.places[r], strict=True)
            if o != NOBODY
        ]
        for r in range(len(table.scores))
    ]


def brute(paths, scores, places, k):
    best = [sorted(range(len(paths)), key=lambda n: (-scores[n, r], paths[n]))[:k] for r in range(ROWS)]
    return [
        [(float(scores[n, r]), paths[n], int(places[n, r]), box(n)) for n in best[r]] for r in range(ROWS)
    ]


def box(n):
    return 0.0, 0.0, float(n), 1.0


def table_of(which, paths, scores, places, k, sizes=(3, 1, 5)):
    table, which, i = Strongest.empty(ROWS, k), list(which), 0
    while which:
        part, which = which[: sizes[i % len(sizes)]], which[sizes[i % len(sizes)] :]
        table.add([paths[n] for n in part], [box(n) for n in part], scores[part], places[part])
        i += 1
    return table


@st.composite
def images(draw, most=40):
    names = st.text(st.sampled_from("abé/ 1\n<"), min_size=1, max_size=4)
    paths = draw(st.lists(names, unique=True, max_size=most))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    # Few values, so that most of them tie.
    return (
        paths,
        rng.integers(0, 4, (len(paths), ROWS)).astype(np.float32),
        rng.integers(0, 9, (len(paths), ROWS)),
    )


@settings(deadline=None)
@given(images(), st.integers(1, 9), st.data())
def test_order_batches_and_shards_do_not_matter(seen, k, data):
    paths = seen[0]
    order = data.draw(st.permutations(range(len(paths))))
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    expected = brute(*seen, k)
    assert entries(table_of(order, *seen, k, sizes)) == expected
    a, b = sorted(data.draw(st.lists(st.integers(0, len(paths)), min_size=2, max_size=2)))
    x, y, z = (table_of(part, *seen, k) for part in (order[:a], order[a:b], order[b:]))
    for whole in (merged(merged(x, y), z), merged(x, merged(y, z)), merged(z, merged(y, x))):
        assert entries(whole) == expected
        assert whole.count == len(paths)
        np.testing.assert_allclose(whole.total, seen[1].sum(0))


@settings(deadline=None)
@given(images(), st.integers(1, 9))
def test_shards_that_overlap_name_no_image_twice(seen, k):
    half = table_of(range(len(seen[0]) // 2), *seen, k)
    whole = table_of(range(len(seen[0])), *seen, k)
    assert entries(merged(whole, half)) == entries(whole)


def test_a_long_run_remembers_the_paths_that_it_names_and_few_more():
    rng = np.random.default_rng(0)
    table = Strongest.empty(ROWS, 3)
    for i in range(400):
        scores = np.zeros((20, ROWS), np.float32)
        scores[:, 0] = i + rng.random(20)
        table.add(
            [f"{rng.random()}" for _ in range(20)], [box(0)] * 20, scores, np.zeros((20, ROWS), np.int64)
        )
        assert len(table.paths) == len(table.boxes) <= 2 * table.scores.size + 1020
    assert table.count == 8000


def test_contrast_is_zero_for_a_channel_that_says_nothing():
    table = Strongest.empty(3, 2)
    scores = np.array([[1, 0, 5], [1, 0, 5], [1, 4, 5], [1, 4, 6]], np.float32)
    table.add(list("abcd"), [box(0)] * 4, scores, np.zeros((4, 3), np.int64))
    contrast = table.contrast()
    assert contrast[0] == 0
    assert contrast[1] == pytest.approx(1)
    assert (Strongest.empty(3, 2).contrast() == 0).all()
