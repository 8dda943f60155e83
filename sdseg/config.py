"""The typed configuration of a run: datasets × recipes, and where everything lies.

`load_config` reads `config/*.yaml`; `Config.resolve_recipe` gives the complete recipe of one dataset × recipe pair.
The JSON schema that Snakemake validates is generated from these classes (`tools/generate.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sdseg.choices import RecipeChoice, Trained, names_of, start_of, trainings
from sdseg.core.errors import UserError, nearest
from sdseg.core.settings import MANY, Name, Place, Seed, Strict, merge, parse, read_yaml
from sdseg.core.shipped import shipped
from sdseg.engines import Engines, Precision
from sdseg.networks import Codec, LatentNetwork, made_from
from sdseg.own import Draw, Own
from sdseg.recipes import Recipe, read_recipe

__all__ = [
    "Ablation",
    "Config",
    "Dataset",
    "Export",
    "OnEdit",
    "Phantoms",
    "RecipeChoice",
    "Studies",
    "Tolerance",
    "Tolerances",
    "json_schema",
    "load_config",
    "load_dataset",
]

OnEdit = Literal["refuse", "restart", "continue"]
Provider = Literal["cpu", "cuda", "openvino", "openvino-bf16"]


class Phantoms(Strict):
    """Synthetic datasets in the layout of the real ones. They stand in for real data where there is none."""

    seed: Seed = 0
    scale: float = Field(1.0, gt=0, le=1000)  # multiplies the number of cases of every dataset


class Dataset(Strict):
    """One dataset of a run: where it lies, how it is split, what is segmented, at which size."""

    source: Name  # whose layout and labels: cvc, kseg, refuge2, btcv, sts, isic2018, sts-zenodo; or own
    own: Own | None = None  # with 'source: own': layout and labels of a dataset of your own
    raw: Place | None = None  # folder with the files as their owner ships them; default <raw>/<name>
    accept_terms: bool = False  # true: you have read and accept the owner's terms (sets fetched through an account)
    origin: Literal["real", "sample", "phantom"] = "real"
    protocol: Name = "clean"
    split_file: Place | None = None  # default <splits>/<source>/<protocol>.csv
    split: Draw | None = None  # how a split is drawn where there is no split file
    allow_missing: bool = False  # true: cases of the split file that are not on disk are left out
    target: str | None = None  # what to segment, a preset of the source; default: the source's first
    exclusive: bool | None = None  # true: a pixel belongs to one structure at most; default: where no two share a label
    window: str | None = None  # intensity window, a preset of the source (volumes only); default: the source's first
    size: int = Field(256, ge=16, le=8192)
    max_pixels: int | None = Field(None, ge=1, le=1 << 40)  # of an image that is read; default: 2^28, 16384²
    max_voxels: int | None = Field(None, ge=1, le=1 << 40)  # of a volume that is read; default: 2^30, 1024³
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


class Tolerance(Strict):
    """How far an export of one precision may lie from the model."""

    max_abs_difference: float = Field(gt=0, le=1)  # of the probability of any pixel
    max_mean_difference: float = Field(gt=0, le=1)  # of the probability, averaged over all pixels
    max_dice_difference: float = Field(gt=0, le=1)  # of the mean Dice against the labels
    min_mask_dice: float = Field(ge=0, le=1)  # mean Dice between the model's masks and the export's


class Tolerances(Strict):
    """Those of the precisions below fp32. A mask's edge may move by a pixel, where the probability jumps."""

    fp16: Tolerance = Tolerance(
        max_abs_difference=0.1, max_mean_difference=1e-3, max_dice_difference=2e-3, min_mask_dice=0.995
    )
    bf16: Tolerance = Tolerance(
        max_abs_difference=0.5, max_mean_difference=5e-3, max_dice_difference=5e-3, min_mask_dice=0.99
    )
    int8: Tolerance = Tolerance(
        max_abs_difference=0.8, max_mean_difference=0.01, max_dice_difference=0.01, min_mask_dice=0.98
    )


class Export(Strict):
    """The ONNX graphs and the tolerances they must keep."""

    opset: int = Field(21, ge=18, le=25)
    precisions: tuple[Precision, ...] = Field(("fp32",), min_length=1)  # fp32 is always made: the others follow it
    providers: tuple[Provider, ...] = Field(("cpu",), min_length=1)  # who computes graphs: each is checked on each
    unchecked: Literal["refuse", "keep"] = "refuse"  # a graph that none of these providers can run
    parity_cases: int | None = Field(None, ge=1, le=MANY)  # at most this many test cases; null for all
    calibration_images: int = Field(64, ge=1, le=MANY)  # training images whose values set the ranges of int8
    max_abs_difference: float = Field(1e-3, gt=0, le=1)  # of the probability, fp32
    max_dice_difference: float = Field(2e-3, gt=0, le=1)
    min_mask_dice: float = Field(0.99, ge=0, le=1)  # between the masks of model and graph, fp32
    tolerances: Tolerances = Tolerances()  # of the other precisions

    def tolerance(self, precision: Precision) -> Tolerance:
        """What a graph or an engine of this precision must keep."""
        if precision == "fp32":
            largest = self.max_abs_difference
            return Tolerance(
                max_abs_difference=largest,
                max_mean_difference=largest,
                max_dice_difference=self.max_dice_difference,
                min_mask_dice=self.min_mask_dice,
            )
        found: Tolerance = getattr(self.tolerances, precision)
        return found


class Studies(Strict):
    """What is found out about every model besides its scores (`sdseg evaluate --sweep …`): the target `studies`."""

    in_all: bool = False  # true: `all` makes them too
    efficiency: bool = True  # parameters, FLOPs, latency, memory
    sweep: bool = True  # Dice and time by reverse steps and samples
    steps: tuple[Annotated[int, Field(ge=1, le=50)], ...] = Field((1, 2, 5, 10, 20, 50), min_length=1)  # of the sweep
    samples: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field((1, 5), min_length=1)  # of the sweep
    stability: int | None = Field(5, ge=2, le=1000)  # number of runs that differ in their noise; null for no such study
    lpips: Place | None = None  # AlexNet's weights for the stability study, a file or 'fetch'; null for no LPIPS
    robustness: bool = True  # Dice when images get worse
    latents: bool = True  # pictures of latents, before and after training
    limit: int | None = Field(None, ge=1, le=MANY)  # at most this many test cases, evenly spread; null for all

    @property
    def names(self) -> tuple[str, ...]:
        """The studies that are made; each leaves a file of its name."""
        wanted = ("efficiency", "sweep", "stability", "robustness", "latents")
        return tuple(name for name in wanted if getattr(self, name))


class Ablation(Strict):
    """Recipes that are trained and scored by the target `ablation` alone (Table 6 of the paper)."""

    recipes: dict[Name, RecipeChoice] = Field(min_length=1)
    datasets: tuple[Name, ...] | None = None  # default: every dataset of the configuration


class Config(Strict):
    """One run of the workflow."""

    raw: Place = "resources/raw"  # your own copy of the datasets may lie anywhere: name its folder here
    manual: Place = "resources/manual"  # <manual>/<source>/ holds archives you fetched yourself; only read
    downloads: Place = "resources/downloads"  # <downloads>/<source>/ keeps the archives that were fetched
    registry: Place = "resources/datasets.yaml"  # where each dataset comes from
    fetch: bool = False  # true: archives that are neither in `manual` nor in `downloads` are fetched
    splits: Place = "resources/splits"
    results: Place = "results"
    device: Literal["cpu", "cuda"] = "cpu"  # 'cuda' without a GPU is an error, never a silent CPU run
    phantoms: Phantoms | None = None
    codecs: dict[Name, Annotated[Codec, AfterValidator(made_from)]] = Field(default_factory=dict)
    recipes: dict[Name, RecipeChoice] = Field(min_length=1)
    datasets: dict[Name, Dataset] = Field(min_length=1)
    export: Export = Export()
    studies: Studies = Studies()
    ablation: Ablation | None = None
    engines: Engines = Engines()
    threads: int = Field(4, ge=1, le=4096)  # CPU threads of one training or export job
    processes: int = Field(1, ge=1, le=1024)  # of one training job, each with a GPU of its own
    on_edit: OnEdit = "refuse"  # what becomes of an unfinished training whose settings were changed

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, dataset in self.datasets.items():
            known = {**self.recipes, **trainings(self.recipes)}
            for recipe in dataset.recipes or ():
                if recipe not in known:
                    raise ValueError(f"datasets.{name}.recipes: unknown recipe '{recipe}', {nearest(recipe, known)}")
            if dataset.origin == "phantom" and self.phantoms is None:
                raise ValueError(f"datasets.{name}: 'origin: phantom' needs a 'phantoms' section")
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
        chosen = self.ablation
        for name in (chosen.datasets or ()) if chosen else ():
            if name not in self.datasets:
                raise ValueError(f"ablation.datasets: unknown dataset '{name}', {nearest(name, self.datasets)}")
        for name in trainings(chosen.recipes) if chosen else ():
            if name in trainings(self.recipes):
                raise ValueError(f"ablation.recipes: '{name}' is one of 'recipes' already; give it one place")
        return self

    def recipes_of(self, dataset: str) -> tuple[str, ...]:
        """Names of the trainings on `dataset`: of a recipe with seeds one per seed."""
        chosen = self.datasets[dataset].recipes
        named = tuple(self.recipes) if chosen is None else chosen
        trained = (names_of(name, self.recipes[name]) if name in self.recipes else (name,) for name in named)
        return tuple(dict.fromkeys(name for names in trained for name in names))

    @property
    def trainings(self) -> dict[str, Trained]:
        """Every training by its name, those of the ablation last."""
        return trainings(self.recipes) | trainings(self._ablation_recipes)

    def resolve_recipe(self, dataset: str, recipe: str) -> Recipe:
        """The recipe file with this run's and then this dataset's overrides laid over it, and the training's seed."""
        trained = self.trainings[recipe]
        choice, where = trained.choice, f"the overrides of recipes.{recipe} and datasets.{dataset}"
        data = merge(merge(read_recipe(shipped(choice.file)), choice.overrides), self.datasets[dataset].overrides)
        if trained.seed is not None:
            training = self.datasets[dataset].overrides.get("training")
            if isinstance(training, dict) and "seed" in training:
                raise UserError(
                    f"recipe '{recipe}' has its seed from 'seeds'",
                    where=f"datasets.{dataset}.overrides.training.seed",
                    remedy="leave it out here",
                )
            data = merge(data, {"training": {"seed": trained.seed}})
        resolved = parse(Recipe, data, where=f"{choice.file} with {where}")
        if resolved.start_from is not None:
            recipes = self.recipes | self._ablation_recipes
            start = start_of(resolved.start_from, trained, recipes, where=f"start_from.recipe of recipe '{recipe}'")
            resolved = resolved.model_copy(update={"start_from": start})
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

    @property
    def _ablation_recipes(self) -> dict[str, RecipeChoice]:
        return self.ablation.recipes if self.ablation else {}

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
        chosen = self.datasets[dataset]
        if chosen.split_file:
            return Path(chosen.split_file)
        return shipped(Path(self.splits) / chosen.source / f"{chosen.protocol}.csv")


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
