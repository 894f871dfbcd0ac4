"""Every command on the same network in files of every opset that the runtime takes: the same answers."""

import cv2
import numpy as np
import onnx
import pytest

from onnxlens.engine.attribution.methods import METHODS, options_of
from onnxlens.engine.canonical.canonical import OPSET
from onnxlens.engine.dreams.dream import Priors
from onnxlens.engine.dreams.terms import TERMS
from onnxlens.engine.runtime.provider import newest_opset
from onnxlens.models.attribution.attribute import attribute
from onnxlens.models.attribution.occlusion import occlusion
from onnxlens.models.attribution.projection import project_layer
from onnxlens.models.dreams.ascent import Ascent
from onnxlens.models.dreams.dream import dream
from onnxlens.models.dreams.imagine import imagine
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.features.responses import responses
from onnxlens.models.features.top import top
from onnxlens.models.lens import Lens

PHOTO = scene(TEST_SEEDS[0]).image
ARGUMENTS = {
    "class": "cat", "odds": "cat", "layer": "relu3", "channel": "relu4, 3", "peak": "relu4, 3",
    "neuron": "relu5, 3", "direction": "relu4, v", "guide": "relu4, g", "diversity": "relu4",
    "element": "head, 3",
}  # fmt: skip
VECTORS = {"v": np.ones(96, np.float32), "g": np.ones((96, 2), np.float32)}


@pytest.fixture(scope="module")
def lens_at(tmp_path_factory):
    """The network of the package in a file of an opset: none of its operators has changed since."""
    folder = tmp_path_factory.mktemp("opsets")

    def made(opset):
        model = onnx.load(Lens("scenes", provider="cpu").path)
        model.opset_import[0].version = opset
        onnx.save(model, folder / f"{opset}.onnx")
        return Lens(folder / f"{opset}.onnx", provider="cpu", threads=1)

    return made


def answers(lens, photos):
    for name, method in METHODS.items():
        if method.needs:  # and this network has not
            continue
        less = {"steps": 2, "masks": 8, "patch": 32, "stride": 32, "strongest": 4}
        few = {key: value for key, value in less.items() if key in options_of(method)}
        yield name, attribute(lens, PHOTO, name, **few)[0].values
        if method.units:
            yield f"{name} of a layer", project_layer(lens, PHOTO, name, "relu4", [3])[0].signal
    for coarse in (False, True):
        yield f"occlusion {coarse}", occlusion(lens, PHOTO, patch=32, stride=32, coarse=coarse).scores
    for response in responses(lens, PHOTO, ["relu2"]):
        yield "responses", response.maps
    text = " + ".join(f"{name}({arguments})" for name, arguments in ARGUMENTS.items())
    yield "dream", dream(Ascent(lens, text, VECTORS, Priors(0.1, 1)), PHOTO, iterations=1, octaves=2).pictures
    yield "imagine", imagine(Ascent(lens, "class(cat)", priors=Priors(0.1, 1)), iterations=2).pictures
    hits = top(lens, photos, ["relu3"], [0])
    yield "fields", hits.fields["relu3"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    cv2.imwrite(str(path), PHOTO[..., ::-1])
    return [path]


@pytest.fixture(scope="module")
def oldest(lens_at, photos):
    return dict(answers(lens_at(OPSET), photos))


def test_every_term_is_tried():
    assert set(ARGUMENTS) == set(TERMS)


@pytest.mark.parametrize("opset", range(OPSET + 1, newest_opset() + 1))
def test_answers_do_not_depend_on_the_opset(opset, lens_at, photos, oldest):
    for name, value in answers(lens_at(opset), photos):
        np.testing.assert_allclose(value, oldest[name], 1e-4, 1e-6, err_msg=name)
