"""A model repository for NVIDIA's Triton Inference Server: config.pbtxt and what lies in a version folder.

Fields as documented for ModelConfig (Triton, docs/user_guide/model_configuration.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sdseg.artifacts.manifests import GraphManifest, GraphPort

__all__ = ["Variant", "config_text", "model_name"]

DATA_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
# Of a platform: what Triton calls it, and the file it looks for in a version folder.
Platform = Literal["onnxruntime_onnx", "tensorrt_plan"]
FILES: dict[Platform, str] = {"onnxruntime_onnx": "model.onnx", "tensorrt_plan": "model.plan"}


@dataclass(frozen=True)
class Variant:
    """One way to serve a model."""

    name: str  # of the model in the repository, and of its folder
    platform: Platform
    graph: GraphManifest
    max_batch: int
    gpu: bool  # where the server has one; an engine needs it
    delay_us: int = 2000  # how long a request waits for others to share a batch with

    @property
    def file(self) -> str:
        return FILES[self.platform]


def model_name(graph: GraphManifest, precision: str, platform: Platform) -> str:
    """Dataset and recipe, and what a variant is: `mine_sdseg`, `mine_sdseg_int8`, `mine_sdseg_fp16_tensorrt`."""
    words = [graph.dataset, graph.recipe]
    if platform == "tensorrt_plan":
        words += [precision, "tensorrt"]
    elif precision != "fp32":
        words.append(precision)
    return re.sub(r"[^A-Za-z0-9_-]", "_", "_".join(words))


def config_text(variant: Variant) -> str:
    """The content of config.pbtxt, protobuf's text format.

    The batch axis is left out of `dims`, as Triton wants it; requests are gathered into batches up to `max_batch`. The
    manifest of the graph travels along as the parameter `sdseg`: a client finds how probabilities become masks
    and names there.
    """
    lines = [
        f"name: {_text(variant.name)}",
        f"platform: {_text(variant.platform)}",
        f"max_batch_size: {variant.max_batch}",
        *_ports("input", variant.graph.inputs),
        *_ports("output", variant.graph.outputs),
        "version_policy { latest { num_versions: 1 } }",
        f"instance_group [ {{ kind: {_kind(variant)} count: 1 }} ]",
    ]
    if variant.max_batch > 1:
        lines += ["dynamic_batching {", f"  max_queue_delay_microseconds: {variant.delay_us}", "}"]
    if variant.platform == "tensorrt_plan":
        lines.append("optimization { cuda { graphs: true } }")
    graph = variant.graph
    parameters = {
        "sdseg": graph.model_dump_json(),
        "threshold": f"{graph.threshold:g}",
        "exclusive": "true" if graph.exclusive else "false",
        "largest_component": "true" if graph.postprocessing.largest_component else "false",
        "fill_holes": "true" if graph.postprocessing.fill_holes else "false",
    }
    for key, value in parameters.items():
        lines.append(f"parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}")
    return "\n".join(lines) + "\n"


def _kind(variant: Variant) -> str:
    """A graph runs on whatever the server has (KIND_AUTO), unless it shall leave the GPU to others."""
    if variant.platform == "tensorrt_plan":
        return "KIND_GPU"
    return "KIND_AUTO" if variant.gpu else "KIND_CPU"


def _ports(kind: str, ports: tuple[GraphPort, ...]) -> list[str]:
    lines = []
    for port in ports:
        dims = ", ".join(str(axis) for axis in port.axes[1:])
        lines += [
            f"{kind} [",
            f"  {{ name: {_text(port.name)} data_type: {DATA_TYPES[port.dtype]} dims: [ {dims} ] }}",
            "]",
        ]
    return lines


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
