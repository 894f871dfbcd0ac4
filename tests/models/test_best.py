"""Which method is best: by numbers that are known, on the embedded model, and through the command line."""

import json

import cv2
import numpy as np
import pytest

import onnxlens
from onnxlens.cli import main
from onnxlens.engine.errors import BadRequest
from onnxlens.models.attribution.best import ALIKE, BY, _chosen, _ranks, best
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene

RNG = np.random.default_rng(0)


def numbers(*means, photos=20, spread=0.05):
    """Numbers of methods around means of (deletion, insertion, randomisation)."""
    return np.array(means) + spread * RNG.standard_normal((photos, len(means), len(BY)))


def test_the_method_that_is_planted_as_the_best_is_chosen_and_surely():
    found = _chosen(["worse", "best", "worst"], numbers((0.4, 0.6, 0.4), (0.1, 0.9, 0.1), (0.7, 0.3, 0.6)))
    assert (found.method, found.even, found.fails) == ("best", (), ())
    assert list(found.numbers) == ["best", "worse", "worst"]
    assert found.ranks["best"] == pytest.approx(1)
    assert found.numbers["best"]["insertion"] == pytest.approx(0.9, abs=0.05)


def test_no_significant_difference_is_an_answer():
    same = numbers((0.2, 0.8, 0.2))
    found = _chosen(["a", "b"], np.concatenate([same, same], 1))
    assert found.even == ("b",)
    assert found.ranks["a"] == found.ranks["b"] == pytest.approx(1.5)


def test_what_differs_by_chance_alone_is_seldom_called_sure():
    sure = sum(not _chosen(["a", "b"], RNG.random((20, 2, 3))).even for _ in range(100))
    assert sure <= 12  # 5 are expected, of which more than 12 come in one of a thousand


def test_a_method_that_fails_randomisation_is_not_chosen():
    found = _chosen(["blind", "fair"], numbers((0.1, 0.9, ALIKE + 0.2), (0.3, 0.7, 0.3)))
    assert (found.method, found.fails) == ("fair", ("blind",))


def test_ranks_are_shared():
    values = np.array([[[0.1], [0.3], [0.1]]])
    np.testing.assert_array_equal(_ranks(values)[0, :, 0], [1.5, 3, 1.5])


def test_the_other_half_decides_nothing_of_the_choice():
    """Swapped on the photos of the report, the choice stays and its ranks tell."""
    planted = numbers((0.1, 0.9, 0.1), (0.4, 0.6, 0.4))
    planted[1::2] = planted[1::2, ::-1]
    found = _chosen(["a", "b"], planted)
    assert found.method == "a"
    assert found.ranks == {"a": 2.0, "b": 1.0}
    assert found.even == ("b",)


@pytest.fixture(scope="module")
def photos():
    return [scene(seed).image for seed in TEST_SEEDS[:8]]


def test_of_a_model_the_numbers_are_those_of_the_judge(photos):
    lens = onnxlens.Lens("scenes", provider="cpu", threads=1)
    found = best(lens, photos, methods=("gradcam", "saliency"))
    assert found.method == "gradcam"
    assert found.photos == 8
    assert found == best(lens, photos, methods=("gradcam", "saliency"))
    with pytest.raises(BadRequest, match="7 photos"):
        best(lens, photos[:7], methods=("gradcam", "saliency"))


def command(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_explain_takes_the_best_method_and_says_why(photos, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for i, photo in enumerate(photos):
        cv2.imwrite(f"{i}.png", photo[..., ::-1])
    few, names = ["0.png", "1.png"], [f"{i}.png" for i in range(8)]
    assert command("explain", "scenes", *few, "--method", "best", "-o", "out") == 2
    assert "at least 8 photos, and here are 2" in capfd.readouterr().err
    assert command("explain", "scenes", *names, "--method", "best", "--layer", "relu4", "-o", "out") == 2
    assert not (tmp_path / "out").exists()
    capfd.readouterr()
    assert command("explain", "scenes", *names, "--method", "best", "-o", "out") == 0
    said = capfd.readouterr().err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    method = manifest["arguments"]["method"]
    assert f"{method} is best on 4 photos, of 9 methods; on 4 others:" in said
    assert said.count("mean rank") == 9
