"""What `onnxlens grad --check` says: how an export does in the runtimes that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...console import note, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ....engine.runtime.exports.checked import Check


def records(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Each runtime as JSON has it."""
    return [
        {"runtime": c.runtime, "version": c.version, "verdict": c.verdict}
        | ({"said": c.said} if c.off is None else {"off": float(f"{c.off:.3g}"), "bound": c.bound})
        for c in checks
    ]


def show(checks: Sequence[Check]) -> None:
    """A line for each runtime, and what to think of it."""
    rows = [(c.runtime, c.version, c.verdict, c.said if c.off is None else f"{c.off:.1e}") for c in checks]
    table(("runtime", "version", "verdict", "off, over the norm"), rows)


def failed(checks: Sequence[Check], runtime: str) -> bool:
    """Whether a runtime that the file is for is wrong, or refuses the file written for it; says so.

    A file for `any` is for all; one for a runtime that cannot be installed here is for ONNX Runtime, of which
    it is made.
    """
    from ....engine.runtime.exports.exported import RUNTIMES
    from ....engine.runtime.exports.installed import words_for

    own = {c.runtime for c in checks if words_for(c.runtime) == runtime} or {"onnxruntime"}
    meant = [c for c in checks if runtime == "any" or c.runtime in own]
    wrong = [c for c in meant if c.verdict == "wrong"]
    for check in wrong:
        words = words_for(check.runtime)
        other = words in RUNTIMES and words != runtime
        help = f"export it with --for {words}" if other else "do not use it there"
        note(f"{check.runtime} {check.version} is silently wrong with this file: {help}")
    return bool(wrong) or any(c.verdict == "refused" for c in meant if runtime != "any")
