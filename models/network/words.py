"""The producer's words on what a model answers, as flat text, for the readouts (engine/anatomy/readouts)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .labels import MAX_BYTES, parse_json, read_text
from .producers import huggingface, ultralytics

CHARACTERS_KEY = "character"
ALPHABETS = ("*_dict.txt", "*_keys*.txt", "dict.txt", "keys.txt", "charset.txt", "alphabet.txt")
_MOST, _LONG = 64, 200  # words that are kept of a file, and characters of a short one


def words_of(path: Path, metadata: Mapping[str, str], config: Path | None) -> dict[str, str]:
    """The words in a model's metadata, in the `config` that stands with it, and in a file of characters.

    Ultralytics' keep their names (task, names, stride, kpt_shape, end2end, ...), and so do the entries of a
    config.json that are one word or number (model_type, ...); of its architectures it is the first.
    "character" is the alphabet of a model that reads text, one to a line, as PaddleOCR has it. Nothing here
    is an error: what cannot be used is left out.
    """
    found = {} if config is None else _of_config(config)
    if ultralytics.is_ours(metadata):
        found |= {key: value for key, value in metadata.items() if len(value) <= ultralytics.MAX_LITERAL}
    characters = metadata.get(CHARACTERS_KEY) or _alphabet(path)
    if characters and len(characters) <= MAX_BYTES:
        found[CHARACTERS_KEY] = characters
    return found


def _of_config(file: Path) -> dict[str, str]:
    try:
        said = huggingface.words(parse_json(read_text(file)))
    except (ValueError, OSError):
        return {}
    short = [(key, text) for key, text in said.items() if len(key) <= _LONG and len(text) <= _LONG]
    return dict(short[:_MOST])


def _alphabet(model: Path) -> str | None:
    """What the one file of characters in a model's folder holds; None where there is none, or several."""
    found = {p for pattern in ALPHABETS for p in model.parent.glob(pattern) if p.is_file()}
    try:
        return read_text(found.pop()) if len(found) == 1 else None
    except (ValueError, OSError):
        return None
