"""`onnxlens grad`: the training graph as a file."""

from __future__ import annotations

from pathlib import Path

import click

from ..engine.errors import BadRequest, Unavailable
from . import options
from .console import download, emit, say
from .folder import check_writable, write_whole


@options.command("grad")
@options.model
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The .onnx file to write."
)
@click.option(
    "--of", multiple=True, help="Value to differentiate.  [default: the first output, before a softmax]"
)
@click.option(
    "--wrt", multiple=True, help="Input, weight or value to differentiate by.  [default: the first input]"
)
@click.option(
    "--rules",
    default="gradient",
    show_default=True,
    help="gradient, guided, deconvnet, redirected, straight-through, lrp-0, lrp-epsilon, lrp-gamma, "
    "lrp-alpha-beta, lrp-w-square or lrp-composite. For lrp-* the seed is the score itself.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@options.as_json
@options.debug
def command(
    model: str,
    output: Path,
    of: tuple[str, ...],
    wrt: tuple[str, ...],
    rules: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Export a model's training graph.

    That is the model itself and its gradients, in plain ONNX operators. The file has the model's inputs
    and a `seed/VALUE` for each --of; its outputs are the model's and a `grad/VALUE` for each --wrt. Any
    ONNX runtime can run it.

    \b
    onnxlens grad model.onnx -o model.grad.onnx
    onnxlens grad model.onnx -o model.grad.onnx --of conv5 --wrt input --wrt conv1.weight
    """
    from ..engine.gradient import gradient
    from ..models.zoo import resolve

    if output.is_dir():
        raise BadRequest(f"{output} is a folder; say the file to write with -o")
    if output.exists() and not overwrite:
        raise BadRequest(f"{output} exists; say --overwrite or another file with -o")
    check_writable(output.parent)
    with download(model) as progress:
        path = resolve(model, progress)
    made = gradient(path, list(of) or None, list(wrt) or None, rules)
    if made.ByteSize() >= 2**31:
        raise BadRequest("the training graph is larger than 2 GB, which one ONNX file cannot hold")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(output, made.SerializeToString())
    except OSError as error:
        raise Unavailable(f"cannot write {output}: {error.strerror or error}") from error
    inputs, outputs = [v.name for v in made.graph.input], [v.name for v in made.graph.output]
    if as_json:
        emit({"file": str(output), "inputs": inputs, "outputs": outputs, "nodes": len(made.graph.node)})
    else:
        say(f"{output}: {len(made.graph.node)} nodes; in: {', '.join(inputs)}; out: {', '.join(outputs)}")
