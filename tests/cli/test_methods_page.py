"""docs/methods.md and docs/methods/ are what the table of methods says."""

import pytest
from oracles.methods_page import DOCS, FOLDER, pages

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name], "`make docs` writes it anew"


def test_each_page_is_of_a_method():
    assert {f"methods/{path.name}" for path in FOLDER.iterdir()} == PAGES.keys() - {"methods.md"}
