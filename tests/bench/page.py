"""docs/benchmarks.md, from what the suite has recorded: python tests/bench/page.py"""

from __future__ import annotations

import functools
import importlib
import json
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
NOTES = Path(__file__).with_name("notes.md")  # profiles and reasons, where a figure is not reached
PACKAGES = ("onnxlens", "onnxruntime-gpu", "onnxruntime", "onnx", "numba", "numpy", "torch", "captum")
EXTRA = 200  # MB above the bare forward pass

INTRODUCTION = """\
# Benchmarks

Written by `python tests/bench/suite.py` (`make bench`) on {machine}.

One process for each network and number of threads; in it, the contestants of a row take turns of several
calls, the first of which warms up, and what counts is the median over the rounds. Before each turn is a
pause: threads of ONNX Runtime wait awake for 33 ms after a run, which would be the next one's loss. The
networks have the same random weights (`tests/bench/networks.py`) in PyTorch and, exported from there, in
ONNX; inputs are the same, 224x224, and a row is only measured where all answers agree. Milliseconds are this
machine's; the ratios are what carries over.

- **forward** is ONNX Runtime alone on the exported file with its default options: the limit.
- **PyTorch** is eager autograd for the input alone; no weight asks for a gradient.
- **Captum** is Saliency, GuidedBackprop, IntegratedGradients and Occlusion on the PyTorch module, the last
  two at the batch at which PyTorch is fastest, which is tried out first.
- **pytorch-grad-cam** is that library's computation without the library, which imports torchvision, of
  which there is no build for this PyTorch: hooks on the layer, `loss.backward()` through the whole network,
  weights included, mean, weighted sum, ReLU. *PyTorch to the layer* is the least that PyTorch can do.
- Captum's occlusion and our plain batches take the same time at each position. They are measured at stride
  16 (196 positions) and scaled up to the 729 of stride 8; ours is measured at all 729. Our first call,
  which also tries out where to cut the network, is not in the median; `tests/bench/record.json` has it.
"""


@functools.cache
def rows() -> dict[str, Any]:
    """The table of rows, which needs PyTorch."""
    return importlib.import_module("rows").ROWS


def machine() -> str:
    """What it ran on, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    vectors = next((f for f in ("amx_tile", "avx512_vnni", "avx512f", "avx2") if f in flags), "")
    versions = [f"{p} {_version(p)}" for p in PACKAGES if _version(p)]
    cpu = f"{os.cpu_count()} cores ({platform.machine()}{', ' + vectors if vectors else ''})"
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{cpu}, {memory:.0f} GB, {system}, {', '.join(versions)}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def lines(found: dict[str, Any]) -> str:
    """A result for the terminal."""
    head = f"{found['network']}, {found['row']}"
    if "peaks" in found:
        parts = [f"{m} {peak:.0f} MB ({peak - bare:+.0f})" for m, (peak, bare) in found["peaks"].items()]
        return f"{head}: {', '.join(parts)}"
    head += f", batch {found['batch']}, {found['threads']} threads"
    head += f" ({found['rounds']} rounds, load {found['load']})"
    times = ", ".join(f"{n} {_time(found, n)}" for n in found["seconds"])
    ratios = ", ".join(f"{what} {ratio:.2f}{said}" for what, ratio, said in claimed(found))
    return f"{head}\n    {times}\n    {ratios}"


def claimed(found: dict[str, Any]) -> Iterator[tuple[str, float, str]]:
    """The ratios of a result, each with whether it is what it is to be."""
    for claim in rows()[found["row"]].claims:
        ratio = found["seconds"][claim.over] / found["seconds"][claim.under]
        bound, said = claim.bound(found["network"]), ""
        if bound:
            word, limit = bound
            near = found["deviation"].get(claim.under, 0) <= importlib.import_module("rows").OFF
            good = near and (ratio <= limit if word == "at most" else ratio >= limit)
            said = f" ({word} {limit:g}: {'yes' if good else 'no'})"
        yield f"{claim.over} / {claim.under}", ratio, said


def _time(found: dict[str, Any], name: str) -> str:
    off = found["deviation"].get(name)
    return _ms(found["seconds"][name]) + ("" if off is None else f" (off by {off:.2%})")


def _ms(seconds: float) -> str:
    return (
        f"{seconds:.2f} s"
        if seconds >= 10
        else f"{seconds * 1e3:.3g} ms"
        if seconds < 1
        else f"{seconds:.3g} s"
    )


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    parts = [INTRODUCTION.format(machine=record["machine"])]
    for key, row in rows().items():
        found = [r for r in record["results"] if r["row"] == key]
        for threads in sorted({r["threads"] for r in found}):
            part = _sorted(r for r in found if r["threads"] == threads)
            parts.append(f"## {row.title}, {threads} thread{'s' * (threads > 1)}\n\n{_table(part)}")
    if memory := _sorted(r for r in record["results"] if "peaks" in r):
        parts.append(f"## Peak memory\n\n{_memory(memory)}")
    if NOTES.exists():
        parts.append(NOTES.read_text(encoding="utf-8"))
    return "\n".join(parts)


def _sorted(found: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    order = list(importlib.import_module("networks").NETWORKS)
    return sorted(found, key=lambda r: (order.index(r["network"]), r["batch"]))


def _named(found: dict[str, Any]) -> str:
    return importlib.import_module("networks").NETWORKS[found["network"]].name


def _table(found: list[dict[str, Any]]) -> str:
    names = list(found[0]["seconds"])
    claims = [what for what, _, _ in claimed(found[0])]
    head = ["network", "batch", *names, *claims, "rounds"]
    rows = []
    for r in found:
        ratios = [f"**{ratio:.2f}**{said}" for _, ratio, said in claimed(r)]
        rows.append([_named(r), r["batch"], *(_time(r, n) for n in names), *ratios, r["rounds"]])
    return _markdown(head, rows)


def _memory(found: list[dict[str, Any]]) -> str:
    """What each method takes above the bare forward pass at the batch at which it runs the network."""
    methods = list(found[0]["peaks"])
    rows = []
    for r in found:
        cells = [f"{peak:.0f} ({peak - bare:+.0f})" for peak, bare in r["peaks"].values()]
        rows.append([_named(r), f"{min(bare for _, bare in r['peaks'].values()):.0f}", *cells])
    said = (
        "Peaks of processes of their own, in MB, and how much that is above ONNX Runtime alone at the same "
        f"batch, which is to be {EXTRA} or less. `forward` is at batch 1.\n\n"
    )
    return said + _markdown(["network", "forward", *methods], rows)


def _markdown(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)


if __name__ == "__main__":
    record = json.loads(Path(__file__).with_name("record.json").read_text(encoding="utf-8"))
    PAGE.write_text(page(record), encoding="utf-8")
