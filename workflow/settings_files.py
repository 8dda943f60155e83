"""The part of the configuration that a stage depends on, as the text of a settings file; and what it leaves out."""

from __future__ import annotations

from math import lcm
from typing import Any

import yaml

from sdseg.config.image_size import size_steps
from sdseg.config.network import LatentNetwork
from sdseg.config.shape import AutoSize
from sdseg.core.settings import Strict
from sdseg.datasets.check_configuration import CheckedConfig

__all__ = ["SPEED", "SettingsFiles"]

# Values of a recipe that change neither the weights nor the scores (`NEUTRAL` of training/resume.py, which also has two
# that change the model's files).
SPEED = {"inference": {"batch"}, "training": {"checkpoint_every", "log_every", "loss_limit", "workers"}}


class SettingsFiles:
    """Texts by the wildcards of a rule; stages read them with `--settings` and the like."""

    def __init__(self, run: CheckedConfig) -> None:
        self.settings, self.recipes = run.settings, run.recipes

    def dataset(self, wildcards: Any) -> str:
        """Settings file of a dataset, without what concerns other stages or is passed to them as a path."""
        elsewhere = {"raw", "accept_terms", "split_file", "recipes", "overrides"}
        settings = self.settings.datasets[wildcards.dataset]
        if isinstance(settings.size, AutoSize) and settings.size.multiple_of is None:
            size = settings.size.model_copy(update={"multiple_of": self._multiple(wildcards.dataset)})
            settings = settings.model_copy(update={"size": size})
        return _text(settings, exclude=elsewhere)

    def _multiple(self, dataset: str) -> int:
        """Of which the sides of a dataset's images must be multiples for all of its recipes."""
        recipes = [recipe for (name, _), recipe in self.recipes.items() if name == dataset]
        codecs = [
            self.settings.codecs[recipe.network.codec] if isinstance(recipe.network, LatentNetwork) else None
            for recipe in recipes
        ]
        return lcm(*(size_steps(one.network, codec).multiple for one, codec in zip(recipes, codecs, strict=True)))

    def recipe(self, wildcards: Any) -> str:
        """Settings file of a recipe, without what changes its speed alone."""
        return _text(self.recipes[wildcards.dataset, wildcards.recipe], exclude=SPEED)

    def speed_options(self, wildcards: Any) -> list[str]:
        """What the settings file of a recipe leaves out, as arguments of the verb: editing it trains nothing anew."""
        recipe = self.recipes[wildcards.dataset, wildcards.recipe].model_dump(mode="json")
        given = [
            f"{section}.{key}={_yaml(recipe[section][key])}" for section in SPEED for key in sorted(SPEED[section])
        ]
        return [word for value in given for word in ("--set", value)]

    def codec(self, wildcards: Any) -> str:
        return _text(self.settings.codecs[wildcards.codec])

    def export(self, wildcards: Any) -> str:
        return _text(self.settings.export)

    def engines(self, wildcards: Any) -> str:
        """Settings file of engines, without what says which are made, and where; what makes builds faster is passed."""
        return _text(self.settings.engines, exclude={"precisions", "missing", "timing_cache"})

    def web(self, wildcards: Any) -> str:
        """Settings file of web pages, without whether they are made."""
        return _text(self.settings.web, exclude={"pages"})

    def studies(self, wildcards: Any) -> str:
        """Settings file of studies, without whether `all` makes them."""
        return _text(self.settings.studies, exclude={"in_all"})


def _text(model: Strict, exclude: set[str] | dict[str, set[str]] | None = None) -> str:
    return yaml.safe_dump(model.model_dump(mode="json", exclude=exclude), sort_keys=False, allow_unicode=True)


def _yaml(value: float | None) -> str:
    return yaml.safe_dump(value).partition("\n")[0]
