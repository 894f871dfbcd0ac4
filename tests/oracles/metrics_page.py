"""docs/metrics.md, made from METRICS.

python tests/oracles/metrics_page.py
"""

from __future__ import annotations

from inspect import getdoc
from pathlib import Path

from oracles.commands_page import MADE, cell
from oracles.methods_page import table

from onnxlens.engine.metrics.metrics import METRICS, Metric

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
INTRODUCTION = """How good a map is, by any of these. `onnxlens evaluate MODEL FOLDER` measures methods by
them on photos of your own, and `onnxlens.run(..., metrics=[...])` does in Python: each map has a column
`metric_NAME` in its row ([runs](runs.md)). With `--masks FOLDER`, pictures called as the photos and not black
where the object is, the truth is known; without, the model itself is asked.

Maps are judged on the pixels of the model's input. A number that cannot be told is null, and is left out of
means: a map with a problem, a photo without a mask, a model that answers the same whatever is hidden. Means
come with their 95 % interval, Wilson's of what is true or not and Student's of all else. What is hidden and
noise are the same in every run. Metrics that need answers or maps are for models that answer with classes.

`onnxlens explain MODEL FOLDER --method best` takes the method that does best on at least 8 photos of your
own, by deletion, insertion and randomisation: chosen by the mean rank on every other photo, and held
against the others on those between by a permutation test of the paired ranks, at 5 %. Pixels are hidden
under noise there, as no method hides them or begins with it by default. "No significant difference" is an
answer, and a method whose maps are alike for random weights (above 0.7) is not chosen."""
NEEDS = {
    "": "nothing else",
    "mask": "where the object is",
    "answers": "the model's answers",
    "maps": "more maps of the method",
}


def page() -> str:
    """The text of the page."""
    rows = {f"`{m.name}`": [cell(m.title), cell(m.says), m.best, NEEDS[m.needs]] for m in METRICS.values()}
    parts = ["# Metrics", INTRODUCTION, MADE, table(["metric", "", "what it says", "best", "needs"], rows)]
    return "\n\n".join([*parts, *map(_part, METRICS.values())]) + "\n"


def _part(metric: Metric) -> str:
    text = " ".join((getdoc(metric.compute) or "").split())
    return f"## {metric.title}\n\n`{metric.name}`: {metric.says}. {metric.paper}.\n\n{text}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
