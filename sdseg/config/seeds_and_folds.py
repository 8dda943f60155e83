"""Which recipes a run trains: the files it names, the values laid over them, and a training per seed or fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field, model_validator

from sdseg.config.trained_models import ModelReference
from sdseg.core.errors import UserError
from sdseg.core.settings import Place, Seed, Strict

__all__ = ["RecipeChoice", "Trained", "cross_validated", "names_of", "start_of", "trainings"]


class RecipeChoice(Strict):
    """A recipe file and the values laid over it."""

    file: Place
    seeds: tuple[Seed, ...] | None = Field(None, min_length=1)  # a training with each of them
    folds: int | None = Field(None, ge=2, le=50)  # a training per fold of the training split, which validates on it
    ensemble: bool = False  # also the mean of these trainings, as one more model
    overrides: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _seeds_agree(self) -> Self:
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("'seeds' names a seed twice")
        if self.seeds is not None and self.folds is not None:
            raise ValueError("give either 'seeds' or 'folds': each makes several trainings of the recipe")
        if self.ensemble and self.folds is None and len(self.seeds or ()) < 2:
            raise ValueError("'ensemble' is the mean of several trainings: give 'seeds' two or more, or 'folds'")
        training = self.overrides.get("training")
        if self.seeds is not None and isinstance(training, Mapping) and "seed" in training:
            raise ValueError("give either 'seeds' or 'overrides.training.seed', not both")
        return self


@dataclass(frozen=True)
class Trained:
    """One training, or the mean of some: its choice, and its seed where the choice names seeds."""

    choice: RecipeChoice
    seed: int | None = None
    fold: int | None = None  # the one that is held out, where the choice says how many there are
    members: tuple[str, ...] = ()  # names of the trainings it is the mean of; nothing is trained then


def names_of(recipe: str, choice: RecipeChoice) -> tuple[str, ...]:
    """What the trainings of a recipe are called: `<recipe>-seed<number>`, `<recipe>-fold<number>`, or as the recipe."""
    if choice.folds is not None:
        return tuple(f"{recipe}-fold{number}" for number in range(1, choice.folds + 1))
    return (recipe,) if choice.seeds is None else tuple(f"{recipe}-seed{seed}" for seed in choice.seeds)


def cross_validated(recipes: Mapping[str, RecipeChoice]) -> dict[str, tuple[str, ...]]:
    """The rows of out-of-fold scores: `<recipe>-cross-validated` -> the trainings it is made of."""
    return {
        f"{recipe}-cross-validated": names_of(recipe, choice)
        for recipe, choice in recipes.items()
        if choice.folds is not None
    }


def trainings(recipes: Mapping[str, RecipeChoice]) -> dict[str, Trained]:
    """Every training by its name in the results. Raises ValueError where two would have one name."""
    trained: dict[str, Trained] = {}
    for recipe, choice in recipes.items():
        names = names_of(recipe, choice)
        if choice.folds is not None:
            entries = {name: Trained(choice, fold=number) for number, name in enumerate(names, start=1)}
        else:
            entries = {name: Trained(choice, seed) for name, seed in zip(names, choice.seeds or (None,), strict=True)}
        if choice.ensemble:
            entries[f"{recipe}-ensemble"] = Trained(choice, members=names)
        for name, entry in entries.items():
            if name in trained:
                raise ValueError(f"recipes.{recipe}: two trainings would be called '{name}'; rename one of them")
            trained[name] = entry
    for name in cross_validated(recipes):
        if name in trained:
            raise ValueError(f"recipes: '{name}' is what the out-of-fold scores are called; rename that recipe")
    return trained


def start_of(
    begin: ModelReference, trained: Trained, recipes: Mapping[str, RecipeChoice], *, where: str
) -> ModelReference:
    """The model that a training builds on: of a recipe with several seeds or folds, that with the same one.

    Raises UserError where there is none: nothing says which of the others is meant.
    """
    other = recipes.get(begin.recipe) if begin.recipe is not None else None
    if begin.recipe is None:
        return begin
    if trained.fold is not None and (other is None or other.folds != trained.choice.folds):
        raise UserError(
            f"'{begin.recipe}' was trained on cases that this recipe holds out: it has not the same folds",
            where=where,
            remedy=f"give it 'folds: {trained.choice.folds}' too, or name a model that has not seen these data",
        )
    if other is None or (other.seeds is None and other.folds is None):
        return begin
    if trained.fold is not None:
        return ModelReference(recipe=f"{begin.recipe}-fold{trained.fold}")
    if trained.seed not in (other.seeds or ()):
        names = names_of(begin.recipe, other)
        own = "has no seeds" if trained.seed is None else f"has seed {trained.seed}"
        raise UserError(
            f"'{begin.recipe}' is trained as {', '.join(names)}, and this recipe {own}: which one is meant?",
            where=where,
            remedy=f"name one of them, '{names[0]}' for example, or give both recipes the same seeds",
        )
    return ModelReference(recipe=f"{begin.recipe}-seed{trained.seed}")
