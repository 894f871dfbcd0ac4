"""What a method of attribution is: one record, of which commands, runs, pages and tests are made.

A method is one function under the decorator of its family, in `cam.py`, `backward.py`, `path.py`,
`perturbation/methods.py` or `transformers/methods.py`. These files and this one load nothing that is heavy:
`--help` reads the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from typing import Any, NamedTuple, get_type_hints

from ..errors import BadRequest, nearest

Pair = int | tuple[int, int]  # one number for both sides, or height and width


class Option(NamedTuple):
    """What is to be said of an option of a method: in `help`; which numbers it takes, both ends included (the
    least one left out where it is `above`); the words that it takes; whether it names what stands for nothing
    to see (`fill`, several with commas), and whether a command makes a map for each of `several`.
    """

    help: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    fill: bool = False
    above: bool = False
    several: bool = False


class Field(NamedTuple):
    """An option as its method declares it: its type, its default and what is said of it."""

    type: Any
    default: Any
    option: Option


class NoOptions(NamedTuple):
    """Of a method that has no options of its own."""


@dataclass(frozen=True)
class Method:
    """A way to say what an answer was made of.

    `shows` says in a sentence what a map shows, `paper` where it is from. `compute` is the maths, one
    function as the `family` takes it. `options` is a NamedTuple of Annotated[type, Option] fields, with
    defaults, and `check` raises BadRequest for options that cannot be for an input of some size.

    `signed`: a map may be below zero. `serial`: one call must end before the next begins, as it takes all
    cores. `style`: how it is drawn, "overlay" for one number at each place, else one of the styles of
    signals, which have a number for each colour. `target`: what a command starts from, a "class" or the
    strongest "units" of a layer. `layer` says what a layer is to it, "" where it takes none, `on_layer`
    whether its maps lie on one, and `units` whether it can begin at a unit of one. `needs` is what it reads
    and not all networks have: "attention". `finds`: it looks for a box anew in each picture, whatever its
    place among all is there. `blank` says why a map is zero everywhere, where nothing else is the reason.
    """

    name: str
    title: str
    paper: str
    shows: str
    family: str
    compute: Any
    options: type = NoOptions
    signed: bool = False
    serial: bool = False
    style: str = "overlay"
    target: str = "class"
    layer: str = ""
    on_layer: bool = False
    units: bool = False
    needs: str = ""
    finds: bool = False
    blank: str = ""
    check: Callable[[tuple[int, int], Any], object] | None = None

    @property
    def of_layers(self) -> bool:
        """Whether it makes a map of each of several layers that are named."""
        return self.on_layer and bool(self.layer)


METHODS: dict[str, Method] = {}  # filled by the decorators; who reads it takes it from methods.py


def family(name: str, **traits: Any) -> Callable[..., Any]:
    """The decorator of a family, with what all of its methods have in common.

    It takes the name, the title and the paper of a method, what it `shows` and whatever else of a Method is
    not as in the family, and enters the function under it into METHODS.
    """

    def decorator(key: str, title: str, paper: str, *, shows: str, **own: Any) -> Callable[[Any], Any]:
        def enter(compute: Any) -> Any:
            METHODS[key] = Method(key, title, paper, shows, name, compute, **{**traits, **own})
            return compute

        return enter

    return decorator


def method_named(name: str, families: tuple[str, ...] = ()) -> Method:
    """The method of this name, of some families or of any. Raises BadRequest with the nearest names."""
    known = [m.name for m in METHODS.values() if not families or m.family in families]
    if name not in known:
        raise BadRequest(f"there is no method {name!r}{nearest(name, known)}")
    return METHODS[name]


@lru_cache(64)
def options_of(method: Method) -> dict[str, Field]:
    """The options of a method by their names."""
    defaults = method.options._field_defaults  # type: ignore[attr-defined]
    hints = get_type_hints(method.options, include_extras=True)
    return {
        name: Field(hint.__origin__, defaults[name], hint.__metadata__[0]) for name, hint in hints.items()
    }


def options_given(method: Method, given: Mapping[str, Any]) -> Any:
    """The options of a method as its NamedTuple, None for what is left at its default.

    Raises BadRequest for one that the method has not, with those that have it, and for a number or a word
    that it does not take.
    """
    fields = options_of(method)
    said = {name: value for name, value in given.items() if value is not None}
    for name, value in said.items():
        if name not in fields:
            having = [m.name for m in METHODS.values() if name in options_of(m)]
            whose = f": it is one of {', '.join(having)}" if having else nearest(name, fields)
            raise BadRequest(f"{name!r} is no option of {method.name}{whose}")
        _check(name, value, fields[name])
    return method.options(**said)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check(name: str, value: Any, field: Field) -> None:
    """Raise BadRequest for a value that an option does not take."""
    option = field.option
    if field.type is int and not _is_whole(value):
        raise BadRequest(f"{name} is a whole number, not {value!r:.40}")
    sides = value if isinstance(value, tuple | list) and len(value) == 2 else (value,)
    if field.type == Pair | None and not all(map(_is_whole, sides)):
        raise BadRequest(f"{name} is one whole number or two, not {value!r:.40}")
    if option.choices and value not in option.choices:
        raise BadRequest(f"{name} is one of {', '.join(option.choices)}, not {value!r:.40}")
    if option.least is None and option.most is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{name} is a number, not {value!r:.40}")
    least, above = option.least, option.above
    if least is not None and not (value > least if above else value >= least):
        raise BadRequest(f"{name} is {'above' if above else 'at least'} {least:.12g}, not {value:.12g}")
    if option.most is not None and value > option.most:
        raise BadRequest(f"{name} is at most {option.most:.12g}, not {value:.12g}")
