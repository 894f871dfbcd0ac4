"""`onnxlens layers` shows the modules of the framework, and `--layer` takes them."""

import json

import onnx
import pytest
from oracles.toys import UNIT, colours

from onnxlens.engine.anatomy.scopes import KEY


@pytest.fixture
def model(place):
    made = colours(preprocess=UNIT)
    for node in made.graph.node[:3]:
        node.metadata_props.add(key=KEY, value=str(["", "stem", f"stem.{node.name}", node.output[0]]))
    onnx.save(made, "modules.onnx")
    return "modules.onnx"


def test_layers_shows_modules(model, run):
    lines = run("layers", model).out.splitlines()
    assert lines[0].split()[:3] == ["value", "module", "operator"]
    assert any(line.split()[:3] == ["relu", "stem.relu", "Relu"] for line in lines)
    rows = [json.loads(line) for line in run("layers", model, "--json").out.splitlines()]
    modules = {row["name"]: row.get("module") for row in rows}
    assert (modules["conv"], modules["pool"], modules["scores"]) == ("stem.conv", "stem.pool", None)


def test_without_modules_there_is_no_column(run, place):
    assert run("layers", "model.onnx").out.split()[:2] == ["value", "operator"]


@pytest.mark.parametrize(("said", "value"), [("stem.relu", "relu"), ("stem", "pool")])
def test_a_module_is_a_layer(said, value, model, run):
    row = json.loads(run("gradcam", model, "red.png", "--layer", said, "--json", "-o", "out").out)
    assert row["layer"] == value
    done = run("gradcam", model, "red.png", "--layers", "stem.r*", "--json", "-o", "more")
    assert json.loads(done.out)["layer"] == "relu"
    done = run("gradcam", model, "red.png", "--layer", "stem.rule")
    assert done.code == 2
    assert "nearest: stem.relu" in done.err
