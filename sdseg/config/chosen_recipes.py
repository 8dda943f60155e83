"""Which recipes a dataset is trained by, and values of one recipe that hold for that dataset alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag

from sdseg.core.settings import Name, Strict

__all__ = ["ChosenRecipes", "RecipeHere", "chosen_overrides"]


class RecipeHere(Strict):
    """A recipe of the configuration on one dataset."""

    overrides: dict[str, Any] = Field(default_factory=dict)  # laid over this recipe, on this dataset alone


Here = Annotated[RecipeHere, BeforeValidator(lambda value: {} if value is None else value)]
# A list of names, or a mapping of them where some have overrides of their own.
ChosenRecipes = Annotated[
    Annotated[tuple[Name, ...], Tag("word")] | Annotated[dict[Name, Here], Tag("mapping")],
    Discriminator(lambda value: "mapping" if isinstance(value, dict) else "word"),
]


def chosen_overrides(chosen: ChosenRecipes | None, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The overrides that a dataset has of a recipe under each of `names` that it gives some for, in their order."""
    if not isinstance(chosen, dict):
        return {}
    return {name: chosen[name].overrides for name in dict.fromkeys(names) if name in chosen and chosen[name].overrides}
