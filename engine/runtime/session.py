"""A compiled graph: ONNX Runtime with our graphs, weights and errors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ...host import onnxruntime, shared_memory, trim
from ..errors import BadModel, BadRequest, CannotRun, Unavailable
from ..graph.external import is_external, place_of, set_place, size_of
from ..graph.graph import Graph, Tensor
from ..graph.nodes import OURS, reads
from ..graph.types import array_of
from ..operators.traits import traits_of
from .complaint import one_line
from .plugins import settings
from .provider import PROVIDERS, Device, choose, device, newest_opset

BFLOAT16 = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
UNPACKED = 2**24  # bytes of a weight
_LEVELS = onnxruntime.GraphOptimizationLevel
_AS_IT_IS: list[tuple[onnxruntime.GraphOptimizationLevel, list[str]]] = [(_LEVELS.ORT_DISABLE_ALL, [])]
# How hard the runtime is to optimise a graph, and without which of its fusions: the next where it fails.
# DivMulFusion takes Mul(Div(1, a), b) apart without a word to whoever makes b (ONNX Runtime issue 32414).
_EFFORTS = [
    (_LEVELS.ORT_ENABLE_ALL, []),
    (_LEVELS.ORT_ENABLE_ALL, ["DivMulFusion"]),
    (_LEVELS.ORT_ENABLE_EXTENDED, ["DivMulFusion"]),
    (_LEVELS.ORT_ENABLE_BASIC, ["DivMulFusion"]),
    *_AS_IT_IS,
]
_TWO_BITS = {TensorProto.INT2, TensorProto.UINT2}


Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]  # arrays by input name to those by output


class Session:
    """A graph, compiled for some of its values.

    `session(feeds)` takes arrays by input name, those of Dataflow.given at their will, and gives arrays by
    output name. Weights are handed to
    ONNX Runtime as they lie in memory, those in files of their own by their place in the file, which it
    maps; sizes above protobuf's 2 GB are no obstacle. Its threads go to sleep as soon as it has run, for what
    takes its turn in the same cores: the runtime's own habit is to let them wait awake for 33 ms. What the
    runtime makes of the graph is taken from `kept`.onnx, or put there (cache.py).

    Raises BadModel where ONNX Runtime cannot run the graph, Unavailable and BadRequest as `choose` does.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Sequence[str] | None = None,
        provider: str = "cpu",
        threads: int | None = None,
        kept: Path | None = None,
    ):
        self.outputs = list(graph.outputs if outputs is None else outputs)
        # NumPy has no bfloat16 that ONNX Runtime hands out: the value before the last cast is asked for.
        self._narrow = [graph[o].dtype == BFLOAT16 and o in graph.twins for o in self.outputs]
        self._asked = [graph.twins[o] if n else o for o, n in zip(self.outputs, self._narrow, strict=True)]
        self.provider = choose(provider)[0]
        self._given = graph.given
        model = _model(graph, self._asked)
        self._types = {i.name: Tensor(graph, i.name).dtype for i in model.graph.input}
        options = _options(self.provider, threads)
        _multiply_as_said(options, {t.data_type for t in graph.constants.values()})
        ready, efforts = kept.with_suffix(".onnx") if kept else None, _EFFORTS
        if ready and ready.is_file():
            source, efforts = str(ready), _AS_IT_IS
        else:
            weights = _weights_beside(model, graph, options)  # held until the session has its own copy
            if weights:
                values = [onnxruntime.OrtValue.ortvalue_from_numpy(w) for w in weights.values()]
                options.add_external_initializers(list(weights), values)
            if self.provider == "cpu":
                _leave_unpacked(model)
            if ready:
                _keep(ready, options)
            source = model.SerializeToString()
        called = PROVIDERS.get(self.provider) or device(self.provider).plugin.called
        try:
            self._session = _loaded(source, options, self.provider, efforts)
        except Exception as error:  # the binding raises kinds of its own
            raise BadModel(_why_not_loaded(graph, error, self.provider)) from error
        trim()  # building it needed 40 MB for VGG
        if self._session.get_providers()[0] != called or _left(self._session, called, graph, self._asked):
            raise Unavailable(f"provider {self.provider} takes nothing of this model; `--provider cpu` does")

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once.

        Raises BadRequest where an input is missing or of a wrong shape or type, and CannotRun where an
        operator does not get along with what it is given.
        """
        arrays = {}
        for name, dtype in self._types.items():
            if name not in feeds and name not in self._given:
                raise BadRequest(f"the model's input {name!r} is missing; it has: {', '.join(self._types)}")
            array = np.asarray(feeds[name] if name in feeds else self._given[name])
            if dtype is not None and dtype.kind in "iu" and array.dtype.kind == "f":
                array = np.rint(array)
            array = np.asarray(array, dtype)
            arrays[name] = _bfloat16(array) if dtype == BFLOAT16 else array
        try:
            results = self._session.run(self._asked, arrays)
        except Exception as error:  # the binding raises kinds of its own
            kind = BadRequest if "INVALID_ARGUMENT" in str(error) else CannotRun
            raise kind(f"ONNX Runtime cannot run the model: {one_line(error)}") from error
        pairs = zip(self.outputs, results, self._narrow, strict=True)
        return {name: np.asarray(value, BFLOAT16 if cut else None) for name, value, cut in pairs}

    def begun(self, feeds: Mapping[str, np.ndarray]) -> Run:
        """What runs it with further inputs, as often as one likes; a Chain does a part of the work here."""
        return lambda more: self({**feeds, **more})


def _loaded(
    source: str | bytes,
    options: onnxruntime.SessionOptions,
    provider: str,
    efforts: Sequence[tuple[onnxruntime.GraphOptimizationLevel, Collection[str]]],
) -> onnxruntime.InferenceSession:
    """A session, at the first of some efforts at which the runtime does not stumble over its own fusions.

    Some take away a value that is asked for, or that another node still reads. Raises what the first raised.
    """
    first = None
    built_in = list(dict.fromkeys([PROVIDERS[provider], PROVIDERS["cpu"]])) if provider in PROVIDERS else None
    for options.graph_optimization_level, without in efforts:
        try:
            session = onnxruntime.InferenceSession(
                source, options, providers=built_in, disabled_optimizers=without, enable_fallback=0
            )
            session.disable_fallback()
            return session
        except Exception as error:  # the binding raises kinds of its own
            first = first or error
    assert first is not None
    raise first


def answers_of(path: str, feeds: Mapping[str, np.ndarray], provider: str = "cpu") -> dict[str, np.ndarray]:
    """What a file answers as it is, by name: a session as anybody's, with one thread.

    Raises Unavailable where a plugin is not there, or leaves the whole file to the CPU.
    """
    options, called = onnxruntime.SessionOptions(), PROVIDERS.get(provider)
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if called is None:
        called = _use(device(provider), options, 1)
    session = onnxruntime.InferenceSession(
        path, options, providers=[called] if provider in PROVIDERS else None
    )
    if provider not in PROVIDERS and _takes_nothing(session, called):
        raise Unavailable(f"provider {provider} takes nothing of this file")
    names = [value.name for value in session.get_outputs()]
    found = session.run(names, dict(feeds))
    return {name: np.asarray(array) for name, array in zip(names, found, strict=True)}


def _model(graph: Graph, outputs: Sequence[str]) -> ModelProto:
    """What computes these values, without its weights and without inputs that nothing reads."""
    model = graph.to_model(outputs, weights=False)
    used = {i for n in model.graph.node for i in reads(n)} | set(outputs)
    unused = [i for i in model.graph.input if i.name not in used]
    for value in unused:
        model.graph.input.remove(value)
    # The runtime follows open sizes through less than we do, and is slower where it does not know that two
    # shapes are the same.
    made = [o for n in model.graph.node for o in n.output if o.startswith(OURS) and o in graph.types]
    known = (helper.make_value_info(o, graph.types[o]) for o in made if o not in outputs)
    model.graph.value_info.extend(known)
    return model


def _left(session: onnxruntime.InferenceSession, called: str, graph: Graph, outputs: Sequence[str]) -> bool:
    """True where a plugin left all of a graph with weights to the CPU, which takes it without a word."""
    if called in PROVIDERS.values() or not any(traits_of(n).weights for n in graph.ancestors(outputs)):
        return False
    return _takes_nothing(session, called)


def _takes_nothing(session: onnxruntime.InferenceSession, called: str) -> bool:
    """True where none of a graph is with a plugin; `_use` has the session record that."""
    return all(part.ep_name != called for part in session.get_provider_graph_assignment_info())


def _why_not_loaded(graph: Graph, error: Exception, provider: str) -> str:
    opset, newest = graph.opsets[""], newest_opset()
    if opset > newest:
        return (
            f"the model is of opset {opset}, ONNX Runtime {onnxruntime.__version__} runs {newest}: "
            "install a newer one, or export the model for that"
        )
    if provider != "cpu":
        said = one_line(error, graph)
        return f"ONNX Runtime cannot load the model on {provider}: {said}; `--provider cpu` may take it"
    return f"ONNX Runtime cannot load the model: {one_line(error, graph)}"


def _options(provider: str, threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    # A pattern is a second block of memory for each shape that is fed, and saves no time.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if provider == "cpu":
        shared_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
    elif provider not in PROVIDERS:
        _use(device(provider), options, threads)
    return options


def _use(on: Device, options: onnxruntime.SessionOptions, threads: int | None) -> str:
    """Have a session run on a device of a plugin, and record what it takes: the provider's name there."""
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    name = on.wish.partition(":")[0]
    options.add_provider_for_devices([on.handle], settings(name, threads))
    return on.plugin.called


def _multiply_as_said(options: onnxruntime.SessionOptions, types: Collection[int]) -> None:
    """Have products with weights that are quantised in blocks computed as the file says.

    The runtime puts one kernel in the place of DequantizeLinear and MatMul, if nobody asked for the value
    between. It rounds the activations to 8 bits by default (answers differ by half a percent), and for 2 bits
    its answers can be wrong (ONNX Runtime 1.31).
    """
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # float32
    if not _TWO_BITS.isdisjoint(types):
        options.add_session_config_entry("session.disable_quant_qdq", "1")


def _keep(path: Path, options: onnxruntime.SessionOptions) -> None:
    """Have the runtime write what it makes of a model to this file, and the weights to one beside it."""
    options.optimized_model_filepath = str(path)
    for key, value in {"file_name": f"{path.stem}.bin", "min_size_in_bytes": "1024"}.items():
        key = f"session.optimized_model_external_initializers_{key}"
        options.add_session_config_entry(key, value)


def _weights_beside(
    model: ModelProto, graph: Graph, options: onnxruntime.SessionOptions
) -> dict[str, np.ndarray]:
    """The weights in memory that are not in the model; those in files are said by their place.

    Of types that NumPy does not have (4 bits, float8) the runtime takes no arrays: they go into the model.
    It looks for files in one folder only, so that is the root of the file system.
    """
    held, root = {}, ""
    for stub in model.graph.initializer:
        tensor = graph.constants[stub.name]
        if is_external(tensor):
            path, offset, length = place_of(tensor)
            root = root or path.anchor
            if path.anchor == root and str(path).isprintable():
                set_place(stub, path.relative_to(root).as_posix(), offset, length)
                continue
        if is_external(stub):
            array = np.ascontiguousarray(array_of(tensor))
            if array.dtype.isbuiltin == 1:
                held[stub.name] = array
            else:
                stub.CopyFrom(tensor)
    if root:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", root)
    return held


def _leave_unpacked(model: ModelProto) -> None:
    """Have the runtime read the largest weights of the backward pass where they lie in their file.

    It packs a constant anew for every node: 0.8 GB for the first dense layer of VGG and its gradient. What
    might be replaced, an initializer that is an input too, it leaves as it is. That is no slower for one
    image, and for eight by 14 ms in a second.
    """
    graph, again = model.graph, {}
    for tensor in graph.initializer:
        if is_external(tensor) and size_of(tensor) >= UNPACKED and len(tensor.external_data) > 1:
            again[tensor.name] = TensorProto()
            again[tensor.name].CopyFrom(tensor)
            again[tensor.name].name = f"{OURS}unpacked/{tensor.name}"
    for node in graph.node:  # the model's own keep the bits of their answers
        if node.op_type == "Gemm" and node.input[1] in again and node.output[0].startswith(OURS):
            tensor = again[node.input[1]]
            node.input[1] = tensor.name
            if all(tensor.name != t.name for t in graph.initializer):
                graph.initializer.append(tensor)
                graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def _bfloat16(array: np.ndarray) -> onnxruntime.OrtValue:
    """What ONNX Runtime takes for a bfloat16 array, which it does not know from NumPy."""
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
        np.ascontiguousarray(array).view(np.uint16), TensorProto.BFLOAT16
    )
