"""Modules of the framework: read from what exporters write, shown, and taken as layers."""

import numpy as np
import onnx
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.layers import checked_layer, matching
from onnxlens.engine.anatomy.maps import layer_named, module_names
from onnxlens.engine.anatomy.scopes import KEY, members, modules_around
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network
from onnxlens.models.features.weights import chosen

RNG = np.random.default_rng(1)
BODY = """val_1 = Conv <pads = [1,1,1,1]> (x, w) val_2 = Relu (val_1)
          val_3 = Conv <pads = [1,1,1,1]> (val_2, v) val_4 = Add (val_3, val_2) val_5 = Relu (val_4)
          val_6 = GlobalAveragePool (val_5) val_7 = Flatten (val_6) y = MatMul (val_7, u)"""
SCOPES = ["stem", "stem.act", "blocks.0.conv", "blocks.0", "blocks.0.act", "", "", "fc"]


def network(how):
    """A network whose nodes say their modules as PyTorch's exporter does, its older one, or TensorFlow's."""
    weights = {"w": (4, 3, 3, 3), "v": (4, 4, 3, 3), "u": (4, 5)}
    model = parsed(
        f"(float[1,3,8,8] x) => (float[1,5] y) {{ {BODY} }}",
        **{name: RNG.standard_normal(shape) for name, shape in weights.items()},
    )
    for node, module in zip(model.graph.node, SCOPES, strict=True):
        parts = [p for p in module.split(".") if p]
        paths = [".".join(parts[: i + 1]) for i in range(len(parts))]
        if how == "beside":
            node.metadata_props.add(key=KEY, value=str(["", *paths, node.output[0]]))
        elif how == "torchscript":
            named = ["blocks.0" if p == "0" else p for p in parts]
            node.name = "/" + "/".join([*named, node.op_type])
        else:
            node.name = "/".join(["StatefulPartitionedCall", *parts, node.op_type])
    return model


@pytest.mark.parametrize("how", ["beside", "torchscript", "tensorflow"])
def test_layers_are_named_by_their_modules(how):
    graph = canonical(network(how))
    block, conv = ("blocks/0", "blocks/0/conv") if how == "tensorflow" else ("blocks.0", "blocks.0.conv")
    assert members(graph)[block] == ["val_3", "val_4", "val_5"]
    assert layer_named(graph, block) == "val_5"
    assert checked_layer(graph, conv, "y") == "val_3"
    assert matching(graph, ["stem", "val_4"]) == ["val_2", "val_4"]
    assert matching(graph, [f"{conv[:-4]}*"]) == ["val_3", "val_5"]
    assert matching(graph, ["val_*"]) == [f"val_{i}" for i in range(1, 6)]
    assert "fc" not in module_names(graph)
    with pytest.raises(BadRequest, match=f"no layer 'block'; nearest: .*{block}"):
        checked_layer(graph, "block", "y")
    with pytest.raises(BadRequest, match=f"no layer matches 'blok\\*'; nearest: .*{block}"):
        matching(graph, ["blok*"])


def test_modules_are_layers_for_what_goes_back_to_the_pixels():
    net = Network(network("beside"), provider="cpu")
    feeds = {"x": RNG.standard_normal((1, 3, 8, 8)).astype("f")}
    for module, value in (("blocks.0", "val_5"), ("fc", "y")):
        a, b = (Projector(net, "saliency", layer)(feeds, 1)[0] for layer in (module, value))
        np.testing.assert_array_equal(a.values, b.values)


def test_the_name_of_a_value_comes_first():
    model = network("beside")
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "blocks.0"
    graph = canonical(model)
    assert layer_named(graph, "blocks.0") == "blocks.0"
    assert matching(graph, ["blocks.0"]) == ["blocks.0"]


@pytest.mark.parametrize(
    "text", ["", "[", "5", "['a', 3, 'b']", "__import__('os')", "[" * 3000, "['a'," * 900, "\0", "x" * 10**6]
)
def test_what_is_no_list_of_modules_is_none(text):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    node.metadata_props.add(key=KEY, value=text)
    assert modules_around(node) == []


def test_modules_stand_for_the_layers_with_weights_in_them():
    net = Network(network("beside"), provider="cpu")
    assert chosen(net, ["blocks.0"]) == ["val_3"]
    assert chosen(net, ["fc", "stem"]) == ["val_1", "y"]
    assert chosen(net, ["blocks*"]) == ["val_3"]
    assert chosen(net, ["val_*", "u"]) == ["val_1", "val_3", "y"]
    with pytest.raises(BadRequest, match=r"no layer matches 'blocks\.1'; nearest: .*blocks\.0"):
        chosen(net, ["blocks.1"])


def test_a_module_that_hands_on_no_map_is_said_to_be_that():
    with pytest.raises(BadRequest, match=r"layer 'fc' of shape \[1, 5\] is no feature map"):
        checked_layer(canonical(network("beside")), "fc", "y")
