"""`onnxlens grad`: the training graph as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.errors import BadModel, BadRequest, NoRule, Unavailable
from ....models.storage.folder import check_writable, write_together
from ... import options
from ...console import download, emit, note, say

if TYPE_CHECKING:
    from ....engine.graph.graph import Graph


@options.command("grad")
@options.model
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The .onnx file to write.")
@options.of("before a softmax or sigmoid")
@options.model_output
@options.wrt
@options.size
@options.layout
@click.option(
    "--rules",
    default="gradient",
    show_default=True,
    help="gradient, guided, deconvnet, redirected, straight-through, lrp-0, lrp-epsilon, lrp-gamma, "
    "lrp-alpha-beta, lrp-w-square or lrp-composite. For lrp-* the seed is the score itself.",
)
@click.option(
    "--external-data",
    is_flag=True,
    help="Write the weights to OUTPUT.data, as is done anyway above the 2 GB that one file holds.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@options.as_json
@options.debug
def command(
    model: str,
    out: Path,
    of: tuple[str, ...],
    output: str | None,
    wrt: tuple[str, ...],
    size: tuple[int, int] | None,
    layout: str | None,
    rules: str,
    external_data: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Export a model's training graph.

    That is the model itself and its gradients, in plain ONNX operators. The file has the model's inputs
    and a `seed/VALUE` for each --of; its outputs are the model's and a `grad/VALUE` for each --wrt. Any
    ONNX runtime can run it. Sizes that the model leaves open stay open, but with --size, or where an operator
    needs to know them and they stand beside the model.

    The model's own outputs are what they were: to the bit for convolutional networks differentiated by their
    input, and otherwise up to rounding (1e-7), where ONNX Runtime can no longer make one operator of several
    whose values the backward pass reads.

    \b
    onnxlens grad model.onnx -o model.grad.onnx
    onnxlens grad model.onnx -o model.grad.onnx --of conv5 --wrt input --wrt conv1.weight
    """
    from ....engine.graph.export import is_too_large, split

    if out.is_dir():
        raise BadRequest(f"{out} is a folder; say the file to write with -o")
    beside = out.with_name(f"{out.name}.data")
    _check_free(out, overwrite)
    if external_data:
        _check_free(beside, overwrite)
    check_writable(out.parent)
    graph = _differentiated(model, size, layout, list(of) or None, list(wrt) or None, rules, output)
    if external_data or is_too_large(graph):
        _check_free(beside, overwrite)
        made, pieces = split(graph, beside.name)
        files = {beside: pieces, out: [made.SerializeToString()]}
    else:
        made = graph.to_model()
        files = {out: [made.SerializeToString()]}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_together(files)
    except OSError as error:
        raise Unavailable(f"cannot write {out}: {error.strerror or error}") from error
    inputs, outputs = [v.name for v in made.graph.input], [v.name for v in made.graph.output]
    if as_json:
        about = {"data": str(beside)} if beside in files else {}
        emit(
            {
                "file": str(out),
                **about,
                "inputs": inputs,
                "outputs": outputs,
                "nodes": len(made.graph.node),
            }
        )
    else:
        say(f"{out}: {len(made.graph.node)} nodes; in: {', '.join(inputs)}; out: {', '.join(outputs)}")


def _differentiated(model: str, size: tuple[int, int] | None, layout: str | None, *asked: Any) -> Graph:
    """The training graph, with the input's sizes as they are, or as said, or as found beside the model."""
    from ....engine.autodiff.gradient import training_graph
    from ....models.network.opened import open_network
    from ....models.network.zoo import resolve

    with download(model) as progress:
        path = resolve(model, progress)
    try:
        if size is None:
            return training_graph(path, *asked)
    except (BadModel, NoRule) as error:
        opened = open_network(model, layout=layout)
        if opened.preprocess is None:
            raise
        note(f"bound to the size that stands beside the model, since {error}")
    else:
        opened = open_network(model, size=size, layout=layout)
    if opened.input is None:
        raise BadRequest("the model takes no image, whose --size could be said")
    return training_graph(path, *asked, shapes={opened.input: opened.network.graph[opened.input].shape or ()})


def _check_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise BadRequest(f"{path} exists; say --overwrite or another file with -o")
