"""Each operator that the runtime registers of its own has a body, or a reason that it has none."""

import pytest
from onnx import defs
from onnxruntime.capi import onnxruntime_pybind11_state as binding
from oracles.fused import MS, X, alone
from oracles.operators_page import how

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.errors import NoRule
from onnxlens.engine.operators.bodies import BODIES
from onnxlens.engine.operators.contrib import REFUSED
from onnxlens.engine.operators.traits import TRAITS, UNKNOWN

REWRITTEN = {f"{MS}:{name}" for name in ("QuantizeLinear", "DequantizeLinear")}  # as those of ONNX


def test_every_operator_of_the_runtime_has_a_body_or_a_reason():
    own = {f"{s.domain}:{s.name}" for s in binding.get_all_operator_schema() if s.domain == MS}
    assert own - BODIES.keys() - REWRITTEN == own & REFUSED.keys()
    assert not REFUSED.keys() & (BODIES.keys() | REWRITTEN)


# Of ONNX's own: what neither takes nor gives real numbers has no need of any of these.
WORDS = {
    "StringSplit",
    "StringConcat",
    "StringNormalizer",
    "RegexFullMatch",
    "TfIdfVectorizer",
    "ImageDecoder",
}
NO_INPUT = {"Constant", "ConstantOfShape", "SequenceEmpty"}


def test_every_operator_of_onnx_leads_a_gradient_or_says_why():
    """Of the newest opset that the installed onnx knows, and of ai.onnx.ml; the list grows with onnx."""
    missing = set()
    for schema in defs.get_all_schemas():
        if schema.domain not in ("", "ai.onnx.ml"):
            continue
        key = f"{schema.domain}:{schema.name}".removeprefix(":")
        traits = TRAITS.get(key, UNKNOWN)
        told = traits.stops or traits.random or traits.truth or traits.reads_sizes or traits.runs
        real = all(
            any("float" in str(t) for slot in slots for t in slot.types)
            for slots in (schema.inputs, schema.outputs)
        )
        if real and not told and how(key, schema) is None and key not in WORDS | NO_INPUT:
            missing.add(key)
    assert not missing


@pytest.mark.parametrize("key", ["MoE", "Rfft", "PagedAttention"])
def test_the_reason_is_said(key):
    model, _ = alone(f"{MS}:{key}", [X], {})
    model.graph.output[0].type.tensor_type.shape.dim.add()
    with pytest.raises(NoRule, match=REFUSED[f"{MS}:{key}"]):
        gradient(model, of="y0", wrt="x0")
