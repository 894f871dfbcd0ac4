"""Weights in files of their own are mapped, checked before that, and written back beside a model."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.gradient import gradient, training_graph
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadModel
from onnxlens.engine.graph import external
from onnxlens.engine.graph.export import is_too_large, split
from onnxlens.engine.graph.file import read_model
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(5)
W = RNG.standard_normal((700, 500)).astype("f")  # over a megabyte: mapped
X = RNG.standard_normal((2, 700)).astype("f")
SECRET = bytes(W.nbytes)


@pytest.fixture
def model():
    body = "(float[2,700] x) => (float[2,4] y) { h = MatMul (x, w) r = Relu (h) y = MatMul (r, v) }"
    return parsed(body, w=W, v=RNG.standard_normal((500, 4)))


@pytest.fixture
def place(tmp_path, model):
    folder = tmp_path / "model"
    folder.mkdir()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(copy, folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    return folder / "m.onnx"


def moved(place, name="w", **entries):
    """The file on disk, with other entries for the place of a weight."""
    proto = onnx.load(place, load_external_data=False)
    (tensor,) = (t for t in proto.graph.initializer if t.name == name)
    kept = {e.key: e.value for e in tensor.external_data} | {k: str(v) for k, v in entries.items()}
    del tensor.external_data[:]
    for key, value in kept.items():
        tensor.external_data.add(key=key, value=value)
    place.write_bytes(proto.SerializeToString())
    return place


def test_large_weights_are_mapped_and_small_ones_read(place, model):
    w, v = (next(t for t in read_model(place).graph.initializer if t.name == n) for n in "wv")
    assert external.is_external(w)
    assert not w.raw_data
    assert v.raw_data
    array = canonical(place)["w"].array
    np.testing.assert_array_equal(array, W)
    assert not array.flags.writeable
    assert not array.flags.owndata


def test_answers_and_gradients_are_those_of_the_model_in_one_file(place, model):
    from_file, from_memory = Network(place, provider="cpu"), Network(model, provider="cpu")
    for name in ("y", "r", "w"):
        found = from_file.run({"x": X}, [name])[name]
        np.testing.assert_array_equal(found, from_memory.run({"x": X}, [name])[name])
    feeds = {"x": X, "seed/y": np.ones((2, 4), "f")}
    found, expected = (run(gradient(m, wrt=["x", "w"]), feeds) for m in (place, model))
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("kind", ["float16", "float64", "int8"])
def test_other_types(tmp_path, kind):
    value = (100 * RNG.standard_normal((1200, 1200))).astype(kind)
    proto = parsed(
        f"({helper_name(kind)}[1200,1200] x) => ({helper_name(kind)}[1200,1200] y) {{ y = Add (x, w) }}"
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(value, "w"))
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert external.is_external(read_model(tmp_path / "m.onnx").graph.initializer[0])
    found = canonical(tmp_path / "m.onnx")["w"].array
    np.testing.assert_array_equal(found, value)


def helper_name(kind):
    return {"float64": "double"}.get(kind, kind)


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "../secret.bin"},
        {"location": "inside/../w.bin"},
        {"location": "link.bin"},
        {"location": "linked/secret.bin"},
        {"location": "/dev/zero"},
        {"location": ""},
        {"location": "."},
        {"location": "none.bin"},
        {"offset": 2**21},
        {"offset": -1},
        {"offset": 2**70},
        {"offset": "x"},
        {"length": W.nbytes - 4},
        {"length": 2**62},
    ],
)
@pytest.mark.parametrize("name", ["w", "v"])  # one that would be mapped, and one that would be read
def test_a_place_that_is_none_is_refused(place, name, entries):
    folder = place.parent
    (folder.parent / "secret.bin").write_bytes(SECRET)
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "inside").mkdir()
    with pytest.raises(BadModel, match=r"m\.onnx"):
        read_model(moved(place, name, **entries))


@pytest.mark.parametrize("change", ["missing", "a folder", "cut short"])
@pytest.mark.parametrize("large", [True, False])
def test_what_is_wrong_with_the_file_of_weights_is_said(place, change, large):
    data = place.parent / "w.bin"
    if not large:
        onnx.save(parsed("(float[2,2] x) => (float[2,2] y) { y = MatMul (x, w) }", w=np.eye(2)), place,
                  save_as_external_data=True, location="w.bin", size_threshold=0)  # fmt: skip
    if change == "cut short":
        data.write_bytes(data.read_bytes()[:-1] if large else b"")
    else:
        data.unlink()
    if change == "a folder":
        data.mkdir()
    with pytest.raises(BadModel, match=r"m\.onnx: .*'w\.bin'") as error:
        read_model(place)
    assert "damaged" not in str(error.value)
    assert ("cut short" in str(error.value)) == (change == "cut short")


def test_all_files_that_are_missing_are_named(tmp_path):
    """A model that was moved alone; of many files it names three."""
    weights = {f"w{i}": np.eye(2) for i in range(5)}
    body = " ".join(f"x{i + 1} = MatMul (x{i}, w{i})" for i in range(5))
    model = parsed(f"(float[2,2] x0) => (float[2,2] x5) {{ {body} }}", **weights)
    onnx.save(
        model,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=0,
    )
    (tmp_path / "w2").unlink()
    with pytest.raises(BadModel, match=r"the file 'w2' is not in the .* put it there"):
        read_model(tmp_path / "m.onnx")
    for i in (0, 1, 3, 4):
        (tmp_path / f"w{i}").unlink()
    with pytest.raises(BadModel, match=r"the files 'w0', 'w1', 'w2' and 2 more are .* put them there"):
        read_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["m.onnx", "w.bin"])
def test_what_git_lfs_leaves_in_the_place_of_a_file_is_called_so(place, name):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0a1b\nsize 123456\n"
    (place.parent / name).write_text(pointer)
    with pytest.raises(BadModel, match=rf"{name}.* a pointer of Git LFS.*git lfs pull"):
        read_model(place)


@pytest.mark.parametrize("below", [".", "onnx"])
def test_links_of_a_hugging_face_cache_are_followed(tmp_path, place, model, below):
    root = tmp_path / "models--some--net"
    folder, blobs = root / "snapshots" / "0a1b" / below, root / "blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    for name, blob in (("m.onnx", "aa"), ("w.bin", "bb")):
        (place.parent / name).rename(blobs / blob)
        (folder / name).symlink_to(blobs / blob)
    np.testing.assert_array_equal(canonical(folder / "m.onnx")["w"].array, W)
    found = Network(folder / "m.onnx", provider="cpu").run({"x": X})["y"]
    np.testing.assert_array_equal(found, Network(model, provider="cpu").run({"x": X})["y"])

    (tmp_path / "secret").write_bytes((blobs / "bb").read_bytes())
    for leads_out in (tmp_path / "secret", root / "secret"):
        leads_out.write_bytes((blobs / "bb").read_bytes())
        (blobs / "bb").unlink()
        (blobs / "bb").symlink_to(leads_out)
        with pytest.raises(BadModel, match="outside the model's folder"):
            read_model(folder / "m.onnx")


def test_a_link_within_the_folder_is_followed(place):
    (place.parent / "w.bin").rename(place.parent / "real.bin")
    (place.parent / "w.bin").symlink_to("real.bin")
    np.testing.assert_array_equal(canonical(place)["w"].array, W)


@pytest.mark.parametrize("kind", ["BOOL", "UINT16", "BFLOAT16", "INT4", "UINT4", "INT2", "FLOAT8E4M3FN"])
@pytest.mark.parametrize("count", [33, 2**20 + 1])
def test_types_that_are_packed_or_few_are_read(tmp_path, kind, count):
    numbers = RNG.integers(0, 2, count)
    tensor = helper.make_tensor("w", TensorProto.DataType.Value(kind), [count], numbers)
    kept = tensor.SerializeToString()
    proto = parsed("(float[2] x) => (float[2] y) { y = Neg (x) }")
    proto.graph.initializer.append(tensor)
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    found = read_model(tmp_path / "m.onnx").graph.initializer[0]
    assert not external.is_external(found)
    expected = onnx.numpy_helper.to_array(TensorProto.FromString(kept))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(found), expected)


def test_what_nodes_and_their_bodies_hold_is_read_too(tmp_path):
    proto = parsed(
        """(float[2,700] x, bool b) => (float[2,500] y) { k = Constant <value = float {1}> ()
        y = If (b) <then_branch = t () => (float[2,500] u) { u = MatMul (x, w) },
                    else_branch = e () => (float[2,500] v) { v = MatMul (x, w) }> }"""
    )
    constant, choice = proto.graph.node
    constant.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(W, "k"))
    for branch in choice.attribute:
        branch.g.initializer.append(onnx.numpy_helper.from_array(W, "w"))
    feeds = {"x": X, "b": np.array(True)}
    expected = run(proto, feeds)["y"]
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0,
              convert_attribute=True)  # fmt: skip
    assert (tmp_path / "m.onnx").stat().st_size < 2000
    np.testing.assert_array_equal(Network(tmp_path / "m.onnx", provider="cpu").run(feeds)["y"], expected)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(BadModel, match=r"'w\.bin'"):
        read_model(tmp_path / "m.onnx")


def test_an_absolute_path_is_refused(place):
    with pytest.raises(BadModel, match="outside the model's folder"):
        read_model(moved(place, location=place.parent / "w.bin"))


def test_sizes_that_no_memory_holds_are_refused(place):
    proto = onnx.load(place, load_external_data=False)
    next(t for t in proto.graph.initializer if t.name == "w").dims[:] = [2**40, 2**40]
    place.write_bytes(proto.SerializeToString())
    with pytest.raises(BadModel, match="does not hold"):
        read_model(place)


@pytest.mark.parametrize("more", [{}, {"checked": "", "basepath": "/"}])
def test_a_model_in_memory_cannot_name_files(place, more):
    proto = onnx.load(moved(place, **more), load_external_data=False)
    with pytest.raises(BadModel, match="lies in another file"):
        read_model(proto)


def test_a_file_that_shrinks_later(place):
    graph = canonical(place)
    (place.parent / "w.bin").write_bytes(b"")
    with pytest.raises(BadModel, match="can no longer be read"):
        graph["w"].array  # noqa: B018


def test_what_was_attached_is_only_opened_by_this_process(place, monkeypatch):
    proto = read_model(place)
    monkeypatch.setattr(external, "_CHECKED", "another process")
    with pytest.raises(BadModel, match="lies in another file"):
        read_model(proto)


@pytest.mark.parametrize("source", ["file", "memory"])
def test_a_graph_is_split_into_a_model_and_its_weights(tmp_path, place, model, source):
    graph = training_graph(place if source == "file" else model, wrt=["x", "w"])
    assert not is_too_large(graph)
    light, pieces = split(graph, "g.data")
    with (tmp_path / "g.data").open("wb") as file:
        file.writelines(pieces)
    (tmp_path / "g.onnx").write_bytes(light.SerializeToString())
    assert light.ByteSize() < 10_000
    onnx.checker.check_model(tmp_path / "g.onnx")
    feeds = {"x": X, "seed/y": np.ones((2, 4), "f")}
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    whole = run(graph.to_model(), feeds)
    for name, array in zip(names, session.run(None, feeds), strict=True):
        np.testing.assert_array_equal(array, whole[name])


def test_weights_begin_at_pages_and_keep_their_bytes(tmp_path):
    names = {"int4": TensorProto.INT4, "bfloat16": TensorProto.BFLOAT16, "plain": TensorProto.FLOAT}
    graph = canonical(parsed("(float[2] x) => (float[2] y) { y = Neg (x) }"))
    for name, kind in names.items():
        graph.add_constant(helper.make_tensor(name, kind, [1501], RNG.integers(-8, 8, 1501)))
        graph.outputs.append(name)
    light, pieces = split(graph, "g.data")
    (tmp_path / "g.data").write_bytes(b"".join(pieces))
    places = {t.name: {e.key: e.value for e in t.external_data} for t in light.graph.initializer}
    assert all(int(p["offset"]) % 4096 == 0 for p in places.values())
    assert places["int4"]["length"] == "751"
    onnx.external_data_helper.load_external_data_for_model(light, str(tmp_path))
    for tensor in light.graph.initializer:
        expected = onnx.numpy_helper.to_array(graph.constants[tensor.name])
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), expected)


def test_what_one_protobuf_cannot_hold(tmp_path):
    size = (2**31 // 4, 1)
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(2**31)  # takes no room on the disk
    proto = parsed(f"(float[1,{size[0]}] x) => (float[1,1] y) {{ y = MatMul (x, w) }}")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=size)
    external.set_place(tensor, "w.bin", 0, 2**31)
    proto.graph.initializer.append(tensor)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert is_too_large(canonical(tmp_path / "m.onnx"))
