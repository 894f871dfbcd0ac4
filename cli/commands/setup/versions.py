"""`onnxlens versions`: what a bug report needs."""

from __future__ import annotations

from ... import options
from ...console import emit, table


@options.command("versions")
@options.as_json
@options.debug
def command(as_json: bool) -> None:
    """Show versions, which providers work here, and the devices of plugins.

    \b
    onnxlens versions --json
    """
    from ....engine.runtime.provider import installed, names, why_not
    from ....models.network.provenance import versions

    plugins = installed()
    providers = {name: why_not(name) or "can be used" for name in names()}
    if as_json:
        emit({"versions": versions(), "providers": providers, "plugins": plugins})
        return
    rows = [(f"provider {name}", text) for name, text in providers.items()]
    for plugin in plugins:
        on = [f"{d['device']} by {d['vendor']} ({d['name']})" for d in plugin["devices"]]
        rows.append((f"{plugin['package']} {plugin['version']}", "; ".join(on) or "no device"))
    table((), [*versions().items(), *rows])
