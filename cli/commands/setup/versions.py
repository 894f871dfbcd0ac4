"""`onnxlens versions`: what a bug report needs."""

from __future__ import annotations

from ... import options
from ...console import emit, table


@options.command("versions")
@options.as_json
@options.debug
def command(as_json: bool) -> None:
    """Show versions, and which providers work here.

    \b
    onnxlens versions --json
    """
    from ....engine.runtime.provider import PROVIDERS, why_not
    from ....models.network.provenance import versions

    providers = {name: why_not(name) or "can be used" for name in PROVIDERS}
    if as_json:
        emit({"versions": versions(), "providers": providers})
    else:
        table((), [*versions().items(), *((f"provider {name}", text) for name, text in providers.items())])
