import ast
import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxlens.models import embedded
from onnxlens.models.embedded.scenes import CLASSES, TEST_SEEDS, scene


@pytest.fixture(scope="module")
def proto():
    return onnx.load(embedded.path())


@pytest.fixture(scope="module")
def session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(str(embedded.path()), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def unseen():
    return [scene(seed) for seed in TEST_SEEDS[:504]]


def read(proto, key):
    return json.loads({entry.key: entry.value for entry in proto.metadata_props}[f"onnxlens.{key}"])


def prepare(proto, images):
    how = read(proto, "preprocess")
    x = (np.stack(images) * how["scale"] - how["mean"]) / how["std"]
    return x.transpose(0, 3, 1, 2).astype(np.float32)


def test_the_file_is_small_and_sound(proto):
    assert embedded.path().stat().st_size <= 1_000_000
    onnx.checker.check_model(proto, full_check=True)
    assert not any(tensor.external_data for tensor in proto.graph.initializer)


def test_it_says_how_pictures_go_in_and_what_comes_out(proto):
    how = read(proto, "preprocess")
    assert (how["size"], how["fit"], how["channels"], how["layout"]) == ([96, 96], "stretch", "rgb", "nchw")
    assert read(proto, "labels") == list(CLASSES)
    (image,), (probabilities,) = proto.graph.input, proto.graph.output
    assert (image.name, probabilities.name) == ("image", "probabilities")
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["batch", 3, 96, 96]


def test_every_node_has_a_readable_name_for_its_value(proto):
    names = [node.name for node in proto.graph.node]
    assert names == [node.output[0] for node in proto.graph.node]
    assert {"conv1", "relu1", "pool1", "head", "probabilities"} <= set(names)


def test_accuracy_on_unseen_scenes(proto, session, unseen):
    (probabilities,) = session.run(None, {"image": prepare(proto, [s.image for s in unseen])})
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == [s.label for s in unseen]).mean() >= 0.97


def test_class_activation_maps_point_at_the_object(proto, unseen):
    """CAM in NumPy (Zhou et al. 2016) from the file's own weights: an oracle without gradients."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    last = [node.name for node in proto.graph.node if node.op_type == "Relu"][-1]
    model.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    scenes = unseen[:200]
    probabilities, features = session.run(None, {"image": prepare(proto, [s.image for s in scenes])})
    weight = next(onnx.numpy_helper.to_array(w) for w in proto.graph.initializer if w.name == "head.weight")
    maps = np.einsum("nchw,nc->nhw", features, weight[probabilities.argmax(axis=1)])
    peaks = [np.unravel_index(m.argmax(), m.shape) for m in maps]
    stride = 96 // maps.shape[1]
    # The cell of 8x8 pixels that the peak lies in touches the object.
    hits = [
        s.mask[y * stride : (y + 1) * stride, x * stride : (x + 1) * stride].any()
        for s, (y, x) in zip(scenes, peaks, strict=True)
    ]
    assert np.mean(hits) >= 0.95


def test_a_batch_is_its_images(proto, session, unseen):
    x = prepare(proto, [s.image for s in unseen[:9]])
    (together,) = session.run(None, {"image": x})
    alone = np.concatenate([session.run(None, {"image": one[None]})[0] for one in x])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_asking_for_the_path_imports_nothing_heavy():
    code = "import sys; from onnxlens.models import embedded; embedded.path(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert not loaded & {"numpy", "onnx", "onnxruntime", "cv2", "numba", "torch"}


@pytest.mark.parametrize("strided", [False, True])
def test_the_written_file_computes_what_the_network_computes(strided):
    """One untrained network through the exporter, BatchNormalization statistics and all, against PyTorch."""
    torch = pytest.importorskip("torch")
    from onnxlens.models.embedded import train

    torch.manual_seed(0)
    network = train.Classifier(strided)
    x = torch.randn(4, 3, 96, 96)
    network(x)  # moves the running statistics away from 0 and 1
    network.eval()
    session = onnxruntime.InferenceSession(
        train.to_onnx(network, "a test").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    with torch.no_grad():
        expected = network(x).mean((2, 3)).softmax(dim=1).numpy()
    np.testing.assert_allclose(session.run(None, {"image": x.numpy()})[0], expected, rtol=1e-4, atol=1e-6)


def test_a_strided_copy_looks_at_other_pixels_and_does_not_replace_the_model(capsys):
    torch = pytest.importorskip("torch")
    from onnxlens.models.embedded import train

    network = train.Classifier(strided=True)
    masks = torch.zeros(1, 96, 96)
    masks[0, 45:52, 69:76] = 1  # around pixels 48 = 8 x 6 and 72 = 8 x 9
    covered = network.covered(masks)[0]
    assert (covered == 1).nonzero().tolist() == [[6, 9]]
    assert (network.on_pixels(covered[None])[0] == 1).nonzero().tolist() == [[48, 72]]
    with pytest.raises(SystemExit):
        train.main(["--strided"])
    assert "--out" in capsys.readouterr().err
