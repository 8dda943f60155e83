"""Joint of training: going through the steps; what is logged, judged and saved on the way, and when asked to end."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import NoReturn

import torch
from tqdm import tqdm

from sdseg.core.signals import Request, Stopped, deferred, ended
from sdseg.training.divergence import Watch
from sdseg.training.log import Journal
from sdseg.training.loop import Progress, Run, Step, keep, steps, validate

__all__ = ["follow"]


def follow(run: Run, start: int, progress: Progress, journal: Journal | None, *, quiet: bool) -> int:
    """Go through the steps after `start`; log, validate and save states. Returns the number of the last step made.

    Raises Stopped when a signal asks the process to end: after the step it is in, and with the state of that step
    saved, so that a rerun makes the very steps that were left. A validation is broken off; the rerun begins with it.
    """
    training, watch, made = run.recipe.training, Watch(run), start
    if start >= training.steps and not progress.stopped:
        progress.stopped = "steps"
    began = time.perf_counter() - progress.seconds
    with deferred() as request:
        if progress.unjudged:
            progress.unjudged = False
            _judge(run, made, progress, journal, watch, request)
            keep(run, made, progress)
        if progress.stopped:
            return made
        shown = _shown(run, start, watch, quiet)
        for step in shown:
            made = step.number
            progress.seconds = time.perf_counter() - began
            if made % training.log_every == 0 or made in (1, training.steps):
                watch.catch_up()  # in every process: all stop at the same step
                if journal:
                    loss = _log(step, journal, progress)
                    shown.set_postfix(loss=f"{loss:.4f}", lr=f"{step.learning_rate:.1e}", refresh=False)
            due = made % training.validate_every == 0 or made == training.steps
            asked = _asked(run, request)
            if asked is not None:
                watch.settle(made)
                _leave(run, made, replace(progress, unjudged=due), asked)
            if made == training.steps:
                progress.stopped = "steps"
            if due:
                _judge(run, made, progress, journal, watch, request)
            if made % training.checkpoint_every == 0 or progress.stopped:
                watch.settle(made)
                keep(run, made, progress)
            if progress.stopped:
                break
    return made


def _shown(run: Run, start: int, watch: Watch, quiet: bool) -> tqdm[Step]:
    every = 1.0 if sys.stderr.isatty() else 15.0  # a log file wants a line now and then, not ten a second
    return tqdm(
        steps(run, start, watch.see),
        desc="train",
        unit="step",
        total=run.recipe.training.steps,
        initial=start,
        disable=quiet,
        mininterval=every,
        maxinterval=every,
    )


def _judge(run: Run, made: int, progress: Progress, journal: Journal | None, watch: Watch, request: Request) -> None:
    """Validate. Several processes do so to the end: the others wait for the main one and could not follow it out."""
    watch.settle(made)
    before = replace(progress, stopped="", unjudged=True)
    alone = run.accelerator.num_processes == 1
    try:
        with request.heeded_at_once() if alone else nullcontext():
            dice = validate(run, made, progress)
    except Stopped as stopped:
        _leave(run, made, before, stopped.number)
    if journal and dice is not None:
        journal.write("validation", made, dice=dice, best=progress.best_step == made)


def _leave(run: Run, made: int, progress: Progress, number: int) -> NoReturn:
    keep(run, made, progress)
    raise Stopped(number, ended(made, run.recipe.training.steps))


def _asked(run: Run, request: Request) -> int | None:
    """The signal that asks to end, if one has come to any of the processes: all leave after the same step."""
    if run.accelerator.num_processes == 1:
        return request.number
    flag = torch.tensor([float(request.number is not None)], device=run.accelerator.device)
    if not float(run.accelerator.reduce(flag, "sum")):
        return None
    return request.number or int(signal.SIGTERM)


def _log(step: Step, journal: Journal, progress: Progress) -> float:
    losses = {name: float(term) for name, term in step.losses.items()}
    loss = sum(losses.values())
    values = {"learning_rate": step.learning_rate, "seconds": round(progress.seconds, 2)}
    journal.write("step", step.number, loss=loss, losses=losses, **values)
    return loss
