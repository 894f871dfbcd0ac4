"""What it costs to choose and place a layer: milliseconds of one thread, the quickest of several times.

python tests/bench/placing.py MODEL.onnx ...

docs/placement.md quotes it for ResNet-50, ViT-B/16 and Swin-T with random weights, as
tests/bench/architectures exports them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from onnxlens.engine.anatomy.layers import checked_layer
from onnxlens.engine.anatomy.maps import view_of, views
from onnxlens.engine.anatomy.readouts.classes import score_name
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.graph.graph import Graph

TIMES = 11


def chosen(graph: Graph) -> None:
    """The layer of Grad-CAM, and where it lies."""
    view_of(graph, checked_layer(graph, None, score_name(graph)))


def milliseconds(graph: Graph, task: Callable[[Graph], object]) -> float:
    """The quickest time of a task on a graph of which nothing is known yet."""
    found = []
    for _ in range(TIMES):
        fresh = graph.copy()
        fresh.anatomy = {}
        start = time.perf_counter()
        task(fresh)
        found.append(1000 * (time.perf_counter() - start))
    return min(found)


def main() -> None:
    """A line for each model."""
    for name in sys.argv[1:]:
        graph = canonical(name)
        one, every = milliseconds(graph, chosen), milliseconds(graph, views)
        print(f"{Path(name).stem}: {len(graph.nodes)} nodes, a layer {one:.0f} ms, all maps {every:.0f} ms")


if __name__ == "__main__":
    main()
