"""A graph by the names of its values: nodes in order, and what is known of the values between them.

Types and shapes are inferred as each node is appended, by ONNX's own inference, so a wrong node fails where
it is made.
"""

from __future__ import annotations

import itertools
from collections import UserDict
from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from copy import copy
from functools import reduce
from typing import Any, Self

import numpy as np
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    helper,
    numpy_helper,
    shape_inference,
)

from ..errors import BadModel
from .external import is_external
from .inside import followed_inside
from .nodes import OURS, attributes, captured, describe, reads, schema_of, within
from .sizes import Dim, followed, sliced, target
from .types import array_of, dtype_of, merged, shape_of

IR_VERSION = 10  # what we write; read by ONNX Runtime 1.18 and newer
SMALL = 1024  # elements; a constant up to this size takes part in shape inference


class Dataflow:
    """Nodes under construction, with no expressions yet: graph.py adds them.

    `nodes` in topological order; `types` of every value by name; `constants` (initializers) by name, as
    TensorProto so that large weights are never copied; names of `inputs` and `outputs` in order;
    `opsets` by domain.
    """

    def __init__(self, opsets: dict[str, int]):
        self.opsets = opsets
        self.nodes: list[NodeProto] = []
        self.types: dict[str, TypeProto] = {}
        self.constants: dict[str, TensorProto] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        # What inputs hold that no picture goes into. Copies share it, and sessions look into it as they run.
        self.given: MutableMapping[str, np.ndarray] = UserDict()
        self.head: Any = None  # the Readout of the output that is looked at, where somebody said it
        self.metadata: dict[str, str] = {}
        # The float32 values that stand for others: for 16-bit inputs and outputs (widen.py) and for
        # the integers that quantising operators make (canonical.py).
        self.twins: dict[str, str] = {}
        self.anatomy: dict[str, Any] = {}  # what engine/anatomy has found out about the values
        self._defined: set[str] = set()
        self._names: set[str] = set()  # the defined ones, and those given out by fresh()
        self._count = 0
        self._producers: dict[str, int] = {}
        self._sizes: dict[str, list[Dim]] = {}
        # What is read off nodes and types again and again, each with what it is of: none of them changes.
        self._read: dict[int, tuple[NodeProto, list[str], list[str]]] = {}
        self._shapes: dict[str, tuple[TypeProto | None, tuple[Dim, ...] | None]] = {}
        self.made_up: set[Dim] = {None}  # symbols for sizes of which nothing is known
        self.of_any_rank: set[str] = set()  # values whose rank is another one in each branch

    # -- building -----------------------------------------------------------------------------------

    def add(self, node: NodeProto, declared: dict[str, TypeProto] | None = None) -> None:
        """Append a node and infer the types of its outputs, completed by `declared` ones.

        Raises BadModel when its inputs do not fit the operator.
        """
        inferred = self._infer(node)
        completed = self._follow(node, inferred) if node.output else None
        # Of these two more can be known than ONNX's inference says, as it says below.
        inside = followed_inside(self, node) if node.op_type in ("If", "Loop") and not node.domain else {}
        behind = not self.of_any_rank.isdisjoint(node.input)
        for name in filter(None, node.output):
            views = (
                inferred.get(name),
                completed if name == node.output[0] else None,
                inside.get(name),
                (declared or {}).get(name),
            )
            known = [t for t in views if t is not None]
            if known:
                self.types[name] = self._named(reduce(merged, known))
            if behind and self.shape(name) is None:
                self.of_any_rank.add(name)
            self._define(name)
            self._producers[name] = len(self.nodes)
        self._names.update(within(node))
        self.nodes.append(node)

    def extend(self, node: NodeProto, more: Sequence[NodeProto], types: Mapping[str, TypeProto]) -> None:
        """Put in place of a node others that compute all that it does, and further values, of these types."""
        index = self._producers[next(filter(None, node.output))]
        self.nodes[index : index + 1] = more
        self._producers = {o: i for i, n in enumerate(self.nodes) for o in n.output if o}
        for name, type_ in types.items():
            self.types[name] = self._named(type_)
            self._define(name)

    def _define(self, name: str) -> None:
        self._defined.add(name)
        self._names.add(name)

    def _infer(self, node: NodeProto) -> dict[str, TypeProto]:
        schema = schema_of(node.op_type, self.opsets.get(node.domain, 1), node.domain)
        present = [i for i in node.input if i]
        if schema is None or not all(i in self.types for i in present):
            return {}
        types = {i: self.types[i] for i in present} | {
            i: self.types[i] for i in captured(node) if i in self.types
        }
        data = {i: self.constants[i] for i in present if i in self.constants and _is_small(self.constants[i])}
        opsets = [helper.make_opsetid(d, v) for d, v in self.opsets.items()]
        try:
            return shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=opsets, ir_version=IR_VERSION
            )
        except Exception as error:  # the binding raises several kinds, all with ONNX's own text
            reason = " ".join(str(error).split())
            raise BadModel(f"{describe(node)} does not fit its inputs: {reason}") from error

    def _follow(self, node: NodeProto, inferred: dict[str, TypeProto]) -> TypeProto | None:
        """Follow sizes through the node; the type that they give its output, where they do."""
        if node.domain or not node.input:
            return None

        name = node.output[0]
        sizes = followed(node.op_type, node.input, attributes(node), self.shape, self.sizes_of)
        if sizes is not None:
            self._sizes[name] = sizes
        if name not in inferred:
            return None
        shape = self.shape(node.input[0])
        if node.op_type == "Slice":
            wish = sliced(shape, *(self.sizes_of(i) if i else [] for i in node.input[1:]))
        else:
            wish = target(node.op_type, shape, self.sizes_of(node.input[-1]))
        elem = inferred[name].tensor_type.elem_type
        return None if wish is None else helper.make_tensor_type_proto(elem, wish)

    def sizes_of(self, name: str) -> list[Dim] | None:
        """The entries of an integer vector, as far as they are known."""
        tensor = self.constants.get(name)
        if tensor is None:
            return self._sizes.get(name)
        if tensor.data_type not in (TensorProto.INT64, TensorProto.INT32) or not _is_small(tensor):
            return None
        return [int(d) for d in array_of(tensor).ravel()]

    def _named(self, type_: TypeProto) -> TypeProto:
        """The type with a symbol for each size that has none: sizes can then be told to be the same."""
        shape = shape_of(type_)
        if shape is None or None not in shape:
            return type_
        self._count += 1
        dims = [f"unk_{self._count}_{i}" if d is None else d for i, d in enumerate(shape)]
        self.made_up.update(d for d, before in zip(dims, shape, strict=True) if before is None)
        return helper.make_tensor_type_proto(type_.tensor_type.elem_type, dims)

    def fresh(self, hint: str) -> str:
        """A value name that nothing uses yet."""
        while True:
            self._count += 1
            name = f"{OURS}{hint}_{self._count}"
            if name not in self._names:
                self._names.add(name)
                return name

    def unused(self, name: str, taken: Collection[str] = ()) -> str:
        """`name`, or `name/2`, `name/3`, ... where it is used here or in `taken`."""
        numbered = (name if i == 1 else f"{name}/{i}" for i in itertools.count(1))
        return next(n for n in numbered if n not in self._names and n not in taken)

    @property
    def taken(self) -> set[str]:
        """All names that a new value must not have; to be added to by who makes names up."""
        return self._names

    # -- reading ------------------------------------------------------------------------------------

    def __contains__(self, name: str) -> bool:
        return name in self._defined

    @property
    def pictured(self) -> list[str]:
        """The inputs that a picture may go into: all but those whose values are given."""
        return [name for name in self.inputs if name not in self.given]

    def value_names(self) -> list[str]:
        """Names of the inputs and of all computed values, in order."""
        return self.inputs + [o for n in self.nodes for o in n.output if o]

    def producer(self, name: str) -> NodeProto | None:
        """The node that computes a value; None for inputs and constants."""
        index = self._producers.get(name)
        return None if index is None else self.nodes[index]

    def reads(self, node: NodeProto) -> Sequence[str]:
        """Every value that a node is computed from (nodes.reads), asked of the node once."""
        return self._names_of(node)[1]

    def _names_of(self, node: NodeProto) -> tuple[NodeProto, list[str], list[str]]:
        found = self._read.get(id(node))
        if found is None:
            found = self._read[id(node)] = node, reads(node), list(node.output)
        return found

    def shape(self, name: str) -> tuple[Dim, ...] | None:
        """The shape of a value, with symbols and None for sizes not known; None for an unknown rank."""
        type_, found = self.types.get(name), self._shapes.get(name)
        if found is None or found[0] is not type_:
            found = self._shapes[name] = type_, shape_of(type_)
        return found[1]

    def attributes(self, node: NodeProto) -> dict[str, Any]:
        """A node's attributes as Python values, with what the specification says of those left out.

        Beside the node: written into it, a default may be one that a runtime does not know.
        """
        return attributes(node, self.opsets.get(node.domain, 1))

    def copy(self) -> Self:
        """An independent graph that shares the (never changed) nodes, types and weights."""
        other = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, list | dict | set):
                setattr(other, name, value.copy())
        return other

    def refine(self, name: str, type_: TypeProto) -> None:
        """Complete what is known of a value's type."""
        self.types[name] = self._named(merged(self.types[name], type_) if name in self.types else type_)

    def complete(self, name: str, stated: TypeProto) -> None:
        """Fill in from what a file states of a value the sizes of which nothing else is known.

        It need not be true: many a file had its batch freed afterwards and says 1 of the values inside, and
        PyTorch writes of what it squeezes the rank of one branch alone.
        """
        known = self.types.get(name)
        if name in self.of_any_rank:
            return
        if known is None or dtype_of(known) is None:
            self.types[name] = self._named(stated)
            return
        a, b = shape_of(known), shape_of(stated)
        if dtype_of(stated) != dtype_of(known) or b is None or len(b) != len(a or b):
            return
        dims = [y if x in self.made_up else x for x, y in zip(a or (None,) * len(b), b, strict=True)]
        self.types[name] = self._named(helper.make_tensor_type_proto(stated.tensor_type.elem_type, dims))

    def ancestors(self, names: Iterable[str]) -> list[NodeProto]:
        """The nodes that these values are computed from, in order."""
        wanted, kept = set(names), []
        for node in reversed(self.nodes):
            _, read, made = self._read.get(id(node)) or self._names_of(node)
            if not wanted.isdisjoint(made):
                wanted.update(read)
                kept.append(node)
        return kept[::-1]

    def to_model(self, outputs: Sequence[str] | None = None, weights: bool = True) -> ModelProto:
        """The graph as an ONNX model that computes `outputs` and nothing else.

        With `weights=False` large constants are left out and marked as external data, for a runtime
        that is handed them beside the model, or a file beside it.
        """
        outputs = list(self.outputs if outputs is None else outputs)
        nodes = self.ancestors(outputs)
        used = {i for n in nodes for i in self.reads(n)} | set(outputs)
        model = ModelProto(ir_version=IR_VERSION, producer_name="onnxlens")
        model.opset_import.extend(helper.make_opsetid(d, v) for d, v in self.opsets.items())
        for key, value in self.metadata.items():
            model.metadata_props.add(key=key, value=value)
        graph = model.graph
        graph.name = "onnxlens"
        graph.node.extend(nodes)
        graph.input.extend(helper.make_value_info(i, self.types[i]) for i in self.inputs)
        graph.output.extend(
            helper.make_value_info(o, self.types[o])
            if o in self.types
            else helper.make_empty_tensor_value_info(o)
            for o in outputs
        )
        for name, tensor in self.constants.items():
            if name in used:
                inside = weights or _is_small(tensor) or tensor.data_type == TensorProto.STRING
                graph.initializer.append(_whole(tensor) if inside else _placeholder(tensor))
        return model


def _is_small(tensor: TensorProto) -> bool:
    return int(np.prod(tensor.dims, dtype=np.int64)) <= SMALL


def _whole(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(array_of(tensor), tensor.name) if is_external(tensor) else tensor


def _placeholder(tensor: TensorProto) -> TensorProto:
    stub = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    stub.data_location = TensorProto.EXTERNAL
    stub.external_data.add(key="location", value="beside")
    return stub
