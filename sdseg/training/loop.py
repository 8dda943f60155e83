"""The training loop, from top to bottom: next batch, step, watch, log, validate, keep."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import islice
from typing import Any, NoReturn, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from sdseg.config.recipe import Recipe
from sdseg.core.signals import Request, Stopped, deferred, ended
from sdseg.models.segmenter import Batch, own_masks
from sdseg.training.divergence import DivergenceWatch
from sdseg.training.log import Journal
from sdseg.training.optimiser import learning_rate, update_average
from sdseg.training.setup import TrainingRun
from sdseg.training.state import TrainingProgress, save_state
from sdseg.training.validation import remove_outdone, validate

__all__ = ["optimiser_step", "training_loop", "training_step"]

Sample = dict[str, Tensor]


def training_loop(
    run: TrainingRun, start: int, progress: TrainingProgress, journal: Journal | None, *, quiet: bool
) -> int:
    """Train from the step after `start` to the last, or to a plateau. Returns the number of the last step.

    Steps are numbered from 1. Every process takes its share of each batch and has the same weights afterwards; the main
    one has the journal. Raises ListedError when the loss or the weights go astray. Raises Stopped when a signal asks
    the process to end: after the step it is in, and with the state of that step saved, so that a rerun makes the very
    steps that were left. A validation is broken off; the rerun begins with it.
    """
    training, watch, step = run.recipe.training, DivergenceWatch(run), start
    if start >= training.steps and not progress.stopped:
        progress.stopped = "steps"
    began, began_cpu = time.perf_counter() - progress.seconds, time.process_time() - progress.cpu_seconds
    with deferred() as request:
        if progress.unjudged:
            progress.unjudged = False
            _validate(run, step, progress, journal, watch, request)
            _keep(run, step, progress)
        if progress.stopped:
            return step
        processes, rank = run.accelerator.num_processes, run.accelerator.process_index
        batches = iter(run.data.loader(start, processes, rank))
        with _bar(start, training.steps, quiet) as bar:
            while not progress.stopped:
                # 1. The next batch: this process's share of it, in equal parts.
                step += 1
                parts = islice(batches, training.accumulate)

                # 2. A step: forward and backward of each part, optimiser, average.
                rate = _rate(run.recipe, step)
                losses = training_step(run, step, rate, parts)

                # 3. Watch: a loss that is not finite, or above its limit, ends the run.
                watch.see(step, losses)
                progress.seconds = time.perf_counter() - began
                progress.cpu_seconds = time.process_time() - began_cpu

                # 4. Log.
                if step % training.log_every == 0 or step in (1, training.steps):
                    watch.check_losses()  # in every process: all stop at the same step
                    if journal:
                        bar.set_postfix(_log(step, losses, rate, journal, progress), refresh=False)

                # 5. Leave, if asked to.
                due = step % training.validate_every == 0 or step == training.steps
                signal_number = _signal_to_any(run, request)
                if signal_number is not None:
                    watch.check_weights(step)
                    _leave(run, step, replace(progress, unjudged=due), signal_number)

                # 6. Validate: the best weights are kept, a plateau ends the run.
                if step == training.steps:
                    progress.stopped = "steps"
                if due:
                    _validate(run, step, progress, journal, watch, request)

                # 7. Keep the state.
                if step % training.checkpoint_every == 0 or progress.stopped:
                    watch.check_weights(step)
                    _keep(run, step, progress)
                bar.update()
    return step


def training_step(run: TrainingRun, step: int, rate: float, samples: Iterable[Sample]) -> dict[str, Tensor]:
    """Make step 1, 2, … at a learning rate. Returns weighted loss terms, means over the batch, still on the device."""
    training, accelerator = run.recipe.training, run.accelerator
    # Dropout: the same after an interruption, another in each process.
    torch.manual_seed(training.seed * 1_000_003 + step - 1 + (accelerator.process_index << 48))
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    run.module.train()
    parts = (_to_batch(sample, run, step) for sample in samples)
    losses = optimiser_step(accelerator, run.module, run.optimiser, parts, run.recipe.optimiser.clip_norm)
    update_average(run.average, run.segmenter, training)
    return _over_processes(losses, accelerator)


def optimiser_step(
    accelerator: Accelerator, module: nn.Module, optimiser: Any, parts: Iterable[Batch], clip_norm: float | None
) -> dict[str, Tensor]:
    """Forward and backward of each part, and the optimiser after the last. Returns the terms' means over the parts."""
    means: dict[str, Tensor] = {}
    for batch in parts:
        with accelerator.accumulate(module):
            losses = module(batch)
            accelerator.backward(torch.stack(list(losses.values())).sum())
            if clip_norm is not None and accelerator.sync_gradients:
                accelerator.clip_grad_norm_(module.parameters(), clip_norm)
            optimiser.step()
            optimiser.zero_grad()
        for name, term in losses.items():
            means[name] = means.get(name, 0.0) + term.detach() / accelerator.gradient_accumulation_steps
    return means


def _rate(recipe: Recipe, step: int) -> float:
    """The learning rate of step 1, 2, …"""
    training, switch = recipe.training, recipe.diffusion.loss_mask_from if recipe.diffusion else 0
    return learning_rate(step - 1, recipe.optimiser, training.steps, training.batch, switch)


def _to_batch(sample: Sample, run: TrainingRun, step: int) -> Batch:
    """A part of a batch on the device. Mask latents that are not cached are encoded here, and the teacher answers."""
    device = run.accelerator.device
    moved = {name: value.to(device, non_blocking=True) for name, value in sample.items()}
    latent = moved.get("latent")
    if latent is None and run.codec is not None and run.recipe.diffusion is not None:
        own = own_masks(moved["mask"], moved["structure"], run.codec.at_once)  # [N,1 or K,H,W]
        with torch.no_grad():
            latent, deviation = run.codec.moments(own)
        if run.recipe.diffusion.sample_latents:
            latent = latent + deviation * moved["posterior"]
    answer = None
    if run.teacher is not None:
        with run.accelerator.autocast():
            answer = run.teacher.answer(moved["image"], moved["structure"])
    return Batch(
        image=moved["image"],
        mask=moved["mask"],
        structure=moved["structure"],
        latent=latent,
        noise=moved.get("noise"),
        uniform=moved.get("uniform"),
        step=step,
        teacher=answer,
    )


def _over_processes(losses: dict[str, Tensor], accelerator: Accelerator) -> dict[str, Tensor]:
    """Means over the processes' equal shares of the batch."""
    if accelerator.num_processes == 1:
        return losses
    mean = cast("Tensor", accelerator.reduce(torch.stack(list(losses.values())), "mean"))
    return dict(zip(losses, mean.unbind(), strict=True))


def _log(
    step: int, losses: dict[str, Tensor], rate: float, journal: Journal, progress: TrainingProgress
) -> dict[str, str]:
    """Log a step; the figures that the bar shows."""
    terms = {name: float(term) for name, term in losses.items()}
    loss = sum(terms.values())
    values = {"learning_rate": rate, "seconds": round(progress.seconds, 2)}
    journal.write("step", step, loss=loss, losses=terms, **values)
    return {"loss": f"{loss:.4f}", "lr": f"{rate:.1e}"}


def _validate(
    run: TrainingRun,
    step: int,
    progress: TrainingProgress,
    journal: Journal | None,
    watch: DivergenceWatch,
    request: Request,
) -> None:
    """Validate. Several processes do so to the end: the others wait for the main one and could not follow it out."""
    watch.check_weights(step)
    before = replace(progress, stopped="", unjudged=True)
    alone = run.accelerator.num_processes == 1
    try:
        with request.heeded_at_once() if alone else nullcontext():
            dice = validate(run, step, progress)
    except Stopped as stopped:
        _leave(run, step, before, stopped.number)
    if journal and dice is not None:
        journal.write("validation", step, dice=dice, best=progress.best_step == step)


def _keep(run: TrainingRun, step: int, progress: TrainingProgress) -> None:
    """Save the state after a step, once for all processes."""
    if run.accelerator.is_main_process:
        save_state(run.state, step, asdict(progress), run.saved_objects())
        remove_outdone(run.state, progress)
    run.accelerator.wait_for_everyone()


def _leave(run: TrainingRun, step: int, progress: TrainingProgress, number: int) -> NoReturn:
    _keep(run, step, progress)
    raise Stopped(number, ended(step, run.recipe.training.steps))


def _signal_to_any(run: TrainingRun, request: Request) -> int | None:
    """The signal that asks to end, if one has come to any of the processes: all leave after the same step."""
    if run.accelerator.num_processes == 1:
        return request.number
    flag = torch.tensor([float(request.number is not None)], device=run.accelerator.device)
    if not float(run.accelerator.reduce(flag, "sum")):
        return None
    return request.number or int(signal.SIGTERM)


def _bar(start: int, steps: int, quiet: bool) -> tqdm[NoReturn]:
    every = 1.0 if sys.stderr.isatty() else 15.0  # a log file wants a line now and then, not ten a second
    return tqdm(
        desc="train", unit="step", total=steps, initial=start, disable=quiet, mininterval=every, maxinterval=every
    )
