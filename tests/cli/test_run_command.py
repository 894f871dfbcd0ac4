"""Runs over folders: what they write, what they refuse, and that nothing which happens to them is lost."""

import copy
import io
import json
import os
import random
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from oracles.runs import bomb, manifest, rows, table, tree
from oracles.toys import blob

from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo


@pytest.fixture
def album(place):
    """Six photos in a tree; two of them have the same name, and two differ in the ending."""
    for i, name in enumerate(
        ["a/x.png", "b/x.png", "b/x.jpg", "red/1.png", "blue/1.png", "green/it's <1>.png"]
    ):
        path = place / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), blob(at=(20 + 5 * i, 30), colour=(0, 2, 2, 0, 1, 1)[i])[..., ::-1])
    return place / "album"


# -- what a run is ---------------------------------------------------------------------------------------


def test_rows_pictures_and_maps_in_the_tree_of_the_photos(album, run):
    done = run("run", "model.onnx", album, "-o", "out")
    assert done.code == 0, done.err
    assert "6 images, 6 rows -> out" in done.out
    found = rows("out")
    assert [r["path"] for r in found] == [
        "a/x.png", "b/x.jpg", "b/x.png", "blue/1.png", "green/it's <1>.png", "red/1.png",
    ]  # fmt: skip
    assert [r["truth"] for r in found] == [None, None, None, "blue", "green", "red"]
    assert found[0]["picture"] == "pictures/a/x.png-0-gradcam.jpg"
    assert found[0]["map"] == "maps/a/x.png-0-gradcam.npy"
    assert set(tree("out")) == {f for r in found for f in (r["picture"], r["map"])}
    assert len(tree("out")) == 12
    record = manifest("out")
    assert (record["state"], record["root"], record["images"]) == ("done", str(album), 6)
    assert record["counts"] == {"images": 6, "rows": 6, "errors": 0, "problems": 0}
    assert record["arguments"]["methods"] == ["gradcam"]
    assert record["arguments"]["convention"] == record["identity"]["convention"] == "fields"
    assert record["places"] == {
        "gradcam": {"at": found[0]["layer"], **Lens("model.onnx").placement(found[0]["layer"]).record()}
    }


def test_a_row_is_what_python_gives(album, run):
    assert run("run", "model.onnx", album, "-o", "out", "--target", "top1", "--pictures", "png").code == 0
    lens = Lens("model.onnx")
    for row in rows("out"):
        photo = read_photo(album / row["path"])
        heat = lens.gradcam(photo)
        assert (row["height"], row["width"], row["layer"]) == (60, 90, heat.layer)
        assert (row["target"], row["label"]) == (heat.target.index, heat.predictions[0].label)
        assert row["probability"] == pytest.approx(heat.predictions[0].probability, rel=1e-5)
        assert row["score"] == pytest.approx(heat.score, rel=1e-5)
        np.testing.assert_allclose(np.load(f"out/{row['map']}"), heat.map, rtol=1e-5, atol=1e-7)
        assert np.abs(read_photo(f"out/{row['picture']}").astype(int) - heat.overlay()).max() <= 1
        y, x = np.unravel_index(np.argmax(heat.at_photo()), (60, 90))
        assert abs(row["map_peak_y"] - y) <= 3
        assert abs(row["map_peak_x"] - x) <= 3
        shares = heat.map[heat.map > 0].astype(float) / heat.map[heat.map > 0].sum()
        assert row["map_entropy"] == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-4)


def test_every_method_takes_the_best_classes(place, run):
    done = run(
        "run",
        "model.onnx",
        "red.png",
        "--method",
        "gradcam,occlusion,guided",
        "--target",
        "top3",
        "-o",
        "out",
    )
    assert done.code == 0, done.err
    best = [p.label for p in Lens("model.onnx").predict(read_photo("red.png"), 3)]
    for method in ("gradcam", "occlusion", "guided"):
        assert [r["target_label"] for r in rows("out") if r["method"] == method] == best


def test_methods_and_targets_each_give_a_row(album, run):
    words = ["--method", "gradcam,saliency", "--method", "occlusion", "--target", "top1", "--target", "sky"]
    done = run("run", "model.onnx", album, "-o", "out", *words, "--json")
    assert done.code == 0, done.err
    assert [{k: v for k, v in r.items() if k != "schema"} for r in done.records] == rows("out")
    kinds = {(r["method"], r["target_label"]) for r in rows("out") if r["path"] == "blue/1.png"}
    assert kinds == {(m, t) for m in ("gradcam", "saliency", "occlusion") for t in ("green", "sky")}
    for row in rows("out"):
        assert (row["map"] is None) == (row["problem"] is not None)
        assert row["map"] is None or np.load(f"out/{row['map']}").ndim == 2


def test_a_photo_is_drawn_no_larger_than_asked(place, run):
    cv2.imwrite("large.png", blob(300, 500, at=(150, 400), radius=40)[..., ::-1])
    run("run", "model.onnx", "large.png", "-o", "large", "--side", 100)
    (row,) = rows("large")
    assert (row["height"], row["width"]) == (300, 500)
    assert abs(row["map_peak_y"] - 150) <= 10
    assert abs(row["map_peak_x"] - 400) <= 16
    picture = read_photo(f"large/{row['picture']}").astype(int)
    assert picture.shape == (60, 100, 3)
    y, x = np.unravel_index(np.ptp(picture, axis=-1).argmax(), (60, 100))
    assert abs(y - 30) <= 6
    assert abs(x - 80) <= 8


def test_neither_pictures_nor_maps(album, run):
    assert run("run", "model.onnx", album, "-o", "out", "--pictures", "none", "--no-maps").code == 0
    assert not tree("out")
    assert {r["picture"] for r in rows("out")} == {None}


@pytest.mark.parametrize("batch", [1, 4, 64])
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_and_workers_change_nothing(album, run, batch, workers):
    run("run", "model.onnx", album, "-o", "plain")
    run("run", "model.onnx", album, "-o", "out", "--batch", batch, "--workers", workers)
    assert table("out") == table("plain")
    assert tree("out") == tree("plain")


def test_a_model_of_a_fixed_batch(album, run):
    import onnx
    from oracles.toys import UNIT, colours

    onnx.save(colours(batch=4, preprocess=UNIT), "four.onnx")
    run("run", "model.onnx", album, "-o", "plain", "--target", "top2")
    assert run("run", "four.onnx", album, "-o", "out", "--target", "top2").code == 0
    assert table("out") == table("plain")


# -- which photos ----------------------------------------------------------------------------------------


def test_lists_patterns_and_standard_input(album, run, monkeypatch):
    Path("list.txt").write_text("album/a/x.png\nalbum/red\n")
    assert run("run", "model.onnx", "--input-list", "list.txt", "-o", "1").code == 0
    assert [r["path"] for r in rows("1")] == ["a/x.png", "red/1.png"]
    assert run("run", "model.onnx", "album/**/1.png", "album/b", "-o", "2").code == 0
    assert [r["path"] for r in rows("2")] == ["blue/1.png", "red/1.png", "b/x.jpg", "b/x.png"]
    strange = "album/a\nb.png"
    Path("album/a/x.png").rename(strange)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{strange}\0album/red".encode())))
    assert run("run", "model.onnx", "-", "-o", "3").code == 0
    assert [r["path"] for r in rows("3")] == ["a\nb.png", "red/1.png"]


def test_a_limit_and_a_sample(album, run):
    run("run", "model.onnx", album, "-o", "all")
    run("run", "model.onnx", album, "-o", "two", "--limit", 2)
    assert [r["path"] for r in rows("two")] == ["a/x.png", "b/x.jpg"]
    drawn = {}
    for seed in range(6):
        run("run", "model.onnx", album, "-o", f"s{seed}", "--sample", 3, "--seed", seed)
        drawn[seed] = [r["path"] for r in rows(f"s{seed}")]
    run("run", "model.onnx", album, "-o", "again", "--sample", 3, "--seed", 1)
    assert [r["path"] for r in rows("again")] == drawn[1]
    assert len({tuple(d) for d in drawn.values()}) > 1
    assert all(set(d) < {r["path"] for r in rows("all")} and len(d) == 3 for d in drawn.values())


def test_a_dry_run_writes_nothing(album, run):
    before = sorted(Path().rglob("*"))
    done = run("run", "model.onnx", album, "-o", "out", "--dry-run", "--json", "--target", "top2")
    assert done.code == 0
    (plan,) = done.records
    assert (plan["images"], plan["rows"]) == (6, 12)
    assert plan["seconds"] > 0
    assert plan["output_bytes"] > 0
    assert plan["memory_bytes"] is None or plan["memory_bytes"] > 10**7
    assert "CPU" in plan["provider"]
    assert sorted(Path().rglob("*")) == before


def test_a_dry_run_of_a_run_that_was_begun_is_of_what_is_left(album, run):
    words = ["run", "model.onnx", album, "-o", "out"]
    run(*words, "--limit", 2)
    before = {p: p.stat().st_mtime_ns for p in Path("out").rglob("*")}
    (plan,) = run(*words, "--resume", "--dry-run", "--json").records
    assert (plan["images"], plan["done_before"], plan["rows"]) == (6, 2, 4)
    for more, said in (
        ((), "--overwrite to replace"),
        (("--resume", "--alpha", "0.1"), "was begun with alpha"),
    ):
        done = run(*words, *more, "--dry-run")
        assert (done.code, said in done.err) == (2, True)
    (plan,) = run(*words, "--overwrite", "--dry-run", "--json").records
    assert (plan["done_before"], plan["rows"]) == (0, 6)
    assert {p: p.stat().st_mtime_ns for p in Path("out").rglob("*")} == before
    run(*words, "--resume")
    (plan,) = run(*words, "--resume", "--dry-run", "--json").records
    assert (plan["done_before"], plan["rows"], plan["seconds"], plan["output_bytes"]) == (6, 0, 0, 0)


def test_several_parts_merged_are_one_run(album, run):
    words = ["run", "model.onnx", album, "--batch", 2, "--target", "top2"]
    run(*words, "-o", "whole")
    for i in (1, 2):
        assert run(*words, "-o", f"part{i}", "--part", f"{i}/2").code == 0
    assert 0 < len(rows("part1")) < len(rows("whole"))
    assert run("runs", "merge", "part1", "part2", "-o", "merged").code == 0
    assert table("merged") == table("whole")
    assert tree("merged") == tree("whole")
    assert run("runs", "verify", "merged", "--photos").code == 0
    assert manifest("merged")["counts"] == manifest("whole")["counts"]
    run(*words, "-o", "other", "--alpha", 0.5)
    done = run("runs", "merge", "part1", "other", "-o", "never")
    assert "and part1 with" in done.err
    assert "runs over parts of one folder" in done.err
    assert (done.code, Path("never").exists()) == (2, False)
    assert "alpha" in done.err


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (("gradcam", "--target", "top2"), "gradcam"),
        (("occlusion", "--patch", "8", "--target", "sky"), "occlusion"),
        (("guided",), "guided"),
        (("saliency", "--target", "sky"), "saliency"),
        (("deconvnet",), "deconvnet"),
    ],
)
def test_the_commands_of_methods_make_runs_of_folders(album, run, words, method):
    command, *more = words
    targets = more[more.index("--target") :] if "--target" in more else []
    alpha = 0.7 if command in ("gradcam", "occlusion") else 0.9  # each has its own default
    run("run", "model.onnx", album, "-o", "plain", "--method", method, "--alpha", alpha, *more)
    assert run(command, "model.onnx", album, "-o", "out", *more).code == 0
    assert table("out") == table("plain")
    assert tree("out") == tree("plain")
    assert manifest("out")["command"] == command
    assert run(command, "model.onnx", album, "-o", "out", *more).code == 2
    assert run(command, "model.onnx", album, "-o", "out", *more, "--resume").code == 0
    assert run(command, "model.onnx", "album/*/1.png", "-o", "some", "--limit", 1, *targets).code == 0
    assert [r["path"] for r in rows("some")] == ["blue/1.png"] * (2 if command == "gradcam" else 1)


def test_commands_that_make_no_runs_take_folders_too(album, run):
    done = run("predict", "model.onnx", album, "--json", "-q")
    assert [Path(r["image"]).relative_to(album).as_posix() for r in done.records] == [
        "a/x.png", "b/x.jpg", "b/x.png", "blue/1.png", "green/it's <1>.png", "red/1.png",
    ]  # fmt: skip
    assert len(run("predict", "model.onnx", "album/**/x.*", "--limit", 2, "--json").records) == 2
    done = run("activations", "model.onnx", "album/b", "--layer", "relu", "-o", "out", "--json")
    assert [r["image"] for r in done.records] == ["album/b/x.jpg", "album/b/x.png"]  # as they were named
    files = [f for r in done.records for f in r["files"].values()]
    assert len(set(files)) == len(files)


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "gradcan"], "nearest: gradcam"),
        (["--layer", "rellu"], "nearest: relu"),
        (["--target", "rad"], "nearest: red"),
        (["--colour", "trubo"], "nearest: turbo"),
        (["--resume", "--overwrite"], "say one of them"),
        (["--part", "3/2"], "no part such as"),
        (["--method", "guided", "--layer", "relu"], "leave --layer out"),
        (["--method", "occlusion", "--workers", "2"], "leave --workers out"),
        (["--input-list", "nowhere.txt"], "cannot read nowhere.txt"),
        (["nowhere"], "no such file or folder"),
        (["nowhere/*.png"], "is called like that"),
    ],
)
def test_requests_that_cannot_be(album, run, words, said):
    done = run("run", "model.onnx", album, "-o", "out", *words)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()[-1]) < 1100
    assert not Path("out").exists()


def test_an_earlier_run_is_left_alone_resumed_or_replaced(album, run):
    words = ["run", "model.onnx", album, "-o", "out"]
    run(*words, "--limit", 2, "--shard", 1)
    before = tree("out")
    done = run(*words)
    assert done.code == 2
    assert "--resume" in done.err
    assert tree("out") == before
    for other, key in (
        (["--target", "sky"], "targets"),
        (["--alpha", 0.2], "alpha"),
        (["--side", 64], "side"),
        (["--convention", "cells"], "convention"),
    ):
        done = run(*words, "--resume", *other)
        assert done.code == 2
        assert f"was begun with {key}" in done.err
    done = run("run", "bare.onnx", album, "-o", "out", "--resume", "--preset", "unit")
    assert (done.code, "was begun with model" in done.err) == (2, True)
    assert tree("out") == before
    shard = Path("out/rows/part-00000.jsonl").stat()
    assert run(*words, "--resume").code == 0
    assert Path("out/rows/part-00000.jsonl").stat().st_mtime_ns == shard.st_mtime_ns
    run(*words[:-1], "fresh")
    assert table("out") == table("fresh")
    assert run(*words, "--overwrite", "--limit", 1).code == 0
    assert len(rows("out")) == 1
    assert len(tree("out")) == 2


def test_a_run_of_an_older_version_has_its_maps_over_all_that_the_model_sees(album, run):
    """Its manifest says nothing of places: it opens as before, and goes on in the same convention alone."""
    words = ["run", "model.onnx", album, "-o", "out", "--convention", "cells"]
    assert run(*words, "--limit", 2).code == 0
    whole = {"box": [0, 0, 32, 32], "cells": [0, 0, 32, 32], "convention": "cells"}
    assert manifest("out")["places"]["gradcam"].items() >= whole.items()
    run("report", "out", "-o", "new.html")
    old = manifest("out")
    del old["places"], old["arguments"]["convention"], old["identity"]["convention"]
    Path("out/manifest.json").write_text(json.dumps(old))
    for command in (["runs", "show"], ["runs", "verify"], ["report", "-o", "old.html"]):
        done = run(*command, "out")
        assert done.code == 0, done.err
    assert Path("old.html").read_text() == Path("new.html").read_text()
    done = run(*words[:-1], "fields", "--resume")
    assert done.code == 2
    assert 'was begun with convention "cells", and now it is "fields"' in done.err
    assert run(*words, "--resume").code == 0
    assert len(rows("out")) == 6


def test_what_lost_a_file_is_done_again(album, run):
    words = ["run", "model.onnx", album, "-o", "out"]
    run(*words)
    expected, files = table("out"), tree("out")
    lost, emptied = sorted(files)[0], sorted(files)[-1]
    Path("out", lost).unlink()
    Path("out", emptied).write_bytes(b"")
    assert run("runs", "verify", "out").code == 1
    assert run(*words, "--resume").code == 0
    assert (table("out"), tree("out")) == (expected, files)


def test_what_is_said_of_a_fault_mends_it(album, run):
    words = ["run", "model.onnx", album, "-o", "out", "--limit", 1]
    assert "1 image, 1 row -> out" in run(*words).out
    damaged = next(Path("out/maps").rglob("*.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    done = run("runs", "verify", "out")
    assert (done.code, "1 fault; delete files that are damaged" in done.err) == (1, True)
    damaged.unlink()
    assert run(*words, "--resume").code == 0
    assert "out: whole, 1 row\n" in run("runs", "verify", "out").err


def test_two_runs_at_once(album, run):
    from onnxlens.models.storage.lock import lock

    run("run", "model.onnx", album, "-o", "out", "--limit", 1)
    before = tree("out")
    held = lock(Path("out"))
    try:
        for more in ("--resume", "--overwrite"):
            done = run("run", "model.onnx", album, "-o", "out", more)
            assert done.code == 2
            assert "another run is writing into out" in done.err
        assert run("runs", "show", "out").code == 0
    finally:
        held.release()
    assert tree("out") == before


def test_a_strangers_folder_is_no_run(album, run):
    Path("out/pictures").mkdir(parents=True)
    Path("out/pictures/mine.jpg").write_text("mine")
    Path("out/manifest.json").write_text("{}")
    assert run("run", "model.onnx", album, "-o", "out").code == 2
    assert run("run", "model.onnx", album, "-o", "out", "--resume").code == 2
    assert run("run", "model.onnx", album, "-o", "out", "--overwrite").code == 2
    assert Path("out/pictures/mine.jpg").read_text() == "mine"


# -- hostile folders -------------------------------------------------------------------------------------


NAMES = [
    *("two words.png", 'it\'s "quoted".png', "line\nbreak.png", "<script>alert(1)<script>.png", "-o.png"),
    *("é" * 120 + ".png", "n" * 251 + ".png", "..png", "$(touch x).png", "%s.png"),
]


@pytest.fixture
def hostile(place):
    folder = place / "hostile"
    folder.mkdir()
    good = cv2.imencode(".png", blob()[..., ::-1])[1].tobytes()
    jpeg = cv2.imencode(".jpg", blob()[..., ::-1])[1].tobytes()
    for name in NAMES:
        (folder / name).write_bytes(good)
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("this is no picture")
    (folder / "bomb.png").write_bytes(bomb(30_000))
    assert (folder / "bomb.png").stat().st_size < 1100
    cv2.imwritemulti(str(folder / "moving.gif"), [blob(at=(20, x))[..., ::-1] for x in (20, 50, 70)])
    (folder / "vanishes.png").symlink_to(folder / "gone.png")
    os.mkfifo(folder / "pipe.png")
    if sys.platform == "linux":
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png")).write_bytes(good)
    return folder


def test_every_hostile_file_stands_in_the_table_with_its_reason(hostile, run):
    done = run("run", "model.onnx", hostile, "-o", "out", "--batch", 4)
    assert done.code == 1
    assert "Traceback" not in done.err
    found = {r["path"]: r for r in rows("out")}
    assert len(found) == len(rows("out")) == len(list(hostile.iterdir())) - 1  # ..png is hidden
    reasons = {p: r["error"] for p, r in found.items() if r["error"]}
    expected = {
        "cut.jpg": "cut short",
        "empty.png": "the file is empty",
        "text.png": "not a",
        "bomb.png": "million pixels",
        "vanishes.png": "no such file",
        "pipe.png": "not a regular file",
    }
    assert set(reasons) == set(expected)
    for name, part in expected.items():
        assert part in reasons[name]
        assert {k for k, v in found[name].items() if v is not None} == {"path", "error"}
    for row in found.values():
        if not row["error"]:
            for key in ("picture", "map"):
                path = Path("out", row[key])
                assert path.is_file()
                assert path.resolve().is_relative_to(Path("out").resolve())
                assert all(len(part.encode()) < 200 and part.isprintable() for part in path.parts)
                assert not set(row[key]) & set("<>\"'$ \n")
    assert len(tree("out")) == 2 * (len(found) - len(expected))
    assert run("runs", "verify", "out", "--photos").code == 0
    assert not Path("x").exists()
    done = run("runs", "show", "out")
    assert "1 x the file is empty" in done.out
    assert f"{len(found)}" in done.out


def test_fail_fast_stops_and_goes_on(hostile, run):
    done = run("run", "model.onnx", hostile, "-o", "out", "--batch", 1, "--workers", 1, "--fail-fast")
    assert done.code == 1
    assert "--resume" in done.err
    assert 0 < len(rows("out")) < len(list(hostile.iterdir())) - 1
    assert run("run", "model.onnx", hostile, "-o", "out", "--resume").code == 1
    assert len(rows("out")) == len(list(hostile.iterdir())) - 1


@pytest.mark.parametrize(
    ("words", "many"),
    [
        (("run", "-o", "out"), True),
        (("gradcam", "-o", "out"), True),
        (("gradcam", "-o", "out"), False),
        (("occlusion", "-o", "out"), True),
        (("saliency", "-o", "out"), False),
        (("predict",), True),
        (("activations", "-o", "out"), True),
        (("top", "-o", "out"), True),
    ],
)
def test_zero_where_images_failed(album, run, words, many):
    (album / "a/empty.png").touch()
    command, *more = words
    line = [command, "model.onnx", album if many else album / "a/empty.png", *more, "--exit-zero"]
    done = run(*line)
    assert done.code == 0
    assert "the file is empty" in done.err
    shutil.rmtree("out", ignore_errors=True)
    assert run(*line[:-1]).code == 1
    assert run(command, "nowhere.onnx", album, *more, "--exit-zero").code != 0


def test_stopping_and_going_over_exclude_each_other(album, run):
    done = run("run", "model.onnx", album, "-o", "out", "--fail-fast", "--exit-zero")
    assert (done.code, "say one of them" in done.err, Path("out").exists()) == (2, True, False)


def test_a_photo_that_vanishes_in_the_middle(album, run, monkeypatch):
    from onnxlens.models.storage import store

    read = store.read_file

    def vanishing(path):
        if str(path) == str(album / "a/x.png"):
            (album / "red/1.png").unlink()
        return read(path)

    monkeypatch.setattr(store, "read_file", vanishing)
    assert run("run", "model.onnx", album, "-o", "out", "--batch", 1, "--workers", 1).code == 1
    assert {r["path"]: r["error"] for r in rows("out") if r["error"]} == {"red/1.png": "no such file"}


def test_a_full_disk(album, run, monkeypatch):
    """Files are cut where the disk is full, as the system does it."""
    from onnxlens.models.storage import disk

    run("run", "model.onnx", album, "-o", "whole")
    expected, files = table("whole"), tree("whole")
    real, room = open, 0

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            nonlocal room
            if room <= 0:
                raise OSError(28, "No space left on device")
            part = data[:room]
            room -= len(part)
            return self.file.write(part)

        def __getattr__(self, name):
            return getattr(self.file, name)

    def opened(path, mode, **how):
        return Full(real(path, mode, **how))

    for i, size in enumerate((0, 3000, 9000, 12000, 17000, 20000, 30000)):
        room = size
        folder = f"out/{i}"
        words = ["run", "model.onnx", album, "-o", folder, "--batch", 1, "--shard", 1]
        with monkeypatch.context() as patched:
            patched.setattr(disk, "open", opened, raising=False)
            done = run(*words)
        assert done.code == 1
        assert "No space left on device" in done.err.splitlines()[-1]
        assert "Traceback" not in done.err
        for row in rows(folder) if Path(folder, "rows").exists() else ():
            assert row["error"] or all(Path(folder, row[k]).stat().st_size for k in ("picture", "map"))
        assert run(*words, "--resume").code == 0
        assert (table(folder), tree(folder)) == (expected, files)


# -- several formats -------------------------------------------------------------------------------------


def test_parquet_holds_the_same_rows(album, run):
    parquet = pytest.importorskip("pyarrow.parquet")
    words = ["run", "model.onnx", album, "--target", "top2"]
    run(*words, "-o", "plain")
    assert run(*words, "-o", "out", "--rows", "parquet", "--limit", 3, "--shard", 1, "--batch", 1).code == 0
    assert run(*words, "-o", "out", "--rows", "parquet", "--resume").code == 0
    found = [r for p in sorted(Path("out/rows").iterdir()) for r in parquet.read_table(p).to_pylist()]
    without = [{k: v for k, v in r.items() if k != "seconds"} for r in found]
    assert sorted(without, key=lambda r: (r["path"], r["target"])) == table("plain")
    assert run("runs", "verify", "out").code == 0


def test_parquet_without_pyarrow_is_said_at_once(album, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("run", "model.onnx", album, "-o", "out", "--rows", "parquet")
    assert (done.code, Path("out").exists()) == (1, False)
    assert "onnxlens[parquet]" in done.err


# -- runs that somebody else has made -----------------------------------------------------------------------


STRANGE = [None, True, -1, 10**30, "", "../x", "a\0b", "\ud800", "\x1b[31m", [], {}, [[1]], float("nan")]


def strange(record, chance):
    """A record with one of its values, however deep, replaced or gone."""
    places, rest = [], [record]
    while rest:
        value = rest.pop()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        places += [(value, key) for key in keys]
        rest += [value[key] for key in keys if isinstance(value[key], dict | list)]
    holder, key = chance.choice(places)
    if chance.random() < 0.2:
        del holder[key]
    else:
        holder[key] = copy.deepcopy(chance.choice(STRANGE))


def test_no_manifest_and_no_row_makes_a_command_stumble(album, run):
    run("run", "model.onnx", album, "-o", "out", "--limit", 2, "--method", "gradcam,guided")
    record, lines, chance = manifest("out"), rows("out"), random.Random(0)
    for i in range(60):
        damaged = copy.deepcopy(record if i % 2 else lines)
        strange(damaged, chance)
        Path("out/manifest.json").write_text(json.dumps(damaged if i % 2 else record))
        text = "".join(json.dumps(line) + "\n" for line in (lines if i % 2 else damaged))
        Path("out/rows/part-00000.jsonl").write_text(text)
        for words in (
            ("runs", "show", "out"),
            ("runs", "verify", "out", "--photos"),
            ("runs", "merge", "out", "-o", "joined", "--overwrite"),
            ("report", "out", "-o", "page.html", "--overwrite"),
        ):
            done = run(*words)
            assert done.code in (0, 1, 2)
            assert "bug in onnxlens" not in done.err, done.err
            assert "\x1b" not in done.out + done.err


def test_what_a_row_names_is_written_below_the_joined_run_only(album, run):
    """out/link leads deep into out: link/../../../x lies there, and beside a run that has no such link."""
    run("run", "model.onnx", album, "-o", "out", "--limit", 1)
    Path("out/a/b/c").mkdir(parents=True)
    Path("out/link").symlink_to("a/b/c")
    Path("out/x").write_text("x")
    (line,) = rows("out")
    for name in ("link/../../../x", "../x", f"{Path.cwd()}/x", "rows/../../x"):
        Path("out/rows/part-00000.jsonl").write_text(json.dumps(line | {"picture": name}))
        done = run("runs", "merge", "out", "-o", "joined", "--overwrite")
        assert (done.code, "leads out of out" in done.err) == (2, True), done.err
        done = run("runs", "verify", "out")
        assert (done.code, f"{name}: {name} leads out of out" in done.out) == (1, True)
        assert not Path("x").exists()


@pytest.mark.parametrize("name", ["rows", "pictures", "maps"])
def test_no_folder_of_a_run_is_a_link_that_leads_out(album, run, name):
    words = ["run", "model.onnx", album, "-o", "out", "--limit", 1]
    run(*words)
    shutil.rmtree(f"out/{name}")
    Path("out", name).symlink_to(album)
    before = sorted(album.rglob("*"))
    for more in ([*words, "--resume"], [*words, "--overwrite"], ["runs", "verify", "out"]):
        done = run(*more)
        assert (done.code, f"{name} leads out of out" in done.err) == (2, True), (done.out, done.err)
    assert sorted(album.rglob("*")) == before


def test_a_folder_that_must_not_be_listed_stands_in_the_table(album, run, monkeypatch):
    real = os.scandir

    def refused(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert run("run", "model.onnx", album, "-o", "out").code == 1
    assert {r["path"]: r["error"] for r in rows("out")}["b"] == "cannot be listed (Permission denied)"
    assert len(rows("out")) == 5
    done = run("predict", "model.onnx", album, "-q")
    assert (done.code, f"{album}/b: cannot be listed" in done.err) == (1, True)


def test_links_that_lead_in_a_circle(album, run):
    (album / "round").symlink_to(album)
    (album / "a/up").symlink_to("..")
    (album / "loop.png").symlink_to("loop.png")
    assert run("run", "model.onnx", album, "-o", "out").code == 1
    assert len(rows("out")) == 7
    assert "symbolic links" in {r["path"]: r["error"] for r in rows("out")}["loop.png"]


def test_a_list_may_lead_anywhere_and_files_stay_below_the_run(album, run):
    """The root is the folder that holds all of them."""
    Path("outside.png").write_bytes(Path("red.png").read_bytes())
    Path("list.txt").write_text(
        f"album/../outside.png\n{album}/a/x.png\nalbum/b/../../album/b/x.png\n../none.png\n"
    )
    assert run("run", "model.onnx", "--input-list", "list.txt", "-o", "deep/out").code == 1
    found = {r["path"]: r["error"] for r in rows("deep/out")}
    assert len(found) == 4
    assert sorted(str(e) for e in found.values()) == ["None", "None", "None", "no such file"]
    assert all(".." not in path.split("/") for path in found)
    assert len(tree("deep/out")) == 6
    assert run("runs", "verify", "deep/out", "--photos").code == 0
