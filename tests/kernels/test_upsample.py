import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxlens.kernels.photos.upsample import upsample

SHAPES = [((13, 13), (224, 180)), ((1, 1), (5, 7)), ((7, 3), (7, 3)), ((1, 9), (4, 30)), ((20, 31), (9, 12))]


def twin(maps, height, width, box=None, outside=0.0, cells=None):
    """Half-pixel bilinear interpolation, one pixel at a time, in float64."""
    n, h, w = maps.shape
    y0, x0, y1, x1 = box or (0, 0, height, width)
    top, left, bottom, right = cells or (y0, x0, y1, x1)
    out = np.full((n, height, width), outside, np.float64)
    for y in range(height):
        for x in range(width):
            if not (y0 <= y + 0.5 < y1 and x0 <= x + 0.5 < x1):
                continue
            v = min(max((y + 0.5 - top) / (bottom - top) * h - 0.5, 0), h - 1)
            u = min(max((x + 0.5 - left) / (right - left) * w - 0.5, 0), w - 1)
            i, j = int(v), int(u)
            below, beside = min(i + 1, h - 1), min(j + 1, w - 1)
            a, b = v - i, u - j
            out[:, y, x] = (1 - a) * ((1 - b) * maps[:, i, j] + b * maps[:, i, beside])
            out[:, y, x] += a * ((1 - b) * maps[:, below, j] + b * maps[:, below, beside])
    return out


def random_maps(n, h, w, seed=0):
    return np.random.default_rng(seed).standard_normal((n, h, w)).astype(np.float32)


@pytest.mark.parametrize(("source", "target"), SHAPES)
def test_agrees_with_the_slow_twin(source, target):
    maps = random_maps(3, *source)
    np.testing.assert_allclose(upsample(maps, *target), twin(maps, *target), atol=2e-6)


@pytest.mark.parametrize(("source", "target"), SHAPES)
def test_agrees_with_opencv(source, target):
    maps = random_maps(2, *source)
    for got, one in zip(upsample(maps, *target), maps, strict=True):
        wanted = cv2.resize(one, target[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(got, wanted, atol=2e-6)


@pytest.mark.parametrize(("source", "target"), SHAPES)
def test_agrees_with_onnx_resize(source, target):
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel"
    )
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, *source])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, *target])],
        [helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 2, *target])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    maps = random_maps(2, *source)
    (wanted,) = session.run(None, {"x": maps[None]})
    np.testing.assert_allclose(upsample(maps, *target), np.asarray(wanted)[0], atol=5e-6)


BOXES = [
    (2, 3, 17, 20),
    (-8.0, -3.5, 30.25, 26.0),
    (3.3, -40, 9.9, 12.5),
    (50, 50, 60, 60),
    (4.5, 4.5, 5.5, 5.5),
]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("outside", [0.0, -2.5, np.nan])
def test_box_agrees_with_the_slow_twin(box, outside):
    maps = random_maps(2, 5, 6)
    got = upsample(maps, 20, 24, box, outside)
    np.testing.assert_allclose(got, twin(maps, 20, 24, box, outside), atol=5e-6)


CELLS = [
    (-7.5, -3.0, 12.5, 21.0),  # padding as PyTorch has it: up and left
    (3.3, 2.25, 18.9, 40.0),
    (-100.0, 5.0, 100.0, 6.0),
    (30.0, 30.0, 31.0, 90.0),
]


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("box", [None, *BOXES])
def test_cells_that_lie_elsewhere_agree_with_the_slow_twin(cells, box):
    maps = random_maps(2, 5, 6)
    got = upsample(maps, 20, 24, box, np.nan, cells)
    np.testing.assert_allclose(got, twin(maps, 20, 24, box, np.nan, cells), atol=5e-6)


@pytest.mark.parametrize("box", [(0, 0, 20, 24), *BOXES])
def test_cells_over_the_box_change_no_bit(box):
    maps = random_maps(2, 5, 6)
    np.testing.assert_array_equal(
        upsample(maps, 20, 24, box, np.nan, box), upsample(maps, 20, 24, box, np.nan)
    )


def test_each_value_stands_where_its_cell_has_its_middle():
    """Cells of 32 pixels whose first middle is at 0.5, as of five strided, padded convolutions on 224."""
    maps = random_maps(1, 7, 7)
    out = upsample(maps, 224, 224, cells=(-15.5, -15.5, 208.5, 208.5))
    np.testing.assert_allclose(out[0, ::32, ::32], maps[0], atol=1e-6)
    np.testing.assert_array_equal(out[0, 192:, 192:], maps[0, -1, -1])


@settings(max_examples=60, deadline=None)
@given(*[st.floats(-60, 60)] * 2, *[st.floats(0.3, 40)] * 2, st.integers(2, 9), st.integers(2, 9))
def test_a_ramp_over_the_middles_of_the_cells_is_the_same_ramp_between_them(y0, x0, down, across, h, w):
    ys, xs = y0 + (np.arange(h) + 0.5) * down, x0 + (np.arange(w) + 0.5) * across
    maps = (2 * ys[:, None] - 3 * xs).astype(np.float32)[None]
    out = upsample(maps, 50, 70, cells=(y0, x0, y0 + h * down, x0 + w * across))[0]
    rows, columns = np.clip(np.arange(50) + 0.5, ys[0], ys[-1]), np.clip(np.arange(70) + 0.5, xs[0], xs[-1])
    np.testing.assert_allclose(out, 2 * rows[:, None] - 3 * columns, rtol=1e-4, atol=2e-3)


def test_one_box_with_other_cells_is_not_taken_for_the_same():
    maps = random_maps(1, 4, 4)
    first, again = (upsample(maps, 9, 9, (0, 0, 9, 9), 0, (c, c, c + 9, c + 9)) for c in (0, 2))
    assert (first != again).any()


def test_the_whole_photo_is_the_default_box():
    maps = random_maps(2, 5, 6)
    np.testing.assert_array_equal(upsample(maps, 20, 24), upsample(maps, 20, 24, (0, 0, 20, 24)))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(-100, 100, width=32),
)
def test_a_constant_map_stays_exactly_constant(h, w, height, width, value):
    out = upsample(np.full((1, h, w), value, np.float32), height, width)
    assert (out == np.float32(value)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_the_range_is_never_exceeded(h, w, height, width, seed):
    maps = random_maps(1, h, w, seed)
    out = upsample(maps, height, width)
    slack = 4 * np.spacing(np.abs(maps).max())
    assert out.min() >= maps.min() - slack
    assert out.max() <= maps.max() + slack


def test_a_linear_ramp_stays_linear_inside():
    y, x = np.mgrid[:8, :6].astype(np.float32)
    out = upsample((2 * y - 3 * x)[None], 80, 60)[0]
    y, x = np.mgrid[:80, :60]
    wanted = 2 * ((y + 0.5) / 10 - 0.5) - 3 * ((x + 0.5) / 10 - 0.5)
    np.testing.assert_allclose(out[5:-5, 5:-5], wanted[5:-5, 5:-5], atol=1e-4)


def test_a_batch_is_its_singles_and_the_input_is_left_alone():
    maps = random_maps(5, 7, 4)
    before = maps.copy()
    batch = upsample(maps, 33, 21)
    for i in range(5):
        np.testing.assert_array_equal(batch[i : i + 1], upsample(maps[i : i + 1], 33, 21))
    np.testing.assert_array_equal(maps, before)
    assert batch.dtype == np.float32
    assert upsample(maps[:0], 4, 5).shape == (0, 4, 5)


def test_any_memory_layout_and_float_type_is_taken():
    maps = random_maps(2, 6, 8)
    wanted = upsample(maps, 12, 16)
    np.testing.assert_array_equal(upsample(np.asfortranarray(maps), 12, 16), wanted)
    np.testing.assert_array_equal(upsample(maps.astype(np.float64), 12, 16), wanted)
    frozen = maps.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(upsample(frozen, 12, 16), wanted)


@pytest.mark.parametrize(
    ("shape", "size", "box"),
    [
        ((3, 3), (4, 4), None),
        ((1, 0, 3), (4, 4), None),
        ((1, 3, 3), (0, 4), None),
        ((1, 3, 3), (4, 4), (2, 2, 2, 4)),
        ((1, 3, 3), (4, 4), (0, 0, 4, np.nan)),
        ((1, 3, 3), (4, 4), (0, 0, 4, np.inf)),
        ((1, 3, 3), (4, 4), (0, 0, 4, 5e-324)),
    ],
)
def test_what_cannot_be_resized_is_a_value_error(shape, size, box):
    for places in ({"box": box}, {"cells": box}):
        with pytest.raises(ValueError, match=r"maps have|cannot resize|covers nothing"):
            upsample(np.zeros(shape, np.float32), *size, **places)
