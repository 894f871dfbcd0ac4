"""docs/commands.md and docs/commands/, a page for each command, made from click.

python tests/oracles/commands_page.py
"""

from __future__ import annotations

import re
from inspect import cleandoc
from pathlib import Path

import click

from onnxlens.cli import group

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "commands"
MADE = "Made from the code by `make docs`; a test fails when it is out of date."
INTRODUCTION = """Each page has what `--help` says. Every option can be set once for all in a file or a
variable: [settings](settings.md). Exit codes: 0 done, 1 failed, 2 a request that cannot be met as it
stands, 130 interrupted."""
PROGRAM = click.Context(group, info_name="onnxlens", **group.context_settings)


def commands() -> dict[str, click.Context]:
    """Every command of the program by its name, as a context that knows the command and what it is called."""
    return {name: inner(PROGRAM, name) for name in group.list_commands(PROGRAM)}


def inner(parent: click.Context, name: str) -> click.Context:
    """The context of one command of a group."""
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None, name
    return click.Context(command, parent=parent, info_name=name)


def pages() -> dict[str, str]:
    """The text of each page by its name in docs/."""
    found = commands()
    return {"commands.md": index(found)} | {f"commands/{n}.md": page(n, ctx) for n, ctx in found.items()}


def index(found: dict[str, click.Context]) -> str:
    """The page that lists the others."""
    rows = [f"| [`{name}`](commands/{name}.md) | {summary(ctx)} |" for name, ctx in found.items()]
    return (
        f"# Commands\n\n{INTRODUCTION}\n\n{MADE}\n\n| command | what it does |\n| --- | --- |\n"
        + "\n".join(rows)
        + "\n"
    )


def page(name: str, ctx: click.Context) -> str:
    """The page of a command and, of a group, of those in it."""
    guides = [f"[{title(path)}](../{path.name})" for path in guides_to(name)]
    parts = [*section(ctx, "#"), *(["Guide: " + ", ".join(guides) + "."] if guides else []), MADE]
    if isinstance(ctx.command, click.Group):
        for each in ctx.command.list_commands(ctx):
            parts += section(inner(ctx, each), "##")
    return "\n\n".join(parts) + "\n"


def section(ctx: click.Context, level: str) -> list[str]:
    """What click knows of a command: its help, how it is called, and its options as a table."""
    usage = " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])
    parts = [f"{level} onnxlens {ctx.command_path.split(' ', 1)[1]}", *paragraphs(ctx.command.help or "")]
    parts.insert(2, f"```text\n{usage}\n```")
    options = [r for p in ctx.command.params if isinstance(p, click.Option) and (r := p.get_help_record(ctx))]
    rows = [f"| {code(flags)} | {cell(help)} |" for flags, help in options if not flags.startswith("-h")]
    return [*parts, "| option | what it does |\n| --- | --- |\n" + "\n".join(rows)] if rows else parts


def paragraphs(help: str) -> list[str]:
    """A help text as Markdown: what click leaves as it is written (after \\b) becomes a block of code."""
    found = []
    for text in cleandoc(help).split("\n\n"):
        shown = text.partition("\b\n")[2]
        found.append(f"```console\n{cleandoc(shown)}\n```" if shown else plain(text))
    return found


def plain(text: str) -> str:
    """Text in which only what stands in backticks means something to Markdown."""
    parts = re.split(r"(`[^`]*`)", text.strip())
    return "".join(p if p.startswith("`") else re.sub(r"([*_<\[])", r"\\\1", p) for p in parts)


def cell(text: str) -> str:
    """Text in a cell of a table."""
    return plain(" ".join(text.split())).replace("|", "\\|")


def code(text: str) -> str:
    """Flags in a cell of a table, of which click separates several by commas."""
    return "`" + text.replace("|", "\\|") + "`"


def summary(ctx: click.Context) -> str:
    """The first sentence of a command's help."""
    return cell(ctx.command.get_short_help_str(1000))


def guides_to(name: str) -> list[Path]:
    """The pages by hand whose first block of commands shows this one."""
    return [
        path
        for path in sorted(DOCS.glob("*.md"))
        if (block := re.search(r"^```console\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE))
        and re.search(rf"^onnxlens {name}\b", block[1], re.MULTILINE)
    ]


def title(path: Path) -> str:
    """The heading of a page."""
    return path.read_text("utf-8").partition("\n")[0].removeprefix("# ")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.md"):
        old.unlink()
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
