from itertools import pairwise

import cv2
import numpy as np
import pytest

from onnxlens.models.embedded.scenes import CLASSES, TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, scene


@pytest.fixture(scope="module")
def scenes():
    return [scene(seed) for seed in TEST_SEEDS[:480]]


def test_a_seed_is_a_scene():
    first, again, other = scene(7), scene(7), scene(7 + len(CLASSES))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.mask.tobytes() == again.mask.tobytes()
    assert first.label == again.label == other.label
    assert (first.image != other.image).any()


def test_shapes_and_types(scenes):
    for image, mask, label in scenes:
        assert (image.shape, image.dtype) == ((96, 96, 3), np.uint8)
        assert (mask.shape, mask.dtype) == ((96, 96), bool)
        assert type(label) is int


def test_there_are_ten_classes_or_more_and_they_are_balanced(scenes):
    assert len(set(CLASSES)) == len(CLASSES) >= 10
    assert (
        np.bincount([s.label for s in scenes], minlength=len(CLASSES)) == len(scenes) / len(CLASSES)
    ).all()


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_a_label_can_be_chosen(label):
    assert scene(100, label=label).label == label


def test_the_splits_share_no_seed():
    splits = sorted((TRAIN_SEEDS, VALIDATION_SEEDS, TEST_SEEDS), key=lambda split: split.start)
    assert all(a.stop <= b.start for a, b in pairwise(splits))


def test_the_object_is_whole_and_of_a_fair_size(scenes):
    for seed, (_, mask, _) in enumerate(scenes):
        assert 0.02 < mask.mean() < 0.35, seed
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        assert 0.3 * 96 < max(np.ptp(rows), np.ptp(columns)) + 1 < 0.6 * 96, seed
        # An occluder or a thin line may cut a little off, never the object in two halves.
        _, _, areas, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        assert areas[1:, cv2.CC_STAT_AREA].max() > 0.5 * mask.sum(), seed


def test_the_object_lies_inside_the_picture(scenes):
    for _, mask, _ in scenes:
        inside = mask[1:-1, 1:-1]
        assert inside.sum() == mask.sum()


def test_the_object_lies_everywhere(scenes):
    heat = np.mean([s.mask for s in scenes], axis=0)
    assert heat[8:-8, 8:-8].min() > 0
    assert heat.max() < 0.4


def test_the_mask_is_what_the_label_changes():
    """Two labels on one seed share the ground, so that far from both objects only the clutter differs."""
    one, two = scene(31, label=0), scene(31, label=1)
    assert np.abs(one.image.astype(int) - two.image).mean(axis=2)[~(one.mask | two.mask)].mean() < 40


def test_size_changes_the_resolution_alone():
    small, large = scene(5), scene(5, size=192)
    halved = cv2.resize(large.image, (96, 96), interpolation=cv2.INTER_AREA)
    assert large.mask.shape == (192, 192)
    assert np.abs(halved.astype(int) - small.image).mean() < 10
    assert (large.mask[::2, ::2] == small.mask).mean() > 0.98


def test_colour_does_not_give_the_class_away(scenes):
    """Nearest class mean on colour statistics of the object, the picture and the ground stays near chance."""
    features = np.array(
        [
            np.concatenate([s.image[region].mean(axis=0) for region in (s.mask, ~s.mask, s.mask | True)])
            for s in scenes
        ]
    )
    labels = np.array([s.label for s in scenes])
    half = len(scenes) // 2
    means = np.array([features[:half][labels[:half] == k].mean(axis=0) for k in range(len(CLASSES))])
    guess = np.linalg.norm(features[half:, None] - means, axis=2).argmin(axis=1)
    assert (guess == labels[half:]).mean() < 2.5 / len(CLASSES)


@pytest.mark.parametrize("label", [-1, len(CLASSES)])
def test_a_label_out_of_range_is_refused(label):
    with pytest.raises(ValueError, match="label"):
        scene(0, label=label)


@pytest.mark.parametrize("size", [0, 31, 100_000])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(ValueError, match="size"):
        scene(0, size=size)
