"""What ONNX Runtime says when it refuses, as far as it helps: no error codes, no lines of its sources."""

from __future__ import annotations

import re

from ..graph.graph import Graph
from ..graph.nodes import describe

MAX_CHARACTERS = 300  # characters
_HEAD = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:Fatal error: )?")
# A place in the sources, and the C++ function there, whose parameters hold no ") ".
_PLACE = re.compile(r"/onnxruntime_src/\S+:\d+ .*?\)(?:::<lambda\(.*?\)>)?(?: const)? |\b\w+\.(?:cc|h):\d+ ")
_RUNNING = re.compile(
    r"Non-zero status code returned while running (\S+) node\. Name:('.*?') Status Message: "
)
_NO_KERNEL = re.compile(r"Could not find an implementation for (\S+)\((\d+)\) node with name '(.*?)'")


def one_line(error: Exception, graph: Graph | None = None) -> str:
    """What the runtime says on one line of at most 300 characters, with its end, where the cause is.

    `graph` is what it was given: it tells the types of a node for which the runtime has no kernel.
    """
    text = _PLACE.sub("", _HEAD.sub("", " ".join(str(error).split())))
    text = _RUNNING.sub(r"\1 node \2: ", text)
    if graph is not None and (found := _NO_KERNEL.search(text)):
        text = _no_kernel(graph, *found.groups())
    half = MAX_CHARACTERS // 3
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]} ... {text[half + 5 - MAX_CHARACTERS :]}"


def _no_kernel(graph: Graph, operator: str, opset: str, name: str) -> str:
    """That the runtime has no kernel for a node, and on which types."""
    nodes = [n for n in graph.nodes if n.op_type == operator.split(":")[-1] and n.name in (name, "")]
    types = [[d for i in n.input if i and (d := graph[i].dtype) is not None] for n in nodes]
    # Of several without a name, one of a type that NumPy does not have is the likeliest.
    found = max(
        zip(nodes, types, strict=True), key=lambda pair: any(d.isbuiltin != 1 for d in pair[1]), default=None
    )
    what = f"the {describe(found[0])} of opset {opset}" if found else f"{operator} of opset {opset}"
    of = ", ".join(dict.fromkeys(str(d) for d in (found[1] if found else ())))
    return f"it has no kernel for {what}{' on ' if of else ''}{of}; a newer version may have one"
