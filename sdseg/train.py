"""Verb: slice store -> model folder, continuing where it was stopped."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from tqdm import tqdm

from sdseg.artifacts import ModelManifest, atomic_folder, check_owned, make_folder, provenance, sha256_text
from sdseg.data.store import SliceStore
from sdseg.errors import UserError
from sdseg.journal import Journal
from sdseg.loop import LossModule, Progress, Run, averaged_segmenter, best_weights, steps, validate
from sdseg.material import CodecInUse, codec_ceiling, gather, open_codec
from sdseg.model.checkpoint import OWNED, count_parameters, read_tensors, save_model
from sdseg.model.optimisation import average_of, build_optimiser
from sdseg.model.segmenter import LatentSegmenter, Segmenter, build_segmenter, start_from_codec
from sdseg.model.starting import Start, open_start, take_over
from sdseg.model.state import latest_state, restore, save_state
from sdseg.networks import LatentNetwork
from sdseg.recipes import Recipe
from sdseg.runtime.device import torch_device

__all__ = ["train"]

log = logging.getLogger("sdseg.train")


def train(
    *,
    prepared: Path,
    recipe_name: str,
    recipe: Recipe,
    codec: Path | None,
    output: Path,
    last: Path,
    state: Path,
    device: str = "cpu",
    quiet: bool = False,
    start_from: Path | None = None,
) -> None:
    """Train a recipe on the training split and write two model folders: the best on the validation split, and the last.

    `state` keeps what is needed to continue after an interruption; it is keyed by the recipe and the data, so that an
    edited setting starts anew. `start_from` is the model folder to begin with (default: the recipe's). Raises UserError
    for a store, codec, model or device that does not fit.
    """
    # 1. Open what was prepared.
    target = torch_device(device)
    for place in (output, last):
        check_owned(place, OWNED)
        make_folder(place.parent)
    if recipe.training.precision == "fp16" and device == "cpu":
        raise UserError("fp16 needs a GPU", where="training.precision", remedy="use 'no' or 'bf16' on the CPU")
    store = SliceStore.open(prepared)
    used = open_codec(recipe, codec, target)
    begin = open_start(recipe, start_from)
    folder = state / _key(recipe, store, used, begin)
    make_folder(folder)

    # 2. Build the run, as new or as it was.
    AcceleratorState._reset_state()  # accelerate remembers the precision of an earlier run in the same process
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision=recipe.training.precision,
        gradient_accumulation_steps=recipe.training.accumulate,
    )
    set_seed(recipe.training.seed)
    run = _build(recipe, store, used, begin, accelerator, folder, target)
    found = latest_state(folder)
    progress = Progress()
    if found is not None:
        restore(found, run.segmenter, run.average, run.optimiser.optimizer)
        progress = Progress(**found.progress)
        log.info("continuing after step %d of %d", found.step, recipe.training.steps)
    start = found.step if found else 0

    # 3. Train.
    with Journal(folder / "training.jsonl", folder / "tensorboard", start) as journal:
        if start:
            journal.write("resumed", start)
        _follow(run, start, progress, journal, quiet)
        journal.write("done", recipe.training.steps, seconds=round(progress.seconds, 1))

    # 4. Write the last and the best model.
    averaged = averaged_segmenter(run)
    ceiling = codec_ceiling(store, _split_to_judge(store), used, recipe.inference.batch, target) if used else None
    manifest = _manifest(run, recipe_name, used, begin, progress, ceiling)
    _write(last, averaged, manifest, folder / "training.jsonl")
    best = best_weights(folder, progress)
    if best.exists():
        averaged.load_state_dict(read_tensors(best))
    _write(output, averaged, manifest, folder / "training.jsonl")
    log.info("best validation Dice %.4f at step %d; %.0f s", progress.best_dice, progress.best_step, progress.seconds)


def _follow(run: Run, start: int, progress: Progress, journal: Journal, quiet: bool) -> None:
    """Go through the steps; log, validate and save states on the way."""
    training = run.recipe.training
    began = time.perf_counter() - progress.seconds
    every = 1.0 if sys.stderr.isatty() else 15.0  # a log file wants a line now and then, not ten a second
    shown = tqdm(
        steps(run, start),
        desc="train",
        unit="step",
        total=training.steps,
        initial=start,
        disable=quiet,
        mininterval=every,
        maxinterval=every,
    )
    for step in shown:
        ended = step.number == training.steps
        progress.seconds = time.perf_counter() - began
        if step.number % training.log_every == 0 or ended or step.number == 1:
            losses = {name: float(term) for name, term in step.losses.items()}
            loss = sum(losses.values())
            if not np.isfinite(loss):
                raise UserError(
                    f"the loss is {loss} at step {step.number}",
                    where=run.state,
                    remedy="lower optimiser.learning_rate or set training.precision: no; then start again",
                )
            rate = step.learning_rate
            journal.write(
                "step", step.number, loss=loss, losses=losses, learning_rate=rate, seconds=round(progress.seconds, 2)
            )
            shown.set_postfix(loss=f"{loss:.4f}", lr=f"{rate:.1e}", refresh=False)
        if step.number % training.validate_every == 0 or ended:
            dice = validate(run, step.number, progress)
            if dice is not None:
                journal.write("validation", step.number, dice=dice, best=progress.best_step == step.number)
        if step.number % training.checkpoint_every == 0 or ended:
            save_state(
                run.state,
                step.number,
                asdict(progress),
                run.segmenter,
                run.average,
                run.optimiser.optimizer,
            )


def _build(
    recipe: Recipe,
    store: SliceStore,
    used: CodecInUse | None,
    begin: Start | None,
    accelerator: Accelerator,
    state: Path,
    device: torch.device,
) -> Run:
    manifest = store.manifest
    material = gather(store, recipe, used, state / "latents.npy", device)
    segmenter = build_segmenter(
        recipe,
        manifest.image,
        len(manifest.structures),
        used.manifest.settings if used else None,
        used.manifest.latent_scale if used else None,
    )
    if used is not None and isinstance(segmenter, LatentSegmenter) and isinstance(recipe.network, LatentNetwork):
        start_from_codec(segmenter, recipe.network, used.codec)
    if begin is not None:
        take_over(segmenter, begin)
        log.info("starting from %s (%s)", begin.folder, begin.manifest.recipe_name)
    segmenter = segmenter.to(device)
    average = average_of(segmenter, recipe.training)
    module, optimiser = accelerator.prepare(LossModule(segmenter), build_optimiser(segmenter, recipe.optimiser))
    codec = used.codec if used else None
    return Run(recipe, store, material, segmenter, module, average, optimiser, accelerator, state, codec)


def _manifest(
    run: Run,
    recipe_name: str,
    used: CodecInUse | None,
    begin: Start | None,
    progress: Progress,
    ceiling: float | None,
) -> ModelManifest:
    store = run.store.manifest
    return ModelManifest(
        dataset=store.dataset,
        origin=store.origin,
        protocol=store.protocol,
        recipe_name=recipe_name,
        recipe=run.recipe.model_dump(mode="json"),
        codec=used.manifest.settings.model_dump(mode="json") if used else None,
        latent_scale=used.manifest.latent_scale if used else None,
        image=store.image,
        structures=store.structures,
        threshold=run.recipe.inference.threshold,
        training={
            "steps": run.recipe.training.steps,
            "batch": run.recipe.training.batch,
            "best_step": progress.best_step,
            "best_dice": progress.best_dice if progress.best_dice >= 0 else None,
            "seconds": round(progress.seconds, 1),
            "device": str(run.accelerator.device),
            "data_checksum": store.data_checksum,
            "started_from": {"recipe": begin.manifest.recipe_name, "sha256": begin.checksum} if begin else None,
            "codec_ceiling": {"dice": ceiling, "split": _split_to_judge(run.store)} if ceiling is not None else None,
            "parameters": {name: count_parameters(part) for name, part in run.segmenter.parts().items()},
        },
        files={},
        provenance=provenance(("torch", "diffusers", "accelerate", "safetensors")),
    )


def _write(output: Path, segmenter: Segmenter, manifest: ModelManifest, journal: Path) -> None:
    with atomic_folder(output, OWNED) as folder:
        save_model(folder, segmenter, manifest)
        shutil.copyfile(journal, folder / "training.jsonl")


def _split_to_judge(store: SliceStore) -> str:
    return "val" if store.cases_of("val") else "train"


def _key(recipe: Recipe, store: SliceStore, used: CodecInUse | None, begin: Start | None) -> str:
    """Names a run by all that shapes its weights."""
    parts: list[Any] = [
        recipe.model_dump(mode="json"),
        store.manifest.data_checksum,
        used.manifest.files if used else None,
        begin.checksum if begin else None,
    ]
    return sha256_text(json.dumps(parts, sort_keys=True))[:16]
