"""`onnxlens grad`: the training graph, or another derivative, as a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ....engine.errors import BadModel, BadRequest, NoRule, Unavailable
from ....models.storage.folder import check_writable, write_together
from ... import options
from ...console import download, emit, note, say
from .checking import failed, records, show

if TYPE_CHECKING:
    from onnx import ModelProto

    from ....engine.graph.graph import Graph
    from ....engine.graph.sizes import Dim
    from ....engine.runtime.exports.checked import Check


MODES = ("reverse", "forward", "jacobian", "hvp")


@options.command("grad")
@options.model
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The .onnx file to write.")
@options.of("before a softmax or sigmoid")
@options.model_output
@options.wrt
@options.size
@options.layout
@click.option("--batch", type=click.IntRange(1, 4096), help="Bind the batch where the inputs leave it open.")
@click.option(
    "--for",
    "runtime",
    default="any",
    show_default=True,
    metavar="RUNTIME",
    help="What is to run the file: any, onnxruntime (whose CPU is faster with it), web (onnxruntime-web), "
    "webgpu, openvino, opencv or litert.",
)
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="reverse",
    show_default=True,
    help="Gradients; changes along a direction; the derivative of every element by every other; or how the "
    "gradient changes along a direction, a Hessian times a vector.",
)
@click.option("--seeds", type=int, help="So many seeds, or directions, in one pass.  [default: one]")
@click.option(
    "--rules",
    default="gradient",
    show_default=True,
    help="gradient, guided, deconvnet, redirected, straight-through, lrp-0, lrp-epsilon, lrp-gamma, "
    "lrp-alpha-beta, lrp-w-square, lrp-flat, lrp-composite, lrp-epsilon-plus, lrp-epsilon-plus-flat, "
    "lrp-epsilon-alpha2-beta1, lrp-epsilon-alpha2-beta1-flat, attnlrp-epsilon or attnlrp-gamma. "
    "For lrp-* and attnlrp-* the seed is the score itself.",
)
@click.option(
    "--external-data",
    is_flag=True,
    help="Write the weights to OUTPUT.data, as is done anyway above the 2 GB that one file holds.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option(
    "--check",
    is_flag=True,
    help="Then run the file on random inputs in each runtime that is installed (onnxruntime, openvino, "
    "its plugin, opencv, ONNX's reference), and say how far each is off.",
)
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
    batch: int | None,
    runtime: str,
    mode: str,
    seeds: int | None,
    rules: str,
    external_data: bool,
    overwrite: bool,
    check: bool,
    as_json: bool,
) -> int:
    """Export a model's training graph.

    That is the model itself and its gradients, in plain ONNX operators. The file has the model's inputs
    and a `seed/VALUE` for each --of; its outputs are the model's and a `grad/VALUE` for each --wrt. ONNX
    Runtime runs it; OpenVINO's gradients are wrong without --for openvino. Sizes that the model leaves open
    stay open, but with --size and --batch, or where an operator needs to know them and they stand beside the
    model. Sizes that are known are written down.

    With --mode forward it takes a `tangent/VALUE` for each --wrt and gives a `jvp/VALUE` for each --of; with
    hvp it takes both and gives a `hvp/VALUE` for each --wrt; with jacobian it takes neither and gives a
    `jacobian/OF/WRT` for each two. With --seeds K what is taken and given has K in front of its axes.

    The model's own outputs are what they were: to the bit for convolutional networks differentiated by their
    input, and otherwise up to rounding (1e-7), where ONNX Runtime can no longer make one operator of several
    whose values the backward pass reads.

    With --check the exit code is 1 where a runtime that the file is for answers and is wrong: those that are
    installed, or the one that --for names, which may not refuse the file either.

    \b
    onnxlens grad model.onnx -o model.grad.onnx
    onnxlens grad model.onnx -o model.grad.onnx --of conv5 --wrt input --wrt conv1.weight
    onnxlens grad model.onnx -o model.jvp.onnx --mode forward --seeds 8
    onnxlens grad model.onnx -o model.grad.onnx --for openvino --batch 1
    """
    from ....engine.runtime.exports.checked import checked, steady
    from ....engine.runtime.exports.exported import check_runtime, exported

    check_runtime(runtime)
    if out.is_dir():
        raise BadRequest(f"{out} is a folder; say the file to write with -o")
    _check_free(out, overwrite)
    if external_data:
        _check_free(_beside(out), overwrite)
    check_writable(out.parent)
    make = _maker(mode, seeds, rules)
    graph = _differentiated(
        model, size, layout, batch, partial(make, of=list(of) or None, wrt=list(wrt) or None, output=output)
    )
    probe = steady(graph) if check else None
    made, beside = _written(exported(graph, runtime), out, external_data, overwrite)
    checks = checked(out, probe) if probe else []
    _said(out, made, beside, checks if check else None, as_json)
    return int(failed(checks, runtime))


def _said(
    out: Path, made: ModelProto, beside: Path | None, checks: Sequence[Check] | None, as_json: bool
) -> None:
    """Say what was written, and what runtimes answered where they were asked."""
    inputs, outputs = [v.name for v in made.graph.input], [v.name for v in made.graph.output]
    if as_json:
        about = {"data": str(beside)} if beside else {}
        count = {"nodes": len(made.graph.node)} | ({} if checks is None else {"checks": records(checks)})
        emit({"file": str(out), **about, "inputs": inputs, "outputs": outputs, **count})
        return
    say(f"{out}: {len(made.graph.node)} nodes; in: {', '.join(inputs)}; out: {', '.join(outputs)}")
    if checks is not None:
        show(checks)


def _written(graph: Graph, out: Path, apart: bool, overwrite: bool) -> tuple[ModelProto, Path | None]:
    """Write a graph: the model that it is now, and the file of its weights where they lie apart."""
    from ....engine.graph.export import is_too_large, split

    beside = _beside(out) if apart or is_too_large(graph) else None
    if beside is not None:
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
    return made, beside


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.data")


def _maker(mode: str, seeds: int | None, rules: str) -> Callable[..., Graph]:
    """What makes the graph of a mode. Raises BadRequest for options that do not go with it."""
    from ....engine.autodiff.forward import curvature_graph, tangent_graph
    from ....engine.autodiff.gradient import training_graph
    from ....engine.autodiff.jacobian import jacobian_graph
    from ....engine.autodiff.vectors import check_count

    check_count(seeds)
    if mode == "reverse":
        return partial(training_graph, rules=rules, seeds=seeds)
    if rules != "gradient":
        raise BadRequest(f"--rules {rules} are those of --mode reverse; leave out one of the two")
    if mode == "jacobian":
        if seeds is not None:
            raise BadRequest("--mode jacobian takes no --seeds: it has all of them; leave out one of the two")
        return jacobian_graph
    return partial(tangent_graph if mode == "forward" else curvature_graph, seeds=seeds)


def _differentiated(
    model: str,
    size: tuple[int, int] | None,
    layout: str | None,
    batch: int | None,
    make: Callable[..., Graph],
) -> Graph:
    """The graph, with the input's sizes as they are, or as said, or as found beside the model."""
    from ....models.network.opened import open_network
    from ....models.network.zoo import resolve

    with download(model) as progress:
        path = resolve(model, progress)
    shapes = {} if batch is None else _with_batch(path, batch)
    try:
        if size is None:
            return make(path, shapes=shapes)
    except (BadModel, NoRule) as error:
        opened = open_network(model, layout=layout)
        if opened.preprocess is None:
            raise
        note(f"bound to the size that stands beside the model, since {error}")
    else:
        opened = open_network(model, size=size, layout=layout)
    if opened.input is None:
        raise BadRequest("the model takes no image, whose --size could be said")
    first, *others = opened.network.graph[opened.input].shape or (None,)
    shapes[opened.input] = (first if batch is None else batch, *others)
    return make(path, shapes=shapes)


def _with_batch(path: str | Path, count: int) -> dict[str, tuple[Dim, ...]]:
    """The shapes of inputs whose first axis is open, bound to a batch. Raises BadRequest for another one."""
    from ....engine.graph.file import read_model
    from ....engine.graph.types import shape_of

    graph = read_model(path).graph
    found: dict[str, tuple[Dim, ...]] = {}
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {v.name: shape_of(v.type) for v in graph.input if v.name not in weights}
    for name, shape in inputs.items():
        if shape and not isinstance(shape[0], int):
            found[name] = (count, *shape[1:])
    sizes = {shape[0] for shape in inputs.values() if shape}
    if not found and count not in sizes:
        raise BadRequest(f"the batch of this model is {', '.join(map(str, sizes))}, and not open: no --batch")
    return found


def _check_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise BadRequest(f"{path} exists; say --overwrite or another file with -o")
