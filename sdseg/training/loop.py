"""Joint of training: the loop itself, a generator that yields each optimiser step, and the validation beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sdseg.backends.torch import TorchBackend
from sdseg.config.recipe import Recipe
from sdseg.data.batches import evenly_spread, predicted_by, score_cases
from sdseg.data.mask_rule import MaskRule
from sdseg.data.store import Case, SliceStore
from sdseg.models.checkpoint import write_tensors
from sdseg.models.codec import MaskCodec
from sdseg.models.segmenter import Batch, Segmenter
from sdseg.training.dataloader import Material
from sdseg.training.optimiser import learning_rate, update_average
from sdseg.training.state import Parts, kept_progress, save_state

__all__ = [
    "LossModule",
    "Progress",
    "Run",
    "Step",
    "averaged_segmenter",
    "best_weights",
    "keep",
    "steps",
    "validate",
]

SeenBy = Callable[[int, dict[str, Tensor]], None]  # number of a step, its losses


@dataclass(frozen=True)
class Run:
    """The objects of one training run."""

    recipe: Recipe
    store: SliceStore
    material: Material
    segmenter: Segmenter
    module: nn.Module  # the segmenter's losses as accelerate prepared them
    average: AveragedModel
    optimiser: Any  # AdamW as accelerate prepared it
    accelerator: Accelerator
    state: Path  # folder of this run's states
    codec: MaskCodec | None  # frozen; None for direct methods

    def parts(self) -> Parts:
        """What a training state holds."""
        return Parts(self.segmenter, self.average, self.optimiser.optimizer, self.accelerator.scaler)


@dataclass(frozen=True)
class Step:
    """One optimiser step that was made. `losses` are weighted terms, means over the batch, still on the device."""

    number: int  # 1 for the first
    losses: dict[str, Tensor]
    learning_rate: float


@dataclass
class Progress:
    """What must survive an interruption beside the tensors."""

    best_dice: float = -1.0
    best_step: int = 0
    seconds: float = 0.0
    worse: int = 0  # validations in a row without a better Dice
    stopped: str = ""  # why training ended, once it did: steps or plateau
    unjudged: bool = False  # the process was asked to end before the validation that is due after this step


class LossModule(nn.Module):
    """The segmenter with its losses as `forward`, the form accelerate wraps for precision and for several processes."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.segmenter.losses(batch)


def steps(run: Run, start: int, seen: SeenBy) -> Iterator[Step]:
    """Make the optimiser steps after `start`, one per iteration; `seen` may end it for what it sees in the losses.

    Every process takes its share of each batch and has the same weights afterwards.
    """
    settings, training = run.recipe.optimiser, run.recipe.training
    accelerator = run.accelerator
    loader = run.material.loader(start, accelerator.num_processes, accelerator.process_index)
    batches = iter(loader)
    for step in range(start, training.steps):
        # Dropout: the same after an interruption, another in each process.
        torch.manual_seed(training.seed * 1_000_003 + step + (accelerator.process_index << 48))
        rate = learning_rate(step, settings, training.steps, training.batch)
        for group in run.optimiser.param_groups:
            group["lr"] = rate
        run.module.train()
        terms: dict[str, Tensor] = {}
        for _ in range(training.accumulate):
            batch = _to_batch(next(batches), run)
            with accelerator.accumulate(run.module):
                losses = run.module(batch)
                accelerator.backward(torch.stack(list(losses.values())).sum())
                if settings.clip_norm is not None and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(run.module.parameters(), settings.clip_norm)
                run.optimiser.step()
                run.optimiser.zero_grad()
            for name, term in losses.items():
                terms[name] = terms.get(name, 0.0) + term.detach() / training.accumulate
        terms = _over_processes(terms, accelerator)
        seen(step + 1, terms)
        update_average(run.average, run.segmenter, training)
        yield Step(step + 1, terms, rate)


def validate(run: Run, step: int, progress: Progress) -> float | None:
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


def keep(run: Run, step: int, progress: Progress) -> None:
    """Save the state after a step, once for all processes."""
    if run.accelerator.is_main_process:
        save_state(run.state, step, asdict(progress), run.parts())
        _drop_outdone(run.state, progress)
    run.accelerator.wait_for_everyone()


def averaged_segmenter(run: Run) -> Segmenter:
    """The network with averaged weights: the one that is validated, kept and shipped."""
    return cast("Segmenter", run.average.module)


def best_weights(state: Path, progress: Progress) -> Path:
    """Where the weights of the best validation so far are kept."""
    return state / f"best-{progress.best_step:08d}.safetensors"


def _validate(run: Run, step: int, progress: Progress) -> float | None:
    store, recipe = run.store, run.recipe
    cases = _spread(store.cases_of("val"), recipe.training.validate_slices)
    if not cases:
        progress.best_step = step
        return None
    averaged = averaged_segmenter(run)
    backend = TorchBackend(averaged, store.manifest.image, run.accelerator.device.type, averaged.noise_shape)
    rule = MaskRule(recipe.inference.threshold, store.manifest.exclusive)
    predict = predicted_by(backend.probability, rule)
    scores = [score.mean_dice for score in score_cases(predict, store, cases, recipe.inference.batch)]
    dice = float(np.mean(scores))
    if dice > progress.best_dice:
        progress.best_dice, progress.best_step, progress.worse = dice, step, 0
        write_tensors(best_weights(run.state, progress), averaged.state_dict())
        _drop_outdone(run.state, progress)
    else:
        progress.worse += 1
    return dice


def _drop_outdone(state: Path, progress: Progress) -> None:
    """Remove best weights that neither this moment nor a state one may go back to calls the best."""
    moments = [progress, *(Progress(**each) for each in kept_progress(state))]
    wanted = {best_weights(state, each) for each in moments}
    for path in set(state.glob("best-*.safetensors")) - wanted:
        path.unlink()


def _over_processes(terms: dict[str, Tensor], accelerator: Accelerator) -> dict[str, Tensor]:
    """Means over the processes' equal shares of the batch."""
    if accelerator.num_processes == 1:
        return terms
    mean = cast("Tensor", accelerator.reduce(torch.stack(list(terms.values())), "mean"))
    return dict(zip(terms, mean.unbind(), strict=True))


def _spread(cases: tuple[Case, ...], slices: int | None) -> tuple[Case, ...]:
    """At most about `slices` slices' worth of whole cases, spread evenly over all of them."""
    total = sum(case.slices for case in cases)
    if slices is None or total <= slices:
        return cases
    wanted = max(1, len(cases) * slices // total)
    return evenly_spread(cases, wanted)


def _to_batch(sample: dict[str, Tensor], run: Run) -> Batch:
    device = run.accelerator.device
    moved = {name: value.to(device, non_blocking=True) for name, value in sample.items()}
    latent = moved.get("latent")
    if latent is None and run.codec is not None and run.recipe.diffusion is not None:
        own = moved["mask"][torch.arange(len(moved["mask"])), moved["structure"]].unsqueeze(1)  # [N,1,H,W]
        with torch.no_grad():
            latent, deviation = run.codec.moments(own)
        if run.recipe.diffusion.sample_latents:
            latent = latent + deviation * moved["posterior"]
    return Batch(
        image=moved["image"],
        mask=moved["mask"],
        structure=moved["structure"],
        latent=latent,
        noise=moved.get("noise"),
        uniform=moved.get("uniform"),
    )
