"""Joint of training: what a run is made from, opened and put together."""

from __future__ import annotations

import json
import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, set_seed

from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.core.files import sha256_text
from sdseg.models.segmenter import attach_alignment
from sdseg.models.start_from import Inputs, new_segmenter
from sdseg.training.dataloader import Material, gather
from sdseg.training.loop import LossModule, Run
from sdseg.training.optimiser import average_of, build_optimiser
from sdseg.training.resume import describe_run

__all__ = ["build_run", "check_possible", "described", "new_accelerator"]

log = logging.getLogger("sdseg.training.train")
PATIENCE = timedelta(hours=6)  # processes wait for the main one while it encodes masks and validates


def described(recipe: Recipe, inputs: Inputs) -> dict[str, Any]:
    """All that shapes the weights of a run of this recipe on these inputs."""
    codec = inputs.codec.manifest.files if inputs.codec else None
    begin = inputs.begin.checksum if inputs.begin else None
    held = inputs.store.manifest
    return describe_run(recipe, held.data_checksum, codec, begin, exclusive=held.exclusive)


def check_possible(recipe: Recipe, device: str) -> None:
    """Raise UserError for what neither this machine nor this number of processes can do."""
    training = recipe.training
    processes, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if training.precision == "fp16" and device == "cpu":
        raise UserError("fp16 needs a GPU", where="training.precision", remedy="use 'no' or 'bf16' on the CPU")
    if training.batch % (training.accumulate * processes):
        raise UserError(
            f"a batch of {training.batch} cannot be shared by {processes} processes in {training.accumulate} part(s)",
            where="training.batch",
            remedy=f"make it a multiple of {training.accumulate * processes}, or set 'processes' to another number",
        )
    if device == "cuda" and here > torch.cuda.device_count():
        raise UserError(
            f"{here} processes, and {torch.cuda.device_count()} GPU(s)",
            where="processes",
            remedy="one process needs one GPU: lower the number of processes",
        )


def new_accelerator(recipe: Recipe, device: str) -> Accelerator:
    """Precision, accumulation and processes, as the recipe and the launcher say; every random generator seeded."""
    AcceleratorState._reset_state()  # accelerate remembers the precision of an earlier run in the same process
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision=recipe.training.precision,
        gradient_accumulation_steps=recipe.training.accumulate,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    set_seed(recipe.training.seed)
    return accelerator


def build_run(recipe: Recipe, inputs: Inputs, accelerator: Accelerator, state: Path) -> Run:
    """The objects of a new run. The main process encodes the mask latents, where `state` has none."""
    store, used, device = inputs.store, inputs.codec, accelerator.device
    with accelerator.main_process_first():
        material = _material(recipe, inputs, state, device)
    segmenter = new_segmenter(recipe, inputs)
    if inputs.begin is not None:
        log.info("starting from %s (%s)", inputs.begin.folder, inputs.begin.manifest.recipe_name)
    attach_alignment(segmenter, recipe.network)
    segmenter = segmenter.to(device)
    average = average_of(segmenter, recipe.training)
    module, optimiser = accelerator.prepare(LossModule(segmenter), build_optimiser(segmenter, recipe.optimiser))
    codec = used.codec if used else None
    return Run(recipe, store, material, segmenter, module, average, optimiser, accelerator, state, codec)


def _material(recipe: Recipe, inputs: Inputs, state: Path, device: torch.device) -> Material:
    """The samples; their cached latents are named by what they are of, and those of anything else removed."""
    used, diffusion = inputs.codec, recipe.diffusion
    parts = [
        inputs.store.manifest.data_checksum,
        [used.manifest.files, used.manifest.latent_scale] if used else None,
        [recipe.training.augmentation, diffusion.sample_latents if diffusion else None],
    ]
    cache = state / f"latents-{sha256_text(json.dumps(parts, sort_keys=True))[:16]}.npy"
    for old in set(state.glob("latents-*.npy")) - {cache}:
        old.unlink(missing_ok=True)
    return gather(inputs.store, recipe, used, cache, device)
