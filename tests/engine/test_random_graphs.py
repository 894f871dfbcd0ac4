"""Graphs put together at random: the gradient against central differences, and its own gradient."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from oracles.compositions import models
from oracles.differences import assert_slopes, runner

from onnxlens.engine.autodiff.gradient import gradient

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
ORDINARY = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": QUIET}


@settings(max_examples=500, **ORDINARY)
@given(models())
def test_gradients_agree_with_central_differences(drawn):
    model, feeds = drawn
    outputs = [o.name for o in model.graph.output]
    assert_slopes(model, feeds, outputs, list(feeds), directions=1)


@settings(max_examples=60, **ORDINARY)
@given(models(most=15))
def test_the_gradient_is_the_adjoint_of_its_own_adjoint(drawn):
    """⟨u, Jv⟩ = ⟨Jᵀu, v⟩, where Jv is the gradient of Jᵀu with respect to u: exact, but for rounding."""
    model, feeds = drawn
    y, x = model.graph.output[-1].name, next(iter(feeds))
    first = gradient(model, of=y, wrt=x)
    second = gradient(first, of=f"grad/{x}", wrt=f"seed/{y}")
    rng = np.random.default_rng(0)
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in second.graph.input}
    u, v = rng.standard_normal(shapes[f"seed/{y}"]), rng.standard_normal(shapes[x])
    *_, pulled, pushed = runner(second)({**feeds, f"seed/{y}": u, f"seed/grad/{x}": v})
    bound = 1e-9 * (np.linalg.norm(pulled) * np.linalg.norm(v) + np.linalg.norm(u) * np.linalg.norm(pushed))
    assert abs((u * pushed).sum() - (pulled * v).sum()) <= bound + 1e-12


@settings(max_examples=60, **ORDINARY)
@given(models(most=15, smooth=True))
def test_gradients_of_gradients_agree_with_central_differences(drawn):
    model, feeds = drawn
    y, x = model.graph.output[-1].name, next(iter(feeds))
    first = gradient(model, of=y, wrt=x)
    shape = [d.dim_value for d in first.graph.input[-1].type.tensor_type.shape.dim]
    seeded = {**feeds, f"seed/{y}": np.random.default_rng(1).standard_normal(shape)}
    assert_slopes(first, seeded, [f"grad/{x}"], list(feeds), directions=1)
