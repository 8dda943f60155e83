"""The training split of a slice store as samples with cached mask latents, and the loader of its batches."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.config.recipe import Recipe
from sdseg.config.training import Training
from sdseg.core.array_types import MaskArray
from sdseg.core.bounded_types import in_pixels
from sdseg.data.batches import score_cases
from sdseg.data.mask_rule import MaskRule
from sdseg.data.patch_samples import PatchSamples
from sdseg.data.store import SliceStore, structure_masks
from sdseg.data.training_samples import ORIENTATIONS, Positions, TrainingSamples, build_samples, orient, orientations_of
from sdseg.models.frozen_codec import FrozenCodec, latent_shape
from sdseg.training.latent_cache import cache_latents, reconstruct

__all__ = ["TrainingData", "codec_ceiling", "open_training_data"]

log = logging.getLogger("sdseg.training.train")


@dataclass(frozen=True)
class TrainingData:
    """The samples of one run."""

    samples: TrainingSamples | PatchSamples
    training: Training

    def loader(self, start: int, processes: int = 1, rank: int = 0) -> DataLoader[dict[str, torch.Tensor]]:
        """Batches from step `start` to the end, the same ones an uninterrupted run would see."""
        positions = Positions(
            start=start,
            stop=self.training.steps,
            batch=self.training.batch,
            parts=self.training.accumulate,
            rank=rank,
            processes=processes,
        )
        workers = self.training.workers
        return DataLoader(
            self.samples,
            batch_sampler=positions,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_ignore_signals,
        )


def _ignore_signals(_worker: int) -> None:
    """Signals to all processes of a job are the main one's to answer, which ends the workers when it is ready."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def open_training_data(
    store: SliceStore, recipe: Recipe, codec: FrozenCodec | None, cache: Path, device: torch.device
) -> TrainingData:
    """Samples of the training split; mask latents are computed once, into `cache`, and reused when it is there."""
    training, rows = recipe.training, store.rows_of("train")
    shape: tuple[int, ...] | None = None
    if isinstance(recipe.network, EndToEndNetwork):
        shape = recipe.network.latent_shape(recipe.sides(store.manifest.image.sides))
    if recipe.patches is not None:
        return TrainingData(PatchSamples(store, recipe, shape), training)
    _say_orientations(training.augmentation, store.manifest.image.sides)
    latents: npt.NDArray[np.float32] | None = None
    deforms = training.deforms_masks or store.manifest.image.tiles is not None  # tiles are moved at random
    if codec is not None and recipe.diffusion is not None:
        shape = latent_shape(store, codec.codec)
        views = len(orientations_of(training.augmentation, store.manifest.image.sides))
        moments = 2 if recipe.diffusion.sample_latents else 1
        targets = len(store.manifest.structures) // codec.codec.at_once
        count = len(rows) * max(1, len(store.manifest.annotators))
        cache_shape = (count, targets, views, moments, *shape)
        if not cache.exists() and not deforms:
            log.info("encoding %d label maps in %d orientations, once", count, views)
            cache_latents(cache, codec.codec, _views(store, rows, training.augmentation), cache_shape, device)
        # Deformed or moved masks have no end of latents: those are encoded at every step.
        latents = None if deforms else np.load(cache, mmap_mode="r")
    return TrainingData(build_samples(store, rows, recipe, shape, latents), training)


def _say_orientations(augmentation: str, sides: tuple[int, int]) -> None:
    """Say what the augmentation leaves out where images are not square."""
    drawn, every = orientations_of(augmentation, sides), ORIENTATIONS[augmentation]
    if len(drawn) < len(every):
        what = f"mirrored, and not turned by 90°: {len(drawn)} orientations in the place of {len(every)}"
        log.info("images of %s pixels are %s ('augmentation: %s')", in_pixels(sides), what, augmentation)


def codec_ceiling(
    store: SliceStore, split: str, codec: FrozenCodec, rule: MaskRule, batch: int, device: torch.device
) -> float:
    """Mean Dice per case of decode(encode(mask)): what no model with this codec can exceed by much.

    `rule` is that of the model, so that its own masks are held against what is possible.
    """
    scores = score_cases(
        lambda images, labelled: rule.masks(reconstruct(codec.codec, labelled, device)),
        store,
        store.cases_of(split),
        batch,
    )
    return float(np.mean([score.mean_dice for score in scores]))


def _views(store: SliceStore, rows: npt.NDArray[np.int64], augmentation: str) -> Iterator[MaskArray]:
    """For each row, and of it for each annotator, all structures in all orientations, bool [K,V,H,W]."""
    annotators = store.manifest.annotators or ("",)
    orientations = orientations_of(augmentation, store.manifest.image.sides)
    for row, name in product(tqdm(rows, desc="mask latents", unit="slice", mininterval=5.0), annotators):
        masks = structure_masks(store.drawn_by(name, [row]), store.manifest.structures)[0]  # [K,H,W]
        oriented = [orient(masks, orientation, (1, 2)) for orientation in orientations]
        yield np.stack(oriented, axis=1)
