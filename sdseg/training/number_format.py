"""What `precision: auto` stands for: settled when a training begins, and kept from then on."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from sdseg.config.recipe import Recipe
from sdseg.core.processor import computes_in_bf16
from sdseg.training.resume import training_begun_with

__all__ = ["settled", "with_precision"]

log = logging.getLogger("sdseg.training.train")


def with_precision(recipe: Recipe, device: str, state: Path | None = None) -> Recipe:
    """The recipe with a number format in place of `auto`: bf16 where `device` is faster in it, else single precision.

    A run whose `state` is kept goes on in the format it began with, on whatever machine: its weights are made the same
    way from the first step to the last.
    """
    training = recipe.training
    if training.precision != "auto":
        return recipe
    begun = training_begun_with(state).get("precision") if state is not None else None
    precision = settled("auto", device, begun if isinstance(begun, str) else None)
    return recipe.model_copy(update={"training": training.model_copy(update={"precision": precision})})


def settled(wanted: str, device: str, begun: str | None) -> str:
    """The number format `wanted`; for `auto` the one a training was `begun` with, else what `device` is fast in."""
    if wanted != "auto":
        return wanted
    if begun in ("no", "bf16", "fp16"):
        precision, why = begun, "as this run began"
    else:
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if device == "cuda" else computes_in_bf16()
        precision = "bf16" if fast else "no"
        why = f"this {'GPU' if device == 'cuda' else 'processor'} is {'faster' if fast else 'not faster'} in bf16"
    log.info("'precision: auto' is '%s': %s", precision, why)
    return precision
