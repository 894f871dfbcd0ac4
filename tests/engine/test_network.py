"""Every value of a model by name, without changing what the model says."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from onnxlens.engine.errors import BadModel, BadRequest
from onnxlens.engine.runtime.network import KEPT, Network

RNG = np.random.default_rng(3)
W = RNG.standard_normal((8, 3, 3, 3)).astype(np.float32)
X = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)


def tiny() -> onnx.ModelProto:
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13]>
        net (float[N,3,8,8] x) => (float[N,8] y) {
            c = Conv <auto_pad = "SAME_UPPER"> (x, w)
            r = Relu (c)
            g = GlobalAveragePool (r)
            y = Flatten (g)
        }"""
    )
    proto.graph.initializer.append(numpy_helper.from_array(W, "w"))
    return proto


def test_values_by_name():
    network = Network(tiny(), provider="cpu")
    assert network.values == ["x", "c", "r", "g", "y"]
    found = network.run({"x": X}, ["r", "x", "w", "c", "y"])
    assert list(found) == ["r", "x", "w", "c", "y"]
    np.testing.assert_array_equal(found["r"], np.maximum(found["c"], 0))
    np.testing.assert_allclose(found["y"], found["r"].mean((2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["x"], X)
    np.testing.assert_array_equal(found["w"], W)


def test_outputs_are_those_of_the_bare_model():
    session = onnxruntime.InferenceSession(tiny().SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(
        Network(tiny(), provider="cpu").run({"x": X})["y"], session.run(None, {"x": X})[0]
    )


def test_neither_object_nor_file_nor_arrays_change(tmp_path):
    proto, path = tiny(), tmp_path / "m.onnx"
    onnx.save(proto, path)
    before, bytes_before, x = proto.SerializeToString(), path.read_bytes(), X.copy()
    for source in (proto, path):
        network = Network(source, provider="cpu")
        found = network.run({"x": x}, ["c", "w", "x"])
        for array in found.values():
            array[...] = 0
        np.testing.assert_array_equal(network.run({"x": x}, ["w"])["w"], W)
    assert proto.SerializeToString() == before
    assert path.read_bytes() == bytes_before
    np.testing.assert_array_equal(x, X)


def test_weights_in_external_data(tmp_path):
    proto = tiny()
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="w.bin")
    found = Network(tmp_path / "m.onnx", provider="cpu").run({"x": X})["y"]
    np.testing.assert_array_equal(found, Network(tiny(), provider="cpu").run({"x": X})["y"])


def test_wrong_requests_are_answered():
    network = Network(tiny(), provider="cpu")
    with pytest.raises(BadRequest, match="no value 'relu'"):
        network.run({"x": X}, ["relu"])
    with pytest.raises(BadRequest, match="input 'x' is missing"):
        network.run({}, ["c"])
    with pytest.raises(BadRequest, match="cannot run the model"):
        network.run({"x": X[:, :2]}, ["c"])
    with pytest.raises(BadRequest, match=r"no provider 'cudda'.*cuda"):
        Network(tiny(), provider="cudda")
    with pytest.raises(BadModel, match="no such file"):
        Network("nowhere.onnx")


def test_compiled_sessions_are_few():
    network = Network(tiny(), provider="cpu")
    for name in ("c", "r", "g", "y"):
        for other in ("c", "r", "g", "y"):
            network.run({"x": X}, [name, other])
    assert len(network._sessions) <= KEPT


def test_shapes_can_be_bound():
    proto = tiny()
    for d, name in zip(proto.graph.input[0].type.tensor_type.shape.dim[2:], "hw", strict=True):
        d.dim_param = name
    network = Network(proto, provider="cpu", shapes={"x": ["N", 3, 6, 10]})
    assert network.graph["c"].shape == ("N", 8, 6, 10)
    assert network.run({"x": np.zeros((1, 3, 6, 10), np.float32)})["y"].shape == (1, 8)


MANY = """
import re
from pathlib import Path
import numpy as np
from onnx import parser
from onnxlens.engine.runtime.network import Network

body = "a = Exp (x) b = Sin (a) c = Add (a, b) y = ReduceMax <keepdims = 0> (c)"
text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[2048,2048] x) => (float y) {{ {body} }}'
x, networks = np.zeros((2048, 2048), np.float32), []
for _ in range(6):
    networks.append(Network(parser.parse_model(text), provider="cpu"))
    networks[-1].run({"x": x})
    print(re.findall(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
def test_networks_that_run_in_turns_work_in_the_same_memory():
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    first, *_, last = map(int, done.stdout.split())
    assert last - first < 2 * 2048 * 2048 * 4 / 1024  # kB: two of the values that each of them makes
