"""What a model says of the classes of one photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine.anatomy.readouts.classes import Readout
from .numbers import Number, finite


@dataclass(frozen=True)
class Prediction:
    """What a model says of one class of a photo: its index, its name and its probability (0 to 1).

    Where the model gives no probabilities (an embedding, a regression) that is None, and `value` is the
    number that it gives.

    Examples
    --------
    >>> best = onnxlens.Lens("scenes").predict(onnxlens.read_photo("cat.jpg"))[0]
    >>> best.index, best.label, best.said
    (3, 'cat', '0.980')
    """

    index: int
    label: str
    probability: float | None
    value: float | None = None

    @property
    def answer(self) -> float:
        """The probability, or else the value."""
        return self.value if self.probability is None else self.probability  # pyright: ignore[reportReturnType]

    @property
    def said(self) -> str:
        """The answer as a person reads it: 0.979, or 12.34 of what is no probability."""
        return f"{self.answer:.4g}" if self.probability is None else f"{self.probability:.3f}"

    def record(self, number: Number = finite) -> dict[str, Any]:
        """It as JSON, which has no number for what is none; a value only where it is no probability."""
        value = {} if self.value is None else {"value": number(self.value)}
        return {"index": self.index, "label": self.label, "probability": number(self.probability), **value}


def prediction(readout: Readout, labels: Sequence[str], answers: np.ndarray, index: int) -> Prediction:
    """What the answers (C,) of a readout say of one class; `labels` holds C names."""
    answer = float(answers[index])
    return Prediction(index, labels[index], *((answer,) if readout.sure else (None, answer)))


def ranked(
    readout: Readout, output: np.ndarray, labels: Sequence[str], top: int | None = None
) -> list[Prediction]:
    """The classes of one image's output, of any shape with C numbers; the `top` ones or all.

    The most probable (of values: the greatest) first, equal ones by index; `labels` holds C names.
    """
    answers = readout.answers(np.ravel(output))
    order = np.argsort(-answers, kind="stable")[:top].tolist()
    return [prediction(readout, labels, answers, int(i)) for i in order]
