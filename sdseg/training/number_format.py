"""Which numbers a training computes in: what `precision: auto` stands for, and a word where a machine is slow in it."""

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
    begun = None
    if training.precision == "auto" and state is not None:
        begun = training_begun_with(state).get("precision")
    precision = settled(training.precision, device, begun if isinstance(begun, str) else None)
    if precision == training.precision:
        return recipe
    return recipe.model_copy(update={"training": training.model_copy(update={"precision": precision})})


def settled(wanted: str, device: str, begun: str | None) -> str:
    """The number format `wanted`; for `auto` the one a training was `begun` with, else what `device` is fast in.

    bf16 that `device` is not known to compute in by itself is a warning: it is right and many times slower.
    """
    if wanted in ("no", "fp16"):
        return wanted
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device == "cuda" else computes_in_bf16()
    this = f"this {'GPU' if device == 'cuda' else 'processor'}"
    precision = wanted
    if wanted == "auto":
        known = begun in ("no", "bf16", "fp16")
        precision = str(begun) if known else "bf16" if fast else "no"
        why = "as this run began" if known else f"{this} is {'faster' if fast else 'not faster'} in bf16"
        log.info("'precision: auto' is '%s': %s", precision, why)
    if precision == "bf16" and not fast:
        log.warning(
            "%s is not known to compute in bf16 by itself: a step may take ten times as long as in single precision; "
            "in a new run 'precision: auto' takes what is faster",
            this,
        )
    return precision
