"""ONNX written as tensor expressions: `y = op.Relu(x @ w + b)` appends nodes to the graph of its arguments.

A `Graph` is a list of nodes, the types of their values and the constants they use; a `Tensor` is a value
in it. Rules and explainers are written in this language and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, TensorProto, TypeProto, defs, helper, numpy_helper

from ..errors import BadModel, BadRequest, nearest
from .dataflow import SMALL, Dataflow
from .nodes import schema_of
from .op import op
from .sizes import Dim
from .types import array_of, dtype_of

__all__ = ["Graph", "Tensor", "emit", "op"]  # one language: who writes a graph writes expressions


class Graph(Dataflow):
    """A graph under construction, whose values are tensors."""

    def __init__(self, opsets: dict[str, int]):
        super().__init__(opsets)
        self._literals: dict[tuple[Any, ...], str] = {}

    def input(self, name: str, dtype: Any, shape: Sequence[Dim] | None) -> Tensor:
        """Declare a graph input and return it."""
        elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.declare_input(name, helper.make_tensor_type_proto(elem, shape))

    def declare_input(self, name: str, type_: TypeProto) -> Tensor:
        """Declare a graph input of a given ONNX type and return it."""
        self.inputs.append(name)
        return self.know(name, type_)

    def know(self, name: str, type_: TypeProto | None) -> Tensor:
        """Say of which type a value is that stands around this graph, or is to come."""
        self._define(name)
        if type_ is not None:
            self.types[name] = type_
        return Tensor(self, name)

    def constant(self, value: Any, dtype: Any = None) -> Tensor:
        """A constant from a number, a list or an array; equal small ones are shared."""
        array = np.asarray(value) if dtype is None else np.asarray(value, dtype)
        key = (
            (array.dtype.str, array.dtype.name, array.shape, array.tobytes()) if array.size <= SMALL else None
        )
        if key is not None and key in self._literals:
            return Tensor(self, self._literals[key])
        name = self.fresh("constant")
        self.add_constant(numpy_helper.from_array(array, name))
        if key is not None:
            self._literals[key] = name
        return Tensor(self, name)

    def add_constant(self, tensor: TensorProto) -> Tensor:
        """Add an initializer under its own name."""
        self._define(tensor.name)
        self.constants[tensor.name] = tensor
        self.types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        return Tensor(self, tensor.name)

    def output(self, value: Tensor, name: str) -> Tensor:
        """Make a value an output of the graph, under this name."""
        if name != value.name:
            self.add(helper.make_node("Identity", [value.name], [name]))
        self.outputs.append(name)
        return Tensor(self, name)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._defined:
            raise BadRequest(f"the model has no value {name!r}{nearest(name, self.value_names())}")
        return Tensor(self, name)

    def part(self, names: Iterable[str]) -> Graph:
        """A graph of which these values are the inputs or constants, with their types."""
        other = Graph(dict(self.opsets))
        for name in dict.fromkeys(names):
            if name in self.constants:
                other.add_constant(self.constants[name])
            elif name in self.types:
                other.declare_input(name, self.types[name])
        return other

    def inner(self) -> Graph:
        """An empty graph for the inside of a node of this one.

        It reads the values around it by their names, and gives its own names that nothing else has.
        """
        other = self.copy()
        other.nodes, other.inputs, other.outputs, other._producers = [], [], [], {}
        other._names = self._names
        return other

    def closed(self, around: Graph, outputs: Sequence[Tensor]) -> GraphProto:
        """What `inner` became, as an attribute of a node of the graph `around` it, with these outputs."""
        ends: list[Tensor] = []
        for value in outputs:  # each has a node of its own: a runtime takes no value from around it
            unique = value.name in self._producers and all(value.name != e.name for e in ends)
            ends.append(value if unique else op.Identity(Tensor(self, value.name)))
        nodes = self.ancestors([e.name for e in ends])
        read = {i for n in nodes for i in self.reads(n)}
        own = [t for name, t in self.constants.items() if name in read and name not in around.constants]
        return helper.make_graph(
            nodes,
            self.fresh("inside"),
            [helper.make_value_info(i, self.types[i]) for i in self.inputs],
            [helper.make_value_info(e.name, self.types.get(e.name, TypeProto())) for e in ends],
            own,
        )


class Tensor:
    """A value in a graph. Arithmetic on it appends nodes and gives new tensors."""

    __slots__ = ("graph", "name")

    def __init__(self, graph: Graph, name: str):
        self.graph, self.name = graph, name

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.dtype}, {self.shape})"

    @property
    def dtype(self) -> np.dtype | None:
        """The element type; None where it is not known or the value is no tensor."""
        return dtype_of(self.graph.types.get(self.name))

    @property
    def shape(self) -> tuple[Dim, ...] | None:
        """The shape, with symbols and None for sizes that are not known; None for an unknown rank."""
        return self.graph.shape(self.name)

    @property
    def rank(self) -> int:
        """The number of axes. Raises BadModel where it is not known."""
        if self.shape is None:
            raise BadModel(
                f"the rank of value {self.name!r} is not known; run the model through onnx-simplifier"
            )
        return len(self.shape)

    @property
    def spatial(self) -> list[int] | None:
        """The sizes behind batch and channels; None where one is not known."""
        sizes = [d for d in (self.shape or ())[2:] if isinstance(d, int)]
        return sizes if sizes and len(sizes) == len(self.shape or ()) - 2 else None

    @property
    def array(self) -> np.ndarray | None:
        """The value of a constant, of its shape and type; None for a computed one."""
        tensor = self.graph.constants.get(self.name)
        return None if tensor is None else array_of(tensor)

    @property
    def dims(self) -> Tensor:
        """The shape as an int64 vector: a constant where all sizes are known, else computed."""
        shape = self.shape
        if shape is not None and all(isinstance(d, int) for d in shape):
            return self.graph.constant(np.array(shape, np.int64))
        return op.Shape(self)

    def dim(self, axis: int) -> Tensor:
        """One size as an int64 vector of one element."""
        size = self.shape[axis] if self.shape is not None else None
        if isinstance(size, int):
            return self.graph.constant(np.array([size], np.int64))
        return op.Gather(op.Shape(self), [axis], axis=0)

    def like(self, other: Tensor) -> Tensor:
        """Reshaped to the shape of another tensor of as many elements."""
        same = self.shape is not None and self.shape == other.shape and None not in self.shape
        if same:
            return self
        # A size of 0 means "as before" to Reshape, unless it is told otherwise.
        certain = other.shape is not None and all(isinstance(d, int) and d > 0 for d in other.shape)
        return op.Reshape(self, other.dims, allowzero=None if certain else 1)

    @staticmethod
    def emit(op_type: str, *args: Any, **more: Any) -> Any:
        """What `op` calls: `emit` below."""
        return emit(op_type, *args, **more)

    def sum(self, axes: Sequence[int] | None = None, keepdims: bool = True) -> Tensor:
        """Sum over axes (all when None), which stay with size 1 unless `keepdims` is false."""
        return self._reduce("ReduceSum", axes, keepdims)

    def mean(self, axes: Sequence[int] | None = None, keepdims: bool = True) -> Tensor:
        """Mean over axes (all when None), which stay with size 1 unless `keepdims` is false."""
        return self._reduce("ReduceMean", axes, keepdims)

    def _reduce(self, name: str, axes: Sequence[int] | None, keepdims: bool) -> Tensor:
        if axes is not None and len(axes) == 0:
            return self
        reduce = getattr(op, name)
        return reduce(self, *([] if axes is None else [list(axes)]), keepdims=int(keepdims))

    def __add__(self, other: Any) -> Tensor:
        return op.Add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return op.Add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return op.Sub(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return op.Sub(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return op.Mul(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return op.Mul(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return op.Div(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return op.Div(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return op.Pow(self, other)

    def __matmul__(self, other: Any) -> Tensor:
        return op.MatMul(self, other)

    def __neg__(self) -> Tensor:
        return op.Neg(self)

    def __gt__(self, other: Any) -> Tensor:
        return op.Greater(self, other)

    def __lt__(self, other: Any) -> Tensor:
        return op.Less(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return op.GreaterOrEqual(self, other)

    def __le__(self, other: Any) -> Tensor:
        return op.LessOrEqual(self, other)


def emit(op_type: str, *args: Any, outputs: int = 1, **attrs: Any) -> Any:
    """Append one node to the graph of the tensors among `args` and return its output(s).

    Numbers, lists and arrays become constants of the type that the operator's schema asks for; None is
    an input left out. `outputs` above 1 gives a tuple. Attributes that are None are left out.
    Raises BadModel when the inputs do not fit.
    """
    graph = next(a.graph for a in args if isinstance(a, Tensor))
    schema = schema_of(op_type, graph.opsets[""])
    if schema is None:
        raise BadModel(f"ONNX opset {graph.opsets['']} has no operator {op_type}")
    names = [
        a.name if isinstance(a, Tensor) else _literal(graph, schema, args, i) for i, a in enumerate(args)
    ]
    while names and not names[-1]:
        names.pop()
    results = [graph.fresh(op_type) for _ in range(outputs)]
    graph.add(helper.make_node(op_type, names, results, **{k: v for k, v in attrs.items() if v is not None}))
    tensors = tuple(Tensor(graph, r) for r in results)
    return tensors if outputs > 1 else tensors[0]


def _literal(graph: Graph, schema: defs.OpSchema, args: Sequence[Any], index: int) -> str:
    """The name of a constant that stands for a Python value in argument `index`."""
    if args[index] is None:
        return ""
    slot = schema.inputs[min(index, len(schema.inputs) - 1)].type_str
    dtype = None
    if slot.startswith("tensor("):
        dtype = np.dtype(_NAMED[slot[7:-1]])
    for i, other in enumerate(args):
        if isinstance(other, Tensor) and schema.inputs[min(i, len(schema.inputs) - 1)].type_str == slot:
            dtype = other.dtype
    value = np.asarray(args[index])
    if dtype is None and value.dtype.kind == "i":
        dtype = np.dtype(np.int64)
    return graph.constant(value, dtype).name


_NAMED = {"int64": np.int64, "int32": np.int32, "bool": np.bool_, "float": np.float32, "double": np.float64}
