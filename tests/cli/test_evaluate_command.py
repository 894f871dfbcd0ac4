"""`onnxlens evaluate`: methods measured on photos, through the real command line."""

import cv2
import numpy as np
import pytest
from oracles.browser import available, browser, opened, requests

import onnxlens
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.report.evaluation import evaluation
from onnxlens.models.storage.files import files_at
from onnxlens.models.storage.shards import read_rows


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Three photos and their masks, in folders of the working folder."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for seed in TEST_SEEDS[:3]:
        drawn = scene(seed)
        cv2.imwrite(str(tmp_path / "photos" / f"{seed}.png"), drawn.image[..., ::-1])
        cv2.imwrite(str(tmp_path / "masks" / f"{seed}.png"), drawn.mask * np.uint8(255))
    return tmp_path


def test_it_says_a_table_of_methods_and_metrics(scenes, run):
    found = run("evaluate", "scenes", "photos", "--masks", "masks", "--methods", "gradcam,saliency")
    assert found.code == 0, found.err
    head, *lines = [line.split() for line in found.out.splitlines()[1:]]
    assert [word for word in head if word not in "↑↓"] == [
        *("method", "deletion", "insertion", "randomisation", "pointing", "mass", "iou")
    ]
    assert [line[0] for line in lines] == ["gradcam", "saliency"]


def test_the_page_has_the_same_and_the_photos(scenes, run):
    if why := available():
        pytest.skip(why)
    words = ("evaluate", "scenes", "photos", "--masks", "masks", "--methods", "gradcam,saliency", "-o", "out")
    assert run(*words, "--metrics", "pointing,deletion").code == 0
    with browser() as driver:
        opened(driver, scenes / "out" / "report.html")
        cells = driver.execute_script(
            "const texts = (row) => [...row.children].map((c) => c.innerText.trim());"
            "return [...document.querySelectorAll('#evaluation tr')].map(texts)"
        )
        first = driver.execute_script(
            "const sort = document.querySelector('[name=sort]'); sort.value = 'disagree';"
            "sort.dispatchEvent(new Event('input', { bubbles: true }));"
            "sort.dispatchEvent(new Event('change', { bubbles: true }));"
            "return [document.querySelector('#cards .open').firstChild.title, sort.value,"
            " data.images.toSorted((a, b) => b.disagreement - a.disagreement)[0].path]"
        )
        bold = driver.execute_script(
            "return document.querySelectorAll('#evaluation tbody tr:first-child b').length"
        )
        wide = driver.execute_script(
            "return document.querySelector('#evaluation .mean').getBoundingClientRect().width"
        )
        assert driver.get_log("browser") == []
        assert requests(driver) == []
    assert cells[0] == ["method", "deletion ↓", "pointing ↑"]
    assert [row[0] for row in cells[1:]] == ["gradcam", "saliency"]
    assert cells[1][2] == "1"
    assert bold == 2
    assert first[1] == "disagree"
    assert first[0] == first[2]
    assert wide > 20
    assert "evaluation-title" not in onnxlens.report(plain(run)).html()


def plain(run):
    """The folder of a run without metrics."""
    assert run("run", "scenes", "photos", "-o", "plain").code == 0
    return "plain"


def test_as_json_each_mean_has_its_interval_and_count(scenes, run):
    found = run(
        *("evaluate", "scenes", "photos", "--masks", "masks", "--methods", "gradcam"),
        *("--metrics", "pointing,deletion", "--json", "-q"),
    )
    record = found.records[-1]["evaluation"]["gradcam"]
    assert record["pointing"]["mean"] == 1
    assert record["pointing"]["maps"] == record["deletion"]["maps"] == 3
    assert record["deletion"]["low"] < record["deletion"]["mean"] < record["deletion"]["high"]


def test_it_is_a_run_that_goes_on(scenes, run):
    words = ("evaluate", "scenes", "photos", "--methods", "gradcam", "--metrics", "entropy", "-o", "out")
    assert run(*words, "--limit", "1").code == 0
    again = run(*words, "--resume")
    assert again.code == 0
    assert "1 of them done before" in again.err
    assert run("runs", "verify", "out").code == 0


def test_parts_are_merged_into_the_whole(scenes, run):
    words = ("evaluate", "scenes", "photos", "--methods", "gradcam", "--metrics", "deletion,entropy", "-q")
    for part in (1, 2):
        assert run(*words, "--part", f"{part}/2", "-o", f"part-{part}").code == 0
    assert run("runs", "merge", "part-1", "part-2", "-o", "both").code == 0
    assert run(*words, "-o", "whole").code == 0
    rows = [sorted(read_rows(files_at(place)), key=lambda r: r["path"]) for place in ("both", "whole")]
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in some] for some in rows]
    assert timeless[0] == timeless[1]
    assert evaluation(rows[0]) == evaluation(rows[1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metrics", "pointing"], "--masks"),
        (["--metrics", "delection"], "deletion"),
        (["--masks", "nowhere"], "no folder"),
        (["--methods", "grad-cam"], "gradcam"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(scenes, run, words, said):
    found = run("evaluate", "scenes", "photos", "-o", "out", *words)
    assert found.code == 2
    assert said in found.err
    assert len(found.err.strip().splitlines()) == 1
    assert not (scenes / "out").exists()


def test_photos_without_a_mask_are_counted_and_one_of_another_size_fails(scenes, run):
    first, second = (scenes / "masks" / f"{seed}.png" for seed in TEST_SEEDS[:2])
    first.unlink()
    cv2.imwrite(str(second), np.zeros((4, 4), np.uint8))
    found = run("evaluate", "scenes", "photos", "--masks", "masks", "--methods", "gradcam")
    assert found.code == 1
    assert "1 of 3 photos have no mask" in found.err
    assert "is 4x4, and the photo 96x96" in found.err
