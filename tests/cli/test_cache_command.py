"""`onnxlens cache` says what is kept, and removes what can be made again."""


def test_show_and_clear(run, tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path / "cache"))
    assert str(tmp_path / "cache") in run("cache", "show").out
    for name in ("zoo/a.onnx", "kernels/x/f.nbc", "kernels/x/f.nbi", "graphs/k/sums.json", "graphs/k/0.bin"):
        path = tmp_path / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    (shown,) = run("cache", "show", "--json").records
    assert shown["folder"] == str(tmp_path / "cache")
    assert shown["zoo"] == {"entries": 1, "bytes": 1000}
    assert shown["kernels"] == {"entries": 1, "bytes": 2000}
    assert shown["graphs"] == {"entries": 1, "bytes": 2000}
    (cleared,) = run("cache", "clear", "--json").records
    assert cleared["bytes"] == 4000
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["zoo"]
    assert run("cache", "clear", "--all").code == 0
    assert not list((tmp_path / "cache").iterdir())
    assert run("cache", "clear").code == 0


def test_it_follows_no_link(run, tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "graphs").symlink_to(tmp_path / "mine")
    run("cache", "clear")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"
