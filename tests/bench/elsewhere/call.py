"""One file in one runtime, in the environment of that runtime: needs NumPy alone; runners.py calls it.

python call.py PROGRAM MODEL GIVEN.npz FOUND.npz FOLDER
"""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np


def main(program: str, model: str, given: str, found: str, folder: str) -> None:
    with np.load(given) as arrays:  # as runners.py writes them
        feeds = {str(name): arrays[f"a{i}"] for i, name in enumerate(arrays["names"])}
    answers = import_module(program).run(model, feeds, Path(folder))
    if not isinstance(answers, dict):
        answers = {str(i): array for i, array in enumerate(answers)}
    np.savez(found, names=np.array([*answers]), **{f"a{i}": a for i, a in enumerate(answers.values())})


if __name__ == "__main__":
    main(*sys.argv[1:])
