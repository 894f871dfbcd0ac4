"""The lowest versions that pyproject.toml allows, as constraints for pip: `make test-floors` tests on them.

A lowest version is one that exists, said in full, because pip would look for no other.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def lowest(requirements: Iterable[str]) -> list[str]:
    """Requirements of at least a version as ones of just that version, where they hold on this system."""
    return [r.replace(">=", "==", 1) for r in requirements if ">=" in r]


if __name__ == "__main__":
    print(*lowest([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]), sep="\n")
