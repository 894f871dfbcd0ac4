"""Models that decode pictures themselves, by operators that ONNX Runtime lacks: they take photos too."""

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.toys import CONTRIB, MS, UNIT, blob, colours, decoding, metadata_of

from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.errors import BadModel, BadRequest
from onnxlens.engine.runtime.network import Network
from onnxlens.models.attribution.occlusion import occlusion
from onnxlens.models.dreams.ascent import Ascent
from onnxlens.models.lens import Lens
from onnxlens.models.network.opened import SIDE, open_network
from onnxlens.models.photos.preprocess import Preprocess

PHOTO = blob(colour=2, at=(30, 60))
SIZE = PHOTO.shape[:2]
DECODERS = {
    "as the library's tools write it": (MS, "DecodeImage", {}, "bgr"),
    "bgr": (MS, "DecodeImage", {"color_space": "bgr"}, "bgr"),
    "rgb": (MS, "DecodeImage", {"color_space": "rgb"}, "rgb"),
    "the older domain": (CONTRIB, "ImageDecoder", {}, "bgr"),
    "ONNX": ("", "ImageDecoder", {}, "rgb"),
    "ONNX, bgr": ("ai.onnx", "ImageDecoder", {"pixel_format": "BGR"}, "bgr"),
}


def with_more(model, *nodes, outputs):
    """The model with more nodes at its end, and these outputs."""
    model.graph.node.extend(nodes)
    known = {o.name: o for o in model.graph.output}
    new = [known.get(o) or helper.make_tensor_value_info(o, TensorProto.UINT8, None) for o in outputs]
    del model.graph.output[:]
    model.graph.output.extend(new)
    return model


@pytest.fixture
def lens_of(tmp_path):
    def lens_of(model, **options):
        onnx.save(model, tmp_path / "model.onnx")
        options.setdefault("size", SIZE)
        return Lens(tmp_path / "model.onnx", provider="cpu", **options)

    return lens_of


@pytest.fixture
def plain(tmp_path):
    """The same classifier without a decoder."""
    onnx.save(colours(("h", "w"), labels=None), tmp_path / "plain.onnx")
    return Lens(tmp_path / "plain.onnx", preset="unit", size=SIZE, provider="cpu")


def encoded(value, output):
    return helper.make_node("EncodeImage", [value], [output], domain=MS, format="png")


@pytest.mark.parametrize("kind", DECODERS)
def test_answers_and_maps_are_those_of_the_pixels(kind, plain, lens_of):
    lens = lens_of(decoding(*DECODERS[kind]))
    assert lens.preprocess == Preprocess(size=SIZE, fit="stretch", channels=DECODERS[kind][3], layout="nhwc")
    assert "the model's decoder" in lens.source
    for a, b in zip(lens.predict(PHOTO), plain.predict(PHOTO), strict=True):
        assert (a.index, a.label) == (b.index, b.label)
        assert a.probability == pytest.approx(b.probability, rel=1e-4)
    np.testing.assert_allclose(lens.gradcam(PHOTO, 2).map, plain.gradcam(PHOTO, 2).map, rtol=1e-3, atol=1e-4)
    found, known = (occlusion(x, PHOTO, patch=8, stride=8, fill="zero") for x in (lens, plain))
    assert found.worst == known.worst


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_older_opsets(opset, plain, lens_of):
    assert lens_of(decoding(opset=opset)).predict(PHOTO)[0].index == plain.predict(PHOTO)[0].index


def test_pixels_that_are_grey(lens_of):
    grey = [helper.make_node("Concat", ["pixels"] * 3, ["used"], axis=2)]
    lens = lens_of(decoding("", "ImageDecoder", {"pixel_format": "Grayscale"}, "rgb", steps=grey))
    assert lens.preprocess.channels == "grey"
    assert lens.network.inputs["bytes"].shape == (1, *SIZE, 1)
    known = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2)
    given = lens.network.run(lens.feeds(PHOTO)[0], ["rgb"])["rgb"]
    np.testing.assert_array_equal(given, known)


def test_the_size_is_asked_for_and_colours_are_not(lens_of):
    with pytest.raises(BadRequest, match=r"decodes pictures itself .* --size HEIGHTxWIDTH, the photo's own"):
        lens_of(decoding(), size=None)
    for said in ("raw", "unit-bgr", {"mean": 1}, {"channels": "rgb"}, Preprocess(size=SIZE, layout="nhwc")):
        with pytest.raises(BadRequest, match="to bgr pixels of 0 to 255: leave --preset"):
            lens_of(decoding(), preset=said)
    assert lens_of(decoding(), preset={"fit": "letterbox"}).preprocess.fit == "letterbox"
    assert lens_of(decoding(), preset={"size": (20, 30)}, size=None).preprocess.size == (20, 30)


def test_what_was_written_for_the_network_behind_it_does_not_count(lens_of):
    model = decoding()
    helper.set_model_props(model, metadata_of(UNIT, ["a", "b", "c", "d", "e"]))
    lens = lens_of(model)
    assert lens.preprocess == Preprocess(size=SIZE, fit="stretch", channels="bgr", layout="nhwc")
    assert lens.labels == ["a", "b", "c", "d", "e"]


def test_without_a_photo_the_size_is_taken(tmp_path):
    onnx.save(decoding(), tmp_path / "model.onnx")
    opened = open_network(tmp_path / "model.onnx", provider="cpu")
    assert opened.network.inputs["bytes"].shape == (1, SIDE, SIDE, 3)
    assert opened.source == "colours: bgr, preprocessing from the model's decoder"


def test_the_gradient_of_pixels_is_asked_for_behind_the_decoder(lens_of):
    lens = lens_of(decoding())
    for ask in (lambda: Projector(lens.network), lambda: Ascent(lens, "class:1")):
        with pytest.raises(BadRequest, match=r"'bytes' is of type uint8.*the nearest behind it is 'floats'"):
            ask()
    graph = training_graph(lens.path, wrt="floats")
    assert graph.outputs == ["probabilities", "grad/floats"]
    assert graph.to_model().graph.input[0].name == "bytes"


def test_a_model_that_is_given_stays_as_it_is():
    model = with_more(decoding(), encoded("pixels", "png"), outputs=["probabilities", "png"])
    before = model.SerializeToString()
    assert Network(model, provider="cpu").outputs == ["probabilities"]
    assert model.SerializeToString() == before


def test_outputs_that_need_the_library_are_left_out(plain, lens_of):
    drawn = helper.make_node("DrawBoundingBoxes", ["pixels", "flat"], ["drawn"], domain=MS)
    size = helper.make_node("Size", ["bytes"], ["count"])  # of the bytes, which are no more
    body = helper.make_graph([encoded("pixels", "inner")], "b", [], [onnx.ValueInfoProto(name="inner")])
    chosen = helper.make_node("If", ["yes"], ["chosen"], then_branch=body, else_branch=body)
    model = decoding()
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    more = [drawn, encoded("drawn", "png"), helper.make_node("Identity", ["png"], ["again"]), size, chosen]
    names = ["png", "again", "count", "chosen", "bytes", "probabilities"]
    lens = lens_of(with_more(model, *more, outputs=names))
    assert lens.network.outputs == ["probabilities"]
    assert lens.predict(PHOTO)[0].index == plain.predict(PHOTO)[0].index
    with pytest.raises(BadRequest, match="no output 'png'"):
        lens_of(model, output="png")


def test_a_model_that_ends_in_a_picture_answers_what_is_drawn(lens_of):
    drawn = helper.make_node("DrawBoundingBoxes", ["pixels", "scores"], ["drawn"], domain=MS)
    lens = lens_of(with_more(decoding(), drawn, encoded("drawn", "png"), outputs=["png"]))
    assert lens.network.outputs == ["scores"]
    bright = helper.make_node("Cast", ["relu"], ["bright"], to=TensorProto.UINT8)
    lens = lens_of(with_more(decoding(), bright, encoded("bright", "png"), outputs=["png"]))
    assert lens.network.outputs == ["bright"]
    assert lens.network.run(lens.feeds(PHOTO)[0])["bright"].shape == (1, 3, *SIZE)


def test_two_decoders_of_one_picture(plain, lens_of):
    twice = [
        helper.make_node("DecodeImage", ["bytes"], ["other"], domain=MS, color_space="bgr"),
        helper.make_node("Max", ["pixels", "other"], ["used"]),
    ]
    assert lens_of(decoding(steps=twice)).predict(PHOTO)[0].index == plain.predict(PHOTO)[0].index
    twice[0].attribute[0].s = b"rgb"
    with pytest.raises(BadModel, match="every answer of the model needs its DecodeImage node"):
        lens_of(decoding(steps=twice))


@pytest.mark.parametrize(
    ("nodes", "named"),
    [
        ([helper.make_node("GaussianBlur", ["pixels", "k", "k"], ["used"], domain=CONTRIB)], "GaussianBlur"),
        ([helper.make_node("DecodeImage", ["pixels"], ["used"], "again", domain=MS)], "'again'"),
    ],
)
def test_a_model_of_which_nothing_would_remain_is_refused(nodes, named, lens_of):
    with pytest.raises(BadModel, match=f"every answer of the model needs its .*{named}.*extract_model"):
        lens_of(decoding(steps=nodes))


@pytest.mark.parametrize(
    "attributes", [{"color_space": "yuv"}, {"color_space": [1, 2]}, {"color_space": b"\xff"}]
)
def test_colours_that_nobody_knows(attributes, lens_of):
    with pytest.raises(BadModel, match="needs its DecodeImage node 'decode'"):
        lens_of(decoding(attributes=attributes))


def test_functions_of_the_model_are_no_operators_of_the_library(plain, lens_of):
    model = colours(("h", "w"), labels=None)
    body = [helper.make_node("Relu", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function(CONTRIB, "DecodeImage", ["x"], ["y"], body, opsets))
    model.graph.node[1].op_type, model.graph.node[1].domain = "DecodeImage", CONTRIB
    model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    found = lens_of(model, preset="unit").predict(PHOTO)
    assert [p.index for p in found] == [p.index for p in plain.predict(PHOTO)]


def test_a_layer_behind_a_cut_inside_lies_where_the_cut_is(lens_of):
    model = decoding(steps=[helper.make_node("Slice", ["pixels", "begin", "end"], ["used"], "middle")])
    for name, array in {"begin": [10, 10, 0], "end": [50, 80, 3]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(array), name))
    lens = lens_of(model)
    down, across = PHOTO.shape[0] / lens.preprocess.size[0], PHOTO.shape[1] / lens.preprocess.size[1]
    heat = lens.gradcam(PHOTO)
    np.testing.assert_allclose(heat.box, (10 * down, 10 * across, 50 * down, 80 * across), atol=1.5)
    assert np.isnan(heat.at_photo()[: int(9 * down)]).all()
    assert next(iter(lens.responses(PHOTO))).overlay(0).shape == PHOTO.shape


def test_damaged_decoders(plain, lens_of):
    nothing = [
        helper.make_node("DecodeImage", [], [], domain=MS),
        helper.make_node("Identity", ["pixels"], ["used"]),
    ]
    assert lens_of(decoding(steps=nothing)).predict(PHOTO)[0].index == plain.predict(PHOTO)[0].index
    model = decoding()
    model.graph.node.append(helper.make_node("Identity", ["order"], ["pixels"]))
    with pytest.raises(BadModel, match="computes a value that the file has already"):
        lens_of(model)
    for broken in (decoding(steps=nothing), decoding()):
        broken.graph.node[0].input.pop()
        with pytest.raises(BadModel):
            lens_of(broken)
