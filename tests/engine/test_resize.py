"""Resize by its regions and scales, whose slopes are those of the runtime's own kernel."""

from itertools import product

import numpy as np
import pytest
from onnx import helper
from oracles.differences import runner
from oracles.networks import run

from onnxlens.engine.autodiff.forward import hvp, jvp
from onnxlens.engine.autodiff.gradient import gradient

X = np.random.default_rng(0).standard_normal((1, 2, 5, 6)).astype(np.float32)
ROI = np.array([0, 0, 0.11, 0.13, 1, 1, 0.83, 0.77], np.float32)
WHERE = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")


def resized(mode, where, scales=None, sizes=None, roi=None, axes=None, **attrs):
    """A Resize whose region and scales are inputs."""
    inputs = {"x": X, "roi": roi, "scales": scales, "sizes": sizes}
    given = {
        n: np.asarray(v, np.int64 if n == "sizes" else np.float32) for n, v in inputs.items() if v is not None
    }
    node = helper.make_node(
        "Resize", [n if n in given else "" for n in inputs], ["y"], mode=mode, axes=axes,
        coordinate_transformation_mode=where, **attrs,
    )  # fmt: skip
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in given.items()
    ]
    y = helper.make_tensor_value_info("y", 1, [None] * 4)
    graph = helper.make_graph([node], "resize", values, [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), given


def assert_slopes(model, feeds, wrt, places, step=4e-3, bound=4e-2):
    """The gradient of a random sum against central differences, by some elements of an input."""
    call = runner(model)
    u = np.random.default_rng(1).standard_normal(call(feeds)[0].shape).astype(np.float32)
    found = run(gradient(model, of="y", wrt=["x", wrt]), {**feeds, "seed/y": u})[f"grad/{wrt}"]
    v = np.zeros_like(feeds[wrt])
    for k in places:
        v[:], v[k] = 0, step
        ahead, behind = (call({**feeds, wrt: feeds[wrt] + s * v})[0].astype(float) for s in (1, -1))
        slope = ((ahead - behind) * u).sum() / 2 / step
        np.testing.assert_allclose(found[k], slope, rtol=bound, atol=bound, err_msg=f"{wrt}[{k}]")
    forth = run(jvp(model, of="y", wrt=wrt), {**feeds, f"tangent/{wrt}": v})["jvp/y"]
    np.testing.assert_allclose((forth * u).sum(), (found * v).sum(), rtol=1e-3, atol=1e-5)
    return found


@pytest.mark.parametrize(("mode", "where", "antialias"), list(product(("linear", "cubic"), WHERE, (0, 1))))
@pytest.mark.parametrize("scale", [0.7, 1.62])
def test_scales(mode, where, antialias, scale):
    model, feeds = resized(mode, where, scales=[1, 1, scale, scale], antialias=antialias)
    found = assert_slopes(model, feeds, "scales", [2, 3])
    if where == "align_corners" and (scale > 1 or not antialias):
        assert not found[2:].any()


@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("antialias", [0, 1])
def test_scales_of_pixels_beyond_the_borders(exclude, antialias):
    how = {"exclude_outside": exclude, "antialias": antialias, "cubic_coeff_a": -0.5}
    model, feeds = resized("cubic", "half_pixel", scales=[0.7, 1.3], axes=[3, 2], **how)
    assert_slopes(model, feeds, "scales", [0, 1])


@pytest.mark.parametrize(("mode", "antialias"), list(product(("linear", "cubic"), (0, 1))))
@pytest.mark.parametrize("sizes", [[3, 4], [7, 9], [1, 3]])
def test_regions(mode, antialias, sizes):
    model, feeds = resized(
        mode, "tf_crop_and_resize", sizes=[1, 2, *sizes], roi=ROI, antialias=antialias,
        extrapolation_value=9.0,
    )  # fmt: skip
    assert_slopes(model, feeds, "roi", [2, 3, 6, 7])


def test_regions_of_named_axes_and_beyond_the_picture():
    roi = [0.13, 0.11, 1.27, 1.83]
    model, feeds = resized("linear", "tf_crop_and_resize", sizes=[4, 3], roi=roi, axes=[3, 2])
    assert_slopes(model, feeds, "roi", range(4), step=1e-3)


def test_regions_that_keep_the_aspect_ratio():
    for policy in ("not_larger", "not_smaller"):
        model, feeds = resized(
            "linear", "tf_crop_and_resize", sizes=[4, 7], roi=ROI[[2, 3, 6, 7]], axes=[2, 3],
            keep_aspect_ratio_policy=policy,
        )  # fmt: skip
        assert_slopes(model, feeds, "roi", range(4))


def test_the_nearest_pixel_stays_the_same():
    model, feeds = resized("nearest", "half_pixel", scales=[1, 1, 0.7, 1.62])
    assert not assert_slopes(model, feeds, "scales", [2, 3]).any()


def test_pictures_of_open_size():
    model, feeds = resized("linear", "half_pixel", scales=[1, 1, 0.7, 1.62])
    for axis in (0, 2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"n{axis}"
    assert_slopes(model, feeds, "scales", [2, 3])


def test_regions_twice():
    """H v against differences of the gradient."""
    model, feeds = resized("cubic", "tf_crop_and_resize", sizes=[1, 2, 3, 4], roi=ROI)
    u = np.random.default_rng(1).standard_normal((1, 2, 3, 4)).astype(np.float32)
    v = np.array([0, 0, 1, -1, 0, 0, 0.5, 1], np.float32)
    twice = run(hvp(model, of="y", wrt="roi"), {**feeds, "seed/y": u, "tangent/roi": v})["hvp/roi"]
    first, step = gradient(model, of="y", wrt="roi"), 1e-3
    ahead, behind = (
        run(first, {**feeds, "seed/y": u, "roi": ROI + s * v})["grad/roi"] for s in (step, -step)
    )
    np.testing.assert_allclose(
        twice[[2, 3, 6, 7]], (ahead - behind)[[2, 3, 6, 7]] / 2 / step, rtol=3e-2, atol=3e-1
    )
