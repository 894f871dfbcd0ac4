import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnxlens.engine.errors import BadImage, BadRequest
from onnxlens.kernels.photos.upsample import upsample
from onnxlens.models.photos.preprocess import CHANNELS, Preprocess

RNG = np.random.default_rng(5)


def photo_of(height, width, value=0):
    return np.full((height, width, 3), value, np.uint8)


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def one_channel(x, preprocess):
    return x[0, 0] if preprocess.layout == "nchw" else x[0, ..., 0]


FITS = [
    Preprocess(size=(64, 64), fit="crop"),
    Preprocess(size=(64, 64), fit="crop", resize=73),
    Preprocess(size=(56, 72), fit="crop", layout="nhwc"),
    Preprocess(size=(64, 64), fit="stretch"),
    Preprocess(size=(48, 48), fit="stretch", resize=55),
    Preprocess(size=(64, 64), fit="letterbox", fill=0),
    Preprocess(size=(64, 96), fit="letterbox", fill=0, layout="nhwc"),
    Preprocess(size=(64, 64), fit="crop", resize=40),  # padded, as torchvision does
    Preprocess(size=(64, 96), fit="letterbox", anchor="top-left"),
    Preprocess(size=(48, 64), fit="crop", anchor="top-left"),
    Preprocess(size=(48, 40), fit="stretch", resize=(60, 44), interpolation="cubic"),
    Preprocess(size=(48, 40), fit="crop", resize=(60, 44), interpolation="lanczos"),
    Preprocess(size=(48, 64), fit="letterbox", resize=(60, 60)),
    Preprocess(size=(64, 64), fit="crop", resize=73, crop_first=True),
    Preprocess(size=(40, 64), fit="crop", crop_first=True),
    Preprocess(size=(48, 48), fit="crop", resize=64, rounding="nearest"),
    Preprocess(size=(48, 64), fit="letterbox", rounding="down"),
]


@pytest.mark.parametrize("preprocess", FITS, ids=lambda p: f"{p.fit}-{p.resize}-{p.size}")
@pytest.mark.parametrize("shape", [(200, 320), (321, 199), (64, 64), (33, 41), (480, 150)])
def test_a_bright_spot_comes_back_to_its_own_pixels(preprocess, shape):
    height, width = shape
    _, box = preprocess(photo_of(*shape))
    top, bottom = max(box[0], 0), min(box[2], height)
    left, right = max(box[1], 0), min(box[3], width)
    radius = max(2, round(max(shape) / 40))
    for part in (0.2, 0.5, 0.77):
        y, x = top + part * (bottom - top), left + (1 - part) * (right - left)
        photo = photo_of(*shape)
        ys, xs = np.mgrid[:height, :width] + 0.5
        spot = (np.abs(ys - y) <= radius) & (np.abs(xs - x) <= radius)
        photo[spot] = 255
        model_input, box = preprocess(photo)
        heat = upsample(one_channel(model_input, preprocess)[None], height, width, box)[0]
        # The centre of mass of what comes back, against that of what went in, in photo pixels.
        found = (heat * ys).sum() / heat.sum(), (heat * xs).sum() / heat.sum()
        wanted = ys[spot].mean(), xs[spot].mean()
        pixel = max((box[2] - box[0]) / preprocess.size[0], (box[3] - box[1]) / preprocess.size[1])
        assert np.allclose(found, wanted, atol=max(0.35, 0.2 * pixel))
        assert spot[np.unravel_index(heat.argmax(), shape)] or pixel > radius


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(FITS),
    st.integers(2, 400),
    st.integers(2, 400),
)
def test_the_box_is_exact_whatever_the_rounding(preprocess, height, width):
    # A horizontal ramp has its own position for a value: the input must hold what the box says. Where the
    # ramp is shrunk or enlarged within the photo, interpolating a straight line is exact but at its edges.
    assume(1 / 8 < height / width < 8)
    ramp = np.broadcast_to(np.linspace(20, 250, width)[None, :, None], (height, width, 3))
    x, (y0, x0, y1, x1) = preprocess(np.rint(ramp).astype(np.uint8))
    h, w = preprocess.size
    u = x0 + (np.arange(w) + 0.5) * (x1 - x0) / w
    v = y0 + (np.arange(h) + 0.5) * (y1 - y0) / h
    margin_x, margin_y = max(1, (x1 - x0) / w), max(1, (y1 - y0) / h)
    edges = (y0, x0, y1, x1) if preprocess.crop_first else (0, 0, height, width)  # of what is resized
    inner = np.ix_(
        (v > edges[0] + margin_y) & (v < edges[2] - margin_y),
        (u > edges[1] + margin_x) & (u < edges[3] - margin_x),
    )
    wanted = np.broadcast_to(20 + 230 * (u - 0.5) / (width - 1), (h, w))
    slope = 230 / (width - 1)
    np.testing.assert_allclose(one_channel(x, preprocess)[inner], wanted[inner], atol=1.1 + 0.3 * slope)


@pytest.mark.parametrize(
    ("fields", "shape", "box"),
    [
        ({"fit": "stretch"}, (300, 500), (0, 0, 300, 500)),
        ({"fit": "crop"}, (448, 896), (0, 224, 448, 672)),
        ({"fit": "crop", "resize": 256}, (512, 512), (32, 32, 480, 480)),
        ({"fit": "letterbox"}, (300, 600), (-150, 0, 450, 600)),
        ({"fit": "letterbox"}, (56, 28), (0, -14, 56, 42)),
        ({"fit": "stretch", "resize": 256}, (256, 512), (16, 32, 240, 480)),
        ({"fit": "stretch", "resize": (256, 448)}, (256, 448), (16, 112, 240, 336)),
        ({"fit": "letterbox", "anchor": "top-left"}, (300, 600), (0, 0, 600, 600)),
        ({"fit": "letterbox", "resize": 256}, (512, 512), (32, 32, 480, 480)),
        ({"fit": "crop", "anchor": "top-left"}, (448, 896), (0, 0, 448, 448)),
        ({"fit": "crop", "resize": 256, "crop_first": True}, (513, 700), (32, 126, 480, 574)),
        ({"fit": "crop", "crop_first": True}, (101, 70), (15, 0, 85, 70)),
        ({"fit": "crop", "resize": (256, 512)}, (256, 256), (72, 72, 184, 184)),
    ],
)
def test_boxes_worked_out_by_hand(fields, shape, box):
    x, found = Preprocess(size=(224, 224), **fields)(photo_of(*shape))
    assert x.shape == (1, 3, 224, 224)
    assert x.dtype == np.float32
    np.testing.assert_allclose(found, box, atol=1e-9)


def test_letterbox_bars_are_the_fill_and_lie_outside_the_photo():
    x, box = Preprocess(size=(8, 8), fit="letterbox", fill=114)(photo_of(10, 20, 200))
    np.testing.assert_array_equal(x[0, 0, :, 3], [114, 114, 200, 200, 200, 200, 114, 114])
    assert box == (-5, 0, 15, 20)


def test_a_fill_has_a_tone_for_each_channel_in_their_order():
    pre = Preprocess(
        size=(4, 4), fit="letterbox", anchor="top-left", channels="bgr", mean=(10.5, 2, 3), fill=(10.5, 6, 7)
    )
    x, box = pre(photo_of(2, 4, 200))
    np.testing.assert_array_equal(x[0, :, 3], np.repeat([[0], [4], [4]], 4, 1))
    np.testing.assert_array_equal(x[0, 0, :2], 189.5)
    assert box == (0, 0, 4, 4)


def test_a_photo_of_the_right_size_is_not_touched():
    photo = noise(32, 40)
    for fit in ("crop", "stretch", "letterbox"):
        x, box = Preprocess(size=(32, 40), fit=fit)(photo)
        np.testing.assert_array_equal(x[0], photo.transpose(2, 0, 1))
        assert box == (0, 0, 32, 40)


@pytest.mark.parametrize("interpolation", ["box", "linear", "hamming", "cubic", "lanczos"])
def test_shrinking_averages(interpolation):
    stripes = photo_of(160, 160)
    stripes[:, ::2] = 255
    x, _ = Preprocess(size=(16, 16), fit="stretch", interpolation=interpolation)(stripes)
    # At its edges a wide filter has a pixel more of one kind than of the other.
    edge = 0 if interpolation == "box" else 2
    np.testing.assert_allclose(x[..., edge : 16 - edge], 127.5, atol=1)


def test_an_axis_that_shrinks_averages_though_the_other_one_grows():
    stripes = photo_of(8, 160)
    stripes[:, ::2] = 255
    x, _ = Preprocess(size=(16, 16), fit="stretch", interpolation="box")(stripes)
    np.testing.assert_allclose(x, 127.5, atol=1)


def test_without_antialiasing_what_lies_between_is_left_out():
    stripes = photo_of(160, 160)
    stripes[:, 4::10] = stripes[:, 5::10] = 255
    x, _ = Preprocess(size=(16, 16), fit="stretch", antialias=False)(stripes)
    assert (x == 255).all()
    assert (Preprocess(size=(16, 16), fit="stretch")(stripes)[0] < 80).all()


def test_nearest_makes_no_new_values():
    photo = RNG.choice(np.array([0, 255], np.uint8), (40, 40, 1)).repeat(3, -1)
    x, _ = Preprocess(size=(17, 61), fit="stretch", interpolation="nearest")(photo)
    assert set(np.unique(x)) == {0, 255}


def test_channels_layout_and_numbers():
    photo = photo_of(4, 4)
    photo[:] = (10, 20, 30)
    size = (4, 4)
    x, _ = Preprocess(size=size, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0), scale=0.5)(photo)
    assert x[0, :, 0, 0].tolist() == [2, 2, 1.5]
    x, _ = Preprocess(size=size, channels="bgr", layout="nhwc", mean=(1.0, 2.0, 3.0))(photo)
    assert x.shape == (1, 4, 4, 3)
    assert x[0, 0, 0].tolist() == [29, 18, 7]
    x, _ = Preprocess(size=size, channels="grey")(photo)
    assert x.shape == (1, 1, 4, 4)
    assert abs(x[0, 0, 0, 0] - (0.299 * 10 + 0.587 * 20 + 0.114 * 30)) <= 0.5
    assert Preprocess(size=size, channels="grey", layout="nhwc")(photo)[0].shape == (1, 4, 4, 1)
    x, _ = Preprocess(size=size, channels="rgba", layout="nhwc", mean=(0.0, 0.0, 0.0, 254.0))(photo)
    assert x.shape == (1, 4, 4, 4)
    assert x[0, 0, 0].tolist() == [10, 20, 30, 1]


@pytest.mark.parametrize("channels", ["rgb", "bgr", "rgba"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_inverse_gives_the_pixels_back(channels, layout):
    photo = noise(9, 12)
    preprocess = Preprocess(
        size=(9, 12),
        channels=channels,
        layout=layout,
        scale=1 / 255,
        mean=(0.4, 0.5, 0.6, 0.7)[: CHANNELS[channels]],
        std=(0.2, 0.3, 0.25, 0.5)[: CHANNELS[channels]],
    )
    x, _ = preprocess(photo)
    np.testing.assert_array_equal(preprocess.inverse(np.concatenate([x, x])), [photo, photo])
    assert preprocess.inverse(x * 1000).dtype == np.uint8


def test_inverse_of_grey_is_grey():
    preprocess = Preprocess(size=(9, 12), channels="grey", scale=1 / 127.5, mean=(1.0,))
    out = preprocess.inverse(preprocess(noise(9, 12))[0])
    assert out.shape == (1, 9, 12, 3)
    assert (out[..., 0] == out[..., 2]).all()


def test_the_photo_is_left_alone():
    photo = noise(50, 30)
    before = photo.copy()
    for preprocess in FITS:
        x, _ = preprocess(photo)
        x += 1
    np.testing.assert_array_equal(photo, before)


def test_a_thread_of_a_photo_is_letterboxed_but_not_cropped():
    photo = photo_of(2, 2_000_000)
    with pytest.raises(BadImage, match="2000000x2 photo is too long and thin to crop"):
        Preprocess(size=(224, 224))(photo)
    x, box = Preprocess(size=(224, 224), fit="letterbox")(photo)
    assert x.shape == (1, 3, 224, 224)
    assert box[1] == 0
    assert box[3] == pytest.approx(2_000_000)


@pytest.mark.parametrize("preprocess", FITS)
def test_json_there_and_back(preprocess):
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": [0, 224]}, "size"),
        ({"size": [224]}, "size"),
        ({"size": [224, 10**9]}, "size"),
        ({"size": [224.5, 224]}, "size"),
        ({"size": "224"}, "size"),
        ({"size": [True, True]}, "size"),
        ({"resize": 0}, "resize"),
        ({"resize": 10**30}, "resize"),
        ({"fit": "cropped"}, "nearest: crop"),
        ({"fit": ["crop"]}, "fit"),
        ({"channels": "rbg"}, "nearest: "),
        ({"layout": "NCHW"}, "nchw"),
        ({"interpolation": None}, "interpolation"),
        ({"scale": 0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"scale": 10**400}, "scale"),
        ({"mean": [1, 2]}, "mean"),
        ({"mean": 3}, "mean"),
        ({"mean": [float("inf")]}, "mean"),
        ({"mean": ["0"]}, "mean"),
        ({"std": [1, 0, 1]}, "std"),
        ({"std": [-1]}, "std"),
        ({"fill": 256}, "fill"),
        ({"fill": [1, 2]}, "fill"),
        ({"fill": "grey"}, "fill"),
        ({"fill": float("nan")}, "fill"),
        ({"resize": [224]}, "resize"),
        ({"resize": [224, 0]}, "resize"),
        ({"resize": True}, "resize"),
        ({"anchor": "corner"}, "anchor"),
        ({"antialias": 1}, "antialias"),
        ({"crop_first": "yes"}, "crop_first"),
        ({"rounding": "up"}, "rounding"),
        ({"means": [0]}, "unknown key 'means'; nearest: mean"),
    ],
)
def test_stored_values_are_checked(change, why):
    with pytest.raises(BadRequest, match=why) as caught:
        Preprocess.from_dict({"size": [224, 224]} | change)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("stored", [None, [], "text", {}, {"fit": "crop"}])
def test_what_is_no_preprocessing_is_a_bad_request(stored):
    with pytest.raises(BadRequest, match="not an object with a size"):
        Preprocess.from_dict(stored)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", ["rgb", "bgr", "grey"])
def test_an_array_to_write_into_gets_the_same(layout, channels):
    pre = Preprocess(size=(20, 30), layout=layout, channels=channels, scale=1 / 255, mean=(0.4,), std=(0.2,))
    photo = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    x, box = pre(photo)
    rows = np.full((3, *x.shape[1:]), 7, np.float32)
    written, same_box = pre(photo, rows[1:2])
    assert np.shares_memory(written, rows)
    assert same_box == box
    np.testing.assert_array_equal(rows[1:2], x)
    assert (rows[[0, 2]] == 7).all()


@pytest.mark.parametrize(
    ("photo", "what"),
    [
        ("cat.jpg", "not str"),
        (noise(8, 9)[..., 0], r"not \(8, 9\) uint8"),
        (noise(8, 9) / 255, r"not \(8, 9, 3\) float64"),
        (noise(8, 9)[None], r"not \(1, 8, 9, 3\) uint8"),
    ],
)
def test_what_is_no_photo_is_said_as_it_was_given(photo, what):
    with pytest.raises(ValueError, match=rf"a photo is an array \(H, W, 3\) uint8, .*{what}"):
        FITS[0](photo)
