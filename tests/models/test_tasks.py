"""Networks trained for each kind of answer: what they were shown, and how good they are."""

import importlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from onnxlens.engine.metrics.truth import pointing
from onnxlens.engine.tones import strength
from onnxlens.models.lens import Lens

TASKS = Path(__file__).parents[1] / "bench" / "tasks"
SEEDS = range(2_000_000, 2_000_024)
PAIRS = range(2_000_000, 2_000_080)  # of which some have nothing in common with another
# The kind of scenes that each file is judged by, its figures, and what they are at least.
FIGURES = {
    "unet": ("several", "iou", 0.7),
    "detector": ("several", "raw_boxes", 0.9),
    "detr": ("several", "queries", 0.8),
    "labels": ("several", "each", 0.9),
    "embedder": ("pair", "retrieved", 0.8),
    "crnn": ("line", "characters", 0.9),
    "vit": ("among", "top1", 0.8),
    "swin": ("among", "top1", 0.8),
}


@pytest.fixture(scope="module", autouse=True)
def _scripts():
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(TASKS))
        yield


@pytest.fixture(scope="module")
def scenes():
    return importlib.import_module("scenes")


def test_a_seed_is_a_scene(scenes):
    for draw in (scenes.several, scenes.among, scenes.line):
        one, again, other = draw(3), draw(3), draw(4)
        assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
        assert not np.array_equal(one.image, other.image)


def test_objects_are_small_apart_and_of_three_classes(scenes):
    for seed in SEEDS:
        drawn = scenes.several(seed)
        assert 3 <= len(drawn.labels) <= 5
        assert len(set(drawn.labels)) >= 3
        sizes = (drawn.boxes[:, 2:] - drawn.boxes[:, :2]).prod(1)
        assert sizes.max() <= 0.08 * drawn.owner.size
        for i, box in enumerate(drawn.boxes.astype(int)):
            inside = drawn.owner[box[0] : box[2], box[1] : box[3]]
            assert set(np.unique(inside)) <= {0, i + 1}
            assert (inside == i + 1).sum() == (drawn.owner == i + 1).sum() > 30


def test_the_middle_is_seldom_in_a_box(scenes):
    for draw in (scenes.several, scenes.among, scenes.line):
        hits = []
        for seed in range(2_000_000, 2_000_080):
            drawn = draw(seed)
            y, x = (n / 2 for n in drawn.owner.shape)
            hits += [y0 <= y < y1 and x0 <= x < x1 for y0, x0, y1, x1 in drawn.boxes]
        assert np.mean(hits) < 0.15


def test_a_pair_has_one_class_in_common(scenes):
    for seed in SEEDS:
        one, other = scenes.pair(seed)
        assert set(one.labels) & set(other.labels) == {one.labels[0]}


@pytest.mark.parametrize("name", FIGURES)
def test_what_a_trained_network_answers_is_mostly_right(name):
    kind, figures, least = FIGURES[name]
    judged = importlib.import_module("arrays").drawn(kind, PAIRS if kind == "pair" else SEEDS)
    file = TASKS / "models" / f"{name}.onnx"
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"image": (judged.images.transpose(0, 3, 1, 2) / 255).astype(np.float32)})
    shares = getattr(importlib.import_module("figures"), figures)(outputs, judged)
    first = next(iter(shares.values()))
    assert first >= least, shares


def test_relevance_of_windows_of_tokens_points_at_the_object(scenes):
    """A mean of normalised tokens: handed through the norms as it is, relevance grew 100,000-fold."""
    lens = Lens(TASKS / "models" / "swin.onnx", provider="cpu")
    hits, sizes = [], []
    for seed in SEEDS[:12]:
        drawn = scenes.among(seed)
        (found,) = lens.attribute(drawn.image, "lrp")
        y0, x0, y1, x1 = drawn.boxes[0].astype(int)
        mask = np.zeros(drawn.owner.shape, bool)
        mask[y0:y1, x0:x1] = True
        hits.append(pointing(strength(found.at_photo()), mask))
        sizes.append(np.abs(found.values).sum() / abs(found.score))
    assert np.mean(hits) > 0.7, hits
    assert np.median(sizes) < 20, sizes
