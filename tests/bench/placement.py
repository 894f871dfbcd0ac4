"""Where layers lie on the photo, in architectures of timm, torchvision and transformers with random weights.

python tests/bench/architectures/export.py FOLDER       in an environment of its own: see there
python tests/bench/placement.py FOLDER [--only NAME]... [--kept] [--page]

The list is placement.toml: of each architecture the modules that a person expects to be placed, and where a
person would look without being asked. It was written before the code that places them.

What a network of random kernels sees is as wide as the photo, and leans to one side in each: so kernels
become bells first (between channels they stay random), and the middle of what a layer sees is known. A mark,
a soft spot of colour, is planted into a photo of noise at several places, and the model is run with each.
What changes in a layer of itself, and not with all its cells, has a middle on the photo, as the layer's
place says where its cells are. It is compared with the middle of the mark, in cells of the layer, along the
axis that is further off. A layer that has no place is a miss.
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from marks import PLACES, Photo, cell_of, centred, found, off, reach_of
from page import ROOT, machine

from onnxlens.engine.anatomy.grids import View
from onnxlens.engine.anatomy.layers import checked_layer
from onnxlens.engine.anatomy.maps import view_of, views
from onnxlens.engine.anatomy.readouts.classes import score_name
from onnxlens.engine.anatomy.scopes import members
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.graph.graph import Graph
from onnxlens.engine.graph.nodes import reads
from onnxlens.engine.graph.types import is_float
from onnxlens.engine.operators.traits import traits_of
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.runtime.session import Session

LIST = Path(__file__).with_suffix(".toml")
PAGE = ROOT / "docs" / "placement.md"
HEADING = "## In many architectures\n"  # the last part of the page, made here
MOVED = {"Transpose", "Reshape", "Identity", "Slice", "Squeeze", "Unsqueeze"}

INTRODUCTION = """\

Written by `python tests/bench/placement.py FOLDER --page` on {machine}.

{count} architectures with random weights: of torchvision, timm and transformers, and some written for this.
What a person expects was [written down](../tests/bench/placement.toml) before the code that finds it: the
modules to be placed, and where one would look without being asked.

- {placed} of {layers} layers are placed.
- A mark planted into a photo is found where the layer's place says: half of {marks} marks within
  {median:.2f} cells of the layer, 99 of 100 within {most:.2f}, the worst {worst:.2f}.
- The layer chosen by itself is an expected one in {right} of {count}.

**placed** counts the expected layers. **off** is how far what changes in a layer is from the mark, in cells
of the layer: the median and the worst of all its layers and places. **default** is the expected layer, the
first where several would do; what was chosen instead stands in brackets.
"""

FAR = """\
### Further off than one cell

With random weights some layers answer everywhere to a mark anywhere. Where a coarse map was enlarged into a
fine one, the coarse cell that answers is many fine ones wide. What was found out by hand stands beside it.
"""


@dataclass
class Layer:
    """What came of a layer: how far off it is at each mark, in cells, or why it has no place."""

    module: str
    off: list[float] = field(default_factory=list)
    cells: str = ""
    refused: str = ""


@dataclass
class Row:
    """What came of an architecture; milliseconds of `default` alone and of all values."""

    name: str
    layers: list[Layer]
    default: str
    is_expected: bool
    first: float
    every: float


# -- layers -----------------------------------------------------------------------------------------------


def handed_on(graph: Graph, module: str, inside: dict[str, list[str]]) -> list[str]:
    """The values of a module that are read outside of it, of three axes at least: more where it is reused."""
    values = inside.get(module, [])
    own = {id(graph.producer(v)) for v in values}
    outside = {i for n in graph.nodes if id(n) not in own for i in reads(n)} | {*graph.outputs}
    return [v for v in values if v in outside and is_real(graph, v) and len(graph[v].shape or ()) > 2]


def is_real(graph: Graph, value: str) -> bool:
    """Whether a value holds real numbers, or what it holds is not known."""
    dtype = graph[value].dtype
    return dtype is None or is_float(dtype)


def is_default(graph: Graph, value: str, patterns: Sequence[str], inside: dict[str, list[str]]) -> bool:
    """Whether a value is what one of the expected modules hands on, or an activation behind that."""
    wanted = [m for m in inside if any(fnmatchcase(m, p) for p in patterns)]
    handed = {_moved(graph, v) for m in wanted for v in handed_on(graph, m, inside)}
    while (value := _moved(graph, value)) not in handed:
        node = graph.producer(value)
        if node is None or traits_of(node).elementwise != "alone":
            return False
        value = node.input[0]
    return True


def _moved(graph: Graph, value: str) -> str:
    """What a value holds in another order, or the patches of."""
    while (node := graph.producer(value)) is not None and node.op_type in MOVED:
        value = node.input[0]
    return value


# -- architectures ----------------------------------------------------------------------------------------


def looked_at(path: Path, entry: dict[str, Any]) -> Row:
    """Everything of one architecture."""
    graph = Network(centred(path)).graph
    start = time.perf_counter()
    default = checked_layer(graph, None, score_name(graph))
    first = time.perf_counter()
    views(graph)
    every = time.perf_counter()
    inside = members(graph)
    layers, values = [Layer(module) for module in entry["layers"].split()], {}
    for layer in layers:
        found = handed_on(graph, layer.module, inside)
        if not found:
            layer.refused = "no such module in the file"
            continue
        values[layer.module] = found[-1]
        try:
            view_of(graph, found[-1])
        except BadRequest as error:
            layer.refused = str(error)
    mark(graph, [x for x in layers if not x.refused], values)
    good = is_default(graph, default, entry["default"].split(), inside)
    return Row(path.stem, layers, default, good, (first - start) * 1e3, (every - first) * 1e3)


def mark(graph: Graph, layers: Sequence[Layer], values: dict[str, str]) -> None:
    """Plant marks as wide as each layer's cells need, and measure."""
    _, *sides = (d if isinstance(d, int) else 1 for d in graph[graph.inputs[0]].shape or ())
    is_last = sides[2] == 3
    photo = Photo(graph.inputs[0], (sides[0], sides[1]) if is_last else (sides[1], sides[2]), is_last)
    seen = {x.module: view_of(graph, values[x.module]) for x in layers}
    groups: dict[tuple[int, ...], list[Layer]] = {}
    for layer in layers:
        shape = _grid(graph, values[layer.module], seen[layer.module])
        layer.cells = "x".join(map(str, shape))
        groups.setdefault(reach_of(cell_of(seen[layer.module], shape), photo.size), []).append(layer)
    for reach, group in groups.items():
        kinds = {values[x.module]: seen[x.module] for x in group}
        answers = found(Session(graph, list(kinds), "cpu"), photo, reach, kinds)
        for layer in group:
            value, view = values[layer.module], seen[layer.module]
            layer.off = off(answers[value], photo.at(PLACES), view, _grid(graph, value, view))


def _grid(graph: Graph, value: str, view: View) -> tuple[int, ...]:
    shape = tuple(d if isinstance(d, int) else 1 for d in graph[value].shape or ())
    return view.of_array(np.broadcast_to(np.float32(0), shape)).shape[2:]


# -- what is said -----------------------------------------------------------------------------------------


def line(row: Row) -> str:
    """A row for the terminal."""
    off = [d for layer in row.layers for d in layer.off]
    placed = sum(not layer.refused for layer in row.layers)
    said = f"median {median(off):.2f}, most {max(off):.2f} cells" if off else "nothing placed"
    right = "right" if row.is_expected else "WRONG"
    return (
        f"{row.name}: {placed} of {len(row.layers)} placed, {said}; default {row.default} {right}; "
        f"{row.first:.0f} and {row.every:.0f} ms"
    )


def summary(rows: Sequence[Row]) -> Iterator[str]:
    """All rows together."""
    layers = [(row.name, layer) for row in rows for layer in row.layers]
    off = [d for _, layer in layers for d in layer.off]
    placed = sum(not layer.refused for _, layer in layers)
    yield f"{len(rows)} architectures, {placed} of {len(layers)} layers placed ({placed / len(layers):.1%})"
    if off:
        beyond = [(n, x) for n, x in layers if _is_far(x)]
        yield f"{len(off)} marks: median {median(off):.2f} cells, most {max(off):.2f}"
        yield f"beyond one cell in {len(beyond)} layers"
        yield from (f"    {name} {x.module} ({x.cells}): {x.off}" for name, x in beyond)
    yield f"default layer right in {sum(r.is_expected for r in rows)} of {len(rows)}"
    yield from (f"    {row.name}: {row.default}" for row in rows if not row.is_expected)
    yield "refused:"
    yield from (f"    {name} {x.module}: {x.refused[:200]}" for name, x in layers if x.refused)


def page(rows: Sequence[Row], entries: Mapping[str, Any]) -> str:
    """The last part of docs/placement.md."""
    layers = [layer for row in rows for layer in row.layers]
    off = [d for layer in layers for d in layer.off]
    head = INTRODUCTION.format(
        machine=machine(),
        count=len(rows),
        placed=sum(not x.refused for x in layers),
        layers=len(layers),
        marks=len(off),
        median=median(off),
        most=np.quantile(off, 0.99),
        worst=max(off),
        right=sum(row.is_expected for row in rows),
    )
    table = ["| architecture | package | placed | off | default |", "| --- | --- | --- | --- | --- |"]
    table += [_cells(row, entries[row.name]) for row in rows]
    missed = [f"- {row.name}, `{x.module}`: {_why(x)}" for row in rows for x in row.layers if x.refused]
    far = [
        f"- {row.name}, `{x.module}` ({x.cells}): {x.off}{_noted(entries[row.name], x)}"
        for row in rows
        for x in row.layers
        if _is_far(x)
    ]
    parts = [head, *table, "", "### Not placed", "", *(missed or ["Nothing."]), "", FAR, *far, ""]
    return "\n".join(parts)


def _is_far(layer: Layer) -> bool:
    return max(layer.off, default=0) > 1


def _noted(entry: Mapping[str, Any], layer: Layer) -> str:
    """Why marks cannot show where a layer lies, where somebody looked."""
    note = entry.get("notes", {}).get(layer.module)
    return f". {' '.join(note.split())}" if note else ""


def _cells(row: Row, entry: Mapping[str, Any]) -> str:
    off = [d for layer in row.layers for d in layer.off]
    placed = sum(not layer.refused for layer in row.layers)
    said = f"{median(off):.2f}, {max(off):.2f}" if off else ""
    wanted = entry["default"].split()[0]
    default = f"`{wanted}`" if row.is_expected else f"`{wanted}` (`{row.default}`)"
    return f"| {row.name} | {entry['package']} | {placed} of {len(row.layers)} | {said} | {default} |"


def _why(layer: Layer) -> str:
    """The reason alone, without the nearest names."""
    return layer.refused.partition("; nearest")[0].partition(": it ")[2] or layer.refused


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", multiple=True, help="These architectures.")
@click.option("--kept", "is_kept", is_flag=True, help="Measure none: what was measured before.")
@click.option("--page", "is_page", is_flag=True, help="Write the last part of docs/placement.md.")
def main(folder: Path, only: tuple[str, ...], is_kept: bool, is_page: bool) -> None:
    """Measure the architectures of placement.toml exported to FOLDER, and keep what came of each there."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))
    for name in () if is_kept else only or entries:
        if (folder / f"{name}.onnx").exists():
            row = looked_at(folder / f"{name}.onnx", entries[name])
            (folder / f"{name}.json").write_text(json.dumps(asdict(row)), encoding="utf-8")
            click.echo(line(row))
    rows = [kept(folder / f"{n}.json") for n in entries if (folder / f"{n}.json").exists()]
    for text in summary(rows):
        click.echo(text)
    if is_page:
        before = PAGE.read_text(encoding="utf-8").partition(HEADING)[0].rstrip()
        PAGE.write_text(f"{before}\n\n{HEADING}{page(rows, entries)}", encoding="utf-8")


def kept(path: Path) -> Row:
    """A row that was measured before."""
    row = json.loads(path.read_text(encoding="utf-8"))
    return Row(**{**row, "layers": [Layer(**layer) for layer in row["layers"]]})


if __name__ == "__main__":
    main()
