"""Models whose answer is of all pictures of a batch at once: crops and views that are averaged."""

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from oracles.toys import COLOURS, SIDE, UNIT, blob, build, colours, metadata_of

from onnxlens.engine.errors import BadRequest
from onnxlens.models.lens import Lens
from onnxlens.models.runs.run import run

N = helper.make_node
AVERAGED = {
    "scores": [
        N("ReduceMean", ["scores", "first"], ["all"]),
        N("Softmax", ["all"], ["probabilities"], axis=1),
    ],
    "probabilities": [
        N("Softmax", ["scores"], ["each"], axis=1),
        N("ReduceMean", ["each", "first"], ["probabilities"]),
    ],
    "one of them": [N("Gather", ["scores", "first"], ["one"]), N("Softmax", ["one"], ["probabilities"])],
}


def averaged(how, batch):
    """The classifier of colours, with one answer for all pictures of a batch."""
    model = colours(batch=batch, softmax=False)
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer} | {"first": np.array([0])}
    inputs, outputs = {"image": (batch, 3, SIDE, SIDE)}, {"probabilities": (1, len(COLOURS))}
    made = build([*model.graph.node, *AVERAGED[how]], inputs, outputs, weights)
    helper.set_model_props(made, metadata_of(UNIT, COLOURS))
    return made


@pytest.mark.parametrize("how", AVERAGED)
def test_photos_are_not_averaged_with_each_other(tmp_path, how):
    onnx.save(averaged(how, "N"), tmp_path / "model.onnx")
    onnx.save(colours(preprocess=UNIT), tmp_path / "plain.onnx")
    photos = [blob(at=(20, 30), colour=c) for c in range(3)]
    for name in ("model", "plain"):
        lens = Lens(tmp_path / f"{name}.onnx")
        assert [lens.predict(p)[0].index for p in photos] == [0, 1, 2]
    assert Lens(tmp_path / "model.onnx").together(16) == 1
    (tmp_path / "photos").mkdir()
    for i, photo in enumerate(photos):
        cv2.imwrite(str(tmp_path / f"photos/{i}.png"), photo[..., ::-1])
    done = run(str(tmp_path / "model.onnx"), tmp_path / "photos", tmp_path / "out")
    assert done.errors == 0


def test_a_fixed_batch_with_one_answer_says_what_it_is(tmp_path):
    onnx.save(averaged("scores", 10), tmp_path / "model.onnx")
    with pytest.raises(BadRequest, match=r"shape \[1, 5\], one answer for all 10 pictures of a batch"):
        Lens(tmp_path / "model.onnx").predict(blob())
