"""The rooms of the house, read from its imports; run, it prints files, arrows and circles.

An arrow goes from one entry of a folder, a file or a folder with all that is in it, to another that it
imports from, at its top, inside its functions or for its types alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLOORS = ("kernels", "engine", "models", "cli")
Name = tuple[str, ...]  # a module from the root: ("engine", "graph", "nodes")


@cache
def modules() -> dict[Name, Path]:
    paths = [p for floor in FLOORS for p in (ROOT / floor).rglob("*.py")]
    return {p.relative_to(ROOT).with_suffix("").parts: p for p in paths}


def _module(name: Name) -> Name | None:
    return next((n for n in (name, (*name, "__init__")) if n in modules()), None)


@cache
def imports() -> frozenset[tuple[Name, Name]]:
    return frozenset(pair for name in modules() for pair in _imports(name))


def _imports(name: Name) -> Iterator[tuple[Name, Name]]:
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*name[: len(name) - node.level], *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                found = _module((*base, alias.name)) or _module(base)
                if found and found != name:
                    yield name, found


def folders() -> list[Name]:
    return sorted({name[:i] for name in modules() for i in range(1, len(name))})


def entries(folder: Name) -> set[str]:
    return {name[len(folder)] for name in modules() if name[: len(folder)] == folder}


def files(folder: Name) -> set[str]:
    return {name[-1] for name in modules() if name[:-1] == folder}


def arrows(folder: Name) -> set[tuple[str, str]]:
    n = len(folder)
    inside = [(a[n], b[n]) for a, b in imports() if a[:n] == b[:n] == folder]
    return {(a, b) for a, b in inside if a != b}


def circles(found: set[tuple[str, str]]) -> list[set[str]]:
    """The sets of entries that can be reached from each other."""
    behind: dict[str, set[str]] = {}
    for start, _ in found:
        todo, seen = [start], set()
        while todo:
            new = {b for a, b in found if a == todo[-1]} - seen
            todo.pop()
            seen |= new
            todo += new
        behind[start] = seen
    round_ = {a: frozenset(b for b in behind[a] if a in behind.get(b, ())) for a in behind if a in behind[a]}
    return [set(circle) for circle in dict.fromkeys(round_.values())]


def main() -> None:
    for folder in folders():
        found = arrows(folder)
        marks = "".join(f", a circle of {', '.join(sorted(c))}" for c in circles(found))
        print(f"{'/'.join(folder)}: {len(files(folder))} files, {len(found)} arrows{marks}")


if __name__ == "__main__":
    main()
