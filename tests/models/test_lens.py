"""The Python API on a classifier whose answers are known by hand, for every kind of input."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.toys import COLOURS, HEAD, SIDE, UNIT, blob, build, colours

from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.errors import BadModel, BadRequest, NoMap, NoRule
from onnxlens.models.attribution.occlusion import occlusion
from onnxlens.models.dreams.ascent import Ascent
from onnxlens.models.features.responses import responses
from onnxlens.models.lens import Lens
from onnxlens.models.network.labels import class_named
from onnxlens.models.network.sidecar import LABELS_KEY
from onnxlens.models.network.zoo import EMBEDDED, resolve
from onnxlens.models.photos.preprocess import Preprocess


@pytest.fixture
def lens_of(tmp_path):
    """A Lens for a ModelProto, which is stored first, as every model is."""

    def lens_of(model, **options):
        onnx.save(model, tmp_path / "model.onnx")
        return Lens(tmp_path / "model.onnx", provider="cpu", **options)

    return lens_of


@pytest.fixture
def lens(lens_of):
    return lens_of(colours(preprocess=UNIT))


def peak(heat):
    return np.unravel_index(np.nanargmax(heat), heat.shape)


# -- predictions -----------------------------------------------------------------------------------------


def by_hand(photo, preprocess=UNIT):
    """The network in NumPy: scores (5,)."""
    x, _ = preprocess(photo)
    mixed = np.einsum("kc,chw->khw", 1.5 * np.eye(3) - 0.5, x[0])
    padded = np.pad(mixed, ((0, 0), (1, 1), (1, 1)))
    h, w = preprocess.size
    mean = sum(padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)) / 9
    features = np.maximum(mean - 0.02, 0)
    pooled = features.reshape(3, h // 2, 2, w // 2, 2).max((2, 4))
    return 200 * HEAD @ pooled.mean((1, 2)), features


@pytest.mark.parametrize("colour", range(3))
def test_predictions_are_those_of_the_network_by_hand(colour, lens):
    photo = blob(colour=colour, at=(31, 44))
    scores, _ = by_hand(photo)
    expected = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    found = lens.predict(photo)
    assert found[0].label == COLOURS[colour]
    np.testing.assert_allclose([p.probability for p in found], expected[[p.index for p in found]], rtol=1e-4)
    assert [p.probability for p in found] == sorted((p.probability for p in found), reverse=True)
    assert lens.predict(photo, top=2) == found[:2]
    assert len(lens.predict(photo, top=99)) == 5


def test_grad_cam_is_the_feature_map_of_the_class(lens):
    """Its gradient reaches each 2x2 window's maximum alone: α = 200 / (16·16) · (16·16) / (32·32)."""
    photo = blob(colour=1)
    heat = lens.gradcam(photo)
    scores, features = by_hand(photo)
    np.testing.assert_allclose(heat.map, 200 / SIDE**2 * features[1], atol=1e-5)
    assert heat.score == pytest.approx(scores[1], rel=1e-4)
    assert (heat.method, heat.layer, heat.target.label) == ("gradcam", "relu", "green")
    assert heat.predictions == lens.predict(photo)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("batch", ["N", 1, 4])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_all_kinds_of_models_answer_alike(softmax, batch, layout, half, lens, lens_of):
    how = Preprocess(size=(SIDE, SIDE), fit="stretch", scale=1 / 255, layout=layout)
    other = lens_of(colours(softmax=softmax, batch=batch, layout=layout, half=half, preprocess=how))
    photo = blob(colour=2)
    expected = lens.gradcam(photo, "sky")
    found = other.gradcam(photo, "sky")
    tolerance = 2e-2 if half else 1e-5
    assert [p.index for p in other.predict(photo, 2)] == [2, 4]
    assert found.target.probability == pytest.approx(expected.target.probability, rel=tolerance)
    assert found.score == pytest.approx(expected.score, rel=tolerance)
    np.testing.assert_allclose(found.map, expected.map, atol=tolerance * expected.map.max())


def test_the_callers_photo_is_not_changed(lens):
    photo = blob()
    before = photo.copy()
    lens.gradcam(photo).overlay()
    np.testing.assert_array_equal(photo, before)


# -- where the map lies ----------------------------------------------------------------------------------

FITS = [
    {"fit": "stretch"},
    {"fit": "stretch", "resize": 40},
    {"fit": "crop"},
    {"fit": "crop", "resize": 40},
    {"fit": "letterbox", "fill": 114},
]


@pytest.mark.parametrize("fit", FITS, ids=lambda f: "-".join(map(str, f.values())))
@pytest.mark.parametrize("shape", [(90, 90), (64, 150), (160, 70)])
@pytest.mark.parametrize("size", [(32, 32), (32, 48)], ids=str)
@pytest.mark.parametrize("corner", [(0.45, 0.55), (0.6, 0.4), (0.5, 0.5)], ids=str)
def test_the_peak_lies_on_the_pixels_that_made_it(fit, shape, size, corner, lens_of):
    height, width = shape
    if fit.get("resize") and size[0] != size[1]:
        fit = {**fit, "resize": 56}
    at = corner[0] * height, corner[1] * width
    photo = blob(height, width, at, colour=1, radius=5)
    how = Preprocess(size=size, scale=1 / 255, **fit)
    heat = lens_of(colours(size=size, preprocess=how)).gradcam(photo)
    assert heat.target.label == "green"
    found = heat.at_photo()
    assert found.shape == shape
    # One pixel of the layer, in pixels of the photo.
    cell = [(heat.box[i + 2] - heat.box[i]) / size[i] for i in (0, 1)]
    assert np.all(np.abs(np.array(peak(found)) + 0.5 - (np.array(at) + 0.5)) <= np.array(cell) + 0.5)


def test_what_was_cut_away_has_no_value(lens_of):
    how = Preprocess(size=(32, 32), fit="crop", scale=1 / 255)
    heat = lens_of(colours(preprocess=how)).gradcam(blob(60, 120, at=(30, 60)))
    seen = np.isfinite(heat.at_photo())
    assert seen[:, 30:90].all()
    assert not seen[:, :28].any()
    assert not seen[:, 92:].any()
    drawn = heat.overlay()
    np.testing.assert_array_equal(drawn[:, :28], heat.photo[:, :28])
    assert drawn.shape == heat.photo.shape
    assert drawn.dtype == np.uint8


# -- targets and labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        ([None], [2]),
        (["top3"], [2, 4, 0]),
        (["top99"], [2, 4, 0, 1, 3]),
        ([4, "blue"], [4, 2]),
        (["blue", None, 2, "2", "top1"], [2]),
        (["sky", "top2", 0], [4, 2, 0]),
        (["Turf"], [3]),
        ([np.int64(1)], [1]),
        ([], []),
    ],
)
def test_targets_come_once_and_in_the_order_of_asking(targets, classes, lens):
    heats = lens.explain(blob(colour=2), targets)
    assert [h.target.index for h in heats] == classes
    for heat in heats:
        assert heat.target.label == COLOURS[heat.target.index]


def test_one_map_for_each_target_whatever_else_is_asked(lens):
    photo = blob(colour=2)
    together = lens.explain(photo, ["top2", 0])
    for heat in together:
        alone = lens.gradcam(photo, heat.target.index)
        np.testing.assert_array_equal(heat.map, alone.map)
        assert (heat.score, heat.problem) == (alone.score, alone.problem)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("goldfish", 0),  # one name of several
        ("Carassius auratus", 0),
        ("great white shark", 1),
        ("shark", 1),  # part of one label only
        ("tiger", 2),  # the whole label goes before a part of another
        ("tiger cat", 3),
        ("  TIGER CAT ", 3),
    ],
)
def test_labels_are_matched_whole_then_by_name_then_by_part(text, index, lens_of):
    labels = ["goldfish, Carassius auratus", "great white shark", "tiger", "tiger cat", "crane"]
    lens = lens_of(colours(preprocess=UNIT), labels=labels)
    assert lens.wish(text) == index


def test_of_several_classes_those_that_have_the_word_are_named_first():
    labels = [
        "bullfrog, Rana catesbeiana",
        "bobcat",
        "cattle",
        "tiger cat",
        "catamount",
        "Siamese cat, Siamese",
    ]
    with pytest.raises(BadRequest) as error:
        class_named("cat", labels)
    named = (
        "3 'tiger cat', 5 'Siamese cat, Siamese', 0 'bullfrog, Rana catesbeiana', 1 'bobcat', 2 'cattle', ..."
    )
    assert str(error.value) == f"6 classes are called 'cat': {named}; give the index"


def test_a_label_of_several_classes_or_of_none(lens_of):
    lens = lens_of(colours(preprocess=UNIT), labels=["crane, bird", "Crane", "crane", "tiger cat", "tomcat"])
    with pytest.raises(
        BadRequest, match="2 classes are called 'CRANE': 1 'Crane', 2 'crane'; give the index"
    ):
        lens.wish("CRANE")
    with pytest.raises(BadRequest, match="2 classes are called 'cat': 3 'tiger cat', 4 'tomcat'"):
        lens.wish("cat")
    with pytest.raises(BadRequest, match="no class is called 'tigre'; nearest: tiger cat"):
        lens.wish("tigre")
    with pytest.raises(
        BadRequest, match="no class is called 'brid'; nearest: bird"
    ):  # one of a label's names
        lens.wish("brid")


@pytest.mark.parametrize(
    "target", [5, -1, "5", "-1", "9" * 5000, 2**70, "top0", "top-1", "gren", "top" + "9" * 5000]
)
def test_targets_that_are_not_there(target, lens):
    with pytest.raises(BadRequest):
        lens.gradcam(blob(), target)


def test_labels_from_the_model_a_list_a_file_or_none(lens_of, tmp_path):
    own = colours(preprocess=UNIT)
    assert lens_of(own).labels == COLOURS
    assert lens_of(own, labels=list("abcde")).labels == list("abcde")
    (tmp_path / "names.txt").write_text("v\nw\nx\ny\nz\n")
    assert lens_of(own, labels=tmp_path / "names.txt").labels == list("vwxyz")
    assert lens_of(colours(preprocess=UNIT, labels=None)).labels == [f"class {i}" for i in range(5)]
    few = colours(preprocess=UNIT)
    next(p for p in few.metadata_props if p.key == LABELS_KEY).value = json.dumps(["a", "b"])
    assert lens_of(few).labels == [f"class {i}" for i in range(5)]
    with pytest.raises(BadRequest, match="2 labels were given for a model of 5 classes"):
        lens_of(own, labels=["a", "b"])


# -- how photos go in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_an_open_size_is_bound_by_what_is_asked(layout, lens_of):
    model = colours(size=("H", "W"), layout=layout)
    with pytest.raises(BadRequest, match="--size"):
        lens_of(model, preset="unit")
    lens = lens_of(model, preset="unit", size=(40, 64))
    assert lens.preprocess == Preprocess(size=(40, 64), fit="stretch", scale=1 / 255, layout=layout)
    heat = lens.gradcam(blob())
    assert heat.map.shape == (40, 64)
    assert np.abs(np.subtract(peak(heat.at_photo()), (20, 30))).max() <= 2


def test_what_is_not_known_is_asked(lens_of):
    with pytest.raises(BadRequest, match="say --preset"):
        lens_of(colours())
    assert lens_of(colours(), preset="unit").preprocess == UNIT
    with pytest.raises(BadRequest, match="nearest: unit"):
        lens_of(colours(), preset="unti")


def test_flags_override_what_stands_in_the_model(lens_of):
    model = colours(preprocess=UNIT)
    assert lens_of(model, preset="imagenet").preprocess.mean == (0.485, 0.456, 0.406)
    given = Preprocess(size=(SIDE, SIDE), fit="letterbox", scale=1 / 255, channels="bgr")
    lens = lens_of(model, preset=given)
    assert lens.preprocess == given
    assert lens.predict(blob(colour=0))[0].label == "blue"


@pytest.mark.parametrize(
    "how",
    [
        Preprocess(size=(16, 16)),
        Preprocess(size=(SIDE, SIDE), layout="nhwc"),
        Preprocess(size=(SIDE, SIDE), channels="grey"),
    ],
    ids=["size", "layout", "channels"],
)
def test_preprocessing_that_does_not_fit_the_model(how, lens_of):
    with pytest.raises(BadRequest):
        lens_of(colours(), preset=how)
    with pytest.raises(BadRequest):
        lens_of(colours(preprocess=how))


def test_models_that_are_no_classifiers_of_pictures(lens_of):
    relu = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(BadModel, match="no image input of four axes"):
        lens_of(build([relu], {"x": (1, 9)}, {"y": None}))


def test_a_model_without_classes_opens_and_says_what_it_has(lens_of):
    relu = helper.make_node("Relu", ["x"], ["y"])
    lens = lens_of(build([relu], {"x": (1, 3, 8, 8)}, {"y": None}), preset="unit")
    assert (lens.has_classes, lens.labels) == (False, [])
    assert lens.gradcam(blob()).name.startswith("plane")
    for ask in (lens.predict, lambda photo: occlusion(lens, photo)):
        with pytest.raises(BadRequest, match=r"no output has a score for each class.*'y' of shape"):
            ask(blob())
    assert next(responses(lens, blob(), ["y"])).maps.shape == (3, 8, 8)
    with pytest.raises(BadRequest, match="no output 'z'; there are: y"):
        lens_of(build([relu], {"x": (1, 3, 8, 8)}, {"y": None}), preset="unit", output="z")


def test_a_model_whose_weights_are_listed_as_inputs(lens_of, lens):
    model = colours(preprocess=UNIT)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, array.shape))
    np.testing.assert_array_equal(lens_of(model).gradcam(blob()).map, lens.gradcam(blob()).map)


def test_where_the_settings_are_from(lens_of, tmp_path):
    own, bare = colours(preprocess=UNIT), colours(labels=None)
    told = "preprocessing from the model's metadata"
    assert lens_of(own).source == f"{told}; labels from the model's metadata"
    assert lens_of(own, labels=list("abcde")).source == f"{told}; labels as given"
    assert lens_of(bare, preset="unit").source == "preset unit; no labels"
    assert lens_of(bare, preset=UNIT).source == "preprocessing as given; no labels"
    (tmp_path / "labels.txt").write_text("a\nb\n")
    lens = lens_of(bare, preset="unit")
    assert lens.source == "preset unit; labels in labels.txt passed over: 2 labels for 5 classes"
    assert lens.labels[0] == "class 0"


def test_an_operator_that_nobody_knows(lens_of):
    model = colours(preprocess=UNIT)
    model.graph.node[3].op_type, model.graph.node[3].domain = "Odd", "my.ops"
    model.opset_import.append(helper.make_opsetid("my.ops", 1))
    lens = lens_of(model)
    with pytest.raises(NoRule, match=r"Odd node 'mean'.*of='pool'"):
        lens.explainer()
    with pytest.raises(BadModel, match=r"my\.ops:Odd"):
        lens.predict(blob())


# -- layers, problems, the embedded model ----------------------------------------------------------------


def test_layers_by_name(lens):
    assert lens.gradcam(blob(), layer="pool").map.shape == (16, 16)
    assert lens.explainer() is lens.explainer()
    with pytest.raises(BadRequest, match="nearest: conv"):
        lens.gradcam(blob(), layer="cnov")
    with pytest.raises(BadRequest, match="no method 'gradcan'; nearest: gradcam"):
        lens.explain(blob(), method="gradcan")


def test_a_blank_map_is_never_drawn(lens):
    heat = lens.gradcam(blob(colour=0), "green")
    assert heat.problem
    with pytest.raises(NoMap) as said:
        heat.overlay()
    assert str(said.value) == heat.problem
    grey = lens.gradcam(np.full((50, 50, 3), 90, np.uint8))
    assert "all activations of layer 'relu' are zero" in grey.problem


def test_answers_that_are_not_numbers(lens_of):
    model = colours(preprocess=UNIT)
    model.graph.initializer[2].raw_data = np.full((3, 5), np.nan, np.float32).tobytes()
    lens = lens_of(model)
    with pytest.raises(NoMap, match="'probabilities' is not a number"):
        lens.predict(blob())
    assert "not finite" in lens.gradcam(blob()).problem


def test_the_model_that_comes_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from onnxlens.models import embedded

    assert resolve(EMBEDDED) == embedded.path()
    (tmp_path / EMBEDDED).mkdir()  # a folder of that name does not hide it
    assert resolve(EMBEDDED) == embedded.path()
    lens = Lens(EMBEDDED, provider="cpu")
    assert lens.preprocess.size == (96, 96)
    assert len(lens.labels) >= 10


# -- open axes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("told", ["inside", "preset"])
def test_an_input_with_all_axes_open_answers_like_its_twin(layout, told, lens_of):
    stored = Preprocess(size=(SIDE, SIDE), fit="stretch", scale=1 / 255, layout=layout)
    model = colours(layout=layout, preprocess=stored if told == "inside" else None)
    more = {} if told == "inside" else {"preset": "unit", "size": (SIDE, SIDE)}
    photo = blob(colour=1, at=(20, 9))
    expected = lens_of(model, **{k: v for k, v in more.items() if k != "size"}).gradcam(photo, "green")
    for dim, name in zip(
        model.graph.input[0].type.tensor_type.shape.dim,
        ("batch_size", "num_channels", "height", "width"),
        strict=True,
    ):
        dim.Clear()
        dim.dim_param = name
    found = lens_of(model, **more).gradcam(photo, "green")
    np.testing.assert_array_equal(found.map, expected.map)
    assert found.predictions == expected.predictions


def test_channels_that_nothing_says_are_asked_for(lens_of):
    model = build(
        [
            helper.make_node("Reshape", ["x", "rows"], ["r"]),
            helper.make_node("MatMul", ["r", "w"], ["y"]),
        ],
        {"x": ("n", "c", "h", "w")},
        {"y": ("n", 5)},
        {"w": np.ones((12, 5), np.float32)},
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 12]), "rows"))
    with pytest.raises(BadRequest, match="number of channels open"):
        lens_of(model, preset="unit", size=(2, 2), layout="nchw")
    assert lens_of(model, preset="imagenet", size=(2, 2), layout="nchw").preprocess.channels == "rgb"


# -- whole numbers ---------------------------------------------------------------------------------------


@pytest.fixture(params=["nchw", "nhwc"])
def whole(request):
    """The classifier of colours for pixels as they are, 0 to 255, of type uint8."""
    model = colours(layout=request.param, labels=None)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    for node in model.graph.node:
        node.input[0] = "scaled" if node.input[0] == "image" else node.input[0]
    model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT))
    model.graph.node.insert(1, helper.make_node("Mul", ["floats", "step"], ["scaled"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 / 255), "step"))
    return model


def test_pixels_as_they_are_need_no_preset(whole, lens, lens_of):
    photo = blob(colour=2, at=(30, 60))
    expected = lens.predict(photo)
    found = lens_of(whole)
    assert [p.index for p in found.predict(photo)] == [p.index for p in expected]
    for a, b in zip(found.predict(photo), expected, strict=True):
        assert a.probability == pytest.approx(b.probability, rel=1e-4)
    heat, known = found.gradcam(photo, 2), lens.gradcam(photo, 2)
    np.testing.assert_allclose(heat.map, known.map, rtol=1e-3, atol=1e-4)
    assert (
        occlusion(found, photo, patch=8, stride=8, fill="zero").worst
        == occlusion(lens, photo, patch=8, stride=8, fill="zero").worst
    )


def test_what_is_not_whole_is_refused(whole, lens_of):
    with pytest.raises(BadRequest, match=r"whole numbers \(uint8\).*--preset raw"):
        lens_of(whole, preset="imagenet")
    assert lens_of(whole, preset="raw").preprocess.scale == 1


def test_the_gradient_of_whole_pixels_is_asked_for_behind_their_cast(whole, lens_of):
    lens = lens_of(whole)
    for ask in (lambda: Projector(lens.network), lambda: Ascent(lens, "class:1")):
        with pytest.raises(BadRequest, match=r"'image' is of type uint8.*'floats'"):
            ask()
    graph = training_graph(lens.path, wrt="floats")
    assert graph.outputs[-1] == "grad/floats"


def test_inputs_that_need_nothing_are_no_obstacle(lens, lens_of):
    model = colours(preprocess=UNIT)
    image = model.graph.input.pop(0)
    unread = helper.make_tensor_value_info("unread", TensorProto.FLOAT, [1, 3, 8, 8])
    weight = helper.make_tensor_value_info("conv.bias", TensorProto.FLOAT, [3])
    model.graph.input.extend([unread, weight, image])
    photo = blob(colour=0, at=(20, 20))
    found = lens_of(model)
    assert found.input == "image"
    np.testing.assert_array_equal(found.gradcam(photo).map, lens.gradcam(photo).map)
    model.graph.node.append(helper.make_node("Identity", ["unread"], ["more"]))
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))
    with pytest.raises(BadRequest, match=r"besides the image .* the model needs"):
        lens_of(model)


def test_what_is_needed_besides_the_image_may_be_an_initializer(lens, lens_of):
    """A mask that stands first and has one channel is not taken for the photo."""
    model = colours(preprocess=UNIT)
    image = model.graph.input[0]
    shape = [d.dim_value for d in image.type.tensor_type.shape.dim]
    mask = helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, *shape[2:]])
    model.graph.input.insert(0, mask)
    for node in model.graph.node:
        node.input[:] = ["masked" if name == "image" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Mul", ["image", "mask"], ["masked"]))
    with pytest.raises(BadRequest, match=r"besides the image 'image' the model needs mask .*--input mask="):
        lens_of(model)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, *shape[2:]), np.float32), "mask"))
    found, photo = lens_of(model), blob(colour=0, at=(20, 20))
    assert found.input == "image"
    np.testing.assert_array_equal(found.gradcam(photo).map, lens.gradcam(photo).map)
