"""`onnxlens layers`: what is inside a model."""

from __future__ import annotations

from typing import Any

from ..engine.errors import BadRequest
from . import options
from .console import download, emit, note, table


@options.command("layers")
@options.model
@options.as_json
@options.debug
def command(model: str, as_json: bool) -> None:
    """List the values inside a model.

    In order: name, operator, shape, weights. Each name can be given as --layer, --of or --wrt. Marked are
    the layer that Grad-CAM looks at by itself and the scores that it explains.

    \b
    onnxlens layers model.onnx
    onnxlens layers scenes --json
    """
    from ..engine.anatomy import last_features, score_name
    from ..engine.canonical import canonical
    from ..engine.nodes import OURS
    from ..models.zoo import resolve

    with download(model) as progress:
        graph = canonical(resolve(model, progress))
    score = score_name(graph)
    try:
        features = last_features(graph, score)
    except BadRequest:
        features = None
        note("no feature map before the head: Grad-CAM has nothing to look at here")
    marks = {score: "scores", features: "Grad-CAM layer"}
    rows: list[dict[str, Any]] = [
        {"name": name, "operator": "input", "shape": _shape(graph[name].shape), "weights": 0}
        for name in graph.inputs
    ]
    for node in graph.nodes:
        shapes = [graph[i].shape or () for i in node.input if i in graph.constants]
        for name in node.output:
            if name and not name.startswith(OURS):
                rows.append(
                    {
                        "name": name,
                        "operator": node.op_type,
                        "shape": _shape(graph[name].shape),
                        "weights": sum(_size(s) for s in shapes if len(s) > 0),
                        **({"mark": marks[name]} if name in marks else {}),
                    }
                )
    if as_json:
        for row in rows:
            emit(row)
        return
    table(
        ("value", "operator", "shape", "weights", ""),
        [
            (
                r["name"],
                r["operator"],
                _shown(r["shape"]),
                f"{r['weights']:,}" if r["weights"] else "",
                r.get("mark", ""),
            )
            for r in rows
        ],
    )


def _shape(shape: Any) -> list[Any] | None:
    return None if shape is None else list(shape)


def _shown(shape: list[Any] | None) -> str:
    return "?" if shape is None else "x".join("?" if d is None else str(d) for d in shape) or "scalar"


def _size(shape: tuple[Any, ...]) -> int:
    size = 1
    for d in shape:
        size *= d
    return size
