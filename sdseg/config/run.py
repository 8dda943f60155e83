"""The typed configuration of a run: datasets × recipes, and where everything lies.

`load_config` reads `config/*.yaml`; `Config.resolve_recipe` gives the complete recipe of one dataset × recipe pair.
The JSON schema that Snakemake validates is generated from these classes (`tools/generate.py`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sdseg.config.chosen_recipes import chosen_overrides
from sdseg.config.codec import Codec, made_from
from sdseg.config.dataset import Dataset
from sdseg.config.export import Engines, Export
from sdseg.config.image_size import check_size, size_steps
from sdseg.config.network import LatentNetwork, check_codec, check_image_codec, check_same_layout
from sdseg.config.recipe import Recipe, read_recipe
from sdseg.config.recipe_overrides import lay_over
from sdseg.config.seeds_and_folds import RecipeChoice, Trained, cross_validated, start_of, trainings
from sdseg.config.shape import AutoSize
from sdseg.config.studies import Ablation, Studies
from sdseg.config.training import check_batch
from sdseg.config.training_checks import check_training
from sdseg.config.web_pages import WebPages
from sdseg.core.bounded_types import sides_of
from sdseg.core.errors import UserError, nearest
from sdseg.core.gpu_choice import GPU
from sdseg.core.settings import Name, Place, Seed, Strict, merge, parse, read_yaml
from sdseg.core.shipped_files import shipped

__all__ = ["Config", "OnEdit", "Phantoms", "RecipeChoice", "json_schema", "load_config"]

Device = Annotated[str, Field(pattern=rf"^(cpu|{GPU})$")]
OnEdit = Literal["refuse", "restart", "continue"]


class Phantoms(Strict):
    """Synthetic datasets in the layout of the real ones. They stand in for real data where there is none."""

    seed: Seed = 0
    scale: float = Field(1.0, gt=0, le=1000)  # multiplies the number of cases of every dataset


class Config(Strict):
    """One run of the workflow."""

    raw: Place = "resources/raw"  # your own copy of the datasets may lie anywhere: name its folder here
    manual: Place = "resources/manual"  # <manual>/<source>/ holds archives you fetched yourself; only read
    downloads: Place = "resources/downloads"  # <downloads>/<source>/ keeps the archives that were fetched
    registry: Place = "resources/datasets.yaml"  # where each dataset comes from
    fetch: bool = False  # true: archives that are neither in `manual` nor in `downloads` are fetched
    splits: Place = "resources/splits"
    results: Place = "results"
    device: Device = "cpu"  # 'cuda' without a GPU is an error, never a silent CPU run; cuda:1 is the second one
    phantoms: Phantoms | None = None
    codecs: dict[Name, Annotated[Codec, AfterValidator(made_from)]] = Field(default_factory=dict)
    recipes: dict[Name, RecipeChoice] = Field(min_length=1)
    datasets: dict[Name, Dataset] = Field(min_length=1)
    export: Export = Export()
    studies: Studies = Studies()
    ablation: Ablation | None = None
    engines: Engines = Engines()
    web: WebPages = WebPages()
    threads: int = Field(4, ge=1, le=4096)  # CPU threads of one training or export job
    processes: int = Field(1, ge=1, le=1024)  # of one training job, each with a GPU of its own
    preload: bool = False  # jobs are forks of one Python that has loaded the libraries
    on_edit: OnEdit = "refuse"  # what becomes of an unfinished training whose settings were changed

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, dataset in self.datasets.items():
            every = trainings(self.recipes)
            names = {**self.recipes, **every}
            for recipe in dataset.recipes or ():
                if recipe not in names:
                    raise ValueError(f"datasets.{name}.recipes: unknown recipe '{recipe}', {nearest(recipe, names)}")
            for recipe in chosen_overrides(dataset.recipes, names):
                if recipe not in self.recipes and every[recipe].members:
                    raise ValueError(
                        f"datasets.{name}.recipes.{recipe}: the mean of several trainings has no values of its own; "
                        "give 'overrides' to the recipe"
                    )
            if dataset.origin == "phantom" and self.phantoms is None:
                raise ValueError(f"datasets.{name}: 'origin: phantom' needs a 'phantoms' section")
        return self

    @model_validator(mode="after")
    def _one_gpu(self) -> Self:
        if self.processes > 1 and ":" in self.device:
            raise ValueError(
                f"'device: {self.device}' is one GPU, and 'processes: {self.processes}' want one each: say 'cuda', and "
                "which ones by CUDA_VISIBLE_DEVICES"
            )
        return self

    @model_validator(mode="after")
    def _engines_have_graphs(self) -> Self:
        exported = tuple(dict.fromkeys(("fp32", *self.export.precisions)))
        for precision in self.engines.precisions:
            if precision not in exported:
                raise ValueError(
                    f"engines.precisions: '{precision}' is not among export.precisions ({', '.join(exported)}), and an "
                    "engine is built from the graph of its precision: add it there"
                )
        return self

    @model_validator(mode="after")
    def _ablation_fits(self) -> Self:
        ablation = self.ablation
        for name in (ablation.datasets or ()) if ablation else ():
            if name not in self.datasets:
                raise ValueError(f"ablation.datasets: unknown dataset '{name}', {nearest(name, self.datasets)}")
        for name in trainings(ablation.recipes) if ablation else ():
            if name in trainings(self.recipes):
                raise ValueError(f"ablation.recipes: '{name}' is one of 'recipes' already; give it one place")
        return self

    def recipes_of(self, dataset: str) -> tuple[str, ...]:
        """Names of the models on `dataset`: of a recipe with seeds one per seed, and their ensemble after them."""
        chosen, every = self.datasets[dataset].recipes, trainings(self.recipes)
        named = tuple(self.recipes if chosen is None else chosen)
        names: list[str] = []
        for name in named:
            whole = tuple(trainings({name: self.recipes[name]})) if name in self.recipes else (name,)
            names += [each for one in whole for each in (*every[one].members, one)]
        return tuple(dict.fromkeys(names))

    @property
    def trainings(self) -> dict[str, Trained]:
        """Every training by its name, those of the ablation last."""
        return trainings(self.recipes) | trainings(self._ablation_recipes)

    def resolve_recipe(self, dataset: str, recipe: str) -> Recipe:
        """The recipe file with the overrides of this run, of the dataset, and of the recipe on it, and the seed."""
        every = self.trainings
        trained, alone = every[recipe], recipe
        if trained.members:  # networks and inference are those of its members
            trained, alone = every[trained.members[0]], trained.members[0]
        choice, here = trained.choice, self._overrides_here(dataset, alone)
        data = lay_over(read_recipe(shipped(choice.file)), choice.overrides)
        for overrides in here.values():
            data = lay_over(data, overrides)
        where = f"the overrides of recipes.{recipe} and {', '.join(here)}"
        if trained.seed is not None:
            for key, overrides in here.items():
                training = overrides.get("training")
                if isinstance(training, dict) and "seed" in training:
                    raise UserError(
                        f"recipe '{recipe}' has its seed from 'seeds'",
                        where=f"{key}.overrides.training.seed",
                        remedy="leave it out here",
                    )
            data = merge(data, {"training": {"seed": trained.seed}})
        resolved = parse(Recipe, data, where=f"{choice.file} with {where}")
        resolved = self._with_own_models(resolved, recipe, trained)
        check_training(resolved, f" of recipe '{recipe}'")
        check_batch(resolved.training, self.processes, where=f"training.batch of recipe '{recipe}', and processes")
        codec = None
        if isinstance(resolved.network, LatentNetwork):
            codec = self._codec(resolved.network.codec, f"network.codec of recipe '{recipe}'")
            whose = f"of recipe '{recipe}', for {dataset}"
            check_codec(resolved.network, codec.encodes, f"codec '{resolved.network.codec}' {whose}")
            if (name := resolved.network.image_codec) is not None:
                images = self._codec(name, f"network.condition.codec of recipe '{recipe}'")
                check_image_codec(images.encodes, f"codec '{name}' {whose}")
        side = "size" if self.datasets[dataset].tiles is None else "size (that of a tile)"
        self._check_size(dataset, resolved, codec, f"datasets.{dataset}.{side} with recipe '{recipe}'")
        if isinstance(resolved.network, LatentNetwork):
            name = resolved.network.image_codec or resolved.network.codec
            start = self.codecs[name]
            check_same_layout(resolved.network, start, start.latent_channels, f"codec '{name}' {whose}")
        return resolved

    def _overrides_here(self, dataset: str, training: str) -> dict[str, dict[str, Any]]:
        """What a dataset lays over a training, by the place it is written at, in the order it is laid."""
        settings = self.datasets[dataset]
        whole = (name for name, choice in self.recipes.items() if training in trainings({name: choice}))
        own = chosen_overrides(settings.recipes, (*whole, training))
        where = f"datasets.{dataset}"
        return {where: settings.overrides} | {f"{where}.recipes.{name}": values for name, values in own.items()}

    def _check_size(self, dataset: str, recipe: Recipe, codec: Codec | None, where: str) -> None:
        """A size that prepare chooses must have room for the network; training compares it once more."""
        size = self.datasets[dataset].size
        if not isinstance(size, AutoSize):
            check_size(sides_of(size), recipe.network, codec, where)
            return
        steps, multiple = size_steps(recipe.network, codec), size.multiple_of
        if multiple is not None and multiple % steps.multiple:
            raise UserError(
                f"size.multiple_of is {multiple}, and a multiple of {steps.multiple} is needed",
                where=where,
                remedy=f"use {math.lcm(multiple, steps.multiple)}, or leave it out: it then follows from the recipes",
            )
        if size.at_most < 2 * steps.multiple:
            raise UserError(
                f"size.at_most is {size.at_most}, and the network needs {2 * steps.multiple} pixels or more",
                where=where,
                remedy=f"set it to {2 * steps.multiple} or more",
            )

    def _with_own_models(self, resolved: Recipe, name: str, trained: Trained) -> Recipe:
        """A recipe that starts from or learns from another one with seeds or folds, from the training with its own."""
        recipes = self.recipes | self._ablation_recipes
        named = {
            key: start_of(reference, trained, recipes, where=f"{key}.recipe of recipe '{name}'")
            for key, reference in resolved.builds_on.items()
        }
        teacher = named.get("distillation.teacher")
        update: dict[str, Any] = {"start_from": named.get("start_from")}
        if resolved.distillation is not None:
            update["distillation"] = resolved.distillation.model_copy(update={"teacher": teacher})
        return resolved.model_copy(update=update)

    def _codec(self, name: str, where: str) -> Codec:
        if name not in self.codecs:
            raise UserError(
                f"unknown codec '{name}', {nearest(name, self.codecs)}",
                where=where,
                remedy="describe it under 'codecs' in the configuration",
            )
        return self.codecs[name]

    @property
    def _ablation_recipes(self) -> dict[str, RecipeChoice]:
        return self.ablation.recipes if self.ablation else {}

    def cross_validated(self, dataset: str) -> dict[str, tuple[str, ...]]:
        """Names of the out-of-fold scores on `dataset`, with the trainings they are made of."""
        named = self.recipes_of(dataset)
        return {name: folds for name, folds in cross_validated(self.recipes).items() if set(folds) <= set(named)}

    def ablation_pairs(self) -> tuple[tuple[str, str], ...]:
        """Dataset and recipe of every training of the ablation."""
        datasets = self.ablation.datasets if self.ablation else None
        recipes = trainings(self._ablation_recipes)
        return tuple((dataset, recipe) for dataset in datasets or self.datasets for recipe in recipes)

    def raw_folder(self, dataset: str) -> Path:
        """Folder of the dataset's raw files."""
        own = self.datasets[dataset].raw
        return Path(own) if own else Path(self.raw) / dataset

    def split_path(self, dataset: str) -> Path:
        """The split file that is read for this dataset."""
        dataset_settings = self.datasets[dataset]
        if dataset_settings.split_file:
            return Path(dataset_settings.split_file)
        return shipped(Path(self.splits) / dataset_settings.source / f"{dataset_settings.protocol}.csv")


def load_config(path: Path) -> Config:
    """Read a workflow configuration. Raises UserError that lists every wrong key."""
    return parse(Config, read_yaml(path), where=str(path))


def json_schema() -> dict[str, Any]:
    """The JSON schema of `Config`, as committed in workflow/schemas/config.schema.json."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
