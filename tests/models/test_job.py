"""Jobs: rows against the lens and by hand, and what becomes of photos that make trouble."""

import io
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from math import log
from threading import Lock

import cv2
import numpy as np
import onnx
import pytest
from oracles.toys import UNIT, blob, colours

from onnxlens.engine.errors import BadImage, BadRequest, NoMap
from onnxlens.engine.runtime.ahead import BATCH
from onnxlens.models.lens import Lens
from onnxlens.models.maps.placement import Placement
from onnxlens.models.maps.row import FIELDS, statistics
from onnxlens.models.network.digest import sha256
from onnxlens.models.network.labels import label_by_name
from onnxlens.models.runs.job import Job, Spec


@pytest.fixture
def model(tmp_path):
    onnx.save(colours(preprocess=UNIT), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def spec_of(model, **more):
    return Spec(model=str(model), sha256=sha256(model), provider="cpu", threads=1, **more)


def photos(count):
    """PNG files of blobs of the three colours in turn."""
    drawn = [blob(at=(20 + i % 20, 30 + i % 30), colour=i % 3) for i in range(count)]
    return {f"{i}.png": cv2.imencode(".png", p[..., ::-1])[1].tobytes() for i, p in enumerate(drawn)}


def reader(files):
    def read(name):
        if name not in files:
            raise BadImage(f"{name}: no such file")
        return files[name]

    return read


def test_a_spec_can_be_sent_and_gives_the_same(model):
    spec = spec_of(model, targets=("top2", "sky"))
    assert pickle.loads(pickle.dumps(spec)) == spec
    files = photos(5)
    one, other = {}, {}
    first = Job(spec, reader(files), one.__setitem__)(list(files))
    second = Job(pickle.loads(pickle.dumps(spec)), reader(files), other.__setitem__)(list(files))
    assert [r | {"seconds": 0} for r in first] == [r | {"seconds": 0} for r in second]
    assert one == other


@pytest.mark.parametrize("targets", [(None,), ("top2",), ("sky", "top1", 0), (4, 4)])
def test_batches_give_what_the_lens_gives_one_by_one(model, targets):
    files, written = photos(7), {}
    rows = Job(spec_of(model, targets=targets), reader(files), written.__setitem__)(list(files))
    lens, i = Lens(model, provider="cpu"), 0
    for name, data in files.items():
        photo = cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1]
        for heat in lens.explain(np.ascontiguousarray(photo), targets):
            row, i = rows[i], i + 1
            assert (row["path"], row["target"], row["method"]) == (name, heat.target.index, "gradcam")
            assert row["target_probability"] == pytest.approx(heat.target.probability, rel=1e-4)
            assert row["score"] == pytest.approx(heat.score, rel=1e-4)
            assert bool(row["problem"]) == bool(heat.problem)
            if not heat.problem:
                kept = np.load(io.BytesIO(written[row["map"]]))
                np.testing.assert_allclose(kept, heat.map, rtol=1e-4, atol=1e-6)
    assert i == len(rows)


def test_a_core_computes_few_photos_at_once_and_a_device_all(model, monkeypatch):
    lens = Lens(model, provider="cpu")
    assert [lens.together(n) for n in (1, 3, 16)] == [1, 3, BATCH]
    monkeypatch.setattr(lens.network, "provider", "cuda")
    assert lens.together(16) == 16


def test_threads_give_what_one_gives_and_few_of_them_compute(model):
    files, written, alone, together = photos(40), {}, {}, []
    groups = [list(files)[i : i + 3] for i in range(0, 40, 3)]
    whole = [row for group in groups for row in Job(spec_of(model), reader(files), alone.__setitem__)(group)]
    job = Job(spec_of(model), reader(files), written.__setitem__, at_once=2)
    (explained,), lock, computing = job.pipeline.attributors, Lock(), 0

    def counted(*about):
        nonlocal computing
        with lock:
            computing += 1
            together.append(computing)
        time.sleep(0.002)
        try:
            return explained(*about)
        finally:
            with lock:
                computing -= 1

    job.pipeline.attributors = [counted]
    with ThreadPoolExecutor(6) as pool:
        rows = [row for part in pool.map(job, groups) for row in part]
    assert [r | {"seconds": 0} for r in rows] == [r | {"seconds": 0} for r in whole]
    assert written == alone
    assert max(together) <= 2


def test_rows_have_all_fields_and_only_plain_values(model):
    files = photos(2) | {"broken.png": b"\x89PNG"}
    rows = Job(spec_of(model, methods=("gradcam", "saliency")), reader(files), lambda *_: None)(
        [*files, "gone.png"]
    )
    assert len(rows) == 6
    for row in rows:
        assert list(row) == list(FIELDS)
        assert all(v is None or type(v) is FIELDS[k] for k, v in row.items()), row
    assert [r["error"] for r in rows[-1:]] == ["no such file"]


def test_one_photo_that_fails_in_the_model_spares_the_others(model):
    files = photos(5)
    job = Job(spec_of(model), reader(files), lambda *_: None)
    expected = job(list(files))
    (find,) = job.pipeline.attributors
    bad = job.lens.preprocess(blob(at=(22, 32), colour=2))[0]

    def failing(shown, x, boxes, progress):
        if (abs(x - bad).reshape(len(x), -1).max(1) < 0.02).any():
            raise NoMap("not a number")
        return find(shown, x, boxes, progress)

    job.pipeline.attributors = [failing]
    rows = job(list(files))
    assert [r["error"] for r in rows] == [None, None, "not a number", None, None]
    for row, before in zip(rows, expected, strict=True):
        if not row["error"]:
            assert row | {"seconds": 0} == before | {"seconds": 0}


def test_a_model_that_has_changed_is_refused(model):
    spec = spec_of(model)
    onnx.save(colours(preprocess=UNIT, softmax=False), model)
    with pytest.raises(BadRequest, match="is not the model"):
        Job(spec, reader({}), lambda *_: None)


def test_identities(model):
    def identity(**more):
        return Job(spec_of(model, **more), reader({}), lambda *_: None).identity()

    assert identity() == identity(folder="elsewhere")
    for more in (
        {"targets": (1,)},
        {"side": 64},
        {"maps": False},
        {"methods": ("saliency",)},
        {"layer": "relu"},
        {"convention": "cells"},
    ):
        assert identity() != identity(**more)
    labels = {"labels": None, "preset": "imagenet"}
    assert identity() != identity(settings=labels)


# -- statistics ------------------------------------------------------------------------------------------


def test_statistics_by_hand():
    map_ = np.array([[0, 1, 0, 0], [0, 0, 3, 0]], np.float32)
    found = statistics(map_, Placement((0, 0, 20, 80)), (20, 80))
    assert (found["map_min"], found["map_max"], found["map_mean"]) == (0, 3, 0.5)
    assert found["map_entropy"] == pytest.approx(-(0.25 * log(0.25) + 0.75 * log(0.75)), rel=1e-5)
    assert (found["map_peak_y"], found["map_peak_x"]) == (15, 50)


def test_statistics_of_what_is_hardly_a_map():
    box, size = Placement((0, 0, 8, 8)), (8, 8)
    assert statistics(np.full((2, 2), np.nan, np.float32), box, size) == {}
    assert "map_peak_y" not in statistics(np.full((2, 2), -1, np.float32), box, size)
    assert statistics(np.eye(1, dtype=np.float32), box, size)["map_entropy"] == 0
    even = statistics(np.ones((4, 4), np.float32), box, size)
    assert even["map_entropy"] == pytest.approx(log(16), rel=1e-5)


def test_a_peak_in_the_edge_of_a_letterbox_is_on_the_photo():
    map_ = np.zeros((4, 4), np.float32)
    map_[0, 3] = 1
    found = statistics(map_, Placement((-30, 0, 70, 100)), (40, 100))
    assert (found["map_peak_y"], found["map_peak_x"]) == (0, 87)


@pytest.mark.parametrize(
    ("box", "cells", "at"),
    [
        ((0, 0, 64, 64), (-15.5, -15.5, 48.5, 48.5), (40, 40)),  # the middle of what the last cell sees
        ((0, 0, 64, 64), (15.5, 15.5, 79.5, 79.5), (63, 63)),  # what it sees has its middle in the padding
        ((0, 4, 40, 44.5), (0, 0, 64, 64), (39, 44)),
    ],
)
def test_a_peak_stands_where_its_cell_has_its_middle(box, cells, at):
    map_ = np.zeros((4, 4), np.float32)
    map_[3, 3] = 1
    found = statistics(map_, Placement(box, cells), (64, 64))
    assert (found["map_peak_y"], found["map_peak_x"]) == at


def test_labels_by_name():
    names = label_by_name(["tabby, tabby cat", "crane", "crane, bird", "Red", "red"])
    assert names["tabby cat"] == names["tabby"] == "tabby, tabby cat"
    assert names["bird"] == "crane, bird"
    assert "dog" not in names
