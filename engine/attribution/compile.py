"""From a record of the table to a method compiled for a network: the one place that knows the families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import BadRequest
from ..runtime.network import Network
from .averaged import Averaged
from .compiled import Compiled, Intake
from .explainer import Explainer
from .method import Method
from .perturbation.asked import Perturbed
from .projector import Projector
from .transformers.ablated import Ablated
from .transformers.attended import Attended

FAMILIES: dict[str, Callable[[Network, Method, Any, Any, Intake, bool], Compiled]] = {
    "cam": lambda network, method, layer, options, intake, several: Explainer(
        network, method.name, layer, several=several, **options._asdict()
    ),
    "backward": lambda network, method, layer, options, intake, several: Projector(
        network, method.name, layer, None, several, intake, **options._asdict()
    ),
    "path": lambda network, method, layer, options, intake, several: Averaged(
        network, method.name, layer, intake, **options._asdict()
    ),
    "attention": lambda network, method, layer, options, intake, several: Attended(
        network, method.name, options, several
    ),
    "ablation": lambda network, method, layer, options, intake, several: Ablated(
        network, method, options, intake
    ),
    "perturbation": lambda network, method, layer, options, intake, several: Perturbed(
        network, method, options, intake, layer
    ),
}


def compiled(
    network: Network,
    method: Method,
    layer: str | Sequence[str] | None,
    options: Any,
    intake: Intake,
    several: bool = False,
) -> Compiled:
    """A method for a network, a layer and its own `options`, as options_given gives them.

    `several`: it is made ready for several classes or units of an image, and not for one; it answers both.

    Raises BadRequest for a layer or an option that cannot be, NoRule where no gradient leads there.
    """
    if layer is not None and not method.layer:
        raise BadRequest(f"{method.name} looks at no layer: leave it out")
    if not (layer is None or isinstance(layer, str) or method.of_layers):
        raise BadRequest(f"{method.name} looks at one layer: name one")
    if method.check is not None:
        method.check(intake.size, options)
    return FAMILIES[method.family](network, method, layer, options, intake, several)
