"""Two thousand damaged model files: each ends in a result or in one line that says what is wrong.

They are tried in other processes of bounded memory, so that a file that kills or hangs one is known.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from oracles import mutants

from onnxlens.engine.autodiff.gradient import gradient

resource = pytest.importorskip("resource", reason="memory is bounded by a limit that Windows lacks")

FILES, PROCESSES = 2_000, 2
MEMORY = 8 * 2**30  # bytes of address space


def bounded():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def tried(first, last, folder):
    """Start a process that tries these files."""
    return subprocess.Popen(
        [sys.executable, mutants.__file__, str(first), str(last), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=bounded,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def test_the_models_are_sound_before_the_damage():
    for model in mutants.seeds():
        assert gradient(model).graph.output[-1].name.startswith("grad/")


def test_damaged_files_end_in_a_result_or_a_reason(tmp_path, record_property):
    step = FILES // PROCESSES
    processes = [tried(i, i + step, tmp_path) for i in range(0, FILES, step)]
    outcomes, wrong = Counter(), []
    for process in processes:
        text = process.communicate(timeout=300)[0]
        lines = [line.split(" ", 1) for line in text.splitlines() if line[:1].isdigit()]
        last = lines[-1] if lines else ["?"]
        if process.returncode:
            wrong.append(f"file {last[0]} ended the process ({process.returncode}): {text[-500:]}")
        wrong += [" ".join(line) for line in lines if len(line) == 2 and line[1].startswith("FAULT")]
        outcomes.update(line[1] for line in lines if len(line) == 2)
    record_property("outcomes", dict(outcomes))
    assert not wrong, "\n".join(wrong)
    assert sum(outcomes.values()) == FILES
    assert outcomes["result result"] >= 20  # some are harmless: the harness itself works
    assert not Path(tmp_path, "core").exists()
