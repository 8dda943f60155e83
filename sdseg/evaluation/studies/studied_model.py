"""What every study looks at: one model and some cases of one slice store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from sdseg.artifacts.results.record import FORMAT
from sdseg.artifacts.results.studies import MeanScores
from sdseg.backends.base import Backend, batch_for
from sdseg.backends.open_model import Served, open_model
from sdseg.backends.probability import TimedBackend
from sdseg.core.array_types import RawImages
from sdseg.core.errors import UserError
from sdseg.core.provenance import provenance
from sdseg.data.batches import CaseScore, check_store, evenly_spread, predicted_by, score_cases, slice_batches
from sdseg.data.neighbours import NeighbouringSlices
from sdseg.data.store import Case, SliceStore

__all__ = ["Scope", "Subject", "bar", "mean_scores", "open_subject"]


@dataclass(frozen=True)
class Scope:
    """Which cases are computed, where, and how many slices at a time."""

    split: str = "test"
    device: str = "cpu"
    batch: int = 8
    limit: int | None = None  # at most this many cases, evenly spread over the split; None for all


@dataclass(frozen=True)
class Subject:
    """An open model and the cases it is studied on."""

    store: SliceStore
    cases: tuple[Case, ...]
    served: Served
    scope: Scope

    @property
    def slices(self) -> int:
        return sum(case.slices for case in self.cases)

    @property
    def batch(self) -> int | None:
        """How many slices the model gets at a time; None: those of one volume."""
        return batch_for(self.served.backend, self.scope.batch)

    def served_with(self, *, steps: int | None = None, samples: int | None = None) -> Served:
        """The model with other reverse steps and hypotheses. Raises UserError where its recipe does not allow them."""
        return open_model(self.served.path, self.scope.device, steps=steps, samples=samples)

    def on(self, images: RawImages) -> Subject:
        """The same study with other slices in the store, [N,H,W,C]."""
        own = self.store.images
        seen = cast("RawImages", own.of(images)) if isinstance(own, NeighbouringSlices) else images
        return replace(self, store=replace(self.store, images=seen))

    def header(self, study: str) -> dict[str, Any]:
        """What every study's file begins with: what was looked at, with what."""
        manifest = self.store.manifest
        return {
            "format": FORMAT,
            "study": study,
            "dataset": manifest.dataset,
            "origin": manifest.origin,
            "protocol": manifest.protocol,
            "recipe": self.served.recipe,
            "backend": self.served.backend.name,
            "split": self.scope.split,
            "n_cases": len(self.cases),
            "n_slices": self.slices,
            "size": manifest.image.size,
            "data_checksum": manifest.data_checksum,
            "model_checksum": self.served.checksum,
            "provenance": provenance(
                ("torch", "onnxruntime", "openvino", "opencv-python-headless", "torchmetrics"),
                stage="evaluation.studies.run",
            ),
        }


def open_subject(prepared: Path, model: Path, scope: Scope = Scope()) -> Subject:
    """Open a store and a model. Raises UserError where they do not belong together or `scope` makes no sense."""
    for name, number in (("--batch", scope.batch), ("--limit", scope.limit)):
        if number is not None and number < 1:
            raise UserError(f"{number} is too few", where=name, remedy="give 1 or more")
    store = SliceStore.open(prepared, verify=True)
    served = open_model(model, scope.device)
    store = store.seen_by(served.image)
    cases = check_store(store, model, served.image, served.structures, scope.split)
    return Subject(store, evenly_spread(cases, scope.limit), served, scope)


def mean_scores(subject: Subject, backend: Backend, progress: tqdm[Any], *, timed: bool) -> MeanScores:
    """Mean Dice over the cases at the working size, its standard deviation, mean IoU, and, `timed`, the seconds per
    image.
    """
    clock, scores, batch = TimedBackend(backend, subject.served.path), list[CaseScore](), subject.batch
    if timed:
        clock.warm_up(next(slice_batches(subject.store, subject.cases, batch)).images)
    rule = subject.served.rule
    predict = predicted_by(clock.probability, rule)
    for score in score_cases(predict, subject.store, subject.cases, batch, rule):
        scores.append(score)
        progress.update(score.case.slices)
    dice, iou = ([getattr(score, name) for score in scores] for name in ("mean_dice", "mean_iou"))
    return MeanScores.checked(
        dice=float(np.mean(dice)),
        dice_sd=float(np.std(dice, ddof=1)) if len(dice) > 1 else 0.0,
        iou=float(np.mean(iou)),
        **({"seconds_per_image": clock.seconds_per_image} if timed else {}),
    )


def bar(total: int, study: str, unit: str = "slice") -> tqdm[Any]:
    """Progress on a terminal; in a log file a line now and then."""
    return tqdm(total=total, desc=study, unit=unit, mininterval=1.0, maxinterval=15.0)
