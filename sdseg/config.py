"""The typed configuration of a run: datasets × recipes, and where everything lies.

`load_config` reads `config/*.yaml`; `Config.resolve_recipe` gives the complete recipe of one dataset × recipe pair.
The JSON schema that Snakemake validates is generated from these classes (`tools/generate.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sdseg.engines import Engines
from sdseg.errors import UserError, nearest
from sdseg.networks import Codec, LatentNetwork
from sdseg.own import Draw, Own
from sdseg.recipes import Recipe
from sdseg.settings import Name, Strict, merge, parse, read_yaml

__all__ = [
    "Config",
    "Dataset",
    "Export",
    "OnEdit",
    "Phantoms",
    "RecipeChoice",
    "json_schema",
    "load_config",
    "load_dataset",
]

OnEdit = Literal["refuse", "restart", "continue"]


class Phantoms(Strict):
    """Synthetic datasets in the layout of the real ones. They stand in for real data where there is none."""

    seed: int = 0
    scale: float = Field(1.0, gt=0)  # multiplies the number of cases of every dataset


class Dataset(Strict):
    """One dataset of a run: where it lies, how it is split, what is segmented, at which size."""

    source: Name  # whose layout and labels: cvc, kseg, refuge2, btcv, sts, isic2018, sts-zenodo; or own
    own: Own | None = None  # with 'source: own': layout and labels of a dataset of your own
    raw: str | None = None  # folder with the files as their owner ships them; default <raw>/<name>
    accept_terms: bool = False  # true: you have read and accept the owner's terms (sets fetched through an account)
    origin: Literal["real", "sample", "phantom"] = "real"
    protocol: Name = "clean"
    split_file: str | None = None  # default <splits>/<source>/<protocol>.csv
    split: Draw | None = None  # how a split is drawn where there is no split file
    allow_missing: bool = False  # true: cases of the split file that are not on disk are left out
    target: str | None = None  # what to segment, a preset of the source; default: the source's first
    window: str | None = None  # intensity window, a preset of the source (volumes only); default: the source's first
    size: int = Field(256, ge=16)
    recipes: tuple[Name, ...] | None = None  # default: every recipe of the configuration
    overrides: dict[str, Any] = Field(default_factory=dict)  # laid over every recipe of this dataset

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.source == "own") != (self.own is not None):
            raise ValueError("'source: own' and a section 'own' belong together")
        if self.own is not None and self.origin == "phantom":
            raise ValueError("phantoms stand in for known sources; with 'source: own' name the folder of your files")
        if self.split is not None and self.split_file is not None:
            raise ValueError("give either 'split_file' or 'split' (how one is drawn), not both")
        return self


class RecipeChoice(Strict):
    """A recipe file and the values laid over it."""

    file: str
    overrides: dict[str, Any] = Field(default_factory=dict)


class Export(Strict):
    """The ONNX graph and the tolerances it must keep."""

    opset: int = Field(21, ge=18, le=25)
    parity_cases: int | None = Field(None, ge=1)  # at most this many test cases; null for all
    max_abs_difference: float = Field(1e-3, gt=0)  # of the probability
    max_dice_difference: float = Field(2e-3, gt=0)


class Config(Strict):
    """One run of the workflow."""

    raw: str = "resources/raw"  # your own copy of the datasets may lie anywhere: name its folder here
    manual: str = "resources/manual"  # <manual>/<source>/ holds archives you fetched yourself; only read
    downloads: str = "resources/downloads"  # <downloads>/<source>/ keeps the archives that were fetched
    registry: str = "resources/datasets.yaml"  # where each dataset comes from
    fetch: bool = False  # true: archives that are neither in `manual` nor in `downloads` are fetched
    splits: str = "resources/splits"
    results: str = "results"
    device: Literal["cpu", "cuda"] = "cpu"  # 'cuda' without a GPU is an error, never a silent CPU run
    phantoms: Phantoms | None = None
    codecs: dict[Name, Codec] = Field(default_factory=dict)
    recipes: dict[Name, RecipeChoice] = Field(min_length=1)
    datasets: dict[Name, Dataset] = Field(min_length=1)
    export: Export = Export()
    engines: Engines = Engines()
    threads: int = Field(4, ge=1)  # CPU threads of one training or export job
    processes: int = Field(1, ge=1)  # of one training job, each with a GPU of its own
    on_edit: OnEdit = "refuse"  # what becomes of an unfinished training whose settings were changed

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, dataset in self.datasets.items():
            for recipe in dataset.recipes or ():
                if recipe not in self.recipes:
                    raise ValueError(
                        f"datasets.{name}.recipes: unknown recipe '{recipe}', {nearest(recipe, self.recipes)}"
                    )
            if dataset.origin == "phantom" and self.phantoms is None:
                raise ValueError(f"datasets.{name}: 'origin: phantom' needs a 'phantoms' section")
        return self

    def recipes_of(self, dataset: str) -> tuple[str, ...]:
        """Names of the recipes trained on `dataset`."""
        chosen = self.datasets[dataset].recipes
        return tuple(self.recipes) if chosen is None else chosen

    def resolve_recipe(self, dataset: str, recipe: str) -> Recipe:
        """The recipe file with this run's and then this dataset's overrides laid over it."""
        choice = self.recipes[recipe]
        data = merge(merge(read_yaml(Path(choice.file)), choice.overrides), self.datasets[dataset].overrides)
        resolved = parse(
            Recipe, data, where=f"{choice.file} with the overrides of recipes.{recipe} and datasets.{dataset}"
        )
        training, parts = resolved.training, resolved.training.accumulate * self.processes
        if training.batch % parts:
            raise UserError(
                f"a batch of {training.batch} cannot be shared by {self.processes} processes in {training.accumulate} "
                "part(s)",
                where=f"training.batch of recipe '{recipe}', and processes",
                remedy=f"make 'batch' a multiple of {parts}, or lower 'processes'",
            )
        if isinstance(resolved.network, LatentNetwork):
            codec = self.codecs.get(resolved.network.codec)
            if codec is None:
                raise UserError(
                    f"unknown codec '{resolved.network.codec}', {nearest(resolved.network.codec, self.codecs)}",
                    where=f"network.codec of recipe '{recipe}'",
                    remedy="describe it under 'codecs' in the configuration",
                )
            _check_size(dataset, self.datasets[dataset].size, recipe, resolved.network, codec)
        return resolved

    def raw_folder(self, dataset: str) -> Path:
        """Folder of the dataset's raw files."""
        own = self.datasets[dataset].raw
        return Path(own) if own else Path(self.raw) / dataset

    def split_path(self, dataset: str) -> Path:
        """The split file that is read for this dataset."""
        chosen = self.datasets[dataset]
        return (
            Path(chosen.split_file)
            if chosen.split_file
            else Path(self.splits) / chosen.source / f"{chosen.protocol}.csv"
        )


def load_config(path: Path) -> Config:
    """Read a workflow configuration. Raises UserError that lists every wrong key."""
    return parse(Config, read_yaml(path), where=str(path))


def load_dataset(path: Path) -> Dataset:
    return parse(Dataset, read_yaml(path), where=str(path))


def json_schema() -> dict[str, Any]:
    """The JSON schema of `Config`, as committed in workflow/schemas/config.schema.json."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _check_size(dataset: str, size: int, recipe: str, network: LatentNetwork, codec: Codec) -> None:
    where = f"datasets.{dataset}.size with recipe '{recipe}'"
    if network.condition.factor != codec.factor:
        raise UserError(
            f"the condition encoder shrinks the image {network.condition.factor}×, the codec {codec.factor}×",
            where=where,
            remedy="give network.condition.block_out_channels as many entries as the codec's",
        )
    multiple = codec.factor * 2 ** (len(network.denoiser.block_out_channels) - 1)
    if size % multiple:
        raise UserError(
            f"size {size} cannot be halved often enough: a multiple of {multiple} is needed",
            where=where,
            remedy=f"use size {max(1, round(size / multiple)) * multiple}",
        )
