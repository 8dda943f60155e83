"""The gate between a model and what was exported from it: same probability, same masks, same Dice on real cases, or a
refusal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from sdseg.artifacts.manifests import GraphManifest, ModelManifest, model_checksum
from sdseg.artifacts.results.parity import Parity
from sdseg.backends.base import Backend
from sdseg.config.export import Export, Precision, Tolerance
from sdseg.core.array_types import FloatArray, MaskArray
from sdseg.core.errors import ListedError, UserError
from sdseg.data.batches import SliceBatch, by_case, check_store, evenly_spread, slice_batches
from sdseg.data.mask_rule import MaskRule
from sdseg.data.store import Case, SliceStore
from sdseg.export.parity_outputs import OutputDifferences
from sdseg.metrics.overlap import Tally

if TYPE_CHECKING:  # what is compared without a model in PyTorch does without PyTorch
    from sdseg.models.segmenter import Segmenter

__all__ = ["ParityGate", "compare", "open_gate", "refusal"]

SPECK = 1e-3  # share of a slice: what is smaller may vanish, and counts in the Dice between the masks
CLEARLY = 0.1  # a probability this far above the threshold is a mask in every precision, whatever else is tolerated
# Batches of several sizes, none of them the one the graph was traced with alone: the batch axis must really be dynamic.
PARITY_BATCHES = (1, 2, 3, 5)

_Part = tuple[Sequence[str], tuple[MaskArray, ...]]  # the case of each slice, and masks of it


@dataclass(frozen=True)
class ParityGate:
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
        from sdseg.backends.torch import TorchBackend

        window = self.segmenter.sliding_window
        reference = TorchBackend(self.segmenter, self.manifest.image, device, self.segmenter.noise_shape, window=window)
        batches = slice_batches(self.store, self.cases, PARITY_BATCHES if window is None else None)
        progress = tqdm(batches, desc="parity", unit="batch", disable=None, leave=False)
        tolerance = self.settings.tolerance(tolerated or precision)
        return compare(
            *(reference, exported, progress, self._rule, tolerance, precision),
            hypotheses=bool(self.settings.hypotheses),
        )

    @property
    def _rule(self) -> MaskRule:
        rule = MaskRule.of(self.manifest)
        if self.manifest.image.tiles is None:
            return rule
        return replace(rule, largest_component=False, fill_holes=False)  # tiles side by side are no whole image

    def check_same_model(self, graph_manifest: GraphManifest, graph: Path) -> None:
        """Raise UserError unless the graph was exported from this very model: two different ones cannot be compared."""
        recorded = graph_manifest.provenance.get("model_checksum")
        if recorded != model_checksum(self.manifest):
            raise UserError(
                "the graph was not exported from this model",
                where=graph,
                remedy="export the model again, or name the model folder the graph came from",
            )


def open_gate(model: Path, prepared: Path, settings: Export) -> ParityGate:
    """Load a model folder and the test cases of a slice store; raises ListedError where they do not fit together.

    A number of hypotheses in `settings` is that of the model, if it starts from noise.
    """
    from sdseg.models.model_folder import load_model

    segmenter, manifest = load_model(model)
    if settings.hypotheses is not True and settings.hypotheses and segmenter.noise_shape is not None:
        segmenter, manifest = load_model(model, {"samples": settings.hypotheses})
    store = SliceStore.open(prepared, verify=True).with_neighbours(manifest.image.neighbours)
    cases = check_store(store, model, manifest.image, manifest.structures, "test")
    # Over the whole split, so that no single sequence stands for all.
    return ParityGate(segmenter, manifest, store, evenly_spread(cases, settings.parity_cases), settings)


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


def compare(
    reference: Backend,
    exported: Backend,
    batches: Iterable[SliceBatch],
    rule: MaskRule,
    tolerance: Tolerance,
    precision: Precision = "fp32",
    *,
    hypotheses: bool = False,
) -> Parity:
    """Run both models on every batch and judge the differences by `tolerance`; `precision` is named in the record.

    `rule` makes the masks of both. With `hypotheses` these are compared as well, where both models give them, and so is
    what an exported model says of them. Besides the tolerances, output that is NaN, constant or empty where the
    reference is not fails by name, however small its share in the averages.
    """
    sums = _Sums(rule, min(tolerance.max_abs_difference, CLEARLY))
    outputs = OutputDifferences(reference, exported) if hypotheses else None
    sums.tally(
        sums.add(batch, reference.probability(batch.images), exported.probability(batch.images), outputs)
        for batch in batches
    )
    dice_reference, dice_exported = float(sums.reference.dice().mean()), float(sums.exported.dice().mean())
    largest, difference, mask_dice = sums.largest, abs(dice_exported - dice_reference), float(sums.masks.dice().mean())
    mean = sums.total / max(sums.values, 1)
    problems = sums.problems()
    if not mean <= tolerance.max_mean_difference:
        problems.append(
            f"the probability differs by {mean:.3g} on average, the tolerance is {tolerance.max_mean_difference:g}"
        )
    if not largest <= tolerance.max_abs_difference:
        problems.append(
            f"the probability differs by up to {largest:.3g}, {largest / tolerance.max_abs_difference:.1f} times "
            f"the tolerance of {tolerance.max_abs_difference:g}"
        )
    if outputs is not None:
        problems += outputs.problems(tolerance.max_abs_difference)
    if not difference <= tolerance.max_dice_difference:
        problems.append(
            f"the mean Dice is {dice_exported:.4f} instead of {dice_reference:.4f}: a difference of {difference:.4f}, "
            f"the tolerance is {tolerance.max_dice_difference:g}"
        )
    if not mask_dice >= tolerance.min_mask_dice:
        problems.append(
            f"the Dice between the masks is {mask_dice:.4f}, at least {tolerance.min_mask_dice:g} is wanted"
        )
    return Parity(
        backend=exported.name,
        reference=reference.name,
        precision=precision,
        n_cases=len(sums.reference.counts),
        n_slices=sum(sums.reference.slices.values()),
        max_abs_difference=largest,
        mean_abs_difference=mean,
        **({f"{name}_difference": value for name, value in outputs.largest.items()} if outputs else {}),
        dice_reference=dice_reference,
        dice_exported=dice_exported,
        dice_difference=difference,
        mask_dice=mask_dice,
        tolerances=tolerance.model_dump(),
        passed=not problems,
        problems=tuple(problems),  # in the error, not in the file
    )


@dataclass
class _Sums:
    """Running figures over batches, and the slices that are wrong in kind."""

    rule: MaskRule
    tolerance: float
    reference: Tally = field(default_factory=Tally)  # against the labels
    exported: Tally = field(default_factory=Tally)
    masks: Tally = field(default_factory=Tally)  # one model against the other
    largest: float = 0.0
    total: float = 0.0
    values: int = 0
    broken: list[str] = field(default_factory=list)  # cases with NaN or infinite values, one entry per slice
    constant: list[str] = field(default_factory=list)
    black: list[str] = field(default_factory=list)

    def add(
        self, batch: SliceBatch, reference: FloatArray, exported: FloatArray, outputs: OutputDifferences | None = None
    ) -> _Part:
        """Compare probabilities, and the other outputs where they are wanted.

        Gives the case of each slice, both models' masks of it, and the label's.
        """
        odd = np.zeros(len(batch.cases), dtype=np.bool_) if outputs is None else outputs.add(batch.images)
        for case, theirs, ours, no_number in zip(batch.cases, reference, exported, odd, strict=True):  # [K,H,W] each
            if no_number or not np.isfinite(ours).all():
                self.broken.append(case)
            elif np.ptp(ours) == 0.0 and np.ptp(theirs) > self.tolerance:
                self.constant.append(case)
            # A pixel may sit on the threshold, or between two structures: only what is clearly a mask in the reference
            # has to be one here.
            surely = self.rule.certain(theirs, self.tolerance).mean(axis=(1, 2)) >= SPECK  # [K]
            if (surely & ~self.rule.masks(ours).any(axis=(1, 2))).any():
                self.black.append(case)
        difference = np.abs(exported.astype(np.float64) - reference)
        finite = difference[np.isfinite(difference)]
        self.largest = max(self.largest, float(finite.max(initial=0.0)))
        self.total += float(finite.sum())
        self.values += finite.size
        return batch.cases, (self.rule.masks(exported), self.rule.masks(reference), batch.labelled)  # [N,K,H,W] each

    def tally(self, parts: Iterable[_Part]) -> None:
        """Compare masks, after post-processing where the model has one."""
        if self.rule.postprocesses:
            finish = self.rule.finish
            whole_cases = by_case(parts)
            parts = (
                ((name,) * len(ours), (finish(ours), finish(theirs), label))
                for name, (ours, theirs, label) in whole_cases
            )
        for cases, (ours, theirs, labelled) in parts:
            self.reference.add(cases, theirs, labelled)
            self.exported.add(cases, ours, labelled)
            self.masks.add(cases, ours, theirs)

    def problems(self) -> list[str]:
        slices = sum(self.reference.slices.values())
        kinds = (
            (self.broken, "NaN or infinite probability"),
            (self.constant, "constant probability where the model's is not"),
            (self.black, "black mask: nothing found where the model finds a structure"),
        )
        return [
            f"{text}, in {len(cases)} of {slices} slices (first: case {cases[0]})" for cases, text in kinds if cases
        ]
