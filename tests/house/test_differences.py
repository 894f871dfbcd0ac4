"""What tests/bench/versions.py calls a difference between two versions, and what it does not."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from bench.differences import Made, compare, read

RESULT = {
    "image": "a.png",
    "score": 1.25,
    "seconds": 0.5,
    "predictions": [{"label": "cat"}, {"label": "dog"}],
}


def made(folder: Path, result: dict = RESULT, value: float = 1.0, said: str = "a.png: cat 0.5") -> Made:
    folder.mkdir()
    np.save(folder / "map.npy", np.full((2, 2), value, np.float32))
    cv2.imwrite(str(folder / "map.png"), np.full((4, 4), 100 * value, np.uint8))
    np.savez(folder / "top.npz", allow_pickle=False, scores=np.full(3, value))
    (folder / "manifest.json").write_text(json.dumps({"model": f"{folder}/x.onnx", "results": [result]}))
    pace = f"2 of 4 images, {value:.3f}/s, 3 s left"
    return read(folder, {"printed": said, "said": pace}, 0, [str(folder)])


def test_what_is_equal_has_no_difference_whatever_the_clock_and_the_folder_say(tmp_path):
    found = compare(made(tmp_path / "a"), made(tmp_path / "b", RESULT | {"seconds": 3}))
    assert not found.found
    assert (len(found.files.equal), found.changed, found.told) == (2, [], [])
    assert {"manifest.json.results[0].predictions[1].label", "top.npz: scores"} < set(found.values.equal)


def test_the_last_bit_of_a_map_a_picture_and_a_table_counts(tmp_path):
    found = compare(made(tmp_path / "a"), made(tmp_path / "b", value=float(np.nextafter(np.float32(1), 2))))
    assert found.files.different == ["map.npy"]
    assert found.values.different == ["top.npz: scores"]
    assert "up to 1.19e-07 of 1" in found.told[0]
    assert found.found


@pytest.mark.parametrize("changed", [{"score": 1.2500000000000002}, {"score": -1.25}, {"image": "b.png"}])
def test_a_value_of_a_result_counts(tmp_path, changed):
    found = compare(made(tmp_path / "a", RESULT | changed), made(tmp_path / "b"))
    assert found.values.different == [f"manifest.json.results[0].{key}" for key in changed]
    assert found.found


def test_a_new_name_for_a_field_and_a_new_field_do_not_count_but_a_lost_one_does(tmp_path):
    rest = {key: value for key, value in RESULT.items() if key != "score"}
    found = compare(made(tmp_path / "a", rest | {"value": 1.25, "note": ""}), made(tmp_path / "b"))
    assert found.renamed == [("manifest.json.results[].value", "manifest.json.results[].score")]
    assert found.values.here == ["manifest.json.results[0].note"]
    assert not found.found
    found = compare(made(tmp_path / "c", rest), made(tmp_path / "d"))
    assert found.values.there == ["manifest.json.results[0].score"]
    assert found.found


def test_a_lost_file_counts_and_a_new_one_does_not(tmp_path):
    more, less = made(tmp_path / "a"), made(tmp_path / "b")
    less.files.pop("map.png")
    assert compare(less, more).found
    assert not compare(more, less).found


def test_other_words_do_not_count_but_other_numbers_do(tmp_path):
    first = made(tmp_path / "a")
    reworded = compare(made(tmp_path / "b", said="a.png: a cat, 0.5"), first)
    assert len(reworded.changed) == 2
    assert not reworded.found
    assert compare(made(tmp_path / "c", said="a.png: cat 0.6"), first).found


def test_pictures_and_data_inside_a_page_are_values(tmp_path):
    def page(folder: Path, picture: str, score: float) -> Made:
        folder.mkdir()
        data = json.dumps({"score": score, "histograms": [{"key": "seconds", "counts": [score]}]})
        text = f'<img src="data:image/png;base64,{picture}"><script type="application/json">{data}</script>'
        (folder / "index.html").write_text(text)
        return read(folder, {}, 0, [])

    first = page(tmp_path / "a", "AAAA", 1)
    assert compare(first, page(tmp_path / "b", "AAAB", 1)).values.different == ["index.html: picture [0]"]
    assert compare(first, page(tmp_path / "c", "AAAA", 2)).values.different == ["index.html: data [0].score"]


def test_a_failed_command_is_a_difference(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    texts = {"said": "onnxlens: no such layer"}
    failed, worked = read(tmp_path / "a", texts, 2, []), read(tmp_path / "b", {}, 0, [])
    assert compare(failed, worked).values.different == ["exit code"]
