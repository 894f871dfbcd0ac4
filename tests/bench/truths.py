"""What a command gave for a real file, beside what ONNX Runtime alone and the file's package make of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from packages import Packaged

from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo
from onnxlens.models.photos.presets import OPTIONS

TOLERANCE = 1e-4  # of the largest value: the runtime fuses other kernels where more values are shown
DIGITS = 1.5e-6  # probabilities are printed with six
PROBABILITY = 2e-3  # those of the list have four digits, and OpenCV's letters are not the same everywhere
PIXELS = 0.5  # of a box's edges
SHARE = 5e-3  # of the picture that a region covers
EDGE = 3.0  # pixels of a region's edges, which are drawn between cells


@dataclass
class Row(Packaged):
    """A file of the list (real_files.toml says what each field means)."""

    does: str
    picture: str
    readout: str
    answers: dict[str, Any]
    target: str
    flags: dict[str, str] = field(default_factory=dict)
    scores: str | None = None
    raw: bool = False
    labels: str | None = None
    inside: list[int] | None = None
    slow: bool = False


# -- ONNX Runtime alone ---------------------------------------------------------------------------------


def feeds(row: Row, model: Path, photo: Path) -> dict[str, np.ndarray]:
    """The array that the commands feed the model with."""
    return lens_of(row, model).feeds(read_photo(photo))[0]


def lens_of(row: Row, model: Path) -> Lens:
    """The model, opened as the commands open it."""
    fields = {option: field for field, option in OPTIONS.items()} | {"preset": "preset"}
    said = {fields[option]: value for option, value in row.flags.items() if option in fields}
    size = row.flags.get("size")
    bound = tuple(int(side) for side in size.split("x")) if size else None
    output = row.flags.get("output")
    return Lens(model, preset=said, size=bound, output=output, provider="cpu")  # pyright: ignore[reportArgumentType]


def alone(
    model: Path | bytes, feed: dict[str, np.ndarray], names: list[str] | None = None, basic: bool = False
) -> dict[str, Any]:
    """What ONNX Runtime answers, and nothing of ours. `basic`: without fusions that change last digits."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if basic:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = names or [v.name for v in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def wrong_probabilities(
    row: Row, predictions: list[dict[str, Any]], feed: dict[str, Any], model: Path
) -> Iterator[str]:
    """Where `predict` says another probability of a class than the model."""
    if not row.scores:
        return
    truth = alone(model, feed, [row.scores])[row.scores][0]
    if row.raw:
        truth = np.exp(truth - truth.max()) / np.exp(truth - truth.max()).sum()
    said = {p["index"]: p["probability"] for p in predictions}
    if len(said) != truth.size:
        yield f"says {len(said)} probabilities, the model {truth.size}"
    for index, probability in said.items():
        if not abs(probability - truth[index]) < DIGITS:
            yield f"class {index}: says {probability}, the model {truth[index]:.6f}"


def wrong_maps(row: Row, out: Path, model: Path, photo: Path) -> Iterator[str]:
    """Where `activations` writes other feature maps than the runtime computes."""
    shown = json.loads((out / "manifest.json").read_text())["results"][0]["layers"]
    files = {layer["layer"]: out / layer["files"]["values"] for layer in shown}
    truth = inner(model, list(files), feeds(row, model, photo))
    for name, values in truth.items():  # in any order of axes, of one photo in a batch of copies
        found = np.load(files[name])
        one = values if found.size == values.size else values[0]
        yield from differing(name, np.sort(found, axis=None), np.sort(one, axis=None))


def wrong_answers(row: Row, model: Path, training: Path, photo: Path) -> Iterator[str]:
    """Where the training graph does not answer as the model does, or its gradient is not finite.

    Both without the runtime's fusions: detectors that sort their boxes tell of every last digit.
    """
    feed = feeds(row, model, photo)
    graph = onnx.load(training, load_external_data=False).graph
    of = [v.name.removeprefix("seed/") for v in graph.input if v.name.startswith("seed/")]
    seeds = {f"seed/{name}": np.ones_like(values) for name, values in inner(model, of, feed).items()}
    found = alone(training, feed | seeds, basic=True)
    for name, truth in alone(model, feed, basic=True).items():
        yield from differing(name, found[name], truth)
    yield from (f"{n} is not finite" for n, g in found.items() if "grad/" in n and not np.isfinite(g).all())


def inner(model: Path, names: list[str], feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values inside the model as the runtime computes them; those that only we have are left out."""
    proto = onnx.load(model)
    outputs = {v.name for v in proto.graph.output}
    own = {name for node in proto.graph.node for name in node.output}
    names = [name for name in names if name in own]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    return alone(proto.SerializeToString(), feed, names) if names else {}


def differing(name: str, found: np.ndarray, truth: np.ndarray) -> Iterator[str]:
    """A line, if two arrays are not the same."""
    if found.size != truth.size:
        yield f"{name}: {found.size} values, the runtime has {truth.size}"
        return
    off, largest = np.abs(found.ravel() - truth.ravel()).max(), np.abs(truth).max()
    if not off <= TOLERANCE * max(1e-6, largest):
        yield f"{name}: off by {off:.3g}, the largest is {largest:.3g}"


# -- the package's own post-processing ------------------------------------------------------------------


def wrong_things(row: Row, found: list[dict[str, Any]], model: Path, photo: Path) -> Iterator[str]:
    """Where `predict` says something else than the package, which is what `answers` of the list holds."""
    yield from SAYS[row.readout](row.answers, found)
    if "share" in row.answers:
        yield from _wrong_share(row, model, photo)


def _class(truth: dict[str, Any], found: list[dict[str, Any]]) -> Iterator[str]:
    best = found[0] if found else {}
    same = near(best.get("probability"), truth["score"], PROBABILITY)
    if best.get("index") != truth["label"] or not same:
        yield f"says {best}, the package {truth}"


def _boxes(truth: dict[str, Any], found: list[dict[str, Any]]) -> Iterator[str]:
    boxes = [thing for thing in found if thing["kind"] == "box"]
    if len(boxes) != truth.get("count", len(boxes)) or not boxes:
        yield f"says {len(boxes)} boxes, the package {truth.get('count', 'some')}"
        return
    best = boxes[0]
    if best["class"] not in (None, truth.get("label", best["class"])):
        yield f"says class {best['class']}, the package {truth['label']}"
    if not near(best["probability"], truth["score"], PROBABILITY):
        yield f"says {best['probability']}, the package {truth['score']}"
    if not near(best["box"], truth["box"], PIXELS):
        yield f"says the box {best['box']}, the package {truth['box']}"


def _text(truth: dict[str, Any], found: list[dict[str, Any]]) -> Iterator[str]:
    said = next((thing["label"] for thing in found if thing["kind"] == "text"), None)
    if said != truth["text"]:
        yield f"reads {said!r}, the package {truth['text']!r}"


def _regions(truth: dict[str, Any], found: list[dict[str, Any]]) -> Iterator[str]:
    regions = [thing for thing in found if thing["kind"] == "region"]
    region = next((r for r in regions if r["class"] in (None, truth.get("label", 0))), None)
    if region is None:
        yield f"no region of class {truth.get('label', 0)}"
    elif "box" in truth and not near(region["box"], truth["box"], EDGE):
        yield f"says a region in {region['box']}, the package in {truth['box']}"


def _picture(truth: dict[str, Any], found: list[dict[str, Any]]) -> Iterator[str]:
    if not found:
        yield f"finds nothing, the package {truth}"


SAYS: dict[str, Callable[[dict[str, Any], list[dict[str, Any]]], Iterator[str]]] = {
    "classes": _class,
    "boxes": _boxes,
    "sequence": _text,
    "regions": _regions,
    "picture": _picture,
}


def _wrong_share(row: Row, model: Path, photo: Path) -> Iterator[str]:
    """Where a region covers more or less of the picture than it does for the package."""
    pixels = read_photo(photo)
    regions = [thing for thing in lens_of(row, model).things(pixels) if thing.kind == "region"]
    region = next((r for r in regions if r.thing.label in (None, row.answers.get("label", 0))), None)
    mask = None if region is None else region.mask(pixels.shape[:2])
    share = 0.0 if mask is None else float((mask >= 0.5).mean())
    if not near(share, row.answers["share"], SHARE):
        yield f"a region of {share:.4f} of the picture, the package {row.answers['share']}"


def near(found: Any, truth: Any, most: float) -> bool:
    """Whether numbers differ by so much at most."""
    return found is not None and bool(np.all(np.abs(np.subtract(found, truth)) <= most))


# -- where the heat is ----------------------------------------------------------------------------------


def elsewhere(row: Row, out: Path) -> Iterator[str]:
    """Where the hottest place of a map does not lie in the thing that the map is of.

    Of a signal, which has single hot pixels, the hottest place of its strength within a tenth of the picture.
    """
    if row.inside is None:
        return
    y0, x0, y1, x1 = row.inside
    for result in json.loads((out / "manifest.json").read_text())["results"]:
        files, (top, left, bottom, right) = result["files"], result["box"]
        values = np.nan_to_num(np.load(out / (files.get("photo_map") or files["signal"])).astype(np.float32))
        if values.ndim == 3:
            side = max(3, min(values.shape[:2]) // 10)
            values = cv2.blur(np.abs(values).max(axis=2), (side, side))
        y, x = (int(i) for i in np.unravel_index(int(values.argmax()), values.shape))
        if "photo_map" not in files:  # it lies on the model's input, which covers that part of the photo
            y = round(top + (y + 0.5) / values.shape[0] * (bottom - top))
            x = round(left + (x + 0.5) / values.shape[1] * (right - left))
        if not (y0 <= y < y1 and x0 <= x < x1):
            yield f"hottest at ({y}, {x}), not in {row.inside}"
