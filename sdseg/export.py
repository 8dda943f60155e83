"""Model folder to one ONNX graph, which is kept only if it computes what the model computes on real cases."""

from __future__ import annotations

import logging
from pathlib import Path

from tqdm import tqdm

from sdseg.artifacts import (
    GraphManifest,
    ModelManifest,
    atomic_folder,
    provenance,
    sha256_text,
    write_json,
)
from sdseg.config import Export
from sdseg.data.store import Case, SliceStore
from sdseg.errors import ListedError
from sdseg.model.checkpoint import load_model
from sdseg.runtime.backends import OnnxBackend, TorchBackend
from sdseg.runtime.onnx_graph import export_graph, graph_inputs, graph_outputs
from sdseg.runtime.parity import Parity, compare
from sdseg.serving import check_store, slice_batches

__all__ = ["export"]

log = logging.getLogger(__name__)

# Batches of several sizes, none of them the one the graph was traced with alone: the batch axis must really be dynamic.
PARITY_BATCHES = (1, 2, 3, 5)
WRITTEN = ("model.onnx", "model.onnx.data", "io.json", "parity.json")


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
    segmenter, manifest = load_model(model)
    store = SliceStore.open(prepared)
    cases = check_store(store, model, manifest.image, manifest.structures, "test")
    cases = _spread(cases, settings.parity_cases)
    with atomic_folder(output, owned=(*WRITTEN, "model.*", "engine.json", "benchmark.json")) as folder:
        # 2. Trace it into one graph: raw image -> probability.
        graph = folder / "model.onnx"
        described = _describe(manifest, segmenter.noise_shape, settings.opset)
        export_graph(segmenter, described, graph)
        log.info("model.onnx: %.1f MB, operator set %d", graph.stat().st_size / 1e6, settings.opset)

        # 3. Run model and graph on the same real images.
        reference = TorchBackend(segmenter, manifest.image, "cpu", segmenter.noise_shape)
        batches = tqdm(
            slice_batches(store, cases, PARITY_BATCHES), desc="parity", unit="batch", disable=None, leave=False
        )
        parity = compare(reference, OnnxBackend(graph), batches, manifest.threshold, settings)

        # 4. Keep it, or refuse it.
        if not parity.passed:
            _forget(output)
            raise _refused(parity, output)
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


def _spread(cases: tuple[Case, ...], most: int | None) -> tuple[Case, ...]:
    """At most `most` cases, evenly spaced over the split, so that no single sequence stands for all."""
    if most is None or most >= len(cases):
        return cases
    return tuple(cases[index * len(cases) // most] for index in range(most))


def _forget(output: Path) -> None:
    """Remove an earlier export: it belongs to another state of the model."""
    for name in WRITTEN:
        (output / name).unlink(missing_ok=True)


def _refused(parity: Parity, output: Path) -> ListedError:
    figures = (
        f"measured on {parity.n_cases} test cases ({parity.n_slices} slices): "
        f"probability max {parity.max_abs_difference:.3g}, "
        f"mean {parity.mean_abs_difference:.3g}; Dice {parity.dice_exported:.4f} against {parity.dice_reference:.4f}; "
        f"Dice between the masks {parity.mask_dice:.4f}"
    )
    return ListedError(
        f"the ONNX graph does not compute what the model computes ({parity.backend} against {parity.reference}):",
        (*parity.problems, figures),
        where=output / "model.onnx",
        remedy="nothing was kept; try another --opset, or widen the tolerance if this difference is acceptable to you",
    )
