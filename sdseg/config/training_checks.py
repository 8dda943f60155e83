"""Values of `training` that a recipe's networks cannot follow: refused when a run is planned and when it starts.

Not in `Recipe` itself: models whose recipe says one of them, which had no effect or little, are read as ever.
"""

from __future__ import annotations

from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError

__all__ = ["check_training"]


def check_training(recipe: Recipe, whose: str = "") -> None:
    """Raise UserError for a value without effect, or one that does harm; `whose` it is, for the message."""
    training, network = recipe.training, recipe.network
    if network.kind == "direct" and training.structures == "present":
        what = "chooses the structure that a sample trains, and a direct network trains all at once"
        raise _unfit("structures: present", whose, what, "leave it out")
    if network.kind == "direct" and training.ema_scope == "denoiser":
        what = "averages the denoiser alone, and a direct network has none: it would be averaged whole"
        raise _unfit("ema_scope: denoiser", whose, what, "leave it out")
    if training.gradient_checkpointing and getattr(network, "norm", None) == "batch":
        what = (
            "computes blocks twice, and 'network.norm: batch' would count every batch twice in its running statistics"
        )
        other = "instance" if network.kind == "direct" else "group"
        raise _unfit("gradient_checkpointing", whose, what, f"leave it out, or set 'network.norm: {other}'")


def _unfit(value: str, whose: str, what: str, remedy: str) -> UserError:
    key = value.partition(":")[0]
    return UserError(
        f"'training.{value}' {what}",
        where=f"training.{key}{whose}",
        remedy=f"{remedy}; overrides of a dataset are laid over all of its recipes",
    )
