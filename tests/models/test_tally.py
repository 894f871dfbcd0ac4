"""What rows come to, against slow counts of the same."""

import math
import random

import pytest
from oracles.runs import row

from onnxlens.models.report.report import tally


def rows_of(seed, count=60):
    """Rows of all kinds, some of one image, with gaps and ties."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        if rng.random() < 0.1:
            found.append(row(f"{i}.png", error="damaged"))
            continue
        p = rng.choice([None, round(rng.random(), 1), rng.random()])
        about = {"label": rng.choice("abc"), "truth": rng.choice(["a", "b", "c", None]), "probability": p}
        for method in ("gradcam", "occlusion")[: rng.choice([1, 2])]:
            entropy = rng.choice([None, round(5 * rng.random(), 1)])
            numbers = {"target_probability": p, "map_entropy": entropy, "score": rng.gauss(0, 9)}
            problem = rng.choice([None, None, None, "no evidence"])
            found.append(row(f"{i}.png", method=method, problem=problem, **about, **numbers))
    return found


def images_of(rows):
    return [[r for r in rows if r["path"] == path] for path in dict.fromkeys(r["path"] for r in rows)]


@pytest.mark.parametrize("seed", range(5))
def test_totals_count_images_maps_and_answers(seed):
    rows = rows_of(seed)
    images = images_of(rows)
    found = tally.totals(images)
    assert found["images"] == len({r["path"] for r in rows})
    assert found["errors"] == sum(1 for r in rows if r["error"])
    assert found["maps"] + found["problems"] + found["errors"] == len(rows)
    known = [image[0] for image in images if image[0]["truth"]]
    assert found["known"] == len(known)
    assert found["right"] == sum(1 for r in known if r["truth"] == r["label"])


@pytest.mark.parametrize("seed", range(5))
def test_classes_and_confusions_hold_each_image_once(seed):
    firsts = [image[0] for image in images_of(rows_of(seed))]
    classes = tally.classes(firsts)
    for label, count, mean in classes:
        mine = [r for r in firsts if r["label"] == label]
        sure = [r["probability"] for r in mine if r["probability"] is not None]
        assert count == len(mine)
        assert mean == pytest.approx(sum(sure) / len(sure))
    assert [n for _, n, _ in classes] == sorted((n for _, n, _ in classes), reverse=True)
    pairs = tally.confusion(firsts)
    assert len({(truth, label) for truth, label, _ in pairs}) == len(pairs)
    for truth, label, count in pairs:
        assert count == sum(1 for r in firsts if (r["truth"], r["label"]) == (truth, label))
    assert sum(n for *_, n in pairs) == sum(1 for r in firsts if r["truth"])


def test_histograms_hold_every_number_once():
    rows = rows_of(3)
    histograms = tally.histograms(rows)
    assert histograms
    for found in histograms:
        values = [r[found["key"]] for r in rows if r[found["key"]] is not None]
        edges = found["edges"]
        assert len(edges) == tally.BINS + 1
        for i, count in enumerate(found["counts"]):
            is_last = i == tally.BINS - 1
            inside = [v for v in values if edges[i] <= v < edges[i + 1] or (is_last and v == edges[-1])]
            assert count == len(inside)
        assert sum(found["counts"]) == len(values)


def test_a_histogram_of_one_number_or_of_none():
    (found,) = [h for h in tally.histograms([row("a.png")]) if h["key"] == "score"]
    assert sum(found["counts"]) == 1
    assert tally.histograms([row("a.png", error="damaged")]) == []


@pytest.mark.parametrize("seed", range(5))
def test_shakiness_is_the_share_of_maps_that_are_steadier(seed):
    rows = rows_of(seed)
    for line, shaky in zip(rows, tally.shakiness(rows), strict=True):
        assert shaky == pytest.approx(slow_shakiness(line, rows))


def slow_shakiness(line, rows):
    if line["error"] or line["problem"]:
        return 0
    others = [r for r in rows if not r["error"] and not r["problem"] and r["method"] == line["method"]]
    p, entropy = line["target_probability"], line["map_entropy"]
    surer = sum(1 for r in others if p is not None and (r["target_probability"] or -math.inf) > p)
    tighter = sum(1 for r in others if None not in (entropy, r["map_entropy"]) and r["map_entropy"] < entropy)
    return (surer + tighter) / (2 * len(others))


def test_a_surprise_is_a_wrong_answer_that_the_model_was_sure_of():
    assert tally.surprise(row("a.png", truth="dog")) == 0.75
    assert tally.surprise(row("a.png", truth="cat")) is None
    assert tally.surprise(row("a.png")) is None
    assert tally.surprise(row("a.png", error="damaged")) is None
