"""How a recipe trains: the optimiser and its schedule, length, batches, precision, checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sdseg.core.errors import UserError
from sdseg.core.settings import MANY, UNQUOTED_NO, Seed, Strict

__all__ = ["Augmentation", "MaskLoss", "Optimiser", "Training", "check_batch"]

# auto: bf16 where the machine that begins the training is faster in it, else no.
Precision = Annotated[Literal["no", "bf16", "fp16", "auto"], UNQUOTED_NO]
Augmentation = Literal["none", "flips", "dihedral", "intensity", "affine", "strong"]
# dice: overlap; ce: cross entropy; focal: cross entropy of hard pixels; tversky: overlap, misses counting more than
# false alarms; lovasz: IoU itself, convexly extended; boundary, hausdorff: errors by their distance from the outline.
# ce_2dice: cross entropy of the classes of a label map + twice their Dice, the background among them.
MaskLoss = Literal[
    "dice_ce", "dice_focal", "tversky_ce", "lovasz_ce", "dice_ce_boundary", "dice_ce_hausdorff", "ce_2dice"
]
Momentum = Annotated[float, Field(ge=0, lt=1)]


class Optimiser(Strict):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-5, gt=0, le=10)
    times_batch: bool = False  # multiply the rate by the batch size, as the official code does
    weight_decay: float = Field(0.01, ge=0, le=1000)
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    warmup_steps: int = Field(0, ge=0, le=MANY)
    schedule: Literal["constant", "cosine"] = "constant"
    # Two stages: the rate after `diffusion.loss_mask_from` steps, with warm-up and schedule of its own; null: as before
    mask_learning_rate: float | None = Field(None, gt=0, le=10)
    clip_norm: float | None = Field(1.0, gt=0, le=1e9)


class Training(Strict):
    """Length, batches, precision, checkpoints."""

    steps: int = Field(100_000, ge=1, le=MANY)
    batch: int = Field(4, ge=1, le=65536)  # samples per optimiser step, over all processes and accumulated parts
    accumulate: int = Field(1, ge=1, le=65536)  # parts a batch is computed in, to save memory
    precision: Precision = "no"
    gradient_checkpointing: bool = False  # less memory, about a third more time: blocks are computed twice
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    ema_scope: Literal["all", "denoiser"] = "all"
    structures: Literal["any", "present"] = "any"  # one structure a sample; 'present': of those in the slice
    augmentation: Augmentation = "flips"  # flips: the paper's
    mask_loss: MaskLoss = "dice_ce"  # of direct networks, and of latent ones with `diffusion.loss_mask`
    validate_every: int = Field(1000, ge=1, le=MANY)
    validate_slices: int | None = Field(512, ge=1, le=MANY)  # at most this many, evenly spaced; null for all
    patience: int | None = Field(None, ge=1, le=MANY)  # stop after so many validations without a better Dice
    loss_limit: float | None = Field(None, gt=0, le=1e9)  # stop above this loss; null: when it is not finite
    checkpoint_every: int = Field(1000, ge=1, le=MANY)
    log_every: int = Field(50, ge=1, le=MANY)
    workers: int = Field(2, ge=0, le=1024)  # loader processes
    weights: Literal["fp32", "fp16"] = "fp32"  # number format of the model folder's weights
    seed: Seed = 0

    @property
    def kept_views(self) -> int:
        """How many forms a mask takes whose latents are kept; 0 where there is no end of them."""
        return {"none": 1, "flips": 4, "dihedral": 8, "intensity": 8, "affine": 0, "strong": 0}[self.augmentation]

    @property
    def deforms_masks(self) -> bool:
        """Whether masks take forms without end: their latents are then encoded at every step."""
        return not self.kept_views

    @model_validator(mode="after")
    def _parts_divide(self) -> Self:
        if self.batch % self.accumulate:
            raise ValueError("'batch' must be a multiple of 'accumulate'")
        return self


def check_batch(training: Training, processes: int, *, where: str) -> None:
    """Raise UserError for a batch that processes and accumulation do not share evenly; `where`: the keys to change."""
    parts = training.accumulate * processes
    if training.batch % parts:
        raise UserError(
            f"a batch of {training.batch} cannot be shared by {processes} processes in {training.accumulate} part(s)",
            where=where,
            remedy=f"make 'batch' a multiple of {parts}, or set 'processes' to another number",
        )
