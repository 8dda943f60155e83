"""A run's configuration as a whole, checked before anything is read or written.

Snakemake and `sdseg doctor --config` both ask here, so that one refuses what the other refuses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdseg.config.folders import check_folders, check_places
from sdseg.config.network import LatentNetwork, neighbours_of
from sdseg.config.patch_checks import check_volumes
from sdseg.config.recipe import Recipe
from sdseg.config.run import Config
from sdseg.config.seeds_and_folds import trainings
from sdseg.config.shape import bound_of
from sdseg.core.bounded_types import sides_of
from sdseg.core.errors import UserError, nearest
from sdseg.core.settings import merge, parse, read_yaml
from sdseg.core.shipped_files import shipped
from sdseg.datasets.check_shape import check_shape
from sdseg.datasets.phantom_marks import PHANTOM_MARKS
from sdseg.datasets.source_lookup import known_source, makes_split

__all__ = ["FOLDERS", "FOLDERS_OF_DATASETS", "TARGETS", "CheckedConfig", "check_machine", "configure", "configure_file"]

FOLDERS = ("codecs", "logs")  # in the results, beside those of datasets
FOLDERS_OF_DATASETS = ("prepared", "codecs")  # in the results of a dataset, beside those of recipes
# Targets of the workflow; a dataset is one too, under its own name.
TARGETS = (
    *("all", "download", "prepare", "train", "evaluate", "export", "report", "studies", "ablation", "engines"),
    *("pareto", "web"),
    *("raw_phantoms", "raw_record", "dataset_settings", "recipe_settings", "codec_settings", "codec_model"),
    "dataset_codec",
    *("export_settings", "engine_settings", "study_settings", "web_settings"),
    *(
        "made_split",
        "slice_store",
        "model",
        "ensemble",
        "scores",
        "out_of_fold",
        "made_folds",
        "model_studies",
        "graph",
        "engine",
        "latencies",
        "web_page",
    ),
)


DOES = {"start_from": "starts from", "distillation.teacher": "learns from"}  # what a recipe does with a model it names


@dataclass(frozen=True)
class CheckedConfig:
    """A configuration that passed every check, with the complete recipe of every training."""

    settings: Config
    pairs: tuple[tuple[str, str], ...]  # dataset and recipe of what `all` makes
    recipes: Mapping[tuple[str, str], Recipe]  # of those, and of the ablation's


def configure(data: Mapping[str, Any], *, where: str) -> CheckedConfig:
    """Check a configuration as far as that needs no look at the user's files.

    Raises UserError for the first mistake: a key or value (all of them at once), a name that is taken, folders that
    lie in one another, a source, target, window or start that does not exist, a recipe that does not fit.
    """
    settings = parse(Config, dict(data), where=where)
    _check_names(settings)
    pairs = tuple((dataset, recipe) for dataset in settings.datasets for recipe in settings.recipes_of(dataset))
    every = dict.fromkeys((*pairs, *settings.ablation_pairs()))
    recipes = {pair: settings.resolve_recipe(*pair) for pair in every}
    for dataset in settings.datasets:  # out-of-fold scores are computed as those of each fold
        recipes |= {(dataset, name): recipes[dataset, of[0]] for name, of in settings.cross_validated(dataset).items()}
    for (dataset, recipe), values in recipes.items():
        _check_volumes(settings, dataset, recipe, values)
    run = CheckedConfig(settings, pairs, recipes)
    named = [each.builds_on.items() for each in run.recipes.values()]
    check_places(settings, [(f"{key}.model", one.model) for items in named for key, one in items if one.model])
    for dataset in settings.datasets:
        _check_dataset(settings, dataset)
    for (dataset, recipe), values in recipes.items():
        _check_models(run, dataset, (recipe,))
        _check_neighbours(settings, dataset, recipe, values)
    return run


def configure_file(path: Path) -> CheckedConfig:
    """The run of one file; one without datasets is laid over the default configuration, as Snakemake does it."""
    values, default = read_yaml(path), shipped("config/config.yaml")
    if "datasets" not in values and default.is_file():
        values = merge(read_yaml(default), values)
    return configure(values, where=str(path))


def check_machine(run: CheckedConfig) -> None:
    """Check what a look at the disk tells: folders that can be written, models to start from, files in the way.

    Raises UserError also where phantoms would be written over files of the user's, or their results over those of
    real data.
    """
    check_folders(run.settings)
    for (_, recipe), values in run.recipes.items():
        for key, named in values.builds_on.items():
            if named.model is not None and not (Path(named.model) / "config.json").is_file():
                raise UserError(
                    f"recipe '{recipe}' {DOES[key]} a model that is not there",
                    where=Path(named.model),
                    remedy=f"name a folder made by 'sdseg train' or 'sdseg convert' as {key}.model",
                )
    for name, dataset in run.settings.datasets.items():
        if dataset.origin == "phantom":
            _check_phantoms(run.settings, name)


def _check_names(settings: Config) -> None:
    for name in settings.datasets:
        holder = "the workflow has a target" if name in TARGETS else "the results hold a folder"
        if name in (*TARGETS, *FOLDERS):
            what = f"{holder} '{name}' already"
            raise UserError(what, where=f"datasets.{name}", remedy="choose another name for the dataset")
    for name in settings.trainings:
        if name in FOLDERS_OF_DATASETS:
            raise UserError(
                f"the results of every dataset hold a folder '{name}' already",
                where=f"recipes.{name}",
                remedy="choose another name for the recipe",
            )


def _check_phantoms(settings: Config, dataset: str) -> None:
    raw = settings.raw_folder(dataset)
    if settings.datasets[dataset].raw is not None:
        raise UserError(
            "'raw' names a folder of your own, and phantoms would be written there",
            where=f"datasets.{dataset}.raw",
            remedy=f"leave it out: they go to {Path(settings.raw) / dataset}",
        )
    if raw.is_dir() and any(raw.iterdir()) and not any((raw / mark).exists() for mark in PHANTOM_MARKS):
        raise UserError(
            "phantoms would replace files that are there already and are no phantoms",
            where=raw,
            remedy="set 'raw' of the configuration to another folder, or move this one away",
        )
    prepared = Path(settings.results) / dataset / "prepared"
    origin = _origin(prepared / "manifest.json")
    if origin not in (None, "phantom"):
        raise UserError(
            f"these results come from {origin} data, and those of phantoms would overwrite them",
            where=prepared.parent,
            remedy="set 'results' of the configuration to another folder, or move this one away",
        )


def _check_dataset(settings: Config, dataset: str) -> None:
    """Refuse a source, target or window that does not exist, and a split that is not made so."""
    where, values = f"datasets.{dataset}", settings.datasets[dataset]
    try:
        source = known_source(values)
        if source is not None:  # else dataset.json tells, when the raw files are there
            _, structures = source.target(values.target)
            source.excludes(structures, values.exclusive)
            source.window(values.window)
            check_shape(values, source.modality, where)
        made_split = makes_split(values)
    except UserError as error:
        raise UserError(error.what, where=where, remedy=error.remedy) from None
    protocol = "official" if source is not None and source.split_by == "folders" else "clean"
    if made_split and values.protocol != protocol:
        raise UserError(
            f"the split that is made for '{values.source}' follows the protocol '{protocol}', not '{values.protocol}'",
            where=where,
            remedy=f"set 'protocol: {protocol}', or name a 'split_file'",
        )
    if values.split is not None and (not made_split or protocol == "official"):
        raise UserError(
            f"'split' says how a split is drawn, and that of '{values.source}' is not drawn",
            where=where,
            remedy="leave it out",
        )
    if values.origin == "phantom" and source is not None and source.phantom is None:
        raise UserError(f"there are no phantoms of '{values.source}'", where=where, remedy="leave out 'origin'")


def _check_volumes(settings: Config, dataset: str, recipe: str, values: Recipe) -> None:
    """Refuse a three-dimensional recipe on images, or with patches that no slice of the dataset holds."""
    source = known_source(settings.datasets[dataset])
    modality = "ct" if source is None else source.modality  # where only the raw files tell, training will say
    where = f"datasets.{dataset} with recipe '{recipe}'"
    sides = sides_of(bound_of(settings.datasets[dataset].size))  # of one that is chosen training will know
    check_volumes(values.patches, modality, sides, dataset, where)


def _check_models(run: CheckedConfig, dataset: str, passed: tuple[str, ...]) -> None:
    """Refuse a recipe that starts from, or learns from, an unknown one, one not of this run, or itself.

    `passed`: the recipe, behind those that build on it. Where training starts is a model of the same codec, and no
    ensemble.
    """
    recipe = run.recipes[dataset, passed[-1]]
    if recipe.distillation is not None and recipe.distillation.teacher is None:
        raise UserError(
            f"recipe '{passed[-1]}' learns from a teacher, and none is named",
            where="distillation.teacher",
            remedy="give it 'recipe' (one of this run) or 'model' (a folder)",
        )
    for key, begin in recipe.builds_on.items():
        if begin.recipe is None:
            continue
        where, named = f"{key}.recipe of recipe '{passed[-1]}', for dataset '{dataset}'", begin.recipe
        if named not in run.settings.trainings:
            what = f"unknown recipe '{named}', {nearest(named, run.settings.trainings)}"
            raise UserError(what, where=where, remedy="describe it under 'recipes' in the configuration")
        if key == "start_from" and run.settings.trainings[named].members:
            what = f"'{named}' is an ensemble, and training starts from one model"
            raise UserError(what, where=where, remedy="name one of its members")
        if (dataset, named) not in run.recipes:
            what = f"'{named}' is not trained on this dataset"
            key_of_list = _list_of(run.settings, dataset, named)
            added = f"'{dataset}'" if key_of_list == "ablation.datasets" else "it"
            raise UserError(what, where=where, remedy=f"add {added} to {key_of_list}")
        if named in passed:
            what = f"a circle: {f' {DOES[key]} '.join([*passed, named])}"
            raise UserError(what, where=where, remedy="let one of them start afresh, or from a model folder")
        if key == "start_from" and _codec_of(run.recipes[dataset, named]) != _codec_of(recipe):
            what = f"'{named}' is built on another codec, or on none"
            raise UserError(what, where=where, remedy="give both the same network.codec")
        _check_models(run, dataset, (*passed, named))


def _check_neighbours(settings: Config, dataset: str, recipe: str, values: Recipe) -> None:
    """Refuse a recipe that looks at the slices above and below where there are none."""
    source, count = known_source(settings.datasets[dataset]), neighbours_of(values.network)
    if count and source is not None and source.modality == "rgb":
        raise UserError(
            f"recipe '{recipe}' sees {count} slices on each side, and '{dataset}' is a dataset of images",
            where=f"network.condition.neighbours of recipe '{recipe}', for dataset '{dataset}'",
            remedy=f"set it to 0, or leave the recipe out of {_list_of(settings, dataset, recipe)}",
        )


def _list_of(settings: Config, dataset: str, recipe: str) -> str:
    """The key that says whether a recipe is trained on a dataset."""
    ablation = settings.ablation
    return "ablation.datasets" if ablation and recipe in trainings(ablation.recipes) else f"datasets.{dataset}.recipes"


def _codec_of(recipe: Recipe) -> str | None:
    return recipe.network.codec if isinstance(recipe.network, LatentNetwork) else None


def _origin(manifest: Path) -> str | None:
    """Where prepared data came from, None where there is none or its manifest is of no use."""
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8"))["origin"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
