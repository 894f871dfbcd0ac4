"""Every command that a page or a help text shows runs as it stands there.

Each in a folder of its own that holds what the pages talk of (oracles/desk.py), but for what it is to write.
What stands in a line of prose counts where it is a whole command, with a model or a place to work on.
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from oracles.desk import lay

from onnxlens.cli import group, main
from onnxlens.host import cache_folder

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / n for n in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("docs/*.md")),
]
# What cannot run in a test of a minute, and what is tested instead.
NOT_HERE = {
    "--engine ray": "needs a cluster: tests/cli/test_cluster.py",
    "/shared/": "a folder that the nodes of a cluster share",
    "s3://": "needs a store: tests/cli/test_s3.py",
    "predict squeezenet1.1-7": "needs the network: tests/models/test_zoo.py",
    "gradcam squeezenet1.1-7": "needs the network: tests/models/test_zoo.py",
    "onnxlens cluster": "needs more photos, and scikit-learn: tests/models/test_clusters.py",
    "onnxlens concepts": "needs scikit-learn: tests/cli/test_concepts_command.py",
    "zoo fetch": "needs the network: tests/models/test_zoo.py",
}
SHELL = re.compile(r"^[A-Z_]+=|[|>*~$\n;]")  # what a shell does, outside of quotes
AS_A_FUNCTION = 'onnxlens() { "$PYTHON" -m onnxlens "$@"; }\n'


def in_blocks(text: str) -> list[str]:
    """The commands of the blocks of a page; a line that ends in a backslash or is in a loop goes on."""
    found = []
    for block in re.findall(r"^```(?:console|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines = [line for line in block.splitlines() if line.strip()]
        if any(line.startswith("$ ") for line in lines):  # what they print stands between them
            joined = "\n".join(line for line in lines if line.startswith(("$ ", "> ")))
            found += [c.replace("\n> ", "\n") for c in re.split(r"^\$ ", joined, flags=re.MULTILINE)]
        else:
            found += "\n".join(lines).replace("\\\n", " ").splitlines()
    return [command.strip() for command in found if re.search(r"(^|\s)onnxlens\s", command)]


def in_prose(text: str) -> list[str]:
    """Spans of code that are whole commands: with what they work on, and no words that stand for others."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = [" ".join(s.split()) for s in re.findall(r"`(onnxlens [^`]+)`", text)]
    return [s for s in spans if is_whole(s)]


def is_whole(command: str) -> bool:
    words = command.split()[1:]
    named: click.Command = group
    context = click.Context(group)
    while words and isinstance(named, click.Group):
        found = named.get_command(context, words.pop(0))
        if found is None:
            return False
        named = found
    needed = [p for p in named.params if isinstance(p, click.Argument) and p.required]
    given = bool(words) and not words[0].startswith("-")
    stands_for = re.search(r"\b[A-Z]{3,}\b|\.\.\.", command)
    return not isinstance(named, click.Group) and not stands_for and (given or not needed)


def in_help(command: click.Command, name: str) -> list[str]:
    """The examples at the end of the help of a command and of those in it."""
    examples = (command.help or "").partition("\b\n")[2].splitlines()
    found = [line.strip() for line in examples if re.search(r"(^|\| )onnxlens ", line.strip())]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner in command.list_commands(context):
            found += in_help(command.get_command(context, inner), inner)
    return [re.split(r"\s{3,}", line)[0] for line in found]  # a remark may stand behind


SHOWN = {
    command: page.name
    for page in PAGES
    for command in (*in_blocks(page.read_text()), *in_prose(page.read_text()))
}
SHOWN |= {command: "help" for command in in_help(group, "onnxlens") if command not in SHOWN}
RUN = {c: where for c, where in SHOWN.items() if not any(mark in c for mark in NOT_HERE)}
SLOW = re.compile(r"onnxlens demo|--zoom")
CASES = [pytest.param(c, marks=pytest.mark.slow if SLOW.search(c) else [], id=c[:90]) for c in RUN]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        lay(folder, run)
    return folder


def run(command):
    with pytest.raises(SystemExit) as end:
        main(shlex.split(command, comments=True)[1:])
    assert not end.value.code, command


def test_there_is_something_to_run():
    assert len(RUN) > 100
    assert {"README.md", "help", "runs.md", "dream.md"} <= set(RUN.values())
    assert len(SHOWN) - len(RUN) < 20
    assert all(any(mark in command for command in SHOWN) for mark in NOT_HERE)


@pytest.mark.parametrize("command", CASES)
def test_it_runs(command, desk, tmp_path, monkeypatch):
    place = tmp_path / "desk"
    shutil.copytree(desk, place)
    monkeypatch.chdir(place)
    if " cache " in command:  # not that of whoever runs the tests
        monkeypatch.setenv("ONNXLENS_CACHE", str(place / "cache"))
    for output in re.findall(r"\s-o (\S+)", command):
        shutil.rmtree(place / output, ignore_errors=True)
    if SHELL.search(re.sub(r"'[^']*'|\"[^\"]*\"", "", command)):
        monkeypatch.setenv(
            "ONNXLENS_CACHE", str(cache_folder())
        )  # where kernels are that another process compiled
        monkeypatch.setenv("HOME", str(place / "home"))
        monkeypatch.setenv("PYTHON", sys.executable)
        subprocess.run(["bash", "-o", "pipefail", "-c", AS_A_FUNCTION + command], check=True)
    else:
        run(command)
