"""The modules of the framework that a model was written in: which of its values each of them computes.

PyTorch's exporter writes them beside each node (`pkg.torch.onnx.name_scopes`); its older one, and those of
TensorFlow, into its name:

    /layer1/layer1.0/conv1/Conv    is in layer1, layer1.0, layer1.0.conv1
    model/conv2d_1/Conv2D          is in model, model/conv2d_1
"""

from __future__ import annotations

import ast
from itertools import accumulate

from onnx import NodeProto

from ..graph.graph import Graph
from ..graph.nodes import OURS

KEY = "pkg.torch.onnx.name_scopes"
MAX_CHARACTERS = 4096  # characters of what stands beside a node
_CALLS = {"StatefulPartitionedCall", "PartitionedCall"}  # of TensorFlow: no modules


def modules_around(node: NodeProto) -> list[str]:
    """The names of the modules that a node is in, the outermost first; empty where nothing says so."""
    for entry in node.metadata_props:
        if entry.key == KEY and len(entry.value) <= MAX_CHARACTERS:
            return _listed(entry.value)
    parts = [p for p in node.name.split("/")[:-1] if p and p not in _CALLS]
    join = _dotted if node.name.startswith("/") else "{}/{}".format
    return [] if node.name.startswith(OURS) else list(accumulate(parts, join))


def members(graph: Graph) -> dict[str, list[str]]:
    """The computed values of each module, and of those inside it, in the order of the network."""
    found: dict[str, list[str]] = {}
    for node in graph.nodes:
        for module in dict.fromkeys(modules_around(node)):
            found.setdefault(module, []).extend(o for o in node.output if o and not o.startswith(OURS))
    return {module: values for module, values in found.items() if values}


def _listed(text: str) -> list[str]:
    """The modules in what PyTorch writes: all of a list but the root, which has no name, and the node."""
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return []
    named = isinstance(scopes, list) and all(isinstance(scope, str) for scope in scopes)
    return [scope for scope in scopes[:-1] if scope] if named else []


def _dotted(around: str, inner: str) -> str:
    """layer1, layer1.0 -> layer1.0; layer1.0, conv1 -> layer1.0.conv1: an item repeats the list it is of."""
    repeated = inner.rpartition(".")[0]
    if repeated and (around == repeated or around.endswith(f".{repeated}")):
        return f"{around}.{inner.rpartition('.')[2]}"
    return f"{around}.{inner}"
