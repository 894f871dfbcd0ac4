"""Loops whose steps are known beforehand, written out one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto

from ...graph.graph import Tensor, op
from ...graph.nodes import attributes, bodies, every_node, key_of, renamed
from ...operators.traits import traits_of
from ..rewritten import Rewritten

MOST = 2**13  # nodes of a file that holds what a loop became; a longer one keeps the loop
FEW = 16  # steps


def written_out(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A Loop or a Scan without a graph inside, where the number of its steps is known and not large.

    A runtime that has no loops, or has them wrong, gets what they compute: a recurrent layer's steps, or the
    vectors of several seeds.
    """
    is_loop = key_of(node) == "Loop"
    if not is_loop and key_of(node) != "Scan":
        return None
    steps = _loop_steps(graph, node) if is_loop else _scan_steps(graph, node)
    (body,) = bodies(node)
    if not steps or len(graph.nodes) + steps * len([*every_node(body.node)]) > MOST:
        return None
    own = _constants(graph, body)
    return (_loop if is_loop else _scan)(graph, node, body, own, steps)


def in_blocks(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A few steps with convolutions, as those over seeds, written out.

    In graphs inside, ONNX Runtime does not keep feature maps in blocks of channels.
    """
    if node.op_type != "Scan" or (_scan_steps(graph, node) or FEW + 1) > FEW:
        return None
    (body,) = bodies(node)
    has_maps = any(traits_of(inner).weights for inner in every_node(body.node))
    return written_out(graph, node) if has_maps else None


def picked(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """One of the values that were put together before, as what steps noted down is."""
    if node.op_type != "Gather" or (index := graph.known(node.input[1])) is None or index.ndim:
        return None
    whole, axis = graph.producer(node.input[0]), attributes(node).get("axis", 0)
    if whole is None or whole.op_type != "Concat" or attributes(whole)["axis"] != axis or axis < 0:
        return None
    parts = [Tensor(graph, name) for name in whole.input]
    if any((part.shape or ())[axis : axis + 1] != (1,) for part in parts) or index >= len(parts):
        return None
    part = parts[int(index)]
    made = graph.producer(part.name)
    return [
        Tensor(graph, made.input[0]) if made and made.op_type == "Unsqueeze" else op.Squeeze(part, [axis])
    ]


def _loop_steps(graph: Rewritten, node: NodeProto) -> int | None:
    """How many steps a Loop has; None where that, or whether it goes on, is found when it runs."""
    count, on = (graph.known(name) if name else None for name in node.input[:2])
    (body,) = bodies(node)
    goes_on = body.output[0].name
    made = {n.output[0]: n.input[0] for n in body.node if n.op_type == "Identity"}
    while goes_on in made:
        goes_on = made[goes_on]
    known = goes_on == body.input[1].name or any(
        t.name == goes_on and t.data_type == TensorProto.BOOL and t.raw_data == b"\x01"
        for t in body.initializer
    )
    return int(count.item()) if count is not None and on is not None and on.all() and known else None


def _scan_steps(graph: Rewritten, node: NodeProto) -> int | None:
    """How many steps a Scan has; None where that is found when it runs."""
    attrs = attributes(node)
    count = attrs["num_scan_inputs"]
    axis = attrs.get("scan_input_axes", [0] * count)[0]
    shape = Tensor(graph, node.input[-count]).shape
    size = None if shape is None else shape[axis]
    return size if isinstance(size, int) else None


def _constants(graph: Rewritten, body: GraphProto) -> dict[str, str]:
    """The body's own constants in the graph: their names there."""
    names = {}
    for tensor in body.initializer:
        copy = TensorProto()
        copy.CopyFrom(tensor)
        copy.name = names[tensor.name] = graph.fresh("constant")
        graph.add_constant(copy)
    return names


def _step(graph: Rewritten, body: GraphProto, own: dict[str, str], given: Sequence[str]) -> list[str]:
    """Append one step; what its outputs are called."""
    names = own | dict(zip((value.name for value in body.input), given, strict=True))
    for node in body.node:
        names |= {name: graph.fresh(node.op_type) for name in node.output if name}
        node = renamed(node, names)
        node.ClearField("name")  # which only one may have
        results = written_out(graph, node)
        if results is None:
            graph.add(node)
        else:
            new = dict(zip(node.output, (r.name for r in results), strict=True))
            names = {name: new.get(now, now) for name, now in names.items()}
    return [names.get(value.name, value.name) for value in body.output]


def _loop(
    graph: Rewritten, node: NodeProto, body: GraphProto, own: dict[str, str], steps: int
) -> list[Tensor]:
    states = list(node.input[2:])
    rows: list[list[str]] = []
    truth = graph.constant(np.array(True)).name
    for i in range(steps):
        _, *made = _step(graph, body, own, [graph.constant(np.array(i)).name, truth, *states])
        rows.append(made[len(states) :])
        states = made[: len(states)]
    stacks = [_stacked(graph, column, 0) for column in zip(*rows, strict=True)]
    return [*(Tensor(graph, name) for name in states), *stacks]


def _scan(
    graph: Rewritten, node: NodeProto, body: GraphProto, own: dict[str, str], steps: int
) -> list[Tensor]:
    attrs = attributes(node)
    count = attrs["num_scan_inputs"]
    states, sequences = list(node.input[:-count]), node.input[-count:]
    made_count = len(node.output) - len(states)
    facts = {
        (kind, fact): attrs.get(f"scan_{kind}_{fact}", [0] * number)
        for kind, number in (("input", count), ("output", made_count))
        for fact in ("axes", "directions")
    }
    rows: list[list[str]] = []
    for i in range(steps):
        elements = [
            op.Gather(Tensor(graph, name), np.array(steps - 1 - i if back else i), axis=axis).name
            for name, axis, back in zip(
                sequences, facts["input", "axes"], facts["input", "directions"], strict=True
            )
        ]
        made = _step(graph, body, own, [*states, *elements])
        rows.append(made[len(states) :])
        states = made[: len(states)]
    stacks = [
        _stacked(graph, column[::-1] if back else column, axis)
        for column, axis, back in zip(
            zip(*rows, strict=True), facts["output", "axes"], facts["output", "directions"], strict=True
        )
    ]
    return [*(Tensor(graph, name) for name in states), *stacks]


def _stacked(graph: Rewritten, column: Sequence[str], axis: int) -> Tensor:
    """What each step made, along an axis of their own."""
    return op.Concat(*(op.Unsqueeze(Tensor(graph, name), [axis]) for name in column), axis=axis)
