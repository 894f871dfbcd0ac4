"""How long two versions take, in turns. Started by versions.py --times; serves as the process that is timed.

python tests/bench/turns.py ENTRY MODEL PRESET PHOTO       a line with a number N in: N calls; seconds out

For each entry each version has a process of its own, and they take turns of about a quarter of a second, so
that both have the same share of whatever else the machine does. Several rounds of fresh processes follow
each other, since a process may be slow by luck: how its memory happens to lie, where a trial told occlusion
to cut the network. What is printed is the median turn of the best round, by the clock and in processor time.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

TURN = 0.25  # seconds of a turn, at least
TURNS = 8  # of each process
PAUSE = 0.05  # seconds before each: threads of ONNX Runtime wait awake for 33 ms after a run
CLASSES = 20  # at most, in one call of a method that is compiled anew in each


def _projected(method: str, most: int) -> Callable[[Any, Any], Callable[[], object]]:
    """A method of `project`, of several classes, so that the maps count beside compiling it."""

    def entry(lens: Any, photo: Any) -> Callable[[], object]:
        targets = range(min(most, len(lens.labels)))
        return lambda: _onnxlens().project(lens, photo, method, targets)

    return entry


def _dream(lens: Any, photo: Any) -> Callable[[], object]:
    """Ten steps at one octave, compiled before."""
    ascent = _onnxlens().Ascent(lens, "class(0)")
    return lambda: _onnxlens().dream(ascent, photo[:224, :224], octaves=1, iterations=10)


def _onnxlens() -> Any:
    """The version that PYTHONPATH names; only its public names, since modules move."""
    import onnxlens

    return onnxlens


CALLS: dict[str, Callable[[Any, Any], Callable[[], object]]] = {
    "predict": lambda lens, photo: lambda: lens.predict(photo),
    "gradcam": lambda lens, photo: lambda: lens.gradcam(photo),
    "saliency": _projected("saliency", CLASSES),
    "guided": _projected("guided", CLASSES),
    "integrated": _projected("integrated", 1),
    "occlusion": lambda lens, photo: lambda: _onnxlens().occlusion(lens, photo),
    "dream": _dream,
}
COMMANDS = {
    "--help": "--help",
    "gradcam of one photo": "gradcam {model} {photo} {flags} -o out --overwrite",
    "saliency of one photo": "saliency {model} {photo} {flags} -o out --overwrite",
    "run": "run {model} {folder} {flags} -o rows --overwrite",
}
ENTRIES = (*CALLS, *COMMANDS)


class Took(NamedTuple):
    """Seconds of one call."""

    wall: float
    cpu: float


# -- the process that is timed ----------------------------------------------------------------------------


def serve(entry: str, model: str, preset: str, path: str) -> None:
    """Warm up, then make as many calls as each line says and answer with the seconds of one."""
    lens = _onnxlens().Lens(model, preset=preset or None, provider="cpu", threads=1)
    call = CALLS[entry](lens, _onnxlens().read_photo(path))
    call()
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            call()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(wall / int(line), cpu / int(line), flush=True)


# -- the one that asks ------------------------------------------------------------------------------------

Turn = Callable[[], Took]


@contextmanager
def served(environment: Mapping[str, str], words: Sequence[str]) -> Iterator[Turn]:
    """A process that makes calls; each turn takes about TURN seconds."""
    command = [sys.executable, __file__, *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        asked, answered = process.stdin, process.stdout
        assert asked is not None and answered is not None  # noqa: PT018

        def turn(calls: int) -> Took:
            print(calls, file=asked, flush=True)
            wall, cpu = answered.readline().split()
            return Took(float(wall), float(cpu))

        calls = max(1, round(TURN / turn(1).wall))
        yield lambda: turn(calls)
        asked.close()


@contextmanager
def started(environment: Mapping[str, str], words: Sequence[str], place: Path) -> Iterator[Turn]:
    """A command line, each turn a process; a first one, which compiles, is not counted."""
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "onnxlens", *words]

    def turn() -> Took:
        before, wall = os.times(), time.perf_counter()
        subprocess.run(command, env=environment, cwd=place, capture_output=True, check=True)
        after, wall = os.times(), time.perf_counter() - wall
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        return Took(wall, spent)

    turn()
    yield turn


def in_turns(both: Sequence[Callable[[], AbstractContextManager[Turn]]], rounds: int) -> list[Took]:
    """The median turn of each in its best round; each round opens both anew."""
    best = [Took(math.inf, math.inf) for _ in both]
    for _ in range(rounds):
        took: list[list[Took]] = [[] for _ in both]
        with ExitStack() as stack:
            turns = [stack.enter_context(opened()) for opened in both]
            for i in range(TURNS):
                for k in (0, 1) if i % 2 else (1, 0):  # neither always follows the other
                    time.sleep(PAUSE)
                    took[k].append(turns[k]())
        medians = [Took(*map(statistics.median, zip(*some, strict=True))) for some in took]
        best = [Took(*map(min, zip(*pair, strict=True))) for pair in zip(best, medians, strict=True)]
    return best


if __name__ == "__main__":
    serve(*sys.argv[1:])
