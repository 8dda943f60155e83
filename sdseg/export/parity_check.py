"""The parity gate on real cases: the trained model on one side, what was exported from it on the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from sdseg.artifacts.manifests import GraphManifest, ModelManifest, model_checksum
from sdseg.artifacts.results.parity import Parity
from sdseg.backends.base import Backend
from sdseg.backends.torch import TorchBackend
from sdseg.config.export import Export, Precision
from sdseg.core.errors import ListedError, UserError
from sdseg.data.batches import check_store, evenly_spread, slice_batches
from sdseg.data.mask_rule import MaskRule
from sdseg.data.store import Case, SliceStore
from sdseg.export.parity import compare
from sdseg.models.checkpoint import load_model
from sdseg.models.segmenter import Segmenter

__all__ = ["Gate", "open_gate", "refusal"]

# Batches of several sizes, none of them the one the graph was traced with alone: the batch axis must really be dynamic.
PARITY_BATCHES = (1, 2, 3, 5)


@dataclass(frozen=True)
class Gate:
    """A model, the test cases it is compared on, and the tolerances."""

    segmenter: Segmenter
    manifest: ModelManifest
    store: SliceStore
    cases: tuple[Case, ...]
    settings: Export

    def judge(
        self,
        exported: Backend,
        precision: Precision = "fp32",
        device: str = "cpu",
        tolerated: Precision | None = None,
    ) -> Parity:
        """Run the model on `device`, and `exported`, on the same real images.

        `tolerated`: the precision whose tolerances count, where a runtime computes in coarser numbers than `precision`.
        """
        reference = TorchBackend(self.segmenter, self.manifest.image, device, self.segmenter.noise_shape)
        batches = slice_batches(self.store, self.cases, PARITY_BATCHES)
        shown = tqdm(batches, desc="parity", unit="batch", disable=None, leave=False)
        tolerance = self.settings.tolerance(tolerated or precision)
        return compare(reference, exported, shown, MaskRule.of(self.manifest), tolerance, precision)

    def check_same_model(self, described: GraphManifest, graph: Path) -> None:
        """Raise UserError unless the graph was exported from this very model: two different ones cannot be compared."""
        recorded = described.provenance.get("model_checksum")
        if recorded != model_checksum(self.manifest):
            raise UserError(
                "the graph was not exported from this model",
                where=graph,
                remedy="export the model again, or name the model folder the graph came from",
            )


def open_gate(model: Path, prepared: Path, settings: Export) -> Gate:
    """Load a model folder and the test cases of a slice store; raises ListedError where they do not fit together."""
    segmenter, manifest = load_model(model)
    store = SliceStore.open(prepared, verify=True)
    cases = check_store(store, model, manifest.image, manifest.structures, "test")
    # Over the whole split, so that no single sequence stands for all.
    return Gate(segmenter, manifest, store, evenly_spread(cases, settings.parity_cases), settings)


def refusal(parity: Parity, what: str, where: Path, remedy: str) -> ListedError:
    """The error that says why the gate is closed; `what` names the thing that was exported, 'ONNX graph'."""
    figures = (
        f"measured on {parity.n_cases} test cases ({parity.n_slices} slices): "
        f"probability max {parity.max_abs_difference:.3g}, "
        f"mean {parity.mean_abs_difference:.3g}; Dice {parity.dice_exported:.4f} against {parity.dice_reference:.4f}; "
        f"Dice between the masks {parity.mask_dice:.4f}"
    )
    return ListedError(
        f"the {what} does not compute what the model computes ({parity.backend} against {parity.reference}):",
        (*parity.problems, figures),
        where=where,
        remedy=remedy,
    )
