"""Runs over what models find: a row for each region, where it lies, and what is said where there is none."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from oracles.things import segmenter, spots
from oracles.toys import UNIT, colours

PHOTOS = {
    "green.png": spots((44, 36, 1)),
    "none.png": spots(),
    "two.png": spots((20, 20, 0), (40, 76, 2)),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(segmenter(), "regions.onnx")
    onnx.save(colours(preprocess=UNIT), "classes.onnx")
    Path("photos").mkdir()
    for name, photo in PHOTOS.items():
        cv2.imwrite(f"photos/{name}", photo[..., ::-1])
    return tmp_path


def rows_of(folder):
    lines = [line for path in sorted(Path(folder).glob("rows/*")) for line in path.read_text().splitlines()]
    return [{**json.loads(line), "seconds": None} for line in lines]


def box_of(row):
    return [row[f"box_{edge}"] for edge in ("y0", "x0", "y1", "x1")]


def test_each_region_has_a_row_with_what_it_is_and_where(place, run):
    done = run(
        "run", "regions.onnx", "photos", "--target", "every", "--method", "gradcam,saliency", "-o", "r"
    )
    assert done.code == 0, done.err
    rows = [row for row in rows_of("r") if row["path"] == "two.png"]
    assert [(r["target"], r["class_label"], r["method"]) for r in rows] == [
        *[(0, "red", "gradcam"), (1, "blue", "gradcam"), (0, "red", "saliency"), (1, "blue", "saliency")]
    ]
    for row, (y, x) in zip(rows, [(20, 20), (40, 76)] * 2, strict=True):
        y0, x0, y1, x1 = box_of(row)
        assert y0 < y < y1 < y0 + 26
        assert x0 < x < x1 < x0 + 30
        assert y0 <= row["map_peak_y"] < y1
        assert x0 <= row["map_peak_x"] < x1
        assert (row["kind"], row["asked"]) == ("region", f"region({row['class']})")
        assert 0.9 < row["target_probability"] <= 1
        assert row["score"] > 10  # the mean score, which is what is explained
        assert row["label"] == "red"  # of the largest region
        assert row["truth"] is None
    files = [r["map"] for r in rows] + [r["picture"] for r in rows]
    assert len(set(files)) == 8
    assert all(Path("r", name).is_file() for name in files)
    assert run("runs", "verify", "r", "--photos").code == 0


def test_what_is_not_in_a_photo_is_a_row_that_says_so(place, run):
    words = ["--target", "region(red)", "--target", "green"]
    done = run("run", "regions.onnx", "photos", *words, "-o", "r")
    assert done.code == 0, done.err
    found = {(r["path"], r["asked"]): r for r in rows_of("r")}
    there = {key for key, row in found.items() if row["problem"] is None}
    assert there == {("two.png", "region(red)"), ("green.png", "green")}
    assert len(found) == 6
    for key in found.keys() - there:
        row = found[key]
        assert (row["kind"], row["error"], row["map"], row["map_max"]) == ("nothing", None, None, None)
        assert row["sha256"]
        assert "found were" in row["problem"] or "no 'green'" in row["problem"]
    assert run("runs", "verify", "r").code == 0


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("region(pink)", "no class is called 'pink'"),
        ("box(0)", "have no box"),
        ("red - pink", "'pink'"),
        ("regoin(red)", "no class is called 'regoin(red)'"),
    ],
)
def test_a_target_that_no_photo_can_have_is_refused_before_any(place, run, target, said):
    done = run("run", "regions.onnx", "photos", "--target", target, "-o", "r")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert said in done.err
    assert not Path("r").exists()


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_run_that_stopped_goes_on_to_the_same_rows(place, run, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    Path("photos/cut.jpg").write_bytes(b"\xff\xd8abc")
    words = ["run", "regions.onnx", "photos", "--target", "every", "--batch", "1", "--rows", kind]
    assert run(*words, "-o", "whole", "--exit-zero").code == 0
    assert run(*words, "--limit", "2", "-o", "parts", "--exit-zero").code == 0
    assert run(*words, "--resume", "-o", "parts", "--exit-zero").code == 0
    assert run("runs", "verify", "parts", "--photos").code == 0
    for name in ("pictures", "maps"):
        files = {p.relative_to("whole"): p.read_bytes() for p in Path("whole", name).rglob("*.*")}
        assert files == {p.relative_to("parts"): p.read_bytes() for p in Path("parts", name).rglob("*.*")}
    if kind == "jsonl":
        key = lambda row: (row["path"], row["target"] or 0)
        assert sorted(rows_of("whole"), key=key) == sorted(rows_of("parts"), key=key)
    other = run(*words, "--readout", "regions:labels", "--resume", "-o", "parts")
    assert other.code == 2


def test_a_dry_run_and_a_merge_know_of_things(place, run):
    words = ["run", "regions.onnx", "photos", "--target", "top2"]
    done = run(*words, "--dry-run", "--json")
    assert (done.code, done.records[0]["images"], done.records[0]["rows"]) == (0, 3, 4)
    for part in (1, 2):
        assert run(*words, "--part", f"{part}/2", "-o", f"part{part}").code == 0
    assert run("runs", "merge", "part1", "part2", "-o", "both").code == 0
    assert run("runs", "verify", "both", "--photos").code == 0
    assert {r["class_label"] for r in rows_of("both")} == {"red", "green", "blue", "background"}


def test_differences_of_classes_are_things_and_classes_alone_are_none(place, run):
    assert run("run", "classes.onnx", "photos", "--target", "red - sky", "-o", "differences").code == 0
    rows = rows_of("differences")
    assert {row["asked"] for row in rows} == {"red - sky"}
    assert {row["kind"] for row in rows} == {"sum"}
    assert run("run", "classes.onnx", "photos", "--target", "top2", "-o", "alone").code == 0
    assert all("kind" not in row for row in rows_of("alone"))
    (row,) = [r for r in rows if r["path"] == "two.png"]
    assert np.load(Path("differences", row["map"])).max() > 0


def test_the_explainer_of_a_thing_is_a_graph_with_its_seeds(place):
    import onnxruntime

    from onnxlens.models.lens import Lens

    lens = Lens("regions.onnx", provider="cpu")
    heat = lens.attribute("photos/two.png", "gradcam", ["region(blue)"])[0]
    model = lens.explainer("gradcam").to_model()
    (part,) = lens.reading.parts
    seeds = heat.target.thing.seed.dense(part, int(np.prod(lens.network.graph[part].shape[1:])))
    x, _ = lens.preprocess(PHOTOS["two.png"])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"image": x, "seeds": seeds[None, :, None], "target": np.zeros(1, np.int64)}
    np.testing.assert_allclose(session.run(None, feeds)[0][0], heat.values, atol=1e-6)
