"""docs/sources.md: what the record says, and PyTorch's part of it anew."""

import pytest
from oracles import operators_page, sources_page

RECORD = sources_page.record()


def test_the_page_is_what_was_recorded():
    assert sources_page.PAGE.read_text(encoding="utf-8") == sources_page.page(RECORD)


@pytest.mark.parametrize("source", ["torch", "wheel"])
def test_we_cover_what_another_source_covers(source):
    assert set(RECORD[source]) <= set(RECORD["onnxlens"])
    assert len(RECORD[source]) > 50


def test_what_was_recorded_still_has_a_gradient():
    plain = [name for name in RECORD["onnxlens"] if ":" not in name]
    assert [name for name in plain if operators_page.how(name) is None] == []


def test_autograd_never_says_otherwise():
    assert [name for name, (_, otherwise) in RECORD["torch"].items() if otherwise] == []


@pytest.mark.slow
@pytest.mark.reference
def test_autograd_says_the_same_in_every_case():
    pytest.importorskip("torch")
    from oracles import sources

    agree = 0
    for name, one in sources.cases().items():
        theirs = sources.by_torch(one)
        assert sources.distance(theirs, sources.by_us(one)) < sources.AGREE, name
        agree += bool(theirs)
    assert agree >= sum(right for right, _ in RECORD["torch"].values())
