from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import onnx
import pytest
from oracles.toys import UNIT, blob, colours

from onnxlens.cli import main


@dataclass
class Done:
    """What a command line ended with."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The working folder: a model that knows how photos go in, one that does not, and two photos."""
    monkeypatch.chdir(tmp_path)
    onnx.save(colours(preprocess=UNIT), "model.onnx")
    onnx.save(colours(), "bare.onnx")
    cv2.imwrite("red.png", blob(at=(20, 30))[..., ::-1])
    cv2.imwrite("blue.jpg", blob(at=(40, 70), colour=2)[..., ::-1])
    return tmp_path


@pytest.fixture
def run(capfd) -> Callable[..., Done]:
    """Run the command line in this process; what native code prints is seen too."""

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return Done(int(end.value.code or 0), out, err)

    return run
