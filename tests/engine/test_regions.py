"""RoiAlign: as many samples as each region's own size asks for, regions without any, no regions at all."""

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.differences import assert_slopes, runner
from oracles.networks import run

from onnxlens.engine.autodiff.gradient import gradient

RNG = np.random.default_rng(8)
SIZED = [[1, 1, 4, 4], [0, 0, 7, 6], [0.3, 0.4, 5.2, 6.1], [2.2, 3.1, 2.9, 6.7]]
EMPTY = [[2, 2, 2, 2], [5, 5, 3, 3], [3, 3, 3, 7], [6, 1, 2, 5]]  # no extent, or a negative one
OUTSIDE = [[-3, -2, 9, 12], [9, 9, 14, 14], [-8, 1, -4, 5], [0, 0, 0.2, 0.2]]
MIXED = [*SIZED, *EMPTY, *OUTSIDE]


def aligned(regions, batch, opset=16, dtype=TensorProto.DOUBLE, **attributes):
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    given = {"output_height": 2, "output_width": 3} | attributes
    if opset < 16:
        del given["coordinate_transformation_mode"]
    rows = None if regions is None else len(regions)
    constants = [] if regions is None else [
        numpy_helper.from_array(np.asarray(regions, kind).reshape(-1, 4), "regions"),
        numpy_helper.from_array(np.asarray(batch, np.int64), "batch"),
    ]  # fmt: skip
    inputs = [helper.make_tensor_value_info("x", dtype, [2, 2, 7, 8])]
    if regions is None:
        inputs += [
            helper.make_tensor_value_info("regions", dtype, ["R", 4]),
            helper.make_tensor_value_info("batch", TensorProto.INT64, ["R"]),
        ]
    y = helper.make_tensor_value_info("y", dtype, [rows if rows is not None else "R", 2, None, None])
    node = helper.make_node("RoiAlign", ["x", "regions", "batch"], ["y"], **given)
    graph = helper.make_graph([node], "g", inputs, [y], constants)
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", opset)])


CHOICES = list(itertools.product(["max", "avg"], ["half_pixel", "output_half_pixel"], [0, 2], [1.0, 0.6]))


@pytest.mark.parametrize(("mode", "coordinates", "ratio", "scale"), CHOICES)
@pytest.mark.parametrize("regions", [SIZED, MIXED, SIZED[:1], EMPTY], ids=["sized", "mixed", "one", "empty"])
def test_differences(regions, mode, coordinates, ratio, scale):
    batch = np.arange(len(regions)) % 2
    model = aligned(
        regions, batch, mode=mode, sampling_ratio=ratio, spatial_scale=scale,
        coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    x = RNG.standard_normal((2, 2, 7, 8))
    assert_slopes(model, {"x": x}, ["y"], ["x"])


@pytest.mark.parametrize("mode", ["max", "avg"])
def test_regions_that_are_empty_have_the_gradient_zero(mode):
    model = aligned(EMPTY[:2], [0, 1], mode=mode, coordinate_transformation_mode="half_pixel")
    x = RNG.standard_normal((2, 2, 7, 8))
    answer = runner(model)({"x": x})[0]
    *_, grad = runner(gradient(model))({"x": x, "seed/y": np.ones_like(answer)})
    assert not answer.any()
    assert not grad.any()


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize(("mode", "coordinates", "ratio"), [c[:3] for c in CHOICES[::2]])
def test_as_many_regions_as_are_found(mode, coordinates, ratio, count):
    """Their number is known at run time only, and may be none."""
    model = aligned(
        None, None, dtype=TensorProto.FLOAT, mode=mode, sampling_ratio=ratio,
        coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    x = RNG.standard_normal((2, 2, 7, 8)).astype(np.float32)
    feeds = {
        "x": x,
        "regions": np.asarray(MIXED[2 : 2 + count], np.float32).reshape(-1, 4),
        "batch": np.arange(count) % 2,
    }
    answer = run(model, feeds)["y"]
    assert answer.shape == (count, 2, 2, 3)
    found = run(gradient(model), feeds | {"seed/y": np.ones_like(answer)})["grad/x"]
    if not count:
        np.testing.assert_array_equal(found, np.zeros_like(x))
        return
    fixed = aligned(
        MIXED[2 : 2 + count], np.arange(count) % 2, mode=mode, sampling_ratio=ratio,
        coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    *_, same = runner(gradient(fixed))({"x": x.astype(float), "seed/y": np.ones(answer.shape)})
    np.testing.assert_allclose(found, same, rtol=1e-4, atol=1e-5)


def test_of_opset_10():
    """Written before there were coordinate modes: the whole pixel, as output_half_pixel has it now."""
    choice = {"mode": "max", "coordinate_transformation_mode": "output_half_pixel"}
    x = RNG.standard_normal((2, 2, 7, 8)).astype(np.float32)
    grads = []
    for opset in (10, 16):
        model = aligned(SIZED, [0, 1, 1, 0], opset, TensorProto.FLOAT, **choice)
        grads.append(run(gradient(model), {"x": x, "seed/y": np.ones((4, 2, 2, 3), np.float32)})["grad/x"])
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-5, atol=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize(("mode", "coordinates", "ratio", "scale"), CHOICES)
def test_as_autograd_says(mode, coordinates, ratio, scale):
    """PyTorch's autograd of the operator, written sample by sample."""
    torch = pytest.importorskip("torch")
    batch = np.arange(len(MIXED)) % 2
    model = aligned(
        MIXED, batch, mode=mode, sampling_ratio=ratio, spatial_scale=scale,
        coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    x = torch.from_numpy(RNG.standard_normal((2, 2, 7, 8))).requires_grad_()
    shift = 0.5 * (coordinates == "half_pixel")
    y = torch.stack([
        by_samples(torch, x[b], [scale * e - shift for e in region], mode, ratio, shift == 0)
        for region, b in zip(MIXED, batch, strict=True)
    ])  # fmt: skip
    u = RNG.standard_normal(y.shape)
    (y * torch.from_numpy(u)).sum().backward()
    assert x.grad is not None
    values = runner(gradient(model))({"x": x.detach().numpy(), "seed/y": u})
    np.testing.assert_allclose(values[0], y.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values[1], x.grad.numpy(), rtol=1e-5, atol=1e-6)


def by_samples(torch, x, edges, mode, ratio, at_least_one):
    """One region of x (C, H, W): (C, 2, 3)."""
    (x1, y1, x2, y2), (height, width) = edges, x.shape[1:]
    sides = [(max(s, 1.0) if at_least_one else s) for s in (y2 - y1, x2 - x1)]
    steps = [sides[0] / 2, sides[1] / 3]
    counts = [ratio or int(np.ceil(s)) for s in steps]
    rows = []
    for i, j in np.ndindex(2, 3):
        samples = []
        for a, b in itertools.product(range(counts[0]), range(counts[1])):
            row = y1 + (i + (a + 0.5) / counts[0]) * steps[0]
            column = x1 + (j + (b + 0.5) / counts[1]) * steps[1]
            if -1 <= row <= height and -1 <= column <= width:
                samples.append(neighbours(x, min(max(row, 0), height - 1), min(max(column, 0), width - 1)))
            else:
                samples.append([0 * x[:, 0, 0]] * 4)
        if not samples:
            rows.append(0 * x[:, 0, 0])
        elif mode == "avg":
            rows.append(sum(sum(s) for s in samples) / len(samples))
        else:
            rows.append(torch.stack([part for s in samples for part in s]).amax(0))
    return torch.stack(rows, 1).reshape(len(x), 2, 3)


def neighbours(x, row, column):
    """The four pixels around a place, each times its weight."""
    top, left = int(row), int(column)
    down, right = row - top, column - left
    bottom, far = min(top + 1, x.shape[1] - 1), min(left + 1, x.shape[2] - 1)
    return [
        (1 - down) * (1 - right) * x[:, top, left],
        (1 - down) * right * x[:, top, far],
        down * (1 - right) * x[:, bottom, left],
        down * right * x[:, bottom, far],
    ]
