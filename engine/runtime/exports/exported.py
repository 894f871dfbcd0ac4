"""A gradient in the words that a runtime is right with, and fast.

Each entry of RUNTIMES is rows of rewrites, one walk through the graph for each, in which a node takes the
first that applies. Only nodes that onnxlens made are written anew: the model's own stay as they are, but for
some that copy numbers, over which a converter trips.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from onnx import NodeProto

from ...errors import BadRequest, nearest
from ...graph.graph import Graph, Tensor
from ...graph.nodes import OURS, renamed
from ..optimise import rewritten
from ..rewritten import Rewrite, Rewritten
from .loops import in_blocks, picked, written_out
from .pools import closed, first_maximum
from .transposed import composed, spelled
from .windows import looked_up_maximum, multiplied
from .words import (
    backwards,
    clipped,
    flat,
    known,
    narrow,
    on_rows,
    own_weight,
    padded_behind,
    turned,
    two_by_two,
    without_indices,
)

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
    "litert": (
        PLAIN,
        (flat, picked, known, looked_up_maximum, multiplied, padded_behind),
        (without_indices,),
    ),
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
    if (
        runtime == "litert"
    ):  # its converter trips over nodes of the model and over outputs that are copies too
        return direct(rewritten(graph, outputs, on_rows, whole=True), outputs)
    return graph


def direct(graph: Graph, outputs: Sequence[str]) -> Graph:
    """The graph whose outputs are no copies of our values, but bear their own names where they are computed.

    onnx2tf takes a copy away, and with it the value that it is a copy of, even where that is read. What is
    several outputs is computed for each.
    """
    new = Rewritten(graph)
    copied = {
        n.output[0]: n.input[0] for n in graph.nodes if n.op_type == "Identity" and n.output[0] in outputs
    }
    copied = {
        name: inner for name, inner in copied.items() if inner.startswith(OURS) and graph.producer(inner)
    }
    first = {inner: name for name, inner in reversed(copied.items())}
    for node in graph.ancestors(outputs):
        names, inner = first, copied.get(node.output[0], "")
        if first.get(inner) == node.output[0]:
            continue
        if inner and (made := graph.producer(inner)) is not None:
            names, node = {**first, **{o: new.fresh(o) for o in made.output}, inner: node.output[0]}, made
        new.add(
            renamed(node, names), {names.get(o, o): graph.types[o] for o in node.output if o in graph.types}
        )
    return new


def _first(row: Sequence[Rewrite], graph: Rewritten, node: NodeProto) -> Sequence[Tensor] | None:
    """What the first of some rewrites makes of a node that applies to it."""
    return next((done for word in row if (done := word(graph, node)) is not None), None)
