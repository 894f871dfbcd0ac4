"""`onnxlens zoo`: public models by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ... import options
from ...console import download, emit, say, table


@click.group("zoo", cls=options.Group, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List and fetch public models by name.

    Each name can be given wherever a model is asked for.

    \b
    onnxlens zoo list
    onnxlens zoo fetch squeezenet1.1-7
    onnxlens gradcam squeezenet1.1-7 cat.jpg
    """


@command.command("list")
@options.as_json
@options.debug
def list_(as_json: bool) -> None:
    """List the models.

    \b
    onnxlens zoo list
    """
    from ....models.network.zoo import records

    rows = [_record(r) for r in records().values()]
    if as_json:
        for row in rows:
            emit(row)
        return
    table(
        ("name", "MB", "opset", "preset", "labels", "here"),
        [
            (
                r["name"],
                f"{r['size'] / 1e6:.1f}",
                str(r["opset"]),
                r["preset"],
                r["labels"],
                "yes" if r["here"] else "",
            )
            for r in rows
        ],
    )


@command.command()
@click.argument("name")
@options.as_json
@options.debug
def show(name: str, as_json: bool) -> None:
    """Show one model: address, hash, size, preprocessing, where it lies.

    \b
    onnxlens zoo show squeezenet1.1-7
    """
    from ....models.network.zoo import record

    row = _record(record(name))
    if as_json:
        emit(row)
    else:
        table((), [(key, str(value)) for key, value in row.items()])


@command.command()
@click.argument("name")
@options.as_json
@options.debug
def fetch(name: str, as_json: bool) -> None:
    """Download one model into the cache folder, or go on with a download that was cut.

    \b
    onnxlens zoo fetch squeezenet1.1-7
    """
    from ....models.network import zoo

    with download(name) as progress:
        path = zoo.fetch(name, progress)
    if as_json:
        emit(_record(zoo.record(name)))
    else:
        say(str(path))


def _record(record: Any) -> dict[str, Any]:
    from ....models.network.zoo import cached_path

    row = asdict(record)
    row.pop("class_names")
    path = cached_path(record.name)
    return {**row, "file": str(path), "here": path.is_file()}
