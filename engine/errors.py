"""Errors that a person can act on: what is wrong, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_NAMES = 3  # candidates, at most, that an error names


class OnnxlensError(Exception):
    """Anything that onnxlens refuses or cannot do. Its text is one line for a person.

    `exit_code` is what the command line ends with: 1 for input that cannot be worked with
    (a broken file, an operator without a gradient), 2 for a request that names something
    that is not there (a layer, a class, an option).

    Examples
    --------
    >>> try:
    ...     onnxlens.gradient("model.onnx", of="softmax")
    ... except onnxlens.OnnxlensError as error:
    ...     print(error)
    the model has no value 'softmax'; there are: image, conv1, relu1, ...
    """

    exit_code = 1


class BadModel(OnnxlensError):
    """The file is not a usable ONNX model."""


class BadImage(OnnxlensError):
    """The file is not a usable picture."""


class NoRule(OnnxlensError):
    """An operator on the way from the target to the wanted value has no gradient.

    Rules and bodies say only what is the matter with the node (`why`: "keeps its cache in a shared buffer;
    export it without"); whoever walks the graph makes that the sentence of blocks.no_rule, and says `at`
    which node.
    """

    def __init__(self, text: str, why: str | None = None, at: str = ""):
        super().__init__(text)
        self.why, self.at = text if why is None else why, at


class CannotRun(OnnxlensError):
    """The runtime took the model and stopped at one of its operators, for what it was given."""


class NoMap(OnnxlensError):
    """The explanation is empty, constant or not a number; the text says why."""


class Unavailable(OnnxlensError):
    """Something outside the process is missing: a provider, a driver, a download."""


class BadRequest(OnnxlensError):
    """What was asked for does not exist or cannot be known without an answer from the user."""

    exit_code = 2


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a sentence that names the candidates nearest to `name`.

    Returns "; nearest: a, b" or, when nothing is near, a few of the names, or "".
    """
    names = list(dict.fromkeys(names))
    by_lower = {n.lower(): n for n in reversed(names)}
    near = [by_lower[n] for n in difflib.get_close_matches(name.lower(), by_lower, MAX_NAMES, 0.4)]
    inside = [n for n in names if name.lower() in n.lower()] if name else []
    found = list(dict.fromkeys(inside[:MAX_NAMES] + near))[:MAX_NAMES]
    if found:
        return "; nearest: " + ", ".join(found)
    if not names:
        return ""
    return "; there are: " + ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
