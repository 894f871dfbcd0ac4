"""docs/operators.md, made from the code and the cases: `python tests/oracles/operators_page.py`."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from onnx import defs

sys.path.insert(0, str(Path(__file__).parents[1]))
from oracles.cases import CASES, DISAGREEMENTS, HAND_MADE
from oracles.cases import SCOPE as DIFFERENTIABLE

from onnxlens.engine.operators.bodies import BODIES
from onnxlens.engine.operators.contrib import REFUSED as ELSEWHERE
from onnxlens.engine.operators.rules import VJP
from onnxlens.engine.operators.traits import TRAITS, UNKNOWN, having

PAGE = Path(__file__).parents[2] / "docs/operators.md"

NOTES = {
    "BatchNormalization": "in training by an own body",
    "Dropout": "in training by the mask of that very run",
}
REWRITTEN = {
    "Upsample": "becomes Resize in the canonical form",
    "Scatter": "becomes ScatterElements in the canonical form",
}
# Forms of operators that are given up, though others of them have a gradient.
SHARED = "what is in it is known to the runtime only; export without it"
OPEN = "it is unrolled, or written out pixel by pixel; bind the shape"
REFUSED_FORMS = [
    (
        "If, Loop, Scan",
        "random numbers drawn inside",
        "the graph inside is computed once more for its gradient, and would draw others",
    ),
    (
        "Loop",
        "a list, handed on from step to step, whose elements the steps read",
        "what a step reads of it is not noted down; stack what is collected as an output of the loop",
    ),
    ("LinearAttention", "a length that is not known", OPEN),
    ("DeformConv, GridSample, MaxRoiPool, RoiAlign", "pictures of a size that is not known", OPEN),
    ("DequantizeLinear, QuantizeLinear", "blocks along an axis of unknown size", "they are counted"),
    ("`com.microsoft:Attention`, `com.microsoft:MultiHeadAttention`", "a cache in a shared buffer", SHARED),
    (
        "`com.microsoft:MultiHeadAttention`",
        "causal, with another number of keys than of queries and no cache",
        "there the kernel lets the last query see all keys",
    ),
    (
        "`com.microsoft:Attention`",
        "`do_rotary`",
        "the runtime's CPU kernel refuses it too and asks for RotaryEmbedding; CUDA's has angles of its own",
    ),
    ("`com.microsoft:MatMulNBits`", "`weight_prepacked`", "the layout is that of one kind of hardware"),
    (
        "`com.microsoft:MatMulNBits`",
        "`g_idx` beside packed zero points",
        "the runtime's kernel leaves these out there, its specification does not",
    ),
    (
        "`com.microsoft:GroupQueryAttention`",
        "a cache in a window or in integers",
        "what is in it is known to the runtime only; export without it",
    ),
    ("`com.microsoft:FusedConv`, `FusedGemm`", "an activation that no optimiser fuses", "it has no rule"),
]
WITHOUT = """
## What has no slope

Found by running a case, not by its name: an output that is not finite, such as the maximum of nothing. Rows
of attention that are masked as a whole are none of these: their answer is 0 whatever they are given, and so
is their gradient.

## Where this and the specification disagree

The specification says of inputs whether they are differentiable. Gradients follow it, but for these, which
are held against differences like any other:

| operator | input | why |
| --- | --- | --- |
"""
FORMS = """

## Forms that are refused

By an error that says so, which `onnxlens doctor` foresees in the same words:

| operator | form | why |
| --- | --- | --- |
"""
HEAD = """# Operators

What has a gradient, by what, and what it is held against. Made from the code by `make docs`; a test fails
when it is out of date.

- **rule**: the vector-Jacobian product is written down (`engine/operators/rules`).
- **own body**: the forward pass is written in expressions (`engine/operators/bodies`), and differentiated.
- **rewritten**: as another operator, in the canonical form.
- **graphs inside**: an If by an If of its branches' gradients, a Loop or a Scan by a Loop from the last step
  to the first (`engine/autodiff/branches.py`, `loops.py`).
- **function body**: as the specification defines it, out of other operators.

A case is a model of one node whose gradient agrees with central differences in double precision (in float32
for operators that the specification does not define in double): the {onnx} single-node cases of ONNX's own
suite that have a floating-point input and output, and {ours} of ours, for what these lack. **Bold**: the
{differentiable} operators for which the specification calls an input differentiable.

| operator | how | cases of ONNX | of ours |
| --- | --- | --- | --- |
"""


def how(name: str, schema: defs.OpSchema | None = None) -> str | None:
    """How an operator is differentiated; None where it is not. `schema`: by default that of ai.onnx."""
    note = f" ({NOTES[name]})" if name in NOTES else ""
    if name in REWRITTEN:
        return f"rewritten: {REWRITTEN[name]}"
    if name in VJP:
        return "rule" + note
    if name in BODIES:
        return "own body" + note
    if TRAITS.get(name, UNKNOWN).runs:
        return "graphs inside"
    schema = schema or defs.get_schema(name)
    if schema.has_function or schema.has_context_dependent_function:
        return "function body" + note
    return None


def without() -> list[str]:
    """The operators of the runtime that have no gradient, by the reason."""
    reasons = dict.fromkeys(ELSEWHERE.values())
    named = {r: [key.split(":")[1] for key, why in ELSEWHERE.items() if why == r] for r in reasons}
    return [f"- {reason}: " + ", ".join(f"`{n}`" for n in sorted(names)) for reason, names in named.items()]


def page() -> str:
    """The text of the page."""
    onnx = Counter(model.graph.node[0].op_type for model, _ in CASES.values())
    ours = Counter(model.graph.node[0].op_type for model in HAND_MADE.values())
    names = {key for key in (*VJP, *BODIES, *onnx, *ours) if ":" not in key}
    names |= DIFFERENTIABLE | set(having(lambda t: t.runs))
    rows = []
    for name in sorted(names, key=str.lower):
        label = f"**{name}**" if name in DIFFERENTIABLE else name
        way = how(name) or "refused: no rule"
        rows.append(f"| {label} | {way} | {onnx[name] or ''} | {ours[name] or ''} |")
    fused = [f"`{key}`" for key in sorted({*VJP, *BODIES}) if ":" in key]
    return (
        HEAD.format(onnx=len(CASES), ours=len(HAND_MADE), differentiable=len(DIFFERENTIABLE))
        + "\n".join(rows)
        + "\n\n## Operators of other domains\n\n"
        + "ONNX Runtime's fused and quantised operators and those of `ai.onnx.ml`, by a body or a rule:\n\n"
        + ", ".join(fused)
        + ".\n\nTwo are rewritten as ONNX's: `com.microsoft:QuantizeLinear` and `DequantizeLinear`. "
        + "The runtime's others have none, each because it\n\n"
        + "\n".join(without())
        + "\n"
        + WITHOUT
        + "\n".join(f"| {name} | {slot} | {reason} |" for (name, slot), reason in DISAGREEMENTS.items())
        + FORMS
        + "\n".join(f"| {name} | {form} | {reason} |" for name, form, reason in REFUSED_FORMS)
        + "\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
