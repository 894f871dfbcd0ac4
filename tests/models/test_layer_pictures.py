"""The pictures of feature maps and of weights say what is in the numbers."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from oracles.networks import parsed
from oracles.toys import SIDE, UNIT, blob, colours

from onnxlens.engine import picture
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network
from onnxlens.models.features.responses import TILE, responses, strip
from onnxlens.models.features.weights import Weights, chosen, weights
from onnxlens.models.lens import Lens
from onnxlens.models.network.opened import open_network
from onnxlens.models.photos.photo import read_photo
from onnxlens.models.photos.preprocess import Preprocess

RNG = np.random.default_rng(3)


@pytest.fixture
def lens(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(colours(preprocess=UNIT), path)
    return Lens(path, provider="cpu", threads=1)


def tiles(page, count, width, height=TILE):
    """The cells of a grid with a title of two lines, in order."""
    top, line = 2 * 22 + 6, 22
    for i in range(count):
        y = top + 8 + i // 8 * (height + line + 8)
        x = 8 + i % 8 * (width + 8)
        yield page[y : y + height, x : x + width]


# -- feature maps -----------------------------------------------------------------------------------------


def test_responses_are_the_values_of_the_network(lens):
    photo = blob(at=(20, 30))
    found = list(responses(lens, photo, ["conv", "p*"]))
    assert [r.layer for r in found] == ["conv", "pool"]
    feeds, box = lens.feeds(photo)
    for response in found:
        np.testing.assert_array_equal(
            response.maps, lens.network.run(feeds, [response.layer])[response.layer][0]
        )
        np.testing.assert_array_equal(response.strength, response.maps.max((1, 2)))
        assert response.box == box


def test_without_layers_the_stages_are_shown(lens):
    assert [r.layer for r in responses(lens, blob())] == ["relu"]


def test_the_strongest_channel_of_a_red_spot_is_the_one_for_red(lens):
    for colour in range(3):
        (response,) = responses(lens, blob(colour=colour), ["relu"])
        assert response.order()[0] == colour
        y, x = np.unravel_index(np.argmax(response.at_photo(colour)), (60, 90))
        assert abs(y - 20) <= 2
        assert abs(x - 30) <= 3


def test_the_grid_has_the_tiles_in_the_order_asked_for_and_dead_ones_crossed(lens):
    (response,) = responses(lens, blob(colour=2), ["relu"])
    assert response.statistics.dead == pytest.approx(2 / 3)
    order = response.order(sort="index")
    assert order == [0, 1, 2]
    page = response.grid([2, 0, 1])
    first, second, third = tiles(page, 3, TILE)
    inner = (TILE - SIDE * (TILE // SIDE)) // 2  # a map of 32 pixels is enlarged by a whole factor
    np.testing.assert_array_equal(first[inner : TILE - inner, inner : TILE - inner], response.tile(2))
    np.testing.assert_array_equal(second, picture.blank(TILE, TILE))
    np.testing.assert_array_equal(third, second)


def test_a_tile_is_the_map_in_colours(lens):
    (response,) = responses(lens, blob(colour=1), ["relu"])
    tile = response.tile(1, side=SIDE)
    limit = max(np.quantile(response.maps[1], 0.995), response.maps[1].max() / 4)
    np.testing.assert_array_equal(tile, picture.coloured(response.maps[1], limit, "inferno"))
    (signed,) = responses(lens, blob(colour=1), ["conv"])
    cold = signed.tile(0, side=SIDE)[signed.maps[0] < signed.maps[0].min() / 2].astype(int)
    assert (cold[:, 2] > cold[:, 0]).all()  # what lies below zero is blue


def test_values_that_are_no_numbers_are_blank(lens):
    (response,) = responses(lens, blob(), ["relu"])
    broken = type(response)(**{**vars(response), "maps": np.full_like(response.maps, np.nan)})
    np.testing.assert_array_equal(broken.tile(0), picture.blank(TILE, TILE))


def test_the_strip_holds_a_row_for_each_layer(lens):
    photo = blob()
    found = list(responses(lens, photo, ["conv", "relu", "pool"]))
    whole = strip(found, lens.predict(photo))
    assert whole.shape[0] > sum(r.row().shape[0] for r in found)
    for response in found:
        row = response.row()
        starts = np.flatnonzero((whole[:, : row.shape[1]] == row[40]).all((1, 2)))
        assert starts.size, response.layer
    with pytest.raises(ValueError, match="at least one"):
        strip([])


def test_channels_over_the_photo_leave_the_rest_of_it_alone(lens):
    photo = blob(colour=0)
    (response,) = responses(lens, photo, ["relu"])
    over = response.overlay(0)
    cold = response.at_photo(0) <= 0
    np.testing.assert_array_equal(over[cold], photo[cold])
    assert (over[20, 30] != photo[20, 30]).any()


# -- weights ----------------------------------------------------------------------------------------------


def first_layer(w, preprocess=None):
    model = parsed("(float[1,3,8,8] x) => (float[1,4,6,6] y) { y = Conv(x, w) }", w=w)
    (found,) = weights(Network(model, "cpu", 1), None, preprocess)
    return found


def test_kernels_have_the_colours_that_they_answer_to():
    w = np.zeros((4, 3, 3, 3), np.float32)
    w[0, 0], w[1, 2], w[2], w[3, 1] = 1, 1, 0.5, -2
    page = first_layer(w).picture([0, 1, 2, 3])
    middles = [tile[TILE // 2, TILE // 2].tolist() for tile in tiles(page, 4, 111, 111)]
    assert middles == [[255, 128, 128], [128, 128, 255], [255, 255, 255], [128, 0, 128]]


def test_the_order_and_the_scale_of_the_channels_are_the_preprocessings():
    w = np.zeros((4, 3, 3, 3), np.float32)
    w[0, 0], w[1] = 1, 1
    w[2] = w[3] = 1
    bgr = Preprocess(size=(8, 8), channels="bgr", std=(1, 2, 4))
    red, all_, *_ = (t[50, 50].tolist() for t in tiles(first_layer(w, bgr).picture(range(4)), 4, 111, 111))
    assert red == [128, 128, 255]  # the model's first channel is blue
    assert all_ == [round(127.5 + 127.5 / 4), round(127.5 + 127.5 / 2), 255]


def test_dead_kernels_are_crossed_out_and_listed():
    w = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    w[1] = 0
    found = first_layer(w)
    assert found.dead == [1]
    assert found.order()[-1] == 1
    assert found.order("index") == [0, 1, 2, 3]
    np.testing.assert_array_equal(list(tiles(found.picture([0, 1]), 2, 112, 112))[1], picture.blank(112, 112))


def test_slices_stand_out_by_in():
    w = np.zeros((2, 4, 3, 3), np.float32)
    w[0, 1, 0, 0], w[1, 3] = 1, -1
    model = parsed(
        "(float[1,3,8,8] x) => (float[1,2,6,6] y) { a = Conv(x, v) y = Conv(a, w) }",
        v=RNG.standard_normal((4, 3, 1, 1)),
        w=w,
    )
    _, found = weights(Network(model, "cpu", 1))
    assert isinstance(found, Weights)
    page = found.picture([1, 0])[50:72, :, 0]  # below the title: one row, in two columns
    start = next(x for x in range(200) if (page[:21, x : x + 65] == 128).sum() == 3 * 21 * 21)
    one = page[:, start : start + 88]
    zero = page[:, 2 * start + 88 : 2 * start + 176]
    assert (one[:21, 66:87] == 0).all()  # of output 1, all of the fourth channel
    assert (one[:21, :65][one[:21, :65] < 255] == 128).all()
    assert (zero[:7, 22:29] == 255).all()  # of output 0, a pixel of the second
    assert (zero[7:21, 22:43] == 128).all()


@pytest.mark.parametrize(
    "shape", [(70, 600, 1, 1), (3, 2000, 3, 3), (5, 1, 11, 11), (2, 3, 200, 1), (1, 2, 1, 300)]
)
def test_slices_of_all_sizes_stay_small_enough(shape):
    w = RNG.standard_normal(shape).astype(np.float32)
    model = parsed(
        f"(float[1,3,4,4] i, float[1,{shape[1]},300,400] x) => (float[1,{shape[0]},H,W] y) "
        "{ y = Conv(x, w) }",
        w=w,
    )
    (found,) = weights(Network(model, "cpu", 1))
    page = found.slices(found.order()[:64])
    assert page.shape[1] < 2400
    assert page.size < 2e7


def test_layers_are_named_by_value_or_by_weight(lens):
    net = lens.network
    assert chosen(net, None) == ["conv", "scores"]
    assert chosen(net, ["head.weight"]) == ["scores"]
    assert chosen(net, ["*weight", "conv"]) == ["conv", "scores"]
    with pytest.raises(BadRequest, match="conv"):
        chosen(net, ["conf"])


def test_models_of_any_input_are_opened(tmp_path):
    onnx.save(colours(preprocess=UNIT), tmp_path / "known.onnx")
    onnx.save(colours(size=("h", "w")), tmp_path / "open.onnx")
    onnx.save(colours(size=("h", "w"), layout="nhwc"), tmp_path / "last.onnx")
    text = parsed(
        "(int64[1,7] x) => (float[1,7,4] y) { g = Gather(w, x) y = MatMul(g, v) }",
        w=RNG.random((9, 5)),
        v=RNG.random((5, 4)),
    )
    onnx.save(text, tmp_path / "text.onnx")
    opened = {
        n: open_network(tmp_path / f"{n}.onnx", provider="cpu") for n in ("known", "open", "last", "text")
    }
    assert opened["known"].preprocess == UNIT
    assert opened["open"].network.inputs["image"].shape == ("N", 3, 224, 224)
    assert opened["last"].network.inputs["image"].shape == ("N", 224, 224, 3)
    assert opened["open"].preprocess is None
    assert [w.layer for w in weights(opened["text"].network)] == ["y"]


@pytest.mark.skipif("ONNXLENS_TEST_DATA" not in os.environ, reason="ONNXLENS_TEST_DATA is not set")
def test_what_the_weights_call_dead_says_nothing_to_any_photo():
    data = Path(os.environ["ONNXLENS_TEST_DATA"])
    lens = Lens(data / "models/squeezenet1.1-caffe2-fp16.onnx", preset="caffe", threads=1)
    (found,) = weights(lens.network, ["fire5/expand1x1_1"])
    assert found.dead == [9]
    for name in ("cat.jpg", "dog.jpg"):
        (response,) = responses(lens, read_photo(data / "photos" / name), ["fire5/expand1x1_2"])
        assert response.maps[9].max() == 0
    (first,) = weights(lens.network, ["conv1_w_0"])
    assert [pair[:2] for pair in first.doubles[:2]] == [(10, 37), (9, 50)]
    assert all(cosine < -0.97 for *_, cosine in first.doubles)  # opposites
