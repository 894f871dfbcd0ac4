"""What a gradient is worth on each of ONNX's cases of one operator: right, wrong, refused or exempt, and why.

The case's own numbers, ONNX Runtime's own float32; the slopes are those of the forward model in float64
where that answers alike. What exempts an element is in `slopes`: code, not a list.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from oracles.cases import at_most
from oracles.differences import in_double, runner
from oracles.networks import run

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.canonical.canonical import RUN
from onnxlens.engine.errors import OnnxlensError
from onnxlens.engine.graph.nodes import bodies, every_node

Feeds = dict[str, np.ndarray]
STEPS = {np.float64: (1e-3, 1e-4, 1e-5), np.float32: (3e-2, 1e-2, 5e-3)}
AGREE = {np.float64: 1e-4, np.float32: 3e-2}  # of slopes at several steps, of the largest
RELATIVE, ABSOLUTE = 5e-3, 2e-4  # what a float32 gradient may lack, of its largest element and in all
ELEMENTS, DIRECTIONS = 8, 2  # of each input, that are held against differences
SMALL = 500  # numbers, up to which ONNX's reference, which is slow, stands in for kernels of float64


@dataclass(frozen=True)
class Verdict:
    """`kind`: right, wrong, NaN, refused or exempt; `reason`: of what is not right."""

    case: str
    operator: str
    kind: str
    reason: str = ""
    held: int = 0  # slopes that were compared
    left: int = 0  # slopes that do not exist


def cases() -> Iterator[tuple[str, ModelProto, Feeds]]:
    """Name, model and inputs of each case with a float32 input and output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        everything = collect_testcases(None)
    for case in everything:
        if _singles(case.model.graph.input) and _singles(case.model.graph.output):
            yield case.name.removeprefix("test_"), case.model, _fed(case.model, case.data_sets[0][0])


def _fed(model: ModelProto, data: list[object]) -> Feeds:
    arrays = [numpy_helper.to_array(d) if isinstance(d, TensorProto) else d for d in data]
    return {v.name: a for v, a in zip(model.graph.input, arrays, strict=False)}  # pyright: ignore


def _singles(values: object) -> list[str]:
    """Names of the float32 tensors among a graph's inputs or outputs."""
    return [v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT]  # type: ignore[attr-defined]


def has_control_flow(model: ModelProto) -> bool:
    """Whether a graph stands inside a node."""
    return any(bodies(node) for node in every_node(model.graph.node))


def computed(model: ModelProto, feeds: Feeds) -> tuple[ModelProto, dict[str, np.ndarray]] | None:
    """The model as ONNX Runtime takes it and what it answers; None where it has no kernel."""
    model = at_most(model, RUN)
    try:
        return model, run(model, feeds)
    except Exception:  # it says so in many ways
        return None


def judge(name: str, model: ModelProto, feeds: Feeds, clean: Feeds) -> Verdict:
    """The verdict on one case."""
    operator = model.graph.node[0].op_type

    def verdict(kind: str, *rest: object) -> Verdict:
        return Verdict(name, operator, kind, *rest)  # pyright: ignore[reportArgumentType]

    of = [o for o in _singles(model.graph.output) if np.isfinite(clean[o]).all()]
    wrt = [i for i in _singles(model.graph.input) if i in feeds and isinstance(feeds[i], np.ndarray)]
    if not of:
        return verdict("exempt", "the forward value is not finite")
    try:
        made = gradient(model, of=of, wrt=wrt)
        rng = np.random.default_rng(0)
        seeds = {o: rng.standard_normal(clean[o].shape).astype(np.float32) for o in of}
        answer = run(made, {**feeds, **{f"seed/{o}": u for o, u in seeds.items()}})
    except OnnxlensError as error:
        return verdict("refused", str(error))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return verdict("wrong", f"the runtime does not take the gradient: {reason}")
    return _held(verdict, model, feeds, clean, seeds, {i: answer[f"grad/{i}"] for i in wrt})


def _held(
    verdict: Callable[..., Verdict], model: ModelProto, feeds: Feeds, clean: Feeds, seeds: Feeds, grads: Feeds
) -> Verdict:
    """The gradients against the slopes along single elements and along random directions."""
    f, dtype = forward(model, feeds, clean, list(seeds))
    held, left, many = 0, 0, []
    rng = np.random.default_rng(1)
    for i, grad in grads.items():
        x = np.asarray(feeds[i], dtype)
        if grad.shape != x.shape:
            return verdict("wrong", f"grad/{i} is of shape {grad.shape}, not {x.shape}", held, left)
        for v in _directions(x, rng):
            low, high = slopes(f, seeds, i, x, v)
            if low is None or high is None:
                left += 1
                continue
            held += 1
            found = float(grad[v != 0].ravel() @ v[v != 0].ravel())
            largest = max(np.abs(grad[np.isfinite(grad)]).max(initial=0), abs(low), abs(high))
            bound = (RELATIVE * largest + ABSOLUTE) * np.abs(v).sum() ** 0.5
            if not np.isfinite(found):
                return verdict("NaN", f"grad/{i} is {found} where the slope is {low:.6g}", held, left)
            if not low - bound <= found <= high + bound:
                many.append(f"grad/{i} is {found:.6g} where the slope is {low:.6g} to {high:.6g}")
    if many:
        return verdict("wrong", many[0], held, left)
    return verdict("right", "", held, left) if held or not left else verdict("exempt", "no slope", 0, left)


def _directions(x: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for place in rng.permutation(x.size)[:ELEMENTS]:
        v = np.zeros(x.size, x.dtype)
        v[place] = 1
        yield v.reshape(x.shape)
    if x.size > 1:
        yield from (rng.choice([-1, 1], x.shape).astype(x.dtype) for _ in range(DIRECTIONS))


Forward = Callable[[str, np.ndarray], dict[str, np.ndarray]]  # an input by name, changed, to all outputs


def forward(model: ModelProto, feeds: Feeds, clean: Feeds, of: list[str]) -> tuple[Forward, type]:
    """The forward model, in float64 where it answers as in float32 and in that type, and which it is."""
    small = sum(np.size(x) for x in feeds.values()) <= SMALL
    double = in_double(model)
    if small or _has_kernels(double):
        with suppress(Exception):  # kernels that are missing say so in many ways
            f = _called(double, feeds)
            found = f(next(iter(feeds)), feeds[next(iter(feeds))])
            if all(found[o].dtype == np.float64 and _alike(found[o], clean[o]) for o in of):
                return f, np.float64
    return _called(model, feeds), np.float32


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-4)


def _called(model: ModelProto, feeds: Feeds) -> Forward:
    types = {v.name: helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type) for v in model.graph.input}
    given = {i: x.astype(types[i]) if isinstance(x, np.ndarray) else x for i, x in feeds.items()}
    call, names = runner(model), [o.name for o in model.graph.output]

    def f(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, call({**given, name: np.asarray(value, types[name])}), strict=True))

    return f


def _has_kernels(model: ModelProto) -> bool:
    """Whether ONNX Runtime computes the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # it says so in many ways
        return False
    return True


def slopes(
    f: Forward, seeds: Feeds, name: str, x: np.ndarray, v: np.ndarray
) -> tuple[float | None, float | None]:
    """The slopes of Σ ⟨u, f⟩ to both sides of x along v, the lower first; None where there are none.

    There are none where central differences at three steps disagree, are not finite or change the shape.
    """

    def at(step: float) -> dict[str, np.ndarray]:
        return {o: y.astype(np.float64) for o, y in f(name, x + step * v).items() if o in seeds}

    def slope(a: dict[str, np.ndarray], b: dict[str, np.ndarray], step: float) -> float:
        if any(a[o].shape != u.shape or b[o].shape != u.shape for o, u in seeds.items()):
            return np.nan
        # Element by element: a mask is the lowest number of its type, beside which others are lost.
        return float(sum(((a[o] - b[o]) / step * u).sum() for o, u in seeds.items()))

    steps, agree = STEPS[x.dtype.type], AGREE[x.dtype.type]
    try:
        here, ahead, behind = at(0), [at(s) for s in steps], [at(-s) for s in steps]
    except Exception:  # an argument that is not allowed, a step aside
        return None, None
    central = [slope(a, b, 2 * s) for a, b, s in zip(ahead, behind, steps, strict=True)]
    if not np.isfinite(central).all() or np.ptp(central) > agree * max(1, *np.abs(central)):
        return None, None
    sides = [slope(ahead[-1], here, steps[-1]), slope(here, behind[-1], steps[-1])]
    if abs(sides[0] - sides[1]) <= 10 * agree * max(1, *np.abs(central)):
        return central[-1], central[-1]
    return min(sides), max(sides)
