"""The metadata `character` of PaddleOCR's models, as RapidOCR writes it: a name a line."""

from __future__ import annotations

from ..labels import MAX_BYTES, to_labels


def labels(text: str, classes: int | None) -> list[str]:
    """The names as they are, or where the model has one or two classes more, with what its decoder adds.

    That is the blank before the characters, and the space behind them (rapidocr, CTCLabelDecode).
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES} characters")
    names = text.removesuffix("\n").split("\n")
    more = {len(names) + 1: ["blank", *names], len(names) + 2: ["blank", *names, "space"]}
    return to_labels(more.get(classes or 0, names))
