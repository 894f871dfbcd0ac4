"""Which photos places mean, what they are called, and that no two of them meet in a name."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlens.engine.errors import BadRequest
from onnxlens.models.storage.album import MAX_BYTES, album, name_of, safe, text


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("a/x.png", "a/deep/y.jpg", "b/x.png", "b/notes.txt", ".hidden/z.png", "c d/'q'.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("places", "root", "names"),
    [
        (["a"], "a", ["deep/y.jpg", "x.png"]),
        (["."], "", ["a/deep/y.jpg", "a/x.png", "b/x.png", "c d/'q'.webp"]),
        (["a", "b"], "", ["a/deep/y.jpg", "a/x.png", "b/x.png"]),
        (["b/x.png"], "b", ["x.png"]),
        (["b/notes.txt", "b/x.png"], "b", ["notes.txt", "x.png"]),
        (["b/x.png", "a/x.png", "b"], "", ["b/x.png", "a/x.png"]),
        (["b/x.png", "b/../b/x.png"], "b", ["x.png"]),
        (["*/x.png"], "", ["a/x.png", "b/x.png"]),
        (["**/*.jpg"], "a/deep", ["y.jpg"]),
        (["b/*"], "b", ["x.png"]),
        (["c d/'q'.webp"], "c d", ["'q'.webp"]),
    ],
)
def test_places(tree, places, root, names):
    found = album(places)
    assert (found.root, found.names) == (str(tree / root), names)
    assert all(Path(found.root, name).is_file() for name in found.names)


@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"\0"])
def test_lists(tree, between):
    found = album([], [between.join([b"b/x.png", b"a", b"", b"gone.png"])])
    assert (found.root, found.names) == (str(tree), ["b/x.png", "a/deep/y.jpg", "a/x.png", "gone.png"])


def test_a_file_that_is_called_like_a_pattern(tree):
    (tree / "[1].png").touch()
    assert album(["[1].png"]).names == ["[1].png"]


@pytest.mark.parametrize("places", [["nowhere"], ["b/notes.txt", "x*"], [".hidden/none"], ["c d/*.png"]])
def test_what_is_not_there(tree, places):
    with pytest.raises(BadRequest, match=r"no such file|is called like that"):
        album(places)


def test_a_folder_without_photos(tmp_path):
    with pytest.raises(BadRequest, match="no photo in"):
        album([tmp_path])


def test_some_of_them(tree):
    found = album(["."])
    assert found.some(limit=2).names == found.names[:2]
    assert found.some(sample=9) == found
    drawn = {tuple(found.some(sample=2, seed=s).names) for s in range(20)}
    assert len(drawn) > 2
    assert all(list(d) == sorted(d, key=found.names.index) for d in drawn)
    assert found.some(sample=2, seed=3) == found.some(sample=2, seed=3)


NAME = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=90)


@given(st.lists(NAME.filter(lambda n: n not in (".", "..")), min_size=1, max_size=3).map("/".join))
def test_a_safe_name_is_safe(name):
    parts = safe(name).split("/")
    assert len(parts) == len(name.split("/"))
    for part in parts:
        assert 0 < len(part) <= MAX_BYTES
        assert part.isascii()
        assert all(c.isalnum() or c in "-_.+=~" for c in part)
        assert not part.startswith(".")


@given(NAME, NAME)
def test_two_names_never_meet(one, other):
    assert (safe(one) == safe(other)) == (one == other)


def test_a_plain_name_stays():
    assert safe("a/B-1_2.x+y=z.png") == "a/B-1_2.x+y=z.png"
    assert safe("n" * 300) != safe("n" * 301)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"\xff\xe9.png")
    (tmp_path / name).touch()
    assert album([tmp_path]).names == [name]
    assert text(name) == r"\xff\xe9.png"
    assert name_of(text(name)) == name
    assert text("é.png") == "é.png"
