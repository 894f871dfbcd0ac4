"""Files that ONNX Runtime made for one machine say so; those that it only optimised are read."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from oracles.networks import parsed, run

from onnxlens.cli import main
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.errors import BadModel
from onnxlens.engine.graph.file import read_model

RNG = np.random.default_rng(0)
TEXT = """(float[1,3,16,16] x) => (float[1,16] y) {
    a = Conv <pads = [1,1,1,1]> (x, w) b = Relu (a) c = Conv <pads = [1,1,1,1]> (b, v)
    d = Add (c, b) e = Relu (d) p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (e)
    g = GlobalAveragePool (p) y = Flatten (g)
}"""


def saved(path, level, **entries):
    """The network above as ONNX Runtime writes it at a level."""
    model = parsed(TEXT, w=RNG.standard_normal((16, 3, 3, 3)), v=RNG.standard_normal((16, 16, 3, 3)))
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 4, str(path)
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return model


@pytest.mark.parametrize("level", ["BASIC", "EXTENDED"])
def test_a_file_optimised_for_any_machine_is_read(level, tmp_path):
    model = saved(tmp_path / "m.onnx", level)
    feeds = {
        "x": RNG.standard_normal((1, 3, 16, 16)).astype(np.float32),
        "seed/y": np.ones((1, 16), np.float32),
    }
    found, expected = (run(gradient(m, ["y"], ["x"]), feeds) for m in (tmp_path / "m.onnx", model))
    np.testing.assert_allclose(found["grad/x"], expected["grad/x"], 1e-3, 1e-4)


def test_one_for_this_kind_of_machine_is_said_to_be_that(tmp_path, capsys):
    saved(tmp_path / "m.onnx", "ALL")
    model = onnx.load(tmp_path / "m.onnx")
    if all(n.domain != "com.microsoft.nchwc" for n in model.graph.node):
        pytest.skip("ONNX Runtime has no blocks of channels on this processor")
    for source in (tmp_path / "m.onnx", model):
        with pytest.raises(
            BadModel, match=r"for one kind of machine .*com.microsoft.nchwc:.*ORT_ENABLE_EXTENDED"
        ):
            read_model(source)
    for words in (["layers"], ["doctor"], ["weights"], ["grad", "-o", str(tmp_path / "out.onnx")]):
        with pytest.raises(SystemExit) as end:
            main([words[0], str(tmp_path / "m.onnx"), *words[1:]])
        assert end.value.code == 1
        assert capsys.readouterr().err.count("optimised this file for one kind of machine") == 1


def test_an_operator_inside_a_branch_and_a_compiled_context_are_found():
    for key in ("com.microsoft.nchwc:Conv", "com.ms.internal.nhwc:Conv", "com.microsoft:EPContext"):
        domain, _, name = key.partition(":")
        branch = helper.make_graph(
            [helper.make_node(name, ["x"], ["q"], domain=domain)],
            "b",
            [],
            [helper.make_empty_tensor_value_info("q")],
        )
        model = parsed("(float[2] x, bool c) => (float[2] y) { y = Relu (x) }")
        node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
        model.graph.node[0].CopyFrom(node)
        model.opset_import.append(helper.make_opsetid(domain, 1))
        with pytest.raises(BadModel, match=f"it holds {key}"):
            read_model(model)


@pytest.mark.parametrize("name", ["m.ort", "renamed.onnx"])
def test_the_format_of_the_runtime_is_called_so(name, tmp_path):
    saved(tmp_path / name, "BASIC", **{"session.save_model_format": "ORT"})
    with pytest.raises(BadModel, match="in the ORT format of ONNX Runtime; take the ONNX file"):
        read_model(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"ORTM", b"\x18\x00\x00\x00ORT", b"\x08\x07ORTM\x00\x00\x00"])
def test_other_files_are_not(content, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BadModel) as end:
        read_model(tmp_path / "m.onnx")
    assert "ORT format" not in str(end.value)
