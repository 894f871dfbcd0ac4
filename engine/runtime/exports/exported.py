"""A gradient in the words that a runtime is right with, and fast.

Each entry of RUNTIMES is rows of rewrites, one walk through the graph for each, in which a node takes the
first that applies. Only nodes that onnxlens made are written anew: the model's own stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from onnx import NodeProto

from ...errors import BadRequest, nearest
from ...graph.graph import Graph, Tensor
from ..optimise import rewritten
from ..rewritten import Rewrite, Rewritten
from .loops import in_blocks, picked, written_out
from .pools import closed, first_maximum
from .transposed import composed, spelled
from .windows import looked_up_maximum
from .words import backwards, clipped, flat, known, narrow, own_weight, turned, two_by_two, without_indices

PLAIN = (known, backwards, written_out)
RUNTIMES: dict[str, tuple[tuple[Rewrite, ...], ...]] = {
    # What is known is written down: sizes that are computed although they are known trip converters, and few
    # runtimes have loops.
    "any": (PLAIN, (picked, known)),
    # What its kernels are fast at, as the sessions here have it, but without kernels of ours.
    "onnxruntime": ((known, in_blocks), (known, closed), (spelled, composed)),
    # The same without blocks of channels, which its WebAssembly does not have.
    "web": ((known,), (known, closed), (spelled, composed)),
    # Its kernels have no Sum, no indices of max pooling, and no Split into more than ten.
    "webgpu": (PLAIN, (picked, known, two_by_two, narrow, first_maximum), (without_indices,)),
    # It computes nonsense, and says nothing, where a weight is shared by the way there and the way back, and
    # in the loops of GRU and RNN.
    "openvino": (
        PLAIN,
        (flat, picked, known, own_weight, turned, two_by_two, first_maximum),
    ),
    # It forgets the batch in the indices of max pooling, takes HardSigmoid times any value for HardSwish, and
    # has no loops.
    "opencv": (PLAIN, (flat, picked, known, clipped, first_maximum), (without_indices,)),
    # onnx2tf puts channels last, loses count of that around poolings and slices, and has no loops.
    "litert": (PLAIN, (flat, picked, known, looked_up_maximum), (without_indices,)),
}


def check_runtime(runtime: str) -> None:
    """Raises BadRequest for what is none of RUNTIMES, with the nearest names."""
    if runtime not in RUNTIMES:
        raise BadRequest(f"no runtime is called {runtime!r}{nearest(runtime, RUNTIMES)}")


def exported(graph: Graph, runtime: str = "any", outputs: Sequence[str] | None = None) -> Graph:
    """The graph of a gradient for one of RUNTIMES; equal up to rounding. `outputs`: its own by default.

    Raises BadRequest as `check_runtime` does, and for what a runtime is not right with.
    """
    check_runtime(runtime)
    outputs = list(graph.outputs if outputs is None else outputs)
    for row in RUNTIMES[runtime]:
        graph = rewritten(graph, outputs, partial(_first, row))
    return graph


def _first(row: Sequence[Rewrite], graph: Rewritten, node: NodeProto) -> Sequence[Tensor] | None:
    """What the first of some rewrites makes of a node that applies to it."""
    return next((done for word in row if (done := word(graph, node)) is not None), None)
