"""Metrics of the embedded model's maps: in an Attributor's hands, in a run, and of masks of all kinds."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

import onnxlens
from onnxlens.engine.attribution.methods import METHODS
from onnxlens.engine.errors import BadImage, BadRequest
from onnxlens.engine.metrics.metrics import METRICS
from onnxlens.models.attribution.attribute import Attributor
from onnxlens.models.attribution.judge import Judge
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.photos.fill import filler
from onnxlens.models.photos.mask import mask_of, on_input
from onnxlens.models.report.evaluation import Mean, evaluation

ANYWHERE = [name for name, method in METHODS.items() if not method.needs]
FEW = {"masks": 20, "samples": 20, "steps": 4, "strongest": 8}


@pytest.fixture(scope="module")
def lens():
    return onnxlens.Lens("scenes", provider="cpu", threads=1)


def judged(lens, method, metrics, seed=TEST_SEEDS[0], **options):
    drawn = scene(seed)
    made = Attributor(lens, method, **options)
    x, box = lens.preprocess(drawn.image)
    ((found,),) = made([drawn.image], x, [box])
    return Judge(made, metrics)(x[0], found, on_input(drawn.mask, box, lens.preprocess.size))


@pytest.mark.parametrize("method", ANYWHERE)
def test_every_method_can_be_judged_by_every_metric(lens, method):
    options = {
        k: v for k, v in FEW.items() if k in onnxlens.engine.attribution.methods.options_of(METHODS[method])
    }
    metrics = [n for n in METRICS if not METHODS[method].serial or n not in ("sensitivity", "passes")]
    found = judged(lens, method, metrics, **options)
    assert found.keys() == {*metrics}
    assert all(value is None or np.isfinite(value) for value in found.values())
    for name in ("pointing", "mass", "iou", "deletion", "insertion", "entropy"):
        assert 0 <= found[name] <= 1


def test_the_numbers_are_the_same_each_time(lens):
    metrics = [name for name in METRICS if name != "passes"]
    assert judged(lens, "gradcam", metrics) == judged(lens, "gradcam", metrics)


def test_a_map_with_a_problem_has_no_numbers(lens):
    drawn = scene(TEST_SEEDS[0])
    made = Attributor(lens, "gradcam")
    x, box = lens.preprocess(drawn.image)
    ((found,),) = made([drawn.image], x, [box])
    assert Judge(made, ["deletion"])(x[0], replace(found, problem="nothing")) == {"deletion": None}


def test_deletion_is_what_hiding_pixel_by_pixel_gives(lens):
    """By hand: the pixels of the map in their order, hidden under grey, the probability read off."""
    drawn = scene(TEST_SEEDS[1])
    x, _ = lens.preprocess(drawn.image)
    grey = filler(x, lens.preprocess, "mean").reshape(3, -1)
    heat = lens.gradcam(drawn.image)
    on = heat.place.spread(heat.map[None], drawn.image.shape[:2])[0]  # a scene has the size of the input
    order, probabilities = np.argsort(-on.ravel(), kind="stable"), []
    for count in np.linspace(0, on.size, 51):
        hidden = x.copy().reshape(3, -1)
        hidden[:, order[: int(np.ceil(count))]] = grey[:, order[: int(np.ceil(count))]]
        output = lens.network.run({lens.input: hidden.reshape(x.shape)})["probabilities"]
        probabilities.append(output[0, heat.target.index])
    expected = float(np.trapezoid(probabilities) / 50)
    assert judged(lens, "gradcam", ["deletion"], TEST_SEEDS[1])["deletion"] == pytest.approx(
        expected, abs=1e-4
    )


def written(folder, name, mask, ending=".png"):
    path = folder / f"{name}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), mask)


@pytest.fixture
def album(tmp_path):
    for seed in TEST_SEEDS[:3]:
        drawn = scene(seed)
        written(tmp_path / "photos" / "sub", seed, drawn.image[..., ::-1])
        written(tmp_path / "masks" / "sub", seed, drawn.mask * np.uint8(255))
    return tmp_path


def test_a_run_has_the_metrics_in_its_rows(album):
    metrics = ("pointing", "iou", "deletion")
    (album / "masks" / "sub" / f"{TEST_SEEDS[2]}.png").unlink()
    done = onnxlens.run(
        "scenes",
        album / "photos",
        album / "run",
        ["gradcam", "saliency"],
        metrics=metrics,
        truth=str(album / "masks"),
    )
    rows = list(done.read())
    assert len(rows) == 6
    for row in rows:
        assert (row["metric_pointing"] is None) == (str(TEST_SEEDS[2]) in row["path"])
        assert 0 <= row["metric_deletion"] <= 1
    found = evaluation(rows)
    assert found["gradcam"]["pointing"].maps == 2
    assert found["gradcam"]["deletion"].value == pytest.approx(
        np.mean([r["metric_deletion"] for r in rows if r["method"] == "gradcam"])
    )


def test_a_mask_of_another_size_fails_its_photo_alone(album):
    written(album / "masks" / "sub", TEST_SEEDS[0], np.zeros((7, 5), np.uint8))
    done = onnxlens.run(
        "scenes", album / "photos", album / "run", metrics=["mass"], truth=str(album / "masks")
    )
    bad = [row for row in done.read() if row["error"]]
    assert done.errors == len(bad) == 1
    assert "5x7, and the photo" in bad[0]["error"]
    assert bad[0]["metric_mass"] is None


def test_runs_without_metrics_are_what_they_were(album):
    done = onnxlens.run("scenes", album / "photos", album / "run")
    assert not [key for row in done.read() for key in row if key.startswith("metric_")]
    assert onnxlens.run("scenes", album / "photos", album / "run", resume=True).images == 3
    with pytest.raises(BadRequest, match="metrics"):
        onnxlens.run("scenes", album / "photos", album / "run", metrics=["mass"], resume=True)


def test_masks_lie_where_the_model_looks():
    mask = np.zeros((10, 20), bool)
    mask[2:5, 12:16] = True
    np.testing.assert_array_equal(on_input(mask, (0, 0, 10, 20), (10, 20)), mask)
    np.testing.assert_array_equal(on_input(mask, (0, 10, 10, 20), (20, 20))[4:10, 4:12], True)
    assert on_input(mask, (0, 10, 10, 20), (20, 20)).sum() == 6 * 8
    assert not on_input(mask, (-10, -20, 0, 0), (4, 4)).any()  # beyond the photo


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_what_is_not_black_is_the_object(tmp_path, ending):
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 200 if ending == ".jpg" else 1
    written(tmp_path, "a", mask, ending)
    read = lambda name: (tmp_path / name).read_bytes()
    np.testing.assert_array_equal(mask_of(read, f"a{ending}", (16, 16)), mask > 0)
    assert mask_of(read, "b.png", (16, 16)) is None
    with pytest.raises(BadImage, match="mask a"):
        mask_of(read, f"a{ending}", (16, 15))


def test_intervals_are_those_of_the_books():
    """Wilson's of 8 in 10 is 0.490 to 0.943; Student's quantile of 9 degrees of freedom is 2.262."""
    rows = [{"method": "gradcam", "metric_pointing": float(i < 8), "metric_mass": i / 10} for i in range(10)]
    found = evaluation(rows)["gradcam"]
    assert found["pointing"][1:3] == pytest.approx((0.4902, 0.9433), abs=1e-4)
    reach = 2.262157 * np.std(np.arange(10) / 10, ddof=1) / np.sqrt(10)
    assert found["mass"][1:3] == pytest.approx((0.45 - reach, 0.45 + reach), abs=1e-4)
    assert evaluation([{"method": "gradcam", "metric_mass": None}]) == {"gradcam": {"mass": None}}
    assert evaluation([{"method": "gradcam", "metric_mass": 0.5}])["gradcam"]["mass"] == Mean(
        0.5, -np.inf, np.inf, 1
    )
