"""docs/commands.md and docs/commands/ are what click knows of the commands."""

import pytest
from oracles.commands_page import DOCS, FOLDER, pages

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name], "`make docs` writes it anew"


def test_each_page_is_of_a_command():
    assert {f"commands/{path.name}" for path in FOLDER.iterdir()} == PAGES.keys() - {"commands.md"}
