"""Where the peaks of maps lie, for every kind of answer: of each thing that a trained model rightly finds.

python tests/bench/tasks/pointing.py [--model NAME ...] [--method NAME ...] [--cases N]
python tests/bench/tasks/pointing.py --page

What was counted is kept in pointing.json beside this script, and docs/pointing.md is made of it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import cv2
import numpy as np
import onnx
from figures import overlap
from scenes import CLASSES, TEST_SEEDS, Drawn, among, line, pair, several

from onnxlens.engine.errors import OnnxlensError
from onnxlens.engine.metrics.truth import pointing
from onnxlens.engine.tones import strength
from onnxlens.models.attribution.attribute import default_method
from onnxlens.models.lens import Lens

RECORD = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[3] / "docs" / "pointing.md"
MODELS = Path(__file__).with_name("models")
SLOW = {"integrated": 3, "occlusion": 10, "lrp": 3}  # of so many cases, one
METHODS = ("gradcam", "layercam", "hirescam", "saliency", "integrated", "lrp", "occlusion")

INTRODUCTION = """\
# Where the maps of answers peak

Written by `python tests/bench/tasks/pointing.py`.

Networks of 100,000 to 350,000 weights, one for each kind of answer, were trained on drawn scenes
(`tests/bench/tasks/train.py`); their files lie beside the script. A scene has three to five objects of at
least three kinds, or a line of seven or eight characters, on a textured ground with clutter; no object covers
more than 8 % of the picture and none lies on another. The ViT and the Swin have to say which of six kinds
there is among two or three objects of other kinds. Of each thing that a model finds in scenes that it never
saw, and that is there, a map is made with no option but the target. It is right where its greatest value
lies in the box of the thing; of a region, on the pixels of the objects of its class; of a character, in its
columns.

"middle" is a map that always points at the middle of the picture.

To be a yardstick for maps, a network must look at the objects. The labeller, told of classes alone, had 4 of
20 peaks on them, the Swin three of four and the ViT two of three. So they and the embedder are trained as the
embedded model is, with a small term that asks the answer to come from the objects: of the ViT, its class
token to ask the tokens there. The ViT, the Swin and the DETR are told besides which class is at each of their
tokens, the reader of lines which character is at the step in its middle; and all but that reader begin with
layers that the U-Net learned from its pixels. The ViT was asked so in its last seven epochs, the last
two at half the rate: after five 89 % of its peaks lay in the boxes.

The DETR, told of its boxes alone, had 88 % of its peaks in them: where tokens have asked each other, one
beside an object may hold what the object is, and that one was asked. All methods agreed on it in what the
queries read, while in the finest layer before tokens meet 99 % of 352 peaks of LayerCAM were in the boxes. So
in its last 500 steps it was told of its tokens too.

Grad-CAM weighs a feature map as a whole, so that its map of one box or character shows all that looks like
it. HiResCAM and LayerCAM keep the gradient where it is. Behind an LSTM, as in the reader of lines, HiResCAM
is the default: in a published reader of 40 steps LayerCAM points at the first step whatever the character. An
empty cell was not counted.
"""


class Case(NamedTuple):
    """A picture, what is asked of it, and of each answer the pixels (h, w) bool where its map may peak.

    `truth` is given the target of a map and its number; it returns None for what the model has wrong.
    """

    image: np.ndarray
    targets: list[str | None]
    truth: Callable[[Any, int], np.ndarray | None]


def inside(drawn: Drawn, things: np.ndarray | list[int]) -> np.ndarray:
    """The pixels in the boxes of some things."""
    mask = np.zeros(drawn.owner.shape, bool)
    for y0, x0, y1, x1 in drawn.boxes[things].astype(int):
        mask[y0:y1, x0:x1] = True
    return mask


def of_boxes(lens: Lens, seed: int) -> Case:
    drawn = several(seed)

    def truth(target: Any, number: int) -> np.ndarray | None:
        alike = [overlap(np.array(target.box, np.float32), box) for box in drawn.boxes]
        best = int(np.argmax(alike))
        right = alike[best] > 0.5 and target.thing.label == drawn.labels[best]
        return inside(drawn, [best]) if right else None

    return Case(drawn.image, ["every"], truth)


def of_regions(lens: Lens, seed: int) -> Case:
    drawn = several(seed)

    def truth(target: Any, number: int) -> np.ndarray | None:
        own = 1 + np.flatnonzero([CLASSES[label] == target.label for label in drawn.labels])
        return np.isin(drawn.owner, own) if len(own) else None

    return Case(drawn.image, ["every"], truth)


def of_characters(lens: Lens, seed: int) -> Case:
    """Characters follow one another as in the text; a line that is not read rightly is left out.

    What comes out is one row of steps: where across the line a map peaks is what it says.
    """
    drawn = line(seed)
    read = [found.thing.words for found in lens.things(drawn.image)]
    right = read[:1] == [drawn.text]
    targets = [f"char({i})" for i in range(len(drawn.text))] if right else []
    drawn.boxes[:, [0, 2]] = 0, len(drawn.owner)
    return Case(drawn.image, list(targets), lambda target, number: inside(drawn, [number]))


def of_labels(lens: Lens, seed: int) -> Case:
    drawn = several(seed)
    there = {CLASSES[label] for label in drawn.labels}
    found = [p.label for p in lens.predict(drawn.image, len(CLASSES)) if p.answer > 0.5 and p.label in there]
    named = np.array([CLASSES[label] for label in drawn.labels])
    return Case(drawn.image, list(found), lambda target, number: inside(drawn, named == target.label))


def of_class(draw: Callable[[int], Drawn]) -> Callable[[Lens, int], Case]:
    """The one class that there is in scenes of a kind."""

    def case(lens: Lens, seed: int) -> Case:
        drawn = draw(seed)
        box, label = inside(drawn, [0]), CLASSES[drawn.labels[0]]
        return Case(drawn.image, [None], lambda target, number: box if target.label == label else None)

    return case


def of_likeness(lens: Lens, seed: int) -> Case:
    """The other picture of the pair has one kind of object in common with this one, its first."""
    drawn, other = pair(seed)
    path = Path(tempfile.gettempdir(), f"onnxlens-pair-{seed}.png")
    cv2.imwrite(str(path), other.image[..., ::-1])
    return Case(drawn.image, [f"similar({path})"], lambda target, number: inside(drawn, [0]))


# What each model is asked; the names are those of its file.
ASKED: dict[str, Callable[[Lens, int], Case]] = {
    "detector": of_boxes,
    "detector-nms": of_boxes,
    "detr": of_boxes,
    "unet": of_regions,
    "crnn": of_characters,
    "embedder": of_likeness,
    "labels": of_labels,
    "vit": of_class(among),
    "swin": of_class(among),
}


class Count(NamedTuple):
    """How many peaks lie where they may, how many of the middle do, and of how many maps."""

    hits: int
    middle: int
    maps: int

    def __str__(self) -> str:
        return f"{self.hits / self.maps:.0%} of {self.maps}" if self.maps else "none found"


def peaks(lens: Lens, name: str, method: str, cases: int) -> Iterator[tuple[bool, bool]]:
    """For each map whether its peak, and whether the middle, lies where it may."""
    left = cases
    for seed in TEST_SEEDS[: 4 * cases]:
        case = ASKED[name](lens, seed)
        made = lens.attribute(case.image, method, case.targets) if case.targets else []
        for number, attribution in enumerate(made):
            mask = case.truth(attribution.target, number)
            if mask is None:
                continue
            heat = attribution.at_photo()
            heat = heat if heat.ndim == 2 else strength(heat)
            yield pointing(heat, mask), bool(mask[tuple(n // 2 for n in mask.shape)])
            left -= 1
            if not left:
                return


def counted(name: str, method: str, cases: int) -> Count:
    """The peaks of a method on a model's things."""
    lens = Lens(MODELS / f"{name}.onnx", provider="cpu", threads=1)
    hits = np.array(list(peaks(lens, name, method, cases)), bool).reshape(-1, 2)
    return Count(int(hits[:, 0].sum()), int(hits[:, 1].sum()), len(hits))


def cell(name: str, method: str, cases: int) -> Count | str:
    """The counts of a model by a method, or why there are none."""
    try:
        return counted(name, method, max(10, cases // SLOW.get(method, 1)))
    except OnnxlensError as error:
        return f"refused: {error}"


def kept() -> dict[str, dict[str, Any]]:
    """What was counted until now, by model and method."""
    return json.loads(RECORD.read_text()) if RECORD.is_file() else {}


def written(record: dict[str, dict[str, Any]]) -> str:
    """The page."""
    lines = [INTRODUCTION, "| model | middle | by default | " + " | ".join(METHODS) + " |"]
    lines.append("| --- |" + " --- |" * (2 + len(METHODS)))
    for name, counts in ((name, record[name]) for name in ASKED if name in record):
        usual = default_method(Lens(MODELS / f"{name}.onnx", provider="cpu", threads=1))
        row = {method: _known(counts.get(method)) for method in METHODS}
        first = row[usual]
        middle = f"{first.middle / first.maps:.0%}" if isinstance(first, Count) and first.maps else ""
        lines.append(f"| {name} | {middle} | **{usual}** | " + " | ".join(map(str, row.values())) + " |")
    lines += ["", "How good the models are on scenes that they never saw:", ""]
    lines += [f"- {name}: {_good(name)}" for name in ASKED if name in record]
    return "\n".join(lines) + "\n"


def _known(cell: list[int] | str | None) -> Count | str:
    return Count(*cell) if isinstance(cell, list) else "refused" if cell else ""


def _good(name: str) -> str:
    said = onnx.load(MODELS / f"{name}.onnx").doc_string
    return said.partition(": ")[2]


@click.command()
@click.option("--model", "names", multiple=True, type=click.Choice(list(ASKED)), help="All by default.")
@click.option("--method", "methods", multiple=True, help="Those of the page by default.")
@click.option("--cases", default=300, show_default=True, type=click.IntRange(1), help="Maps of each.")
@click.option("--page", "is_page", is_flag=True, help="Only write docs/pointing.md.")
def main(names: tuple[str, ...], methods: tuple[str, ...], cases: int, is_page: bool) -> None:
    """Print how many peaks lie on what was found, and keep it."""
    if is_page:
        PAGE.write_text(written(kept()))
        return
    for name in names or [name for name in ASKED if (MODELS / f"{name}.onnx").is_file()]:
        for method in methods or METHODS:
            found = cell(name, method, cases)
            print(f"{name}, {method}: {found}", flush=True)
            record = kept()
            record.setdefault(name, {})[method] = found if isinstance(found, Count) else "refused"
            RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
