"""A gradient in the words that a runtime is right with, and fast.

Each entry of RUNTIMES is a row of rewrites, of which each node takes the first that applies. Only nodes that
onnxlens made are written anew: the model's own stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from ...errors import BadRequest, nearest
from ...graph.graph import Graph, Tensor
from ..optimise import fast, rewritten
from ..rewritten import Rewrite, Rewritten
from .pools import first_maximum
from .words import flat, known, own_weight, turned, two_by_two

RUNTIMES: dict[str, tuple[Rewrite, ...]] = {
    # What is known is written down: sizes that are computed although they are known trip converters.
    "any": (known,),
    # What its kernels are fast at, as the sessions here have it, but without kernels of ours.
    "onnxruntime": (known, lambda graph, node: None if node.op_type == "Reshape" else fast(graph, node)),
    # It computes nonsense, and says nothing, where a weight is shared by the way there and the way back, and
    # in the loops of GRU and RNN.
    "openvino": (flat, known, own_weight, turned, two_by_two, first_maximum),
}


def check_runtime(runtime: str) -> None:
    """Raises BadRequest for what is none of RUNTIMES, with the nearest names."""
    if runtime not in RUNTIMES:
        names = ", ".join(RUNTIMES)
        raise BadRequest(f"no runtime is called {runtime!r}{nearest(runtime, RUNTIMES)}; there are {names}")


def exported(graph: Graph, runtime: str = "any") -> Graph:
    """The graph of a gradient for one of RUNTIMES; equal up to rounding.

    Raises BadRequest as `check_runtime` does, and for what a runtime is not right with.
    """
    check_runtime(runtime)

    def rewrite(new: Rewritten, node: NodeProto) -> Sequence[Tensor] | None:
        return next((done for word in RUNTIMES[runtime] if (done := word(new, node)) is not None), None)

    return rewritten(graph, graph.outputs, rewrite)
