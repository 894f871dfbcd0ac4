"""The graphs that If, Loop, Scan and SequenceMap run, as steps, with what goes in and what comes out."""

from __future__ import annotations

from typing import NamedTuple

from onnx import GraphProto, NodeProto

from ..graph.nodes import attributes, bodies


class Step(NamedTuple):
    """A graph inside a node, and how its values meet those around it, by name.

    States go from step to step: `starts` outside are `before` a step, and `after` it before the next. Of
    `sequences` a step gets one of the `elements` each, and of what it has `made` sequences are collected. The
    outputs of the node are the last states, and then these. A branch of an If has outputs alone, all `made`.
    """

    body: GraphProto
    starts: list[str]
    before: list[str]
    after: list[str]
    sequences: list[str]
    elements: list[str]
    made: list[str]


def steps(node: NodeProto) -> list[Step]:
    """The graphs inside an If, a Loop, a Scan or a SequenceMap."""
    looped = node.op_type == "Loop"
    given = list(node.input)[2:] if looped else [] if node.op_type == "If" else list(node.input)
    scanned = len(given) if node.op_type == "SequenceMap" else int(attributes(node).get("num_scan_inputs", 0))
    count = len(given) - scanned
    found = []
    for body in bodies(node):
        inner = [v.name for v in body.input][2 * looped :]
        outer = [v.name for v in body.output][looped:]
        found.append(
            Step(
                body, given[:count], inner[:count], outer[:count], given[count:], inner[count:], outer[count:]
            )
        )
    return found
