"""docs/methods.md and docs/methods/, a page for each method, made from METHODS.

python tests/oracles/methods_page.py
"""

from __future__ import annotations

from inspect import getdoc
from pathlib import Path

from oracles.commands_page import MADE, cell, plain

from onnxlens.engine.attribution.methods import METHODS, Method, options_of

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "methods"
INTRODUCTION = """What of a photo an answer goes back to, by any of these. Each is a command of its own, and
goes by its name in `onnxlens explain --method NAME`, `onnxlens run --method NAME`, `onnxlens look --method
NAME` and, in Python, `lens.attribute(photo, "NAME")`. All give [the same thing](#what-comes-of-it)."""
FIELDS = {
    "method": "the method",
    "layer": "the layer that it looked at, if any",
    "at": "the value of the network that the numbers lie on",
    "target": "the class: `index`, `label`, `probability` (and `value` where there is none); null for a "
    "unit of a layer",
    "channel, position": "the unit; null for a class (of occlusion the channel whose total it follows)",
    "score": "of the class, before a softmax, or the value of the unit",
    "predictions": "the most probable classes",
    "photo_size, map_size": "height and width of the photo and of the numbers",
    "box": "the part (top, left, bottom, right) of the photo that they are of, in its pixels: nothing is said"
    " of others",
    "cells": "what their cells are spread over, evenly, in the same pixels: a value belongs to the middle of "
    "its cell ([placement](placement.md))",
    "convention": "how that was found: `fields` or `cells`",
    "map_range": "the least and the greatest of them",
    "window": "the smallest square that holds all but zeros, in their cells",
    "note, problem": "what is to be known of the method in this network; why there is nothing to show",
    "completeness": "what they sum to, and by how much the score rises from a baseline: of methods with one",
    "sampled": "with a tolerance or a limit of time: how many were `drawn`, the `standard_error` as a share "
    "of the map's range, and whether the `tolerance` was `reached`",
    "fused": "of several layers as one map: `how`, and which `layers` show something",
    "patch, tops, lefts, worst, approximation, how": "of occlusion: where the patch was and costs most, "
    "and how that was computed",
    "files": "what was written",
}
RECORD = """An `Attribution` in Python. As JSON, in `--json` and `manifest.json`:"""
ROWS = """A row of a run is this record made flat: `target`, `target_label` and `target_probability` are of
the target, `prediction`, `label` and `probability` of the first prediction, and `map_min`, `map_max`,
`map_mean`, `map_entropy`, `map_peak_y` and `map_peak_x` stand for the numbers of the map; see
[runs](runs.md). Before schema 2 what came back to the pixels had `value` for `score`, and `signal_size` and
`signal_range` for `map_size` and `map_range`."""


def pages() -> dict[str, str]:
    """The text of each page by its name in docs/."""
    return {"methods.md": index(), **{f"methods/{name}.md": page(m) for name, m in METHODS.items()}}


def index() -> str:
    """The page that lists the others."""
    links = {f"[`{m.name}`](methods/{m.name}.md)": [cell(m.title), cell(m.shows)] for m in METHODS.values()}
    fields = {", ".join(f"`{name}`" for name in key.split(", ")): [text] for key, text in FIELDS.items()}
    parts = ["# Methods", INTRODUCTION, MADE, table(["method", "", "what it shows"], links)]
    parts += ["## What comes of it", RECORD, table(["field", "what it says"], fields), ROWS]
    return "\n\n".join(parts) + "\n"


def table(heads: list[str], rows: dict[str, list[str]]) -> str:
    """Rows by their first cell, under heads."""
    lines = [heads, ["---"] * len(heads), *([first, *rest] for first, rest in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(method: Method) -> str:
    """The page of a method."""
    more = [f"[the command](../commands/{method.name}.md)", "[all methods](../methods.md)"]
    if (DOCS / f"{method.name}.md").exists():
        more.insert(0, f"[a guide](../{method.name}.md)")
    parts = [
        f"# {method.title}",
        f"Shows {plain(method.shows)}. {plain(method.paper)}.",
        *formula(method),
        f"```console\nonnxlens {method.name} model.onnx cat.jpg\n```",
        f'```python\nlens.attribute("cat.jpg", "{method.name}")\n```',
        "\n".join(f"- {fact}" for fact in facts(method)),
        *options(method),
        f"See also: {', '.join(more)}.",
        MADE,
    ]
    return "\n\n".join(parts) + "\n"


def formula(method: Method) -> list[str]:
    """What the function under the record says of itself."""
    compute = method.compute
    said = getattr(compute, "end", getattr(compute, "steps", compute))
    return [plain(" ".join(part.split())) for part in (getdoc(said) or "").split("\n\n") if part]


def facts(method: Method) -> list[str]:
    """What the record says beside."""
    where = "the layer" if method.on_layer else "the model's input"
    return [
        f"The numbers lie on {where}; " + ("they have a sign." if method.signed else "none is negative."),
        "It begins at "
        + {"class": "a class", "units": "the strongest channels of a layer"}[method.target]
        + (", or at a channel of a layer (`--layer`, `--channels`, `--position`)." if method.units else "."),
        f"Drawn as `--style {method.style}` where nobody says.",
        *(["One photo takes all cores; in a run one comes after the other."] if method.serial else []),
    ]


def options(method: Method) -> list[str]:
    """Its own options, as a table."""
    own = options_of(method).items()
    rows = {f"`{name}`": [f"`{field.default}`", cell(field.option.help)] for name, field in own}
    return [table(["option", "default", "what it does"], rows)] if rows else []


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.md"):
        old.unlink()
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
