"""Validation in training: the mean Dice on the validation split, and the best weights so far, which are kept."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from accelerate.utils import broadcast_object_list

from sdseg.backends.base import batch_for
from sdseg.backends.torch import TorchBackend
from sdseg.data.batches import evenly_spread, predicted_by, score_cases
from sdseg.data.mask_rule import MaskRule
from sdseg.data.store import Case
from sdseg.models.model_folder import write_tensors
from sdseg.training.setup import TrainingRun
from sdseg.training.state import TrainingProgress, kept_progress

__all__ = ["best_weights", "remove_outdone", "validate"]


def validate(run: TrainingRun, step: int, progress: TrainingProgress) -> float | None:
    """Mean Dice per case on the validation split, and on it alone; the weights that are best there are kept.

    The main process validates, all know the outcome. None where the split has no cases: then there is nothing to choose
    by, and the last weights count as the best.
    """
    shared: list[Any] = [None, None]
    if run.accelerator.is_main_process:
        shared = [_validate(run, step, progress), asdict(progress)]
    broadcast_object_list(shared)
    for name, value in shared[1].items():
        setattr(progress, name, value)
    patience = run.recipe.training.patience
    if patience is not None and progress.worse >= patience and not progress.stopped:
        progress.stopped = "plateau"
    return cast("float | None", shared[0])


def best_weights(state: Path, progress: TrainingProgress) -> Path:
    """Where the weights of the best validation so far are kept."""
    return state / f"best-{progress.best_step:08d}.safetensors"


def remove_outdone(state: Path, progress: TrainingProgress) -> None:
    """Remove best weights that neither this moment nor a state one may go back to calls the best."""
    moments = [progress, *(TrainingProgress(**each) for each in kept_progress(state))]
    needed = {best_weights(state, each) for each in moments}
    for path in set(state.glob("best-*.safetensors")) - needed:
        path.unlink()


def _validate(run: TrainingRun, step: int, progress: TrainingProgress) -> float | None:
    store, recipe, averaged = run.store, run.recipe, run.averaged
    cases = _spread(store.cases_of("val"), recipe.training.validate_slices)
    if not cases:
        progress.best_step = step
        return None
    # One pass an image, whatever flips the recipe asks for, and windows of the common overlap: which weights are best
    # shall not depend on what may be chosen anew of a finished model.
    window = averaged.sliding_window.common if averaged.sliding_window is not None else None
    settings = (store.manifest.image, run.accelerator.device.type, averaged.noise_shape)
    backend = TorchBackend(averaged.one_pass, *settings, window=window)
    rule = MaskRule(recipe.inference.threshold, store.manifest.exclusive)
    predict = predicted_by(backend.probability, rule)
    batch = batch_for(backend, recipe.inference.batch)
    scores = [score.mean_dice for score in score_cases(predict, store, cases, batch)]
    dice = float(np.mean(scores))
    if dice > progress.best_dice:
        progress.best_dice, progress.best_step, progress.worse = dice, step, 0
        write_tensors(best_weights(run.state, progress), averaged.state_dict())
        remove_outdone(run.state, progress)
    else:
        progress.worse += 1
    return dice


def _spread(cases: tuple[Case, ...], slices: int | None) -> tuple[Case, ...]:
    """At most about `slices` slices' worth of whole cases, spread evenly over all of them."""
    total = sum(case.slices for case in cases)
    if slices is None or total <= slices:
        return cases
    return evenly_spread(cases, max(1, len(cases) * slices // total))
