"""One network on so many threads: rows of the suite, their contestants in turns. Started by suite.py.

python tests/bench/contest.py NETWORK FOLDER THREADS SECONDS ROW...

Exports the network into FOLDER and prints a line of JSON for each row and batch.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import networks
import numpy as np
import torch
from rows import ROWS, Contestant, Field, close

TURN = 0.1  # seconds for which one contestant runs before the next
PAUSE = 0.06  # seconds before a turn: threads of ONNX Runtime wait awake for 33 ms, those of PyTorch for 9
LONG = 0.5  # seconds of a call that needs no other before it to be warm
MOST = 60  # rounds
LEAST = 3  # unless they take three times the seconds that there are


def main(name: str, folder: Path, threads: int, seconds: float, rows: list[str]) -> None:
    """Measure the rows that the network takes part in, at each batch."""
    torch.set_num_threads(threads)
    module, path = networks.made(name), folder / f"{name}.onnx"
    if not path.exists():
        networks.export(module, path)
    for key in rows:
        row = ROWS[key]
        for batch in row.batches if name in row.networks else ():
            contestants = row.contestants(Field(name, path, module, threads, batch))
            first, off = answered(f"{name}: {row.title}", contestants, row.allowed)
            # The second time nothing is compiled any more.
            again = {n: timed(c) if first[n] < 10 * c.scale else first[n] for n, c in contestants.items()}
            times = in_turns(contestants, again, seconds * row.patience)
            found = {"network": name, "row": key, "batch": batch, "threads": threads}
            found |= {"rounds": len(next(iter(times.values()))), "load": round(os.getloadavg()[0], 1)}
            found |= {"seconds": {n: float(np.median(t)) for n, t in times.items()}}
            found |= {"quartiles": {n: np.quantile(t, (0.25, 0.75)).tolist() for n, t in times.items()}}
            print(json.dumps(found | {"first": first, "deviation": off}), flush=True)
            del contestants
            gc.collect()


def answered(
    what: str, contestants: Mapping[str, Contestant], allowed: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Run each contestant once and hold their answers against each other.

    The seconds that each took, and how far those that are "near" are off at most, as a share of the range.
    """
    taken, off, expected = {}, {}, None
    for name, one in contestants.items():
        start = time.perf_counter()
        found = one.call()
        taken[name] = one.scale * (time.perf_counter() - start)
        expected = found if expected is None and one.answer == "same" else expected
        if one.answer == "same":
            close(f"{what}, {name}", found, expected, allowed)
        elif one.answer == "near":
            off[name] = float(np.abs(found - expected).max() / np.ptp(expected))
    return taken, off


def timed(one: Contestant) -> float:
    """The seconds of a call."""
    start = time.perf_counter()
    one.call()
    return one.scale * (time.perf_counter() - start)


def in_turns(
    contestants: Mapping[str, Contestant], first: Mapping[str, float], seconds: float
) -> dict[str, list[float]]:
    """The seconds of each round, by contestant; but for long calls the first of a turn is to warm up."""
    calls = {n: max(1, min(10, round(TURN * c.scale / first[n]))) for n, c in contestants.items()}
    warm = {n: first[n] / c.scale < LONG for n, c in contestants.items()}
    kept: dict[str, list[float]] = {name: [] for name in contestants}
    start = time.perf_counter()
    for i in range(MOST):
        spent = time.perf_counter() - start
        if (i >= LEAST and spent > seconds) or (i and spent > 3 * seconds):
            break
        for name, one in contestants.items():
            time.sleep(PAUSE)
            taken = [timed(one) for _ in range(calls[name] + warm[name])]
            kept[name].append(float(np.median(taken[warm[name] :])))
    return kept


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:])
