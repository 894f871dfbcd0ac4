"""What a shell offers for an argument, where click does not know: models, layers, methods, presets.

Nothing here may fail or speak: a shell waits for it with every Tab.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

MAX_BYTES = 2**25  # bytes of a model that is read while somebody waits


class Offered(click.types.StringParamType):
    """Any text, of which the shell is offered some."""

    def __init__(self, names: Callable[[click.Context], Iterable[str]], files: bool = False):
        self._names, self._files = names, files

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Those that begin with what is typed, after the last comma of it."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(incomplete, type="file")] if self._files else []
        before, comma, word = incomplete.rpartition(",")
        with suppress(Exception):
            found += [CompletionItem(before + comma + n) for n in self._names(ctx) if _fits(n, word)]
        return found


def offering(command: click.Command) -> click.Command:
    """Give the texts that a command, or each in a group, takes what there is to offer for them."""
    if isinstance(command, click.Group):
        for part in command.commands.values():
            offering(part)
    for param in command.params:
        if param.name in OFFERS and type(param.type) is click.types.StringParamType:
            param.type = OFFERS[param.name]
    return command


def _fits(name: str, word: str) -> bool:
    return name.startswith(word) and name.isprintable()  # a model's names go to a terminal here


def _models(ctx: click.Context) -> Iterable[str]:
    from ..models.network import zoo

    return zoo.EMBEDDED, *zoo.records()


def _zoo(ctx: click.Context) -> Iterable[str]:
    from ..models.network import zoo

    return zoo.records()


def _layers(ctx: click.Context) -> Iterable[str]:
    """The feature maps of the model before the cursor, where that is at hand and small."""
    from ..models.network import zoo

    model = ctx.params.get("model") or ctx.args[0]  # click has not sorted the words before an open option
    is_zoo = model in zoo.records() and not Path(model).is_file()
    path = zoo.cached_path(model) if is_zoo else zoo.resolve(model)  # nothing is downloaded for a Tab
    if path.stat().st_size > MAX_BYTES:
        return ()
    from ..engine.anatomy.maps import map_names, module_names
    from ..engine.canonical.canonical import canonical

    graph = canonical(path)
    return map_names(graph) + module_names(graph)


def _methods(ctx: click.Context) -> Iterable[str]:
    from ..engine.attribution.methods import METHODS

    return METHODS


def _presets(ctx: click.Context) -> Iterable[str]:
    from ..models.photos.presets import PRESETS

    return PRESETS


OFFERS = {
    "model": Offered(_models, files=True),
    "name": Offered(_zoo),
    "layer": Offered(_layers),
    "layers": Offered(_layers),
    "method": Offered(_methods),
    "methods": Offered(_methods),
    "preset": Offered(_presets),
}
