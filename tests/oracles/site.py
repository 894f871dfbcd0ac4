"""How docs/ becomes a site, as hooks of mkdocs: `make site`.

https://www.mkdocs.org/user-guide/configuration/#hooks
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = tempfile.TemporaryDirectory(prefix="onnxlens-site-")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(?:#[^)]*)?\)")


def on_config(config: Any) -> Any:
    """The menu is the one page that lists the others, docs/index.md; docstrings are those of this folder.

    griffe finds a package by the name of its folder, and a clone may be called otherwise.
    """
    config.nav = menu((DOCS / "index.md").read_text("utf-8"))
    (Path(SOURCES.name) / "onnxlens").symlink_to(ROOT, target_is_directory=True)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [SOURCES.name]
    return config


# Before mkdocstrings reads its paths. event_priority of mkdocs does this; tests of this module have none.
on_config.mkdocs_priority = 100


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files of the repository that are no pages become text."""
    folder = (DOCS / page.file.src_uri).parent
    return LINK.sub(lambda m: m[0] if is_page(folder, m[2]) else m[1], markdown)


def menu(index: str) -> list[Any]:
    """A section for each heading of the index, in it the pages that it links."""
    sections = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", index, re.DOTALL | re.MULTILINE)
    entries = [(title, LINK.findall(text)) for title, text in sections]
    return ["index.md"] + [
        {title: [entry(text, target) for text, target in links if is_page(DOCS, target)]}
        for title, links in entries
    ]


def entry(text: str, target: str) -> dict[str, Any]:
    """A page of the menu, and behind it those of the folder that is called like it."""
    folder = (DOCS / target).with_suffix("")
    others = sorted(p.relative_to(DOCS).as_posix() for p in folder.glob("*.md"))
    return {text: [target, *others] if others else target}


def is_page(folder: Path, target: str) -> bool:
    """True for an address of another server, and for a file in docs/."""
    return "://" in target or (folder / target).resolve().is_relative_to(DOCS.resolve())
