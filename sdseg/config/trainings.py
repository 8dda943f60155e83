"""Which recipes a run trains: the files it names, the values laid over them, and a training per seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field, model_validator

from sdseg.config.recipe import StartFrom
from sdseg.core.errors import UserError
from sdseg.core.settings import Place, Seed, Strict

__all__ = ["RecipeChoice", "Trained", "names_of", "start_of", "trainings"]


class RecipeChoice(Strict):
    """A recipe file and the values laid over it."""

    file: Place
    seeds: tuple[Seed, ...] | None = Field(None, min_length=1)  # a training with each of them
    overrides: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _seeds_agree(self) -> Self:
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("'seeds' names a seed twice")
        training = self.overrides.get("training")
        if self.seeds is not None and isinstance(training, Mapping) and "seed" in training:
            raise ValueError("give either 'seeds' or 'overrides.training.seed', not both")
        return self


@dataclass(frozen=True)
class Trained:
    """One training: its choice, and its seed where the choice names seeds."""

    choice: RecipeChoice
    seed: int | None = None


def names_of(recipe: str, choice: RecipeChoice) -> tuple[str, ...]:
    """What the trainings of a recipe are called in the results: `<recipe>-seed<number>`, or as the recipe."""
    return (recipe,) if choice.seeds is None else tuple(f"{recipe}-seed{seed}" for seed in choice.seeds)


def trainings(recipes: Mapping[str, RecipeChoice]) -> dict[str, Trained]:
    """Every training by its name in the results. Raises ValueError where two would have one name."""
    trained: dict[str, Trained] = {}
    for recipe, choice in recipes.items():
        for name, seed in zip(names_of(recipe, choice), choice.seeds or (None,), strict=True):
            if name in trained:
                raise ValueError(f"recipes.{recipe}: two trainings would be called '{name}'; rename one of them")
            trained[name] = Trained(choice, seed)
    return trained


def start_of(begin: StartFrom, trained: Trained, recipes: Mapping[str, RecipeChoice], *, where: str) -> StartFrom:
    """Where a training starts: of a recipe with several seeds, at the training with the same seed.

    Raises UserError where there is none: nothing says which of the others is meant.
    """
    other = recipes.get(begin.recipe) if begin.recipe is not None else None
    if begin.recipe is None or other is None or other.seeds is None:
        return begin
    if trained.seed not in other.seeds:
        names = names_of(begin.recipe, other)
        own = "has no seeds" if trained.seed is None else f"has seed {trained.seed}"
        raise UserError(
            f"'{begin.recipe}' is trained as {', '.join(names)}, and this recipe {own}: which one is meant?",
            where=where,
            remedy=f"name one of them, '{names[0]}' for example, or give both recipes the same seeds",
        )
    return StartFrom(recipe=f"{begin.recipe}-seed{trained.seed}")
