"""What is mended in a model's masks: as its recipe says, or what is best on the validation split."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import product

import numpy as np

from sdseg.artifacts.manifests import ModelManifest, PostprocessingChoice
from sdseg.backends.base import batch_for
from sdseg.backends.tiled import tiled
from sdseg.backends.torch import TorchBackend
from sdseg.config.inference import Inference, Postprocessing
from sdseg.data.batches import by_case, slice_batches
from sdseg.data.mask_rule import MaskRule
from sdseg.data.store import SliceStore
from sdseg.metrics import overlap
from sdseg.models.segmenter import Segmenter

__all__ = ["settle_postprocessing"]

log = logging.getLogger("sdseg.training.train")
# The one that does least first: of equal ones it is taken.
COMBINATIONS = {
    " and ".join(name for name, on in zip(Postprocessing.model_fields, which, strict=True) if on)
    or "none": Postprocessing(largest_component=which[0], fill_holes=which[1])
    for which in product((False, True), repeat=2)
}


def settle_postprocessing(
    manifest: ModelManifest, segmenter: Segmenter, store: SliceStore, inference: Inference, device: str
) -> ModelManifest:
    """The manifest of a trained model with its post-processing, and with how `auto` was settled.

    `auto` takes the combination with the best mean Dice per case on the whole validation split, at the working size;
    without validation cases nothing is mended, which is said.
    """
    choice, record = inference.postprocessing, None
    if choice == "auto":
        choice, record = _best(manifest, segmenter, store, inference, device)
    postprocessing = Postprocessing() if choice == "none" else choice
    return manifest.model_copy(update={"postprocessing": postprocessing, "postprocessing_chosen": record})


def _best(
    manifest: ModelManifest, segmenter: Segmenter, store: SliceStore, inference: Inference, device: str
) -> tuple[Postprocessing, PostprocessingChoice | None]:
    store = store.whole()
    cases = store.cases_of("val")
    if not cases:
        log.warning("'postprocessing: auto' has no validation cases to choose on: masks stay as they are")
        return Postprocessing(), None
    window = segmenter.sliding_window
    backend = tiled(
        TorchBackend(segmenter, manifest.image, device, segmenter.noise_shape, window=window), manifest.image
    )
    plain = MaskRule(manifest.threshold, manifest.exclusive)
    rules = {name: replace(plain, **each.model_dump()) for name, each in COMBINATIONS.items()}
    dice: dict[str, list[float]] = {name: [] for name in rules}
    parts = (
        (part.cases, (plain.masks(backend.probability(part.images)), part.labelled))
        for part in slice_batches(store, cases, batch_for(backend, inference.batch))
    )
    for _, (masks, labelled) in by_case(parts):
        for name, rule in rules.items():
            dice[name].append(float(overlap.dice(overlap.counts(rule.finish(masks), labelled)).mean()))
    means = {name: float(np.mean(each)) for name, each in dice.items()}
    best = max(means, key=lambda name: means[name])
    dice_listed = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
    log.info("post-processing: %s (mean Dice over %d cases of 'val': %s)", best, len(cases), dice_listed)
    return COMBINATIONS[best], PostprocessingChoice(split="val", n_cases=len(cases), dice=means)
