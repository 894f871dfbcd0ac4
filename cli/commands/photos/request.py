"""What is asked of each photo beside the options of a method: classes or units, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from ....engine.attribution.methods import Method
from ....engine.errors import BadRequest
from ....models.maps.convention import FIELDS
from ...methods import Several
from .attributions import Drawing

if TYPE_CHECKING:
    from ....models.attribution.attribute import Attributor
    from ....models.lens import Lens

ALPHA = {"overlay": 0.7}  # of methods that are drawn in this style where nobody says; 0.9 of all others


@dataclass(frozen=True, kw_only=True)
class Request:
    """Options of a command that makes pictures. Those that it does not have are as nobody says them."""

    targets: tuple[str, ...]
    colour: str
    style: str | None = None
    alpha: float | None = None
    layer: str | None = None
    layers: tuple[str, ...] = ()
    fuse: str | None = None
    channels: list[int] | None = None
    position: tuple[int, int] | None = None
    top: int | None = None
    convention: str = FIELDS
    guided: bool = False

    def check(self, how: Method) -> None:
        """Raise BadRequest for options that do not go together, or not with a method."""
        if self.layer is not None and self.layers:
            raise BadRequest("--layer is for one feature map, --layers for several: say one of them")
        if self.layers and not how.of_layers:
            raise BadRequest(f"the maps of {how.name} lie on the input, not on layers: leave --layers out")
        if self.fuse and not self.layers:
            raise BadRequest("--fuse puts the maps of several layers together: say which with --layers")
        begins = how.target == "units" and not self.targets
        of_units = how.units and (self.layer is not None or begins)
        if not of_units and (self.channels or self.position or self.top):
            raise BadRequest("--channels, --position and --top are of a layer: say which with --layer")
        if of_units and self.targets:
            raise BadRequest(
                "a unit is a class (--target) or a channel of a layer (--layer): say one of them"
            )
        if self.position and not self.channels:
            raise BadRequest("--position is of a channel: say which with --channels")
        if self.top and self.channels:
            raise BadRequest("--top is for the strongest channels: leave it or --channels out")

    def attributors(self, lens: Lens, how: Method, own: dict[str, Any]) -> list[Attributor]:
        """What finds that in a photo, by a method with its `own` options, each said once or several times."""
        from ....engine.anatomy.layers import matching
        from ....models.attribution.attribute import Attributor

        where = matching(lens.network.graph, self.layers) if self.layers else self.layer
        if where is None and how.target == "units" and not self.targets:
            from ....models.features.top import looked_at  # of the one kind of method that begins there

            where = looked_at(lens)
        said = {"channels": self.channels or (), "position": self.position, "top": self.top}
        said |= {"layer": where, "convention": self.convention, "fuse": self.fuse}
        wishes = self.targets or (None,)
        made = [Attributor(lens, how.name, wishes, **said, **each) for each in _each(own)]
        return [*made, Attributor(lens, "guided", wishes)] if self.guided else made

    def drawing(self, how: Method, exact: bool) -> Drawing:
        """How its maps are drawn, by default as those of the method."""
        alpha = ALPHA.get(how.style, 0.9) if self.alpha is None else self.alpha
        return Drawing(
            self.style or how.style,
            self.colour,
            alpha,
            exact,
            bool(self.layers) and not self.fuse,
            self.guided,
        )

    def arguments(self) -> dict[str, Any]:
        """What a manifest says of it, but for how it is drawn."""
        return {
            "targets": list(self.targets),
            "layer": self.layer,
            "layers": list(self.layers),
            "fuse": self.fuse,
            "guided": self.guided,
            "channels": self.channels,
            "position": self.position,
            "top": self.top,
            "convention": self.convention,
        }


def _each(own: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The options of a method, once for each combination of what was said several times."""
    several = {name: values for name, values in own.items() if isinstance(values, Several)}
    for values in product(*several.values()):
        yield own | dict(zip(several, values, strict=True))
