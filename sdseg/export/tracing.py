"""A module as one ONNX graph that describes itself: names, axes, operator set, metadata."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sdseg.artifacts.image_contract import ImageContract
from sdseg.artifacts.manifests import GraphManifest, GraphPort
from sdseg.backends.graph_checksum import seal_graph, unsealed
from sdseg.backends.graph_file import METADATA_KEY
from sdseg.config.patches import Extent
from sdseg.core.collector import uncollected
from sdseg.core.errors import UserError, first_line
from sdseg.export.passes.uint8_input import cast_first
from sdseg.metrics.uncertainty import LARGEST_ENTROPY, LARGEST_VARIANCE

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["METADATA_KEY", "export_graph", "graph_inputs", "graph_outputs"]

# A protobuf message ends at 2 GiB; larger weights lie in `<name>.data` beside the graph.
INLINE_BYTES = 1_900_000_000


def graph_inputs(
    image: ImageContract, noise_shape: tuple[int, ...] | None, patch: Extent | None = None
) -> tuple[GraphPort, ...]:
    """The inputs of a segmenter's graph: `image` [batch,height,width,channels] and, for sampling recipes, `noise`.

    The channels are those of every slice the model sees, one slice after the other. With a `patch` the image is one
    of a volume, [batch,D,H,W,channels].
    """
    rgb = image.modality == "rgb"
    port = GraphPort(
        name="image",
        dtype="uint8" if rgb else "float32",
        axes=("batch", *(patch or image.sides), image.fed_channels),
        range=(0.0, 255.0) if rgb else image.window,
    )
    if noise_shape is None:
        return (port,)
    return port, GraphPort(name="noise", dtype="float32", axes=("batch", *noise_shape), range=None)


def graph_outputs(
    image: ImageContract, structures: int, hypotheses: int | None = None, patch: Extent | None = None
) -> tuple[GraphPort, ...]:
    """The outputs of a segmenter's graph: `probability` [batch,K,height,width] in [0,1], of a `patch` [batch,K,D,H,W].

    With a number S of `hypotheses` also those [batch,S,K,height,width], whose mean the probability is, and in the
    shape of the probability their `variance` and its `entropy` (metrics/uncertainty.py).
    """
    axes = (structures, *(patch or image.sides))

    def port(name: str, largest: float, *more: int) -> GraphPort:
        return GraphPort(name=name, dtype="float32", axes=("batch", *more, *axes), range=(0.0, largest))

    probability = port("probability", 1.0)
    if hypotheses is None:
        return (probability,)
    agreement = (port("variance", LARGEST_VARIANCE), port("entropy", LARGEST_ENTROPY))
    return probability, *agreement, port("hypotheses", 1.0, hypotheses)


def export_graph(module: nn.Module, manifest: GraphManifest, path: Path) -> GraphManifest:
    """Write `module` to `path` as one ONNX graph with the ports and the operator set that `manifest` names.

    Returns the manifest as the graph carries it: with the checksums of its content.

    `module` takes raw images [N,H,W,C] (and noise [N,c,h,w]) and gives the probability [N,K,H,W], then what other
    outputs the manifest names; it must be in evaluation mode, on the CPU. The batch axis is dynamic. Weights above 2 GB
    go to `<path>.data`, a name that is written into the graph: `path` must be final within its folder. Raises UserError
    when the module cannot be traced.
    """
    import onnx
    import torch
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    from sdseg.export.passes.folding import fold_rows
    from sdseg.export.passes.group_norm import spread_group_norms
    from sdseg.export.passes.upsampling import merge_upsampling

    if module.training:
        raise UserError("a module in training mode is not exported", remedy="call eval() first")
    example = _example(manifest.inputs)
    try:
        with _quiet(), _without_stack_traces(), uncollected(), torch.no_grad():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                verbose=False,
                input_names=[port.name for port in manifest.inputs],
                output_names=[port.name for port in manifest.outputs],
                # A name, not a Dim: with a Dim torch traces twice where a library branches on the batch, as diffusers
                # does at 64 samples.
                dynamic_shapes=tuple({0: "batch"} for _ in manifest.inputs),
                opset_version=manifest.opset,
            )
            if program is None:
                raise RuntimeError("the exporter returned nothing")
            fold_rows(program.model)
            spread_group_norms(program.model)
            merge_upsampling(program.model)
            # Node metadata is longer than the graph, and would hold paths of this machine.
            ClearMetadataAndDocStringPass()(program.model)
            cast_first(program.model)
            weights = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
            external = weights > INLINE_BYTES
            program.model.metadata_props.clear()
            program.model.metadata_props[METADATA_KEY] = unsealed(manifest, external=external).model_dump_json()
            program.save(str(path), external_data=external)
        onnx.checker.check_model(str(path), full_check=not external)
    except (
        *(torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError),
        *(onnx.checker.ValidationError, onnx.shape_inference.InferenceError),
    ) as error:
        raise UserError(
            f"the network cannot be written as an ONNX graph of operator set {manifest.opset}: {_root(error)}",
            where=path.name,
            remedy="choose another operator set (18 to 25; 21 is the one that is tested)",
        ) from error
    _check_ports(onnx.load(str(path), load_external_data=False), manifest, path)
    return seal_graph(path)


def _example(ports: tuple[GraphPort, ...]) -> tuple[Tensor, ...]:
    """Zeros for every input. Batch 2: with one sample the exporter takes the axis for a constant."""
    import torch

    sizes = [[axis if isinstance(axis, int) else 2 for axis in port.axes] for port in ports]
    return tuple(torch.zeros(size, dtype=getattr(torch, port.dtype)) for size, port in zip(sizes, ports, strict=True))


def _check_ports(model: object, manifest: GraphManifest, path: Path) -> None:
    """What was written has the declared names and axes; an exporter may fold an unused input or fix an axis."""
    import onnx

    if not isinstance(model, onnx.ModelProto):
        raise TypeError(f"expected a ModelProto, got {type(model).__name__}")
    pairs = ((model.graph.input, manifest.inputs), (model.graph.output, manifest.outputs))
    for graph_ports, declared in pairs:
        ports = {
            value.name: tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)
            for value in graph_ports
        }
        expected = {port.name: port.axes for port in declared}
        if ports != expected:
            raise UserError(
                f"the ONNX graph came out with the ports {ports} instead of {expected}",
                where=path.name,
                remedy="the network does not give what its manifest says: make the model again with this version",
            )


def _root(error: BaseException) -> str:
    """First line of the innermost cause: the exporter wraps errors in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporter's remarks on packages we do not use and on its own deprecations."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            for category in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _without_stack_traces() -> Iterator[None]:
    """Nodes do not note where they come from: of a graph that is not to hold it, up to a tenth of an export's time."""
    from torch.fx import config

    if not hasattr(config, "do_not_emit_stack_traces"):  # PyTorch 2.11
        yield
        return
    before = config.do_not_emit_stack_traces
    config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        config.do_not_emit_stack_traces = before
