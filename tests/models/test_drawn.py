"""Pictures of what was found: boxes where they are, names that fit, whatever the photo and the names."""

import numpy as np
import pytest

from onnxlens.engine.anatomy.readouts.thing import Seed, Thing
from onnxlens.models.maps.drawn import LEAST, MAX_LEGEND, colour_of, drawn, named
from onnxlens.models.maps.found import Found

GREY = 128


def found(kind="box", label="dog", size=(100, 200), index=0, **thing):
    """A thing in the pixels of a photo of `size`, which the input covers exactly."""
    return Found(index, label, Thing(kind, 0, 0.9, Seed(), "", **thing), 1.0, size, (0, 0, *size))


def photo(size=(100, 200)):
    return np.full((*size, 3), GREY, np.uint8)


def changed(picture, times=1):
    """The rows and columns of the photo where it was drawn on."""
    ys, xs = np.nonzero((picture != GREY).any(-1))
    return ys.min() // times, ys.max() // times, xs.min() // times, xs.max() // times


def test_a_box_is_drawn_at_its_edges():
    size = (600, 800)
    made = drawn(photo(size), [found(size=size, box=(100, 200, 300, 500))])
    assert made.shape == (600, 800, 3)
    y0, y1, x0, x1 = changed(made)
    assert 60 < y0 < 100  # the name stands above it
    np.testing.assert_allclose([y1, x0, x1], [300, 200, 500], atol=4)
    inside = made[150:250, 250:450]
    assert (inside == GREY).all()


def test_a_turned_box_has_its_corners():
    size = (600, 600)
    made = drawn(photo(size), [found(size=size, box=(250, 200, 350, 400), angle=np.pi / 2)])
    _, y1, x0, _ = changed(made[230:])
    np.testing.assert_allclose([y1 + 230, x0], [400, 250], atol=4)


@pytest.mark.parametrize("size", [(8, 8), (60, 90), (1, 300), (480, 10), (2000, 3000)])
def test_a_photo_of_any_size_can_be_drawn_on(size):
    h, w = size
    points = np.array([[h / 2, w / 2, 1.0]])
    things = [
        found(size=size, box=(0.2 * h, 0.2 * w, 0.8 * h, 0.8 * w), points=points, label="x" * 300),
        found("region", size=size, mask=np.ones((4, 4), np.float32)),
        found(size=size, box=(-1e9, -1e9, 1e9, 1e9)),
        found(size=size, box=(np.nan, 0.0, 5.0, 5.0)),
    ]
    made = drawn(photo(size), things)
    assert made.dtype == np.uint8
    times = -(-LEAST // max(size)) if max(size) < LEAST else 1
    assert made.shape[0] > h * times  # the legend stands below
    assert made.shape[1] >= w * times


def test_nothing_found_leaves_the_photo_as_it_is():
    given = photo((500, 600))
    np.testing.assert_array_equal(drawn(given, []), given)


def test_the_photo_itself_is_not_drawn_on():
    given = photo((500, 600))
    drawn(given, [found(size=(500, 600), box=(1, 1, 90, 90), mask=np.ones((5, 6), np.float32))])
    assert (given == GREY).all()


def test_a_region_lies_over_the_photo_in_the_colour_of_its_legend():
    size, mask = (500, 500), np.zeros((10, 10), np.float32)
    mask[:5] = 1
    thing = found("region", size=size, mask=mask)
    made = drawn(photo(size), [thing])
    colour = np.array(colour_of(thing), float)
    np.testing.assert_allclose(made[100, 250], (GREY + colour) / 2, atol=1)
    assert (made[400, 250] == GREY).all()
    assert (made[500:] == colour).all(-1).sum() > 50


def test_of_masks_the_smaller_lies_on_top():
    size, small = (500, 500), np.zeros((10, 10), np.float32)
    small[4:6, 4:6] = 1
    large = Found(
        0, "sky", Thing("region", 1, 0.9, Seed(), mask=np.ones((10, 10), np.float32)), 1, size, (0, 0, *size)
    )
    little = found("region", size=size, mask=small)
    for order in ([large, little], [little, large]):
        made = drawn(photo(size), order)
        expected = (GREY + np.array(colour_of(large), float)) / 2
        expected = (expected + np.array(colour_of(little), float)) / 2
        np.testing.assert_allclose(made[250, 250], expected, atol=1)


def test_a_legend_ends():
    things = [
        found("region", f"class {i}", (500, 500), i, mask=np.ones((2, 2), np.float32)) for i in range(200)
    ]
    few = drawn(photo((500, 500)), things[:MAX_LEGEND])
    assert drawn(photo((500, 500)), things).shape == few.shape


@pytest.mark.parametrize(
    ("label", "shown"),
    [("box 3: dog", "3: dog"), ("Straße\x1b[2J", "Stra?e?[2J"), ("x" * 10**6, "x" * 45 + "...")],
)
def test_names_are_letters_that_can_be_drawn(label, shown):
    assert named(found(label=label)) == shown


def test_colours_are_of_classes_and_differ():
    def of(label, index=0):
        return colour_of(Found(index, "", Thing("box", label, 1.0, Seed()), 1, (1, 1), (0, 0, 1, 1)))

    assert of(5) == of(5, index=9)
    colours = np.array([of(i) for i in range(8)], int)
    apart = np.abs(colours[:, None] - colours).sum(-1) + 1000 * np.eye(8, dtype=int)
    assert apart.min() > 60
