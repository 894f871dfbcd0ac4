"""Which characters the classes of what reads text stand for, and which of them is none: the blank of CTC."""

from __future__ import annotations

import unicodedata

from .thing import Hints

VARIANTS = ("first", "last", "steps")  # where the blank stands; no blank, and nothing is merged
_BLANKS = ("", "blank", "<blank>", "[blank]", "[ctcblank]", "blk", "<blk>", "[blk]", "<ctc>", "<eps>", "ε")
_MARKS = ("-", "_", "#", "~", "<pad>", "[pad]")  # what stands for a blank at either end of an alphabet
_JOINERS, _LONG = "\u200c\u200d", 200
ENDS = ("eos", "[s]", "</s>", "<eos>", "[eos]", "<end>", "[end]", "[sep]")
STARTS = ("sos", "[go]", "<s>", "<sos>", "[sos]", "<bos>", "[bos]", "<start>", "[start]", "[cls]")


def spelt(hints: Hints, count: int, variant: str) -> tuple[tuple[str, ...], int | None, str]:
    """The characters of so many classes, which of them is the blank, and what there is to say of it.

    What was said by name counts; the characters that stand with the model lend it those that are spaces.
    """
    characters = [_clean(c) for c in hints.facts.get("character", "").removesuffix("\n").split("\n")]
    for names in (list(hints.labels), characters):
        if 0 <= count - len(names) <= 2 and len(names) > 1:
            break
    else:
        return (), *_unnamed(variant, count)
    if len(characters) == len(names):
        names = [c if c.split() == n.split() else n for c, n in zip(characters, names, strict=True)]
    more = count - len(names)
    if variant == "steps":
        return (_of_steps(names, more), None, "one at each step")
    names = [" " if n.lower() in ("space", "<space>") else n for n in names]
    if more == 2:
        return ("", *names, " "), 0, "CTC, the blank first and a space last"
    if more == 1:
        blank, told = _unnamed(variant, count)
        return (*names, "") if blank else ("", *names), blank, told
    called = [i for i, n in enumerate(names) if n.lower() in _BLANKS]
    called = called or [i for i in (0, count - 1) if names[i].lower() in _MARKS]
    if len(called) == 1 and variant not in VARIANTS:
        return tuple(names), called[0], f"CTC, the blank is class {called[0]}"
    return tuple(names), *_unnamed(variant, count)


def _clean(name: str) -> str:
    """A stranger's character without what would steer a screen; joiners belong to scripts."""
    name = name.removesuffix("\r")[:_LONG]
    return "".join(c if c in _JOINERS or unicodedata.category(c)[0] != "C" else "\ufffd" for c in name)


def _unnamed(variant: str, count: int) -> tuple[int | None, str]:
    """The blank that no name tells: by the variant, else the first."""
    if variant == "steps":
        return None, "one at each step"
    if variant in VARIANTS:
        return (count - 1 if variant == "last" else 0), f"CTC, the blank {variant}"
    return 0, "CTC, class 0 taken as the blank (--readout sequence:last or sequence:steps say otherwise)"


def _of_steps(names: list[str], more: int) -> tuple[str, ...]:
    """The names of what is read one at each step, with the start and the end where there are two more.

    PaddleOCR's tables have a cell as one word (ppocr, TableLabelDecode: merge_no_span_structure).
    """
    if "<td>" in names and "<td></td>" not in names:
        names = [*(n for n in names if n != "<td>"), "<td></td>"]
    return tuple(names) if more == 0 else ("sos", *names, "eos") if more == 2 else ()
