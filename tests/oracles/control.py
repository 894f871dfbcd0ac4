"""Random networks of If, Loop and Scan: nested, with values captured through several levels, all in float64.

`model(seed)` is a model and its inputs. Values are matrices of one shape and of moderate size, and all
operators are smooth, so that central differences are sharp; what decides (which branch, how many rounds) is
read from an input, from the number of a round or from values.
"""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

SHAPE = (2, 3)
DEEPEST = 3
LONGEST = 4  # steps of a loop
DOUBLE, INT64, BOOL = TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL


class Writer:
    """Writes a graph: `values` are the names of matrices that it may read, of its own and around it."""

    def __init__(
        self, rng: np.random.Generator, names: list[int], depth: int, values: list[str], told: object
    ):
        self.rng, self.names, self.depth, self.values = rng, names, depth, list(values)
        self.told = told  # what the bodies of loops say of the shapes of their matrices
        self.nodes: list[NodeProto] = []

    def fresh(self, hint: str = "v") -> str:
        self.names[0] += 1
        return f"{hint}{self.names[0]}"

    def node(self, op_type: str, *inputs: str, count: int = 1, **attrs: object) -> list[str]:
        outputs = [self.fresh() for _ in range(count)]
        self.nodes.append(helper.make_node(op_type, inputs, outputs, **attrs))
        return outputs

    def one(self, op_type: str, *inputs: str, **attrs: object) -> str:
        return self.node(op_type, *inputs, **attrs)[0]

    def value(self) -> str:
        """Any value so far, rather a late one."""
        late = self.values[-3:]
        return str(self.rng.choice(late if self.rng.random() < 0.5 else self.values))

    def declared(self, name: str, elem: int = DOUBLE, shape: tuple[int, ...] = ()):
        return helper.make_tensor_value_info(name, elem, self.told if elem == DOUBLE else shape)

    def step(self) -> None:
        """One more value, by an operator or by a node with graphs inside."""
        kinds = [self.plain] * 4 + [self.choice, self.loop, self.loop, self.scan] * (self.depth < DEEPEST)
        self.values.append(kinds[self.rng.integers(len(kinds))]())

    def plain(self) -> str:
        kind = self.rng.choice(["Tanh", "Sin", "Mul", "Add", "Sub", "MatMul", "Softmax"])
        if kind in ("Mul", "Add", "Sub"):
            return self.one("Tanh", self.one(kind, self.value(), self.value()))
        if kind == "MatMul":
            return self.one("Tanh", self.one("MatMul", self.value(), "W"))
        return self.one(kind, self.value())

    def truth(self, told: str = "") -> str:
        """Whether something is so: an input, what the number of a round says, or what a value does."""
        kind = self.rng.integers(3)
        if kind == 0:
            return "flag"
        if kind == 1 and told:
            return self.one("Cast", self.one("Mod", told, "two"), to=BOOL)
        return self.one("Greater", self.one("ReduceSum", self.value(), keepdims=0), "nought")

    def inside(self, more: list[str]) -> Writer:
        return Writer(self.rng, self.names, self.depth + 1, [*self.values, *more], self.told)

    def choice(self, told: str = "") -> str:
        condition, outputs = self.truth(told), int(self.rng.integers(1, 3))
        sides = []
        for _ in range(2):
            branch = self.inside([])
            for _ in range(self.rng.integers(0, 3)):
                branch.step()
            made = [branch.value() for _ in range(outputs)]
            sides.append(branch.graph([], [branch.one("Identity", m) for m in made]))
        made = self.node("If", condition, count=outputs, then_branch=sides[0], else_branch=sides[1])
        return self.one("Tanh", self.one("Add", made[0], made[-1]))

    def graph(self, inputs: list, outputs: list[str], before: list = ()) -> GraphProto:
        ends = [*before, *map(self.declared, outputs)]
        return helper.make_graph(self.nodes, self.fresh("g"), inputs, ends)

    def body(self, states: list[str], more: list[str], told: str = "") -> tuple[Writer, list[str], str]:
        """A step of a loop: the states after it, and what it collects."""
        body = self.inside([*states, *more])
        for _ in range(self.rng.integers(1, 4)):
            body.step()
            if told and self.depth + 1 < DEEPEST and self.rng.random() < 0.2:
                body.values.append(body.choice(told))
        after = [body.one("Tanh", body.one("Add", s, body.value())) for s in states]
        if len(states) > 1 and self.rng.random() < 0.3:  # states that change places, and one that stays
            after = [*after[1:], states[0]] if self.rng.random() < 0.5 else [*after[1:], after[0]]
        if self.rng.random() < 0.2:
            after[0] = states[0]
        return body, after, body.one("Identity", body.value())

    def loop(self) -> str:
        states = [self.fresh("s") for _ in range(self.rng.integers(1, 3))]
        number, on, count = self.fresh("i"), self.fresh("on"), self.fresh("n")
        body, after, made = self.body(states, [], number)
        onwards = body.one("Identity", on)
        if self.rng.random() < 0.4:  # an early end
            more = body.one("Less", count, "two") if self.rng.random() < 0.5 else body.truth(number)
            onwards = body.one("And", onwards, more)
        counted = body.one("Add", count, "one")
        inputs = [
            self.declared(number, INT64, ()),
            self.declared(on, BOOL, ()),
            self.declared(count, INT64, ()),
        ]
        graph = body.graph(
            [*inputs, *map(self.declared, states)],
            [*after, made],
            [self.declared(onwards, BOOL, ()), self.declared(counted, INT64, ())],
        )
        trips = "trips" if self.rng.random() < 0.5 else str(self.rng.choice(["one", "two", "three"]))
        starts = [self.value() for _ in states]
        _, *ends, stacked = self.node("Loop", trips, "yes", "one", *starts, count=len(states) + 2, body=graph)
        total = self.one("ReduceSum", stacked, "front", keepdims=0)
        return self.one("Tanh", self.one("Sum", *(ends if self.rng.random() < 0.8 else []), total))

    def scan(self) -> str:
        states, elements = (
            [self.fresh("s") for _ in range(self.rng.integers(1, 3))],
            [self.fresh("e"), self.fresh("e")],
        )
        length, axis = int(self.rng.integers(1, LONGEST)), int(self.rng.integers(0, 3 if self.told else 1))
        body, after, made = self.body(states, elements)
        # ONNX Runtime 1.31 loses a state that a Scan hands on under the name that it came by.
        after = [body.one("Identity", a) if a in states else a for a in after]
        body.told = SHAPE  # ONNX Runtime has none that does not say it
        graph = body.graph([*map(body.declared, states), *map(body.declared, elements)], [*after, made])
        sequences = []
        for along in (axis, 0):
            parts = [self.one("Unsqueeze", self.value(), f"at{along}") for _ in range(length)]
            sequences.append(self.one("Concat", *parts, axis=along))
        out = int(self.rng.integers(0, 3))
        *ends, stacked = self.node(
            "Scan", *(self.value() for _ in states), *sequences, count=len(states) + 1, body=graph,
            num_scan_inputs=2, scan_input_axes=[axis, 0],
            scan_input_directions=self.rng.integers(0, 2, 2).tolist(),
            scan_output_axes=[out], scan_output_directions=[int(self.rng.integers(0, 2))],
        )  # fmt: skip
        chosen = self.one("Gather", stacked, "nil", axis=out)
        return self.one("Tanh", self.one("Sum", *(ends if self.rng.random() < 0.8 else []), chosen))


def model(seed: int) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """A network by its number, and values for its inputs."""
    rng = np.random.default_rng(seed)
    writer = Writer(rng, [0], 0, ["x", "w"], [SHAPE, (None, None), None][rng.integers(3)])
    for _ in range(3):
        writer.step()
    for _ in range(10):
        if any(n.attribute and n.op_type in ("If", "Loop", "Scan") for n in writer.nodes):
            break
        writer.values.append([writer.choice, writer.loop, writer.scan][rng.integers(3)]())
    writer.nodes.append(helper.make_node("Sum", writer.values[2:], ["y"]))
    constants = {
        "W": rng.standard_normal((3, 3)), "yes": np.array(True), "one": np.int64(1), "two": np.int64(2),
        "three": np.int64(3), "front": np.int64([0]), "nought": np.float64(0), "nil": np.int64(0),
        "at0": np.int64([0]), "at1": np.int64([1]), "at2": np.int64([2]),
    }  # fmt: skip
    values = [helper.make_tensor_value_info(name, DOUBLE, SHAPE) for name in "xw"]
    values += [
        helper.make_tensor_value_info("flag", BOOL, []),
        helper.make_tensor_value_info("trips", INT64, []),
    ]
    graph = helper.make_graph(
        writer.nodes,
        "control",
        values,
        [helper.make_tensor_value_info("y", DOUBLE, SHAPE)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    feeds = {
        "x": rng.standard_normal(SHAPE),
        "w": rng.standard_normal(SHAPE),
        "flag": np.array(bool(rng.integers(0, 2))),
        # What no round collects has no shape where none is said.
        "trips": np.array(rng.integers(writer.told != SHAPE, LONGEST), np.int64),
    }
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), feeds
