"""Runs that are killed, interrupted or without room, in processes of their own: nothing of them is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from oracles.runs import manifest, rows, table, tree

from onnxlens.models.embedded.scenes import TEST_SEEDS, scene


def drawn(folder, count):
    """Scenes as files: 20 of them, again and again."""
    folder.mkdir()
    for i in range(count):
        path = folder / f"{i:04}.png"
        if i < 20:
            cv2.imwrite(str(path), scene(TEST_SEEDS[i], size=96).image[..., ::-1])
        else:
            path.write_bytes((folder / f"{i % 20:04}.png").read_bytes())
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def started(*words):
    command = [sys.executable, "-m", "onnxlens", "run", *map(str, words)]
    # What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
    listening = None if sys.platform == "win32" else lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listening
    )


def made(run_folder):
    """How many maps of a run are there by now."""
    return len(list(run_folder.glob("maps/*")))


def killed(process, run_folder, more):
    """Kill a run when it has made so many maps more; for 0 of them while it starts. Whether it still ran."""
    before, deadline = made(run_folder), time.monotonic() + 60
    if not more:
        time.sleep(random.Random(before).uniform(0, 0.3))
    while process.poll() is None and made(run_folder) < before + more and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.communicate(timeout=60)
    return process.returncode == -signal.SIGKILL


def survives(tmp_path, photos, kills, most):
    words = ["scenes", photos, "--batch", 4, "--shard", 16, "--provider", "cpu", "-q"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    process = started(*words, "-o", whole)
    process.communicate(timeout=600)
    assert process.returncode == 1  # for the broken one
    chance = random.Random(kills)
    for _ in range(kills):
        assert killed(started(*words, "-o", out, "--resume"), out, chance.randint(0, most))
        assert not out.exists() or manifest_of(out) != "done"
    process = started(*words, "-o", out, "--resume")
    _, said = process.communicate(timeout=600)
    assert process.returncode == 1, said
    assert table(out) == table(whole)
    assert tree(out) == tree(whole)
    assert manifest(out)["counts"] == manifest(whole)["counts"]


def manifest_of(folder):
    """The state that a run says, if it has said one."""
    return manifest(folder)["state"] if Path(folder, "manifest.json").exists() else None


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_and_resumed(tmp_path):
    survives(tmp_path, drawn(tmp_path / "photos", 120), 4, 20)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_at_twenty_moments(tmp_path):
    survives(tmp_path, drawn(tmp_path / "photos", 3000), 20, 130)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_second_process_on_the_same_folder_is_refused(tmp_path):
    photos, out = drawn(tmp_path / "photos", 400), tmp_path / "out"
    words = ["scenes", photos, "-o", out, "--batch", 4, "--provider", "cpu"]
    first = started(*words)
    deadline = time.monotonic() + 60
    while made(out) < 20 and time.monotonic() < deadline:
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)  # it lives, however fast it is
    for more in ("--resume", "--overwrite"):
        second = started(*words, more)
        _, said = second.communicate(timeout=60)
        assert second.returncode == 2
        assert f"another run is writing into {out}" in said
    first.send_signal(signal.SIGCONT)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 1, said  # for the broken one
    assert len(table(out)) == 401


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own that can be made larger."""
    place = tmp_path / "disk"
    place.mkdir()

    def sized(kilobytes, *more):
        options = ",".join([f"size={kilobytes}k", *more])
        line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        return subprocess.run(line, capture_output=True, check=False).returncode == 0

    if sys.platform != "linux" or not sized(400):
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield place, sized
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(tmp_path, small_disk):
    photos, (disk, sized) = drawn(tmp_path / "photos", 120), small_disk
    words = ["scenes", photos, "--batch", 4, "--shard", 8, "--provider", "cpu", "-q"]
    whole, out = tmp_path / "whole", disk / "out"
    started(*words, "-o", whole).communicate(timeout=600)
    for size in (500, 700):
        process = started(*words, "-o", out, "--resume")
        _, said = process.communicate(timeout=600)
        assert process.returncode == 1
        assert "No space left on device" in said.splitlines()[-1]
        for row in rows(out):
            assert row["error"] or all(Path(out, row[k]).stat().st_size for k in ("picture", "map"))
        assert sized(size, "remount")
    assert sized(20_000, "remount")
    process = started(*words, "-o", out, "--resume")
    _, said = process.communicate(timeout=600)
    assert (process.returncode, "No space" in said) == (1, False)  # for the broken one
    assert table(out) == table(whole)
    assert tree(out) == tree(whole)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_runs_keep_what_is_done_and_say_how_to_go_on(tmp_path, how):
    photos, out = drawn(tmp_path / "photos", 400), tmp_path / "out"
    words = ["scenes", photos, "-o", out, "--batch", 4, "--provider", "cpu"]
    process = started(*words)
    deadline = time.monotonic() + 60
    while len(list(out.glob("maps/*"))) < 60 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"onnxlens run scenes {photos}" in said
    assert "--resume" in said
    assert "Traceback" not in said
    assert manifest(out)["state"] == "interrupted"
    assert 0 < manifest(out)["counts"]["images"] == len(rows(out)) < 400


def test_a_reader_that_has_seen_enough(tmp_path):
    photos = drawn(tmp_path / "photos", 60)
    process = started("scenes", photos, "-o", tmp_path / "out", "--json", "-q", "--batch", 1)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="terminals")
def test_progress_on_a_terminal_leaves_the_rows_alone(tmp_path):
    import pty

    photos = drawn(tmp_path / "photos", 40)
    ours, theirs = pty.openpty()
    words = ["run", "scenes", photos, "-o", tmp_path / "out", "--json", "--batch", 4]
    command = [sys.executable, "-m", "onnxlens", *map(str, words)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment
    ) as process:
        os.close(theirs)
        out = process.stdout.read()
        said = b""
        while part := _read(ours):
            said += part
    assert [json.loads(line)["path"] for line in out.splitlines()] == [
        r["path"] for r in rows(tmp_path / "out")
    ]
    assert b"41/41" in said
    assert b"1 failed" in said
    assert b"broken.png: " in said


def _read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when nobody writes any more
        return b""
