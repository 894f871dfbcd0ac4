"""`onnxlens layers`: what is inside a model."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from ....engine.errors import BadRequest
from ... import options
from ...console import download, emit, note, table
from .outputs import lines as lines_of
from .outputs import records

if TYPE_CHECKING:
    from ....engine.anatomy.readouts.thing import Reading
    from ....engine.graph.graph import Graph


@options.command("layers")
@options.model
@options.model_output
@options.readout
@options.as_json
@options.debug
def command(model: str, output: str | None, readout: str | None, as_json: bool) -> None:
    """List the values inside a model.

    In order: name, module of the framework where the file says it, operator, shape, weights. Each name can
    be given as --layer, --of or --wrt; a module as --layer stands for the last feature map that it computes.
    What is a picture of the photo has its rows and columns there, all else why it is none and no --layer.
    Marked are the layer that Grad-CAM looks at by itself and the scores that it explains. Of each output it
    says what it holds, how that is known, and what to say to have it read otherwise.

    \b
    onnxlens layers model.onnx
    onnxlens layers scenes --json
    """
    from ....engine.canonical.canonical import canonical
    from ....models.network.answers import read_outputs
    from ....models.network.zoo import resolve

    with download(model) as progress:
        path = resolve(model, progress)
    graph = canonical(path)
    answer, outputs = read_outputs(graph, path, output=output, kind=readout)
    for line in lines_of(outputs):
        note(line)
    rows = _rows(graph, _marks(graph, answer, output), records(outputs))
    if as_json:
        for row in rows:
            emit(row)
        return
    lines = [("value", "module", "operator", "shape", "weights", "map", ""), *map(_cells, rows)]
    if not any("module" in row for row in rows):
        lines = [(name, *rest) for name, _, *rest in lines]
    table(lines[0], lines[1:])


def _marks(graph: Graph, answer: Reading | None, output: str | None) -> dict[str, str]:
    """The layers that Grad-CAM looks at by itself, or the last features of an answer that is not read, and
    what holds the scores of classes.
    """
    from ....engine.anatomy.layers import last_features
    from ....engine.anatomy.levels import levels
    from ....engine.anatomy.readouts.classes import Readout, score_name

    parts = [score_name(graph, output)] if answer is None else list(answer.parts)
    try:
        found = [last_features(graph, parts[0])] if answer is None else levels(graph, parts, answer.outputs)
    except BadRequest:
        found = []
        note("no feature map before the head: Grad-CAM has nothing to look at here")
    marks = dict.fromkeys(found, "last features" if answer is None else "Grad-CAM layer")
    return marks | ({answer.scores: "scores"} if isinstance(answer, Readout) else {})


def _rows(graph: Graph, marks: dict[str, str], outputs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Inputs and values in the order of the network, without those that are made up; some have a mark, and
    outputs what is said of them.
    """
    from ....engine.anatomy.maps import grid_of, why_not
    from ....engine.anatomy.scopes import modules_around
    from ....engine.graph.nodes import OURS, reads

    rows: list[dict[str, Any]] = [
        {"name": name, "operator": "input", "shape": _shape(graph[name].shape), "weights": 0}
        for name in graph.inputs
    ]
    for node in graph.nodes:
        shapes = [list(graph.constants[i].dims) for i in reads(node) if i in graph.constants]
        weights = sum(prod(shape) for shape in shapes if shape)
        module = {"module": around[-1]} if (around := modules_around(node)) else {}
        for name in node.output:
            if name and not name.startswith(OURS):
                row = {"name": name, "operator": node.op_type, "shape": _shape(graph[name].shape)}
                why = why_not(graph, name)
                seen = {"no_map": why} if why else {"map": grid_of(graph, name)}
                mark = {"mark": marks[name]} if name in marks else {}
                rows.append({**row, "weights": weights, **module, **seen, **mark, **outputs.get(name, {})})
    return rows


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    weights = f"{row['weights']:,}" if row["weights"] else ""
    return (
        row["name"],
        row.get("module", ""),
        row["operator"],
        _shown(row["shape"]),
        weights,
        _shown(row["map"]) if "map" in row else row.get("no_map", ""),
        row.get("mark", ""),
    )


def _shape(shape: Any) -> list[Any] | None:
    return None if shape is None else list(shape)


def _shown(shape: list[Any] | None) -> str:
    return "?" if shape is None else "x".join("?" if d is None else str(d) for d in shape) or "scalar"
