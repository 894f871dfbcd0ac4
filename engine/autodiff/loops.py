"""The gradient through a Loop or a Scan: a Loop that goes through the steps from the last to the first.

    forwards     s' = f(s)          as before; each step also notes down what it begins with, on tapes
    backwards    g  = f(s)ᵀ g'      s from the tape, f computed once more, and its own gradient

What a step reads of the values around it gets a gradient from every step, and these are added up. There are
as many nodes for ten steps as for ten thousand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper

from ..errors import NoRule
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import around, attributes, bodies, reads
from ..graph.types import dtype_of, is_real, merged, shape_of, stacked
from ..operators.rules.layout import positions, scatter
from ..operators.traits import traits_of
from .broadcasting import total
from .dependence import Rules, depending, depending_in_turn, leading
from .scope import Found, Grads, Walk, adjoint, appended, closed, opened, settled, sum_of
from .steps import steps


def repeated(
    graph: Graph, node: NodeProto, arrived: list[Tensor | None], reached: set[str], table: Rules, walk: Walk
) -> Found:
    """Of what a Loop or a Scan reads the gradients.

    `arrived` are the gradients of its outputs. Raises NoRule where an operator inside has none.
    """
    grads = dict(zip(node.output, arrived, strict=False))
    node = graph.producer(next(filter(None, node.output))) or node  # which may have got tapes since
    arrived = [grads.get(name) for name in node.output]
    (step,) = steps(node)
    types = [graph.types[start] for start in step.starts]
    if node.op_type == "Scan":  # which says of what shape a state is in all steps
        types = [merged(t, o.type) for t, o in zip(types, step.body.output, strict=False)]
    marks, start = [graph.fresh("size") for _ in types], len(graph.nodes)
    body = settled(graph, step.body)
    before = graph.nodes[start:]
    while (back := _Back(graph, node, body, types, marks)).relaxed() != types:
        types = back.relaxed()
    inner: Grads = {}
    for name, grad in back.differentiated(arrived, depending(graph, before, reached, table), table, walk):
        inner.setdefault(name, []).append(grad)
    walk(graph, before, inner, reached, table)
    return [(name, total(found)) for name, found in inner.items() if name in reached and found]


class _Back:
    """The loop backwards, while it is made: its round j does the step j + 1 from the end once more."""

    def __init__(
        self,
        graph: Graph,
        node: NodeProto,
        body: GraphProto,
        types: Sequence[TypeProto],
        marks: Sequence[str],
    ):
        """`body`: of the node, or one that computes the same.

        `types`: of the states in any step, where the name of a size that changes begins as the mark.
        """
        (self.step,) = steps(node)
        self.body = body
        self.outer, self.node, self.types, self.marks = graph, node, types, marks
        self.graph = back = graph.inner()
        self.round = back.input(back.fresh("round"), np.int64, [])
        self.on = back.input(back.fresh("on"), np.bool_, [])
        self.tapes: dict[str, tuple[str, TypeProto]] = {}  # what of a step is noted on each, and its type
        self.inputs: dict[str, str] = {}  # of a step, as they are called here
        if node.op_type == "Loop":
            self._told(*self.step.body.input[:2])
        for k, (start, before) in enumerate(zip(self.step.starts, self.step.before, strict=True)):
            self.inputs[before] = (
                start if self._stays(k) else self._looked_up(before, types[k], self._steady(k))
            )
        for k, (sequence, element) in enumerate(zip(self.step.sequences, self.step.elements, strict=True)):
            self.inputs[element] = self._entry(Tensor(back, sequence), *self._along("input", k)).name
        first = len(back.nodes)
        self.made = opened(back, body, self.inputs)[node.op_type == "Loop" :]
        self.nodes = back.nodes[first:]

    def _told(self, number: ValueInfoProto, on: ValueInfoProto) -> None:
        """What a Loop tells its step: the number of the step, and that there is one."""
        one, truth = ([1] * len(shape_of(value.type) or ()) for value in (number, on))
        type_ = helper.make_tensor_type_proto(TensorProto.INT64, one)
        self.inputs[number.name] = self._looked_up(number.name, type_, True)
        self.inputs[on.name] = self.graph.constant(np.ones(truth, np.bool_)).name

    def _looked_up(self, before: str, type_: TypeProto, steady: bool) -> str:
        """What a step began with, from a tape: a tensor, or a sequence where their shapes differ."""
        back, name = self.graph, self.graph.fresh("tape")
        if dtype_of(type_) is None:
            return back.know(name, type_).name  # no tensor: refused if it turns out to be read
        self.tapes[name] = before, type_
        tape = back.know(name, stacked(type_) if steady else helper.make_sequence_type_proto(type_))
        entry = (op.Gather if steady else op.SequenceAt)(tape, -1 - self.round)
        back.refine(entry.name, type_)
        return entry.name

    def _entry(self, sequence: Tensor, axis: int, backwards: bool) -> Tensor:
        """What belongs to the step, of what is given for all of them."""
        return op.Gather(sequence, self.round if backwards else -1 - self.round, axis=axis)

    def _along(self, kind: str, k: int) -> tuple[int, bool]:
        """The axis of the steps in what a Scan goes through or collects, and whether from the end."""
        attrs = attributes(self.node)
        axes, directions = (attrs.get(f"scan_{kind}_{fact}") for fact in ("axes", "directions"))
        return axes[k] if axes else 0, bool(directions and directions[k])

    def _stays(self, k: int) -> bool:
        """True for a state that each step hands on as it is: no state, but a value around the loop."""
        return self.step.before[k] == self.step.after[k]

    def _listed(self, k: int) -> str | None:
        """What each step adds at the end of a sequence, and reads nothing of; None for any other state."""
        node, before = self.graph.producer(self.made[k]), self.inputs[self.step.before[k]]
        if node is None or node.op_type != "SequenceInsert" or len(node.input) > 2 or node.input[0] != before:
            return None
        read = [i for n in self.nodes for i in reads(n) if i in (before, self.made[k])]
        return node.input[1] if read == [before] and self.made.count(self.made[k]) == 1 else None

    def _steady(self, k: int) -> bool:
        """True for a state that has one shape in all steps."""
        shape, mark = shape_of(self.types[k]), f"{self.marks[k]}."
        known = shape is not None and not any(str(d).startswith(mark) for d in shape)
        return known or self.node.op_type == "Scan"

    def relaxed(self) -> list[TypeProto]:
        """The types of the states, without what the step changes of them; that of a Scan changes no shape."""
        if self.node.op_type == "Scan":
            return list(self.types)
        found = []
        for k, (type_, mark) in enumerate(zip(self.types, self.marks, strict=True)):
            a, b = shape_of(type_), shape_of(self.graph.types.get(self.made[k]))
            if self._stays(k) or dtype_of(type_) is None or (a == b and a is not None):
                found.append(type_)
                continue
            pairs = zip(a, b, strict=False) if a and b and len(a) == len(b) else None
            dims = pairs and [x if x == y else f"{mark}.{i}" for i, (x, y) in enumerate(pairs)]
            found.append(helper.make_tensor_type_proto(type_.tensor_type.elem_type, dims))
        return found

    def differentiated(
        self, arrived: list[Tensor | None], reached: set[str], table: Rules, walk: Walk
    ) -> Found:
        """Append the loop, and what it reads; the gradients that it gives."""
        back, step, count = self.graph, self.step, len(self.step.starts)
        outside = dict(zip((*step.before, *step.elements), (*step.starts, *step.sequences), strict=True))
        sources = {self.inputs[name] for name, around_ in outside.items() if around_ in reached}
        sources |= reached.intersection(around(self.body))
        self.picks = {n.output[0]: n for n in self.nodes if self._picks(n, reached)}
        sources |= self.picks.keys()
        nodes = [n for n in self.nodes if n.output[0] not in self.picks]
        listed = {k: x for k, s in enumerate(step.starts) if s not in reached and (x := self._listed(k))}
        turns = {
            k: (self.inputs[before], self.made[k])
            for k, before in enumerate(step.before)
            if k not in listed and not self._stays(k)
        }
        after = depending_in_turn(back, nodes, sources, list(turns.values()), table)
        sources |= after.intersection(before for before, _ in turns.values())
        ends = {made for made, grad in zip(self.made, arrived, strict=False) if grad is not None}
        ends = _leading_in_turn(back, nodes, ends, list(turns.values()))
        live = [k for k, (before, made) in turns.items() if before in sources and made in ends]
        grads: Grads = {}
        for k in live:
            state = back.declare_input(back.fresh("adjoint"), adjoint(self.types[k]))
            grads.setdefault(self.made[k], []).append(state)
        for k, made in listed.items():
            if (grad := arrived[k]) is not None:
                grads.setdefault(made, []).append(op.SequenceAt(Tensor(back, grad.name), -1 - self.round))
        for k, grad in enumerate(arrived[count:]):
            if grad is not None:
                entry = self._entry(Tensor(back, grad.name), *self._along("output", k))
                grads.setdefault(self.made[count + k], []).append(entry)
        walk(back, nodes, grads, sources, table)
        stay = zip(step.starts, arrived, strict=False)
        found = [(s, g) for k, (s, g) in enumerate(stay) if g is not None and self._stays(k)]
        return found + self._appended(arrived, live, grads, sources)

    def _appended(
        self, arrived: list[Tensor | None], live: list[int], grads: Grads, sources: set[str]
    ) -> Found:
        """The loop and its tapes, where there is something to hand on."""
        back, step, graph = self.graph, self.step, self.outer
        states = [self.inputs[step.before[k]] for k in live]
        shared = [n for n in sorted(sources) if grads.get(n) and n in graph]
        parts = [k for k, e in enumerate(step.elements) if grads.get(self.inputs[e])]
        picks = {name: node for name, node in self.picks.items() if grads.get(name)}
        if not shared and not parts and not picks and not any(grads.get(n) for n in states):
            return []
        sums = [back.declare_input(back.fresh("sum"), adjoint(graph.types[n])) for n in shared]
        outputs = [self.on]
        outputs += [sum_of(back, grads.get(n), n) for n in states]
        outputs += [total([s, *grads[n]]) for s, n in zip(sums, shared, strict=True)]
        outputs += [sum_of(back, grads[self.inputs[step.elements[k]]], "") for k in parts]
        for name, node in picks.items():
            outputs += [total(grads[name]), self._places(node)]
        body = closed(back, graph, outputs)
        count, lasts = self._taped(body)
        begin = [arrived[k] or sum_of(graph, None, lasts[k]) for k in live]
        begin += [sum_of(graph, None, n) for n in shared]
        names = [*(step.starts[k] for k in live), *shared]
        inputs = [count.name, graph.constant(True).name, *(b.name for b in begin)]
        made = appended(graph, "Loop", inputs, names, body=body)
        collected = iter(made[len(names) :])
        found = list(zip(names, made, strict=False))
        found += [(step.sequences[k], self._in_order(k, next(collected))) for k in parts]
        for node in picks.values():
            x = Tensor(graph, node.input[0])
            found.append((x.name, scatter(next(collected), next(collected), x)))
        return found

    def _picks(self, node: NodeProto, reached: set[str]) -> bool:
        """True for a node that reads another part of a value around the loop in each step, all of one shape.

        To add up gradients of the whole value would take time by the square of its length: those of the
        parts are collected, and put in their places behind the loop.
        """
        name, shape = next(iter(node.input), ""), self.graph.shape(node.output[0])
        if traits_of(node).moves != "selects" or len(node.output) > 1 or name not in self.outer:
            return False
        moves = any(i and i not in self.outer and i not in self.graph.constants for i in node.input[1:])
        sizes = {d for type_ in self.outer.types.values() for d in shape_of(type_) or ()}
        steady = shape is not None and all(isinstance(d, int) or d in sizes for d in shape)
        return moves and steady and name in reached and is_real(self.outer[name].dtype)

    def _places(self, node: NodeProto) -> Tensor:
        """Where in the whole value what such a node reads stands."""
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name, copy.input[0] = "", positions(Tensor(self.outer, node.input[0])).name
        copy.output[0] = self.graph.fresh("places")
        self.graph.know(copy.input[0], self.outer.types[copy.input[0]])
        self.graph.add(copy)
        return Tensor(self.graph, copy.output[0])

    def _in_order(self, k: int, given: Tensor) -> Tensor:
        """The gradient of a sequence, of what the rounds gave one after the other."""
        (axis, backwards), type_ = self._along("input", k), adjoint(self.outer.types[self.step.sequences[k]])
        if (
            not axis
        ):  # it is of that shape; but ONNX's reference joins what a loop collects, and stacks nothing
            given = given.like(Tensor(self.outer, self.step.sequences[k]))
        if not backwards:
            given = op.Slice(given, [-1], [np.iinfo(np.int64).min], [0], [-1])
        if axis:
            rank = shape_of(type_)
            if rank is None:
                raise NoRule(
                    f"goes through {self.step.sequences[k]!r} along an axis, of how many is not known"
                )
            order = list(range(1, len(rank)))
            order.insert(axis % len(rank), 0)
            given = op.Transpose(given, perm=order)
        self.outer.refine(given.name, type_)
        return given

    def _taped(self, body: GraphProto) -> tuple[Tensor, list[str]]:
        """Let the loop forwards note what this one reads; the number of steps, and the last states."""
        read = {i for n in body.node for i in reads(n)}
        if any(i in read and dtype_of(self.graph.types.get(i)) is None for i in self.inputs.values()):
            raise NoRule("hands on a sequence from step to step, which its gradient would have to look into")
        graph, step, tapes = self.outer, self.step, list(self.tapes)
        kept = [t for t in tapes if t in read or (self.node.op_type == "Loop" and t == tapes[0])]
        missing = len(step.starts) + len(step.made) - len(self.node.output)
        outputs = [o or graph.fresh("unread") for o in (*self.node.output, *[""] * missing)]
        types = {o: t for o, t in zip(outputs, self.types, strict=False) if o not in self.node.output}
        types = {o: TypeProto() for o in outputs if o not in self.node.output} | types
        lasts = outputs[: len(step.starts)]
        more, nodes = NodeProto(), []
        more.CopyFrom(self.node)
        for tape in kept:
            types[tape] = self.graph.types[tape]
            for empty in self._noted(more, outputs, tape):
                types[empty.output[0]] = types[tape]
                nodes.append(empty)
        del more.output[:]
        more.output.extend(outputs)
        graph.extend(self.node, [*nodes, more], types)
        if self.node.op_type == "Loop":
            return Tensor(graph, tapes[0]).dim(0), lasts
        return Tensor(graph, step.sequences[0]).dim(self._along("input", 0)[0]), lasts

    def _noted(self, loop: NodeProto, outputs: list[str], tape: str) -> list[NodeProto]:
        """Let a loop write on a tape, among its outputs; the nodes that it needs before it."""
        (body,), (name, type_) = bodies(loop), self.tapes[tape]
        noted = self.outer.fresh("noted")
        if self.graph.types[tape].HasField("tensor_type"):
            body.node.append(helper.make_node("Identity", [name], [noted]))
            body.output.append(helper.make_value_info(noted, type_))
            outputs.append(tape)
            for fact in ("axes", "directions"):
                given = next((a for a in loop.attribute if a.name == f"scan_output_{fact}"), None)
                if given is not None:
                    given.ints.append(0)
            return []
        empty, before = self.outer.fresh("empty"), self.outer.fresh("before")
        count = len(loop.input) - 2  # of the states, behind which this is one more
        body.node.append(helper.make_node("SequenceInsert", [before, name], [noted]))
        body.input.append(helper.make_value_info(before, self.graph.types[tape]))
        body.output.insert(1 + count, helper.make_value_info(noted, self.graph.types[tape]))
        loop.input.append(empty)
        outputs.insert(count, tape)
        return [helper.make_node("SequenceEmpty", [], [empty], dtype=type_.tensor_type.elem_type)]


def _leading_in_turn(
    graph: Graph, nodes: Sequence[NodeProto], ends: set[str], states: Sequence[tuple[str, str]]
) -> set[str]:
    """The ends, and the states after a step that lead to one in a later step."""
    while True:
        found = leading(graph, nodes, ends)
        more = {after for before, after in states if before in found} - ends
        if not more:
            return ends
        ends = ends | more
