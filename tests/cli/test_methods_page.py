"""docs/methods.md, docs/methods/ and docs/metrics.md are what the tables say."""

import pytest
from oracles import metrics_page
from oracles.methods_page import DOCS, FOLDER, pages

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name], "`make docs` writes it anew"


def test_each_page_is_of_a_method():
    assert {f"methods/{path.name}" for path in FOLDER.iterdir()} == PAGES.keys() - {"methods.md"}


def test_the_page_of_metrics_is_up_to_date():
    assert metrics_page.PAGE.read_text(encoding="utf-8") == metrics_page.page(), "`make docs` writes it anew"
