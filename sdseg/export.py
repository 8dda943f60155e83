"""Model folder to one ONNX graph, which is kept only if it computes what the model computes on real cases."""

from __future__ import annotations

import logging
from pathlib import Path

from sdseg.artifacts import (
    GraphManifest,
    ModelManifest,
    atomic_folder,
    provenance,
    sha256_text,
    write_json,
)
from sdseg.config import Export
from sdseg.gate import open_gate, refusal
from sdseg.runtime.backends import OnnxBackend
from sdseg.runtime.onnx_graph import export_graph, graph_inputs, graph_outputs

__all__ = ["export"]

log = logging.getLogger(__name__)

WRITTEN = ("model.onnx", "model.onnx.data", "io.json", "parity.json")
REMEDY = "nothing was kept; try another --opset, or widen the tolerance if this difference is acceptable to you"


def export(model: Path, prepared: Path, output: Path, settings: Export) -> None:
    """Write `output`/model.onnx, io.json and parity.json; all of them, or none.

    Parameters
    ----------
    model: a model folder.
    prepared: the slice store whose test cases both models are run on.
    output: folder to write; one of an earlier export is replaced.
    settings: operator set and tolerances.

    Raises UserError when the network cannot be exported, and ListedError when the graph differs from the model by
    more than the tolerances: then no model.onnx is left, not even an earlier one.
    """
    # 1. The model, and the cases it is checked on.
    gate = open_gate(model, prepared, settings)
    segmenter, manifest = gate.segmenter, gate.manifest
    with atomic_folder(output, owned=(*WRITTEN, "model.*", "engine.json", "benchmark.json")) as folder:
        # 2. Trace it into one graph: raw image -> probability.
        graph = folder / "model.onnx"
        described = _describe(manifest, segmenter.noise_shape, settings.opset)
        export_graph(segmenter, described, graph)
        log.info("model.onnx: %.1f MB, operator set %d", graph.stat().st_size / 1e6, settings.opset)

        # 3. Run model and graph on the same real images.
        parity = gate.judge(OnnxBackend(graph))

        # 4. Keep it, or refuse it.
        if not parity.passed:
            _forget(output)
            raise refusal(parity, "ONNX graph", output / "model.onnx", REMEDY)
        write_json(folder / "io.json", described)
        write_json(folder / "parity.json", parity.record())
    log.info(
        "parity on %d cases: probability within %.2g, Dice %.4f against %.4f",
        parity.n_cases,
        parity.max_abs_difference,
        parity.dice_exported,
        parity.dice_reference,
    )


def _describe(manifest: ModelManifest, noise_shape: tuple[int, int, int] | None, opset: int) -> GraphManifest:
    made_by = provenance(("torch", "onnx", "onnxscript", "onnxruntime"))
    weights = "\n".join(f"{name} {value}" for name, value in sorted(manifest.files.items()))
    return GraphManifest(
        dataset=manifest.dataset,
        origin=manifest.origin,
        recipe=manifest.recipe_name,
        inputs=graph_inputs(manifest.image, noise_shape),
        outputs=graph_outputs(manifest.image, len(manifest.structures)),
        image=manifest.image,
        structures=manifest.structures,
        threshold=manifest.threshold,
        opset=opset,
        provenance={**made_by, "protocol": manifest.protocol, "model_checksum": sha256_text(weights)},
    )


def _forget(output: Path) -> None:
    """Remove an earlier export: it belongs to another state of the model."""
    for name in WRITTEN:
        (output / name).unlink(missing_ok=True)
