"""The objects of a training run, and how they are put together."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Recipe
from sdseg.config.training import check_batch
from sdseg.config.training_checks import check_training
from sdseg.core.errors import UserError
from sdseg.core.files import sha256_text
from sdseg.data.store import SliceStore
from sdseg.models.build_segmenter import attach_training_parts
from sdseg.models.codec import MaskCodec
from sdseg.models.gradient_checkpointing import recompute_blocks
from sdseg.models.joined_norms import join_norms
from sdseg.models.segmenter import Batch, Segmenter
from sdseg.models.start_from import Inputs, new_segmenter
from sdseg.models.teacher import Teacher
from sdseg.training.dataloader import TrainingData, open_training_data
from sdseg.training.optimiser import average_of, build_optimiser
from sdseg.training.resume import describe_run
from sdseg.training.state import SavedObjects

__all__ = [
    "LossModule",
    "TrainingRun",
    "build_run",
    "check_possible",
    "described",
    "new_accelerator",
    "prepare_to_train",
]

log = logging.getLogger("sdseg.training.train")
PATIENCE = timedelta(hours=6)  # processes wait for the main one while it encodes masks and validates


@dataclass(frozen=True)
class TrainingRun:
    """The objects of one training run."""

    recipe: Recipe
    store: SliceStore
    data: TrainingData
    segmenter: Segmenter
    module: nn.Module  # the segmenter's losses as accelerate prepared them
    average: AveragedModel
    optimiser: Any  # AdamW as accelerate prepared it
    accelerator: Accelerator
    state: Path  # folder of this run's states
    codec: MaskCodec | None  # frozen; None for direct methods
    teacher: Teacher | None = None  # frozen as well

    @property
    def averaged(self) -> Segmenter:
        """The network with averaged weights: the one that is validated, kept and shipped."""
        return cast("Segmenter", self.average.module)

    def saved_objects(self) -> SavedObjects:
        """What a training state holds."""
        return SavedObjects(self.segmenter, self.average, self.optimiser.optimizer, self.accelerator.scaler)


class LossModule(nn.Module):
    """The segmenter with its losses as `forward`, the form accelerate wraps for precision and for several processes."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.segmenter.losses(batch)


def described(recipe: Recipe, inputs: Inputs, teacher: Teacher | None = None) -> dict[str, Any]:
    """All that shapes the weights of a run of this recipe on these inputs."""
    codec = inputs.codec.manifest.files if inputs.codec else None
    start = inputs.start.checksum if inputs.start else None
    prepared = inputs.store.manifest
    run = describe_run(recipe, prepared.data_checksum, codec, start, exclusive=prepared.exclusive)
    if inputs.image_codec:
        run |= {"image_codec": inputs.image_codec.manifest.files}
    if teacher:
        run |= {"teacher": teacher.start.checksum}
    return run | ({"fold": inputs.fold.content()} if inputs.fold else {})


def check_possible(recipe: Recipe, device: str) -> None:
    """Raise UserError for what neither these networks, this machine nor this number of processes can do."""
    check_training(recipe)
    training = recipe.training
    processes, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if training.precision == "fp16" and device == "cpu":
        raise UserError("fp16 needs a GPU", where="training.precision", remedy="use 'no' or 'bf16' on the CPU")
    check_batch(training, processes, where="training.batch")
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
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE), _for_processes(recipe)],
    )
    set_seed(recipe.training.seed)
    return accelerator


def _for_processes(recipe: Recipe) -> DistributedDataParallelKwargs:
    """A decoder that learns in the second of two stages has no gradient in the first: nobody must wait for it."""
    network, process = recipe.network, recipe.diffusion
    learns = isinstance(network, LatentNetwork) and network.decoder != "frozen"
    late = process is not None and process.loss_mask_from > 0
    return DistributedDataParallelKwargs(find_unused_parameters=learns and late)


def build_run(
    recipe: Recipe, inputs: Inputs, accelerator: Accelerator, state: Path, teacher: Teacher | None = None
) -> TrainingRun:
    """The objects of a new run. The main process encodes the mask latents, where `state` has none."""
    with accelerator.main_process_first():
        data = _training_data(recipe, inputs, state, accelerator.device)
    segmenter = new_segmenter(recipe, inputs)
    if inputs.start is not None:
        log.info("starting from %s (%s)", inputs.start.folder, inputs.start.manifest.recipe_name)
    if teacher is not None:
        log.info("learning from %s (%s)", teacher.start.folder, teacher.start.manifest.recipe_name)
    attach_training_parts(segmenter, recipe.network, len(inputs.store.manifest.structures))
    average, module, optimiser = prepare_to_train(segmenter, recipe, accelerator)
    codec = inputs.codec.codec if inputs.codec else None
    return TrainingRun(
        recipe, inputs.store, data, segmenter, module, average, optimiser, accelerator, state, codec, teacher
    )


def prepare_to_train(
    segmenter: Segmenter, recipe: Recipe, accelerator: Accelerator
) -> tuple[AveragedModel, nn.Module, Any]:
    """Move a segmenter to its device; gives the average of its weights, its losses as a module, and the optimiser."""
    segmenter.to(accelerator.device)
    average = average_of(segmenter, recipe.training)
    join_norms(segmenter)
    if recipe.training.gradient_checkpointing:
        recompute_blocks(segmenter)
    module, optimiser = accelerator.prepare(LossModule(segmenter), build_optimiser(segmenter, recipe.optimiser))
    return average, module, optimiser


def _training_data(recipe: Recipe, inputs: Inputs, state: Path, device: torch.device) -> TrainingData:
    """The samples; their cached latents are named by what they are of, and those of anything else removed."""
    codec, diffusion = inputs.codec, recipe.diffusion
    parts = [
        inputs.store.manifest.data_checksum,
        [codec.manifest.files, codec.manifest.latent_scale] if codec else None,
        [recipe.training.augmentation, diffusion.sample_latents if diffusion else None],
        *([inputs.fold.content()] if inputs.fold else []),
    ]
    cache = state / f"latents-{sha256_text(json.dumps(parts, sort_keys=True))[:16]}.npy"
    for old in set(state.glob("latents-*.npy")) - {cache}:
        old.unlink(missing_ok=True)
    return open_training_data(inputs.store, recipe, codec, cache, device)
