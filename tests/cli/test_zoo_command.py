"""`onnxlens zoo fetch` for a program."""

import hashlib

from onnxlens.models.network import zoo


def test_what_was_fetched_as_json(run, monkeypatch, tmp_path):
    monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path))
    body = b"a model"
    digest = hashlib.sha256(body).hexdigest()
    tiny = zoo.Record(
        "tiny-1", "http://127.0.0.1:9/tiny-1.onnx", digest, len(body), "imagenet", "imagenet", 12
    )
    monkeypatch.setattr(zoo, "records", lambda: {"tiny-1": tiny})
    path = zoo.cached_path("tiny-1")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    (fetched,) = run("zoo", "fetch", "tiny-1", "--json").records
    assert (fetched["file"], fetched["here"], fetched["sha256"]) == (str(path), True, digest)
    (shown,) = run("zoo", "show", "tiny-1", "--json").records
    assert fetched == shown
    assert run("zoo", "fetch", "tiny-1").out == f"{path}\n"
    assert run("zoo", "fetch", "tiny-2", "--json").code == 2
