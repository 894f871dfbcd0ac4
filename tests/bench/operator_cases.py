"""On how many of ONNX's cases a derivative is right: `python tests/bench/operator_cases.py [--mode M]`."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
from oracles.verdicts import MODES, Verdict, cases, computed, has_control_flow, judge

KINDS = ("right", "wrong", "NaN", "refused", "exempt")


def group(name: str, model: object) -> str:
    """In which line of the table a case is counted."""
    if has_control_flow(model):  # pyright: ignore[reportArgumentType]
        return "with graphs inside"
    return "of several nodes" if len(model.graph.node) > 1 else "of one node"  # pyright: ignore


@click.command()
@click.option("--only", default="", help="Cases with this in their name.")
@click.option("--mode", type=click.Choice(MODES), default="reverse", help="Which derivative.")
@click.option("--all", "every", is_flag=True, help="Every case, not only what is not right.")
def main(only: str, mode: str, every: bool) -> None:
    """Say of each case what its derivative is worth, and of all how many."""
    found: dict[str, list[Verdict]] = {}
    skipped: Counter[str] = Counter()
    for name, model, feeds in cases():
        if only not in name:
            continue
        ran = computed(model, feeds)
        if ran is None:
            skipped[group(name, model)] += 1
            continue
        verdict = judge(name, ran[0], feeds, ran[1], mode)
        found.setdefault(group(name, model), []).append(verdict)
        if every or verdict.kind != "right":
            click.echo(f"{verdict.kind:8} {name} ({verdict.operator}): {verdict.reason}")
    for label, verdicts in found.items():
        counts = Counter(v.kind for v in verdicts)
        finite = len(verdicts) - counts["exempt"]
        row = ", ".join(f"{counts[k]} {k}" for k in KINDS)
        click.echo(
            f"{label}: right {counts['right']} of {finite} ({row}); "
            f"{skipped[label]} that this runtime does not compute; "
            f"{sum(v.held for v in verdicts)} slopes, {sum(v.left for v in verdicts)} do not exist"
        )
    sys.exit(any(v.kind in ("wrong", "NaN", "refused") for vs in found.values() for v in vs))


if __name__ == "__main__":
    main()
