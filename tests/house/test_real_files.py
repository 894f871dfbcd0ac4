"""What tests/bench/real_files.py asks of its list, and when it calls the heat elsewhere."""

import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[1] / "bench"
sys.path.append(str(BENCH))  # its scripts find each other by name

from bench import drawings, truths  # noqa: E402

ROWS = tomllib.loads((BENCH / "real_files.toml").read_text())


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_is_expected(name):
    row = truths.Row(name, **ROWS[name])
    assert row.readout in truths.SAYS
    assert row.picture in {*drawings.DRAWN, *drawings.FACES}
    assert (row.scores is None) == (row.readout != "classes")


def test_there_are_enough_rows():
    assert len(ROWS) >= 27


@pytest.mark.parametrize(
    ("hot", "said"), [((12, 30), []), ((12, 60), ["hottest at (12, 60), not in [0, 20, 20, 40]"])]
)
def test_the_hottest_place_is_looked_for_in_the_photo(hot, said, tmp_path):
    values = np.zeros((20, 80), np.float32)
    values[hot] = 1
    np.save(tmp_path / "map.npy", values)
    result = {"files": {"photo_map": "map.npy"}, "box": [0, 0, 20, 80]}
    (tmp_path / "manifest.json").write_text(json.dumps({"results": [result]}))
    row = truths.Row("gutenye-rec", **ROWS["gutenye-rec"])
    row.inside = [0, 20, 20, 40]
    assert list(truths.elsewhere(row, tmp_path)) == said


def test_a_signal_lies_where_the_input_covers_the_photo(tmp_path):
    signal = np.zeros((10, 20, 3), np.float32)
    signal[4:7, 14:17] = -1
    np.save(tmp_path / "signal.npy", signal)
    result = {"files": {"signal": "signal.npy"}, "box": [0, 100, 100, 300]}
    (tmp_path / "manifest.json").write_text(json.dumps({"results": [result]}))
    row = truths.Row("gutenye-rec", **ROWS["gutenye-rec"])
    row.inside = [40, 240, 70, 270]
    assert list(truths.elsewhere(row, tmp_path)) == []
