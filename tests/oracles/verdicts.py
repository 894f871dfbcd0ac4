"""What a derivative is worth on each of ONNX's one-operator cases: right, wrong, refused or exempt, and why.

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

from onnxlens.engine.autodiff.forward import hvp, jvp
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.canonical.canonical import RUN
from onnxlens.engine.errors import OnnxlensError
from onnxlens.engine.graph.nodes import bodies, every_node

Feeds = dict[str, np.ndarray]
STEPS = {np.float64: (1e-3, 1e-4, 1e-5), np.float32: (3e-2, 1e-2, 5e-3)}
AGREE = {np.float64: 1e-4, np.float32: 3e-2}  # of slopes at several steps, of the largest
RELATIVE, ABSOLUTE = 5e-3, 2e-4  # what a float32 gradient may lack, of its largest element and in all
ELEMENTS, FEWER, DIRECTIONS = 8, 3, 2  # of each input, that are held against differences; in second order
MODES = ("reverse", "forward", "second")
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


def judge(name: str, model: ModelProto, feeds: Feeds, clean: Feeds, mode: str = "reverse") -> Verdict:
    """The verdict on one case in one of MODES. Second order is forward mode through the gradient."""
    operator = model.graph.node[0].op_type

    def verdict(kind: str, *rest: object) -> Verdict:
        return Verdict(name, operator, kind, *rest)  # pyright: ignore[reportArgumentType]

    of = [o for o in _singles(model.graph.output) if np.isfinite(clean[o]).all()]
    wrt = [i for i in _singles(model.graph.input) if i in feeds and isinstance(feeds[i], np.ndarray)]
    if not of:
        return verdict("exempt", "the forward value is not finite")
    us = _drawn(of, clean)
    seeded = {**feeds, **{f"seed/{o}": u for o, u in us.items()}}
    try:
        back = gradient(model, of=of, wrt=wrt)
        grads = run(back, seeded)
        if mode == "reverse":
            return _held(verdict, model, feeds, clean, us, _back({i: grads[f"grad/{i}"] for i in wrt}))
        if mode == "forward":
            us = _smooth(runner(model), feeds, wrt, us, list(clean))
            grads = run(back, {**feeds, **{f"seed/{o}": u for o, u in us.items()}})
            call = _forth(runner(jvp(model, of=of, wrt=wrt)), feeds, wrt, us)
            worst = _adjoint(call, feeds, {i: grads[f"grad/{i}"] for i in wrt})
            if worst is not None:
                return verdict("wrong", worst)
            return _held(verdict, model, feeds, clean, us, call)
        ws = _smooth(runner(back), seeded, wrt, _drawn([f"grad/{i}" for i in wrt], grads))
        call = _forth(runner(hvp(model, of=of, wrt=wrt)), seeded, wrt, ws)
        found = _held(verdict, back, seeded, grads, ws, call, wrt)
        if found.kind != "wrong":
            return found
        return _held(verdict, back, seeded, grads, ws, call, wrt, patient=True)  # not by float32's rounding
    except OnnxlensError as error:
        return verdict("refused", str(error))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return verdict("wrong", f"the derivative does not run: {reason}")


def _drawn(names: list[str], like: Feeds) -> Feeds:
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(like[n].shape).astype(np.float32) for n in names}


def _smooth(
    call: Callable[[Feeds], list[np.ndarray]],
    feeds: Feeds,
    wrt: list[str],
    us: Feeds,
    names: list[str] | None = None,
) -> Feeds:
    """The vector u without what is no number here, or a step aside: forward mode meets 0 times infinity."""
    rng, smooth = np.random.default_rng(3), dict(us)
    for i in wrt:
        aside = STEPS[np.float32][-1] * rng.choice([-1, 1], np.shape(feeds[i])).astype(np.float32)
        for x in (feeds[i], feeds[i] + aside, feeds[i] - aside):
            with suppress(Exception):  # an argument that is not allowed, a step aside
                found = call({**feeds, i: np.asarray(x, np.float32)})
                for o, y in zip(names or us, found if names else found[len(found) - len(us) :], strict=True):
                    if o in smooth and y.shape == smooth[o].shape:
                        smooth[o] = np.where(np.isfinite(y), smooth[o], 0)
    return smooth


Along = Callable[
    [str, np.ndarray], tuple[float, float]
]  # how much an input changes it, and what is large there


def _back(grads: Feeds) -> Along:
    """Along v, the gradient's part in it."""

    def along(i: str, v: np.ndarray) -> tuple[float, float]:
        if grads[i].shape != v.shape:
            raise ValueError(f"grad/{i} is of shape {grads[i].shape}, not {v.shape}")
        finite = np.abs(grads[i][np.isfinite(grads[i])])
        return float(grads[i][v != 0].ravel() @ v[v != 0].ravel()), finite.max(initial=0)

    return along


def _forth(call: Callable[[Feeds], list[np.ndarray]], feeds: Feeds, wrt: list[str], us: Feeds) -> Along:
    """Along v, the tangent of Σ ⟨u, y⟩; the last outputs are the tangents of the y."""
    still = {f"tangent/{i}": np.zeros_like(feeds[i]) for i in wrt}

    def along(i: str, v: np.ndarray) -> tuple[float, float]:
        found = call({**feeds, **still, f"tangent/{i}": v.astype(np.float32)})
        found = dict(zip(us, found[len(found) - len(us) :], strict=True))
        if wrong := [o for o, u in us.items() if found[o].shape != u.shape]:
            raise ValueError(f"the tangent of {wrong[0]} is of shape {found[wrong[0]].shape}")
        parts = [np.where(u == 0, 0, u * found[o].astype(np.float64)) for o, u in us.items()]
        return float(sum(p.sum() for p in parts)), max(np.abs(p).max(initial=0) for p in parts)

    return along


def _adjoint(along: Along, feeds: Feeds, grads: Feeds) -> str | None:
    """What contradicts ⟨u, Jv⟩ = ⟨Jᵀu, v⟩, which holds on kinks too, where these are numbers."""
    rng = np.random.default_rng(2)
    for i, grad in grads.items():
        if not grad.size:  # there is no direction
            continue
        v = rng.standard_normal(np.shape(feeds[i])).astype(np.float32)
        forth, back = along(i, v)[0], float((v * grad.astype(np.float64)).sum())
        if np.isfinite(back) and not abs(forth - back) <= 1e-4 * np.abs(v * grad).sum() + ABSOLUTE:
            return f"⟨u, Jv⟩ is {forth:.6g} and ⟨Jᵀu, v⟩ {back:.6g} by {i}"
    return None


def _held(
    verdict: Callable[..., Verdict],
    model: ModelProto,
    feeds: Feeds,
    clean: Feeds,
    seeds: Feeds,
    along: Along,
    wrt: list[str] | None = None,
    patient: bool = False,
) -> Verdict:
    """A derivative against the slopes along single elements and along random directions."""
    f, dtype = forward(model, feeds, clean, list(seeds), patient)
    held, left, many = 0, 0, []
    rng = np.random.default_rng(1)
    names = [i for i in _singles(model.graph.input) if i in feeds] if wrt is None else wrt
    for i in (n for n in names if isinstance(feeds[n], np.ndarray)):
        x = np.asarray(feeds[i], dtype)
        for v in _directions(x, rng, ELEMENTS if wrt is None else FEWER):
            low, high = slopes(f, seeds, i, x, v)
            if low is None or high is None:
                left += 1
                continue
            held += 1
            found, size = along(i, v)
            largest = max(size, abs(low), abs(high))
            bound = (RELATIVE * largest + ABSOLUTE) * np.abs(v).sum() ** 0.5
            if not np.isfinite(found):
                return verdict("NaN", f"by {i} it is {found} where the slope is {low:.6g}", held, left)
            if not low - bound <= found <= high + bound:
                many.append(f"by {i} it is {found:.6g} where the slope is {low:.6g} to {high:.6g}")
    if many:
        return verdict("wrong", many[0], held, left)
    return verdict("right", "", held, left) if held or not left else verdict("exempt", "no slope", 0, left)


def _directions(x: np.ndarray, rng: np.random.Generator, elements: int) -> Iterator[np.ndarray]:
    for place in rng.permutation(x.size)[:elements]:
        v = np.zeros(x.size, x.dtype)
        v[place] = 1
        yield v.reshape(x.shape)
    if x.size > 1:
        yield from (rng.choice([-1, 1], x.shape).astype(x.dtype) for _ in range(DIRECTIONS))


Forward = Callable[[str, np.ndarray], dict[str, np.ndarray]]  # an input by name, changed, to all outputs


def forward(
    model: ModelProto, feeds: Feeds, clean: Feeds, of: list[str], patient: bool = False
) -> tuple[Forward, type]:
    """The forward model, in float64 where it answers as in float32 and in that type, and which it is.

    `patient`: also where the reference takes long for it.
    """
    small = patient or sum(np.size(x) for x in feeds.values()) <= SMALL
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
    if not np.isfinite(sides).all():
        return None, None
    if abs(sides[0] - sides[1]) <= 10 * agree * max(1, *np.abs(central)):
        return central[-1], central[-1]
    return min(sides), max(sides)
