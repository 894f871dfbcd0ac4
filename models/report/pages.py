"""HTML from templates in which every text is escaped: what the pages share."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def rendered(template: str, **content: Any) -> str:
    """The page that a template makes of its content; a name that the template asks for must be there."""
    return _environment().get_template(template).render(content)


def as_it_stands(*names: str) -> Markup:
    """Our own style sheets or scripts, one after the other, to stand in a page unescaped."""
    from markupsafe import Markup

    folder = resources.files(__package__ or "").joinpath("templates")
    return Markup("\n".join(folder.joinpath(name).read_text("utf-8") for name in names))


def address(kind: str, data: bytes) -> str:
    """A picture file of this kind ("png", "jpeg") as an address that holds it (RFC 2397)."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def digest(text: str) -> str:
    """The source by which a Content-Security-Policy lets in this style or script alone (CSP 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["digest"] = lambda text: Markup(digest(text))
    return environment
