"""docs/sources.md, made from what tests/bench/sources.py recorded: `python tests/oracles/sources_page.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs/sources.md"
RECORD = Path(__file__).with_name("sources.json")
HEAD = """# Three sources

Gradients by onnxlens, by PyTorch's autograd and by ONNX Runtime's training wheel, on the same models with the
same random values, in float32. The wheel is onnxruntime-training 1.19.2, the last one. Recorded by
`python tests/bench/sources.py --wheel PYTHON`, which also says how to install it; a test does PyTorch's part
anew.

- **onnxlens** has a gradient in {ours} of {cases} single-node cases, of {ours_operators} operators.
- **PyTorch** gives {torch_operators} of these operators a gradient, as far as it has functions for them
  (`tests/oracles/torch_operators.py`), and agrees in all {torch_all} cases.
- **The training wheel** gives one to {wheel_operators}, and agrees in {wheel_cases} of {wheel_all} cases.

Each operator of these cases that another source covers, onnxlens covers. To agree is to differ by less than
{agree} of the gradient's norm, in each input in which the source gives a gradient. An entry is the number of
cases that agree, and behind a stroke of those that do not. The wheel was given each case at the opsets 21,
17 and 13, as far as the case can be said in them. It has rules for ConvTranspose and Resize but no CPU
kernels, and what it builds for LSTM and GRU did not load. Not among the cases: its operators for training
alone, and com.microsoft:MatMulBnb4, for which both have a rule.

| operator | onnxlens | PyTorch | training wheel |
| --- | --- | --- | --- |
"""
APART = """
## Where the training wheel differs

In all of these cases our gradient meets central differences (`tests/engine/test_rules.py`), and autograd
where PyTorch has the operator.

| operator | where | cases |
| --- | --- | --- |
"""
WHERE = {
    "AveragePool": "`auto_pad`, `dilations`, and three axes",
    "BatchNormalization": "in inference: as if the statistics were those of the batch",
    "Conv": "`auto_pad`",
    "Dropout": "in inference: scaled by 1 / (1 - ratio)",
    "Gelu": "of the tanh kind, by 1.2e-3",
    "LayerNormalization": "without what its outputs Mean and InvStdDev add",
    "LeakyRelu": "a negative slope",
    "MatMul": "a vector times a stack of matrices, or a stack times a vector",
    "MaxPool": "`storage_order` 1",
    "Pow": "a scalar to many powers: the broadcasting is not undone",
    "ReduceL2": "`noop_with_empty_axes`",
    "ScatterElements": "a `reduction`, repeated indices",
    "ScatterND": "a `reduction`",
    "SoftmaxCrossEntropyLoss": "without what its output log_prob adds",
    "Where": "the broadcasting is not undone",
}
NETWORKS = """
## Whole networks

The relative distance from our gradients, or the operator at which the wheel stops: of autograd's, in the
image and in the first weight (in all weights for the first two); of the wheel's, in the image and in all
weights. They are those of `tests/oracles/architectures.py`, with random weights;
`python tests/bench/autograd.py` prints more.

| network | weights | PyTorch | training wheel |
| --- | --- | --- | --- |
"""


def record() -> dict[str, Any]:
    """What was recorded last."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


def page(record: dict[str, Any]) -> str:
    """The text of the page."""
    sources = ("onnxlens", "torch", "wheel")
    totals = {name: [sum(counts) for counts in zip(*record[name].values(), strict=True)] for name in sources}
    head = HEAD.format(
        cases=record["cases"],
        agree="1e-3",
        ours=totals["onnxlens"][0],
        ours_operators=len(record["onnxlens"]),
        **{f"{name}_operators": len(record[name]) for name in sources[1:]},
        **{f"{name}_cases": totals[name][0] for name in sources[1:]},
        **{f"{name}_all": sum(totals[name]) for name in sources[1:]},
    )
    operators = sorted({key for name in sources for key in record[name]}, key=str.lower)
    rows = [
        f"| {key} | " + " | ".join(entry(record[name].get(key)) for name in sources) + " |"
        for key in operators
    ]
    apart = []
    for key in sorted({*record["wheel differs"].values()}):
        names = [name for name, own in record["wheel differs"].items() if own == key]
        apart.append(f"| {key} | {WHERE[key]} | {', '.join(names)} |")
    networks = [
        f"| {name} | {row['weights']} | {row['torch']} | {row['wheel']} |"
        for name, row in record["networks"].items()
    ]
    parts = [head, rows_of(rows), APART, rows_of(apart), NETWORKS, rows_of(networks)]
    return "".join(parts)


def rows_of(rows: list[str]) -> str:
    return "\n".join(rows) + "\n"


def entry(counts: list[int] | None) -> str:
    """Cases that agree | cases that do not."""
    if counts is None:
        return ""
    return str(counts[0]) + (f" / {counts[1]}" if counts[1] else "")


if __name__ == "__main__":
    PAGE.write_text(page(record()), encoding="utf-8")
