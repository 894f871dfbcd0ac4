"""The report of a run: what stands in it, what is left out, and that nothing of a file becomes code."""

import base64
import json
import os
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.runs import row, written

from onnxlens.engine.errors import BadRequest, OnnxlensError
from onnxlens.engine.picture import colour_map
from onnxlens.models.report import report as module
from onnxlens.models.report.entry import disagreement
from onnxlens.models.report.pages import digest
from onnxlens.models.report.report import Report, report


class Parts(HTMLParser):
    """The elements of a page, and the texts of its scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self._last = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._last = tag
        if tag in ("script", "style"):
            self.texts.append([self.elements[-1], ""])

    def handle_data(self, data):
        if self._last in ("script", "style"):
            self.texts[-1][1] += data

    def handle_endtag(self, tag):
        self._last = ""

    @property
    def data(self):
        (text,) = [text for (_, attrs), text in self.texts if attrs.get("id") == "data"]
        return json.loads(text)


def decoded(address):
    head, _, data = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def test_an_image_has_its_photo_and_the_picture_of_each_map(tmp_path):
    rows = [
        row("a/1.png", picture="pictures/1.png"),
        row("a/1.png", method="occlusion", problem="no evidence"),
    ]
    (image,) = report(written(tmp_path, rows)).data["images"]
    assert image["path"] == "a/1.png"
    first, second = image["maps"]
    assert np.abs(decoded(image["photo"]).astype(int) - (0, 128, 255)).max() < 12
    assert np.abs(decoded(first["picture"]).astype(int) - (255, 127, 0)).max() < 12
    assert (second["picture"], second["problem"]) == (None, "no evidence")


def tones(address):
    return decoded(address)[..., 0].astype(int)


def test_a_map_is_heat_that_lies_on_the_photo(tmp_path):
    rows = [
        row("1.png", map="maps/1.npy", picture="pictures/1.png"),
        row("2.png", map="maps/1.npy", height=12),
    ]
    rows.append(row("3.png", map="maps/1.npy", method="saliency", width=4, height=3))
    first, wide, small = (i["maps"][0] for i in report(written(tmp_path, rows)).data["images"])
    assert first["picture"] is None  # the page makes it of photo and heat
    heat = tones(first["heat"])
    assert heat.shape == (24, 32)
    centres = np.clip((np.arange(32) + 0.5) / 8 - 0.5, 0, 3) / 3 * 255
    assert np.abs(heat - centres).max() < 6
    # Of 32 x 12 pixels the crop sees the 16 in the middle: nothing is said of the others.
    heat = tones(wide["heat"])
    assert heat.shape == (12, 32)
    assert heat[:, :6].max() < 6
    assert heat[:, 26:].max() < 6
    assert heat[6, 22] > 200
    assert np.abs(tones(small["heat"]) - (0, 85, 170, 255)).max() < 12


def test_a_map_is_heat_where_the_manifest_says_that_it_lies(tmp_path):
    """Four cells of 8 pixels whose middles are at 0.5, 8.5, ...; the last 4 columns nobody looks at."""
    places = {"gradcam": {"at": "relu5", "box": [0, 0, 24, 28], "cells": [-3.5, -3.5, 20.5, 28.5]}}
    rows = [row("1.png", map="maps/1.npy"), row("2.png", map="maps/1.npy", method="occlusion")]
    moved, plain = (i["maps"][0] for i in report(written(tmp_path, rows, places=places)).data["images"])
    at = np.clip(np.arange(28) / 8, 0, 3) / 3 * 255
    at = at / at.max() * 255  # the greatest that is shown is as hot as can be
    assert np.abs(tones(moved["heat"])[:, :28] - at).max() < 6
    assert tones(moved["heat"])[:, 29:].max() < 12
    assert np.abs(tones(plain["heat"])[:, 31] - 255).max() < 6


@pytest.mark.parametrize(
    "place",
    [
        {"box": [0, 0, 24, 28]},
        {"box": [0, 0, 24, 28], "cells": [0, 0, 0, 28]},
        {"box": [0, 0, 24, 28], "cells": [0, 0, 1e-200, 28]},
        {"box": [0, 0, 24, 28], "cells": [0, 0, 10**400, 28]},
        {"box": [0, 0, 24, True], "cells": [0, 0, 24, "28"]},
        {"box": "here", "cells": {}},
        [],
    ],
    ids=str,
)
def test_a_place_that_is_none_leaves_the_map_out_for_the_picture(tmp_path, place):
    run = written(tmp_path, [row("1.png", map="maps/1.npy", picture="p.png")], places={"gradcam": place})
    (image,) = report(run).data["images"]
    assert image["maps"][0]["heat"] is None
    assert image["maps"][0]["picture"]


@pytest.mark.parametrize("said", [None, "cells", "fields"])
def test_the_command_of_a_map_says_another_convention_than_the_usual(tmp_path, said):
    """Runs of versions that could not say it stretched the map of a layer over all that the model sees."""
    rows = [row("1.png"), row("2.png", method="occlusion")]
    arguments = {"methods": ["gradcam"]} | ({"convention": said} if said else {})
    images = report(written(tmp_path, rows, arguments=arguments)).data["images"]
    layer, pixels = (image["maps"][0]["command"] for image in images)
    assert ("--convention cells" in layer) == (said != "fields")
    assert "--convention" not in pixels


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4), np.float64),
        np.zeros(12, np.float32),
        np.zeros((0, 4), np.float32),
        np.full((3, 4), np.nan, np.float32),
        np.array([[None]]),
        b"",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (999999, 9999999), }",
    ],
    ids=["kind", "axes", "empty", "nan", "objects", "no file", "a lie"],
)
def test_what_is_no_map_is_left_out_for_the_picture(tmp_path, array):
    run = written(tmp_path, [row("1.png", map="maps/1.npy", picture="pictures/1.png")])
    if isinstance(array, bytes):
        (run / "maps/1.npy").write_bytes(array)
    else:
        np.save(run / "maps/1.npy", array)
    (image,) = report(run).data["images"]
    assert image["maps"][0]["heat"] is None
    assert image["maps"][0]["picture"]


def test_colours_and_opacity_are_those_of_the_run(tmp_path):
    found = report(written(tmp_path, [row("1.png")], arguments={"colour": "jet", "alpha": 0.4}))
    assert found.data["alpha"] == 0.4
    assert (found.colours == colour_map("jet")).all()
    found = report(written(tmp_path / "b", [row("1.png")], arguments={"colour": "no such", "alpha": "<"}))
    assert found.data["alpha"] == 0.7
    assert (found.colours == colour_map("turbo")).all()


def test_the_commands_of_the_run_and_of_the_page(tmp_path):
    words = ["run", "m.onnx", "it's", "-o", "run"]
    found = report(written(tmp_path, [row("1.png")], command_line=words), limit=3)
    assert list(found.commands) == ["This run", "This page"]
    assert found.commands["This run"] == """onnxlens run m.onnx 'it'"'"'s' -o run"""
    assert found.commands["This page"] == f"onnxlens report {tmp_path}/run --limit 3"
    assert list(report(written(tmp_path / "b", [row("1.png")], command_line=[3])).commands) == ["This page"]


def test_thumbnails_keep_the_proportions_and_grow_smaller_with_the_number_of_images(tmp_path, monkeypatch):
    run = written(tmp_path, [row(f"{i}.png") for i in range(3)])
    monkeypatch.setattr(module, "SIDES", {2: 480})
    monkeypatch.setattr(module, "SIDE", 16)
    assert {decoded(i["photo"]).shape for i in report(run).data["images"]} == {(12, 16, 3)}
    assert {decoded(i["photo"]).shape for i in report(run, limit=2).data["images"]} == {(24, 32, 3)}


def test_a_photo_that_changed_or_went_is_not_shown_as_what_the_run_saw(tmp_path):
    run = written(tmp_path, [row("kept.png"), row("changed.png"), row("gone.png")])
    (tmp_path / "photos/changed.png").write_bytes((tmp_path / "photos/kept.png").read_bytes())
    (tmp_path / "photos/gone.png").unlink()
    notes = {i["path"]: (i["photo"] is not None, i["note"]) for i in report(run).data["images"]}
    assert notes["kept.png"] == (True, "")
    assert notes["changed.png"] == (False, "the photo has changed since the run")
    assert notes["gone.png"] == (False, "the photo is not there any more")


@pytest.mark.parametrize("field", ["path", "picture"])
@pytest.mark.parametrize("away", ["../secret.png", "{folder}/secret.png", "a\0b.png", "link.png", "x" * 5000])
def test_no_row_leads_out_of_its_folder(tmp_path, field, away):
    (tmp_path / "secret.png").write_bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    run = written(tmp_path, [])
    for folder in (run, tmp_path / "photos"):
        (folder / "link.png").symlink_to(tmp_path / "secret.png")
    line = row("1.png", sha256="0" * 64) | {field: away.format(folder=tmp_path)}
    (run / "rows/part-00000.jsonl").write_text(json.dumps(line))
    (image,) = report(run).data["images"]
    assert image["photo"] is None
    assert image["maps"][0]["picture"] is None


def test_wrong_and_sure_comes_first_then_the_shakiest_and_errors_last(tmp_path):
    rows = [
        row("right.png", truth="cat", probability=0.9, target_probability=0.9),
        row("bad.png", error="the file is empty"),
        row("unsure.png", truth="cat", probability=0.3, target_probability=0.3),
        row("slip.png", truth="dog", probability=0.4, target_probability=0.4),
        row("surprise.png", truth="dog", probability=0.95, target_probability=0.95),
    ]
    found = report(written(tmp_path, rows))
    order = ["surprise.png", "slip.png", "unsure.png", "right.png", "bad.png"]
    assert [i["path"] for i in found.data["images"]] == order
    few = report(tmp_path / "run", limit=2)
    assert [i["path"] for i in few.data["images"]] == order[:2]
    assert few.data["totals"] == found.data["totals"]
    assert "2 images most worth a look, of 5" in few.notes[0]


def test_a_run_that_is_not_finished_says_so(tmp_path):
    assert "not finished" in report(written(tmp_path, [row("1.png")], state="running")).notes[0]


def test_commands_hold_what_decides_the_map_and_no_more(tmp_path):
    arguments = {
        "settings": {"preset": "imagenet", "size": [64, 96], "layout": None, "labels": None},
        "methods": ["gradcam", "occlusion"],
        "patch": [8, 8],
        "fill": "mean",
        "colour": "jet",
        "batch": 16,
    }
    rows = [row("it's $HOME.png", method="occlusion"), row("bad.png", error="the file is empty")]
    images = report(written(tmp_path, rows, arguments=arguments)).data["images"]
    good, bad = (image["maps"][0]["command"] for image in images)
    assert good.startswith(f"""onnxlens run model.onnx '{tmp_path}/photos/it'"'"'s $HOME.png' """)
    options = (
        "--preset imagenet --size 64x96 --patch 8x8 --colour jet --method occlusion --target 3 -o 'again/"
    )
    assert options in good
    assert "--method gradcam,occlusion -o again/bad.png" in bad
    looking = images[0]["command"]
    assert looking.startswith("onnxlens predict model.onnx ")
    assert looking.endswith("--preset imagenet --size 64x96")


TEXT = st.text(st.characters(), max_size=40) | st.sampled_from(
    [
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "]]>",
        '"><img src=x onerror=alert(1)>',
        "\u2028",
        "&lt;",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=5), TEXT)
def test_what_a_row_says_comes_back_from_the_page_and_is_never_code(texts, name):
    images = [{"path": text, "maps": [], "error": text} for text in texts]
    html = Report(name, [name], [name], {name: name}, colour_map("turbo"), {"images": images}).html()
    parts = Parts(html)
    assert parts.data == {"images": images}
    assert len([e for e, _ in parts.elements if e == "script"]) == 2
    assert len(parts.elements) == len(
        Parts(Report("", [""], [""], {"": ""}, colour_map("turbo"), {"images": []}).html()).elements
    )
    assert not any(key.startswith("on") for _, attrs in parts.elements for key in attrs)


def test_only_the_script_and_style_of_the_page_itself_are_let_in(tmp_path):
    parts = Parts(report(written(tmp_path, [row("1.png")])).html())
    (policy,) = [a["content"] for e, a in parts.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for (tag, attrs), text in parts.texts:
        if "type" not in attrs:
            assert f"{tag}-src {digest(text)}" in policy
    assert not any(key in ("style", "src", "action") for _, attrs in parts.elements for key in attrs)
    assert all(attrs.get("href", "#").startswith("#") for _, attrs in parts.elements)
    script = next(text for (tag, attrs), text in parts.texts if tag == "script" and not attrs)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "http",
    ):
        assert word not in script


def test_a_notebook_shows_the_page_in_a_frame_that_reaches_nothing(tmp_path):
    found = report(written(tmp_path, [row("</iframe><script>alert(1)</script>.png", sha256="0")]))
    (frame,) = Parts(found._repr_html_()).elements
    tag, attrs = frame
    assert tag == "iframe"
    assert attrs["sandbox"] == "allow-scripts"
    assert Parts(attrs["srcdoc"]).data == Parts(found.html()).data


def test_a_page_that_would_be_too_large_is_refused_with_a_number_that_fits(tmp_path, monkeypatch):
    run = written(tmp_path, [row(f"{i}.png") for i in range(40)])
    monkeypatch.setattr(module, "MAX_BYTES", 20_000)
    with pytest.raises(BadRequest, match=r"40 images.*--limit (\d+)") as error:
        report(run)
    limit = int(str(error.value).split("--limit ")[1].split()[0])
    assert len(report(run, limit).data["images"]) == limit


@pytest.mark.parametrize(
    ("break_it", "said", "code"),
    [
        (lambda run: (run / "manifest.json").unlink(), "holds no run", 2),
        (lambda run: (run / "manifest.json").write_text("{"), "cannot be read", 1),  # as of any broken file
        (lambda run: (run / "manifest.json").write_text("[" * 10**5), "cannot be read", 1),
        (lambda run: (run / "manifest.json").write_text('{"seconds": 1e999}'), "cannot be read", 1),
        (lambda run: (run / "manifest.json").write_text("[]"), "not that of a run", 2),
        (lambda run: (run / "rows/part-00000.jsonl").unlink(), "no rows", 2),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(tmp_path, break_it, said, code):
    run = written(tmp_path, [row("1.png")])
    break_it(run)
    with pytest.raises(OnnxlensError, match=said) as error:
        report(run)
    assert error.value.exit_code == code


def test_a_manifest_and_rows_of_any_content_are_shown(tmp_path):
    line = row("1.png", sha256=3, width="wide", score=1e300, seconds=10**400, label=["x"], layer={})
    line |= {"probability": float("nan"), "map_entropy": float("inf"), "target": "\ud800"}
    run = written(tmp_path, [line], model=[1], arguments="x", provider=None, versions=7, root=None)
    html = report(run).html()
    assert html.encode()
    (image,) = Parts(html).data["images"]
    assert (image["label"], image["width"], image["probability"]) == (None, None, None)
    assert image["maps"][0]["score"] is None


def test_a_copied_command_holds_nothing_that_a_terminal_obeys(tmp_path):
    r"""Pasted, \x15 would clear what came before it, and the line's end would run what comes after."""
    evil = "\x15touch evil\n\x1b[201~\x9b\x7f"
    run = written(tmp_path, [row(f"{evil}.png", method="occlusion")], command_line=["run", evil])
    found = report(run)
    (image,) = found.data["images"]
    for command in (image["command"], image["maps"][0]["command"], *found.commands.values()):
        assert all(c.isprintable() or c == "\n" for c in command)
        assert command.startswith("onnxlens ")


def test_rows_nested_without_end_are_refused_in_one_line(tmp_path):
    run = written(tmp_path, [row("1.png")])
    (run / "rows/part-00000.jsonl").write_text('{"path": ' + "[" * 10**5)
    with pytest.raises(OnnxlensError, match="no whole file of rows"):
        report(run)


def test_the_photos_may_have_moved(tmp_path):
    run = written(tmp_path, [row("a/1.png")])
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert report(run).data["images"][0]["note"] == "the photo is not there any more"
    (image,) = report(run, photos=tmp_path / "moved").data["images"]
    assert image["photo"]
    assert f"{tmp_path}/moved/a/1.png" in image["command"]


def test_a_file_that_is_mostly_a_hole_is_not_read(tmp_path):
    run = written(tmp_path, [row("1.png", map="maps/1.npy", picture="pictures/1.png")])
    for name in ("maps/1.npy", "pictures/1.png"):
        os.truncate(run / name, 2**40)
    (image,) = report(run).data["images"]
    assert (image["maps"][0]["heat"], image["maps"][0]["picture"]) == (None, None)
    os.truncate(run / "manifest.json", 2**40)
    with pytest.raises(OnnxlensError, match="files of a run end at"):
        report(run)


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_a_photo_whose_name_is_no_text_is_shown(tmp_path):
    run = written(tmp_path, [row("1.png", map="maps/1.npy")])
    line = json.loads((run / "rows/part-00000.jsonl").read_text())
    (tmp_path / "photos/1.png").rename(tmp_path / "photos" / os.fsdecode(b"\xff.png"))
    (run / "rows/part-00000.jsonl").write_text(json.dumps(line | {"path": "\\xff.png"}))
    (image,) = report(run).data["images"]
    assert image["photo"]


def test_maps_of_methods_disagree_by_their_ranks():
    """By hand: of two ramps the same way 0, of two opposite ones 2, of another target nothing."""
    ramp = np.add.outer(np.arange(32), np.arange(32)).astype(np.uint8)
    rows = [row("a.png", method=m, target=t) for m, t in (("gradcam", 0), ("lrp", 0), ("lrp", 1))]
    assert disagreement(rows[:2], [ramp, 2 * ramp]) == pytest.approx(0, abs=1e-6)
    assert disagreement(rows[:2], [ramp, 62 - ramp]) == pytest.approx(2, abs=1e-6)
    assert disagreement(rows, [ramp, ramp, 62 - ramp]) == pytest.approx(0, abs=1e-6)
    assert disagreement(rows[1:], [ramp, ramp]) is None
    assert disagreement(rows[:2], [ramp, None]) is None
