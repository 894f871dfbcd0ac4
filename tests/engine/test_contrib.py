"""Each operator that the runtime registers of its own has a body, or a reason that it has none."""

import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as binding
from oracles.fused import MS, X, alone

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.errors import NoRule
from onnxlens.engine.operators.bodies import BODIES
from onnxlens.engine.operators.contrib import REFUSED

REWRITTEN = {f"{MS}:{name}" for name in ("QuantizeLinear", "DequantizeLinear")}  # as those of ONNX


def test_every_operator_of_the_runtime_has_a_body_or_a_reason():
    own = {f"{s.domain}:{s.name}" for s in binding.get_all_operator_schema() if s.domain == MS}
    assert own - BODIES.keys() - REWRITTEN == own & REFUSED.keys()
    assert not REFUSED.keys() & (BODIES.keys() | REWRITTEN)


@pytest.mark.parametrize("key", ["MoE", "Rfft", "PagedAttention"])
def test_the_reason_is_said(key):
    model, _ = alone(f"{MS}:{key}", [X], {})
    model.graph.output[0].type.tensor_type.shape.dim.add()
    with pytest.raises(NoRule, match=REFUSED[f"{MS}:{key}"]):
        gradient(model, of="y0", wrt="x0")
