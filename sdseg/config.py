"""The typed configuration tree: what a user may set, its defaults, and the errors for everything else.

`load_config` reads `config/*.yaml`; `Config.resolve_recipe` gives the complete recipe of one dataset × recipe pair.
The JSON schema that Snakemake validates is generated from these classes (`tools/generate.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sdseg.errors import ListedError, UserError, nearest

__all__ = [
    "Codec",
    "CodecTraining",
    "ConditionEncoder",
    "Config",
    "Dataset",
    "Denoiser",
    "Diffusion",
    "DirectNetwork",
    "Inference",
    "LatentNetwork",
    "Optimiser",
    "Phantoms",
    "Recipe",
    "Training",
    "json_schema",
    "load_codec",
    "load_config",
    "load_dataset",
    "load_recipe",
    "merge",
    "parse",
    "read_yaml",
]

Model = TypeVar("Model", bound=BaseModel)
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


def _check_groups(channels: tuple[int, ...], groups: int) -> None:
    for count in channels:
        if count % groups:
            raise ValueError(f"{count} channels cannot be normalised in {groups} groups ('norm_num_groups')")


class Strict(BaseModel):
    """Frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Autoencoder(Strict):
    """Layout of a KL autoencoder (diffusers `AutoencoderKL`); it halves the image once per channel step."""

    block_out_channels: tuple[int, ...] = Field((128, 256, 512, 512), min_length=2)
    layers_per_block: int = Field(2, ge=1)
    norm_num_groups: int = Field(32, ge=1)
    mid_block_attention: bool = True

    @property
    def factor(self) -> int:
        """How many pixels of the image one latent pixel spans along each axis."""
        return 1 << (len(self.block_out_channels) - 1)

    @model_validator(mode="after")
    def _groups_divide(self) -> Self:
        _check_groups(self.block_out_channels, self.norm_num_groups)
        return self


class CodecTraining(Strict):
    """How a codec is trained here, on random shapes; leave out where pretrained weights are given."""

    steps: int = Field(600, ge=1)
    batch: int = Field(16, ge=1)
    size: int = Field(64, ge=16)
    crop: int | None = Field(None, ge=16)  # learn on windows of this size first, on whole masks for the last fifth
    learning_rate: float = Field(1e-3, gt=0)
    kl_weight: float = Field(1e-5, ge=0)
    seed: int = 0


class Codec(Autoencoder):
    """The frozen mask autoencoder (KL-f8 at the paper's scale)."""

    latent_channels: int = Field(4, ge=1)
    weights: str | None = None  # folder with config.json and *.safetensors of a diffusers AutoencoderKL
    training: CodecTraining | None = None
    latent_scale: float | Literal["measured"] = "measured"  # 0.18215 is Stable Diffusion's own

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.weights is None) == (self.training is None):
            raise ValueError("give either 'weights' (a pretrained codec) or 'training' (one trained here), not both")
        return self


class ConditionEncoder(Autoencoder):
    """The trainable image encoder τ; its latent is concatenated to the noisy mask latent."""

    latent_channels: int = Field(4, ge=1)
    init: Literal["codec", "random"] = "codec"  # 'codec' copies the mask encoder's weights: same layout needed
    trainable: bool = True
    dropout: float = Field(0.0, ge=0, lt=1)


class Denoiser(Strict):
    """Layout of the UNet on latents (diffusers `UNet2DModel`)."""

    block_out_channels: tuple[int, ...] = Field((192, 384, 384, 768, 768), min_length=1)
    attention: tuple[bool, ...] = (True, True, True, True, False)  # self-attention, per level
    layers_per_block: int = Field(2, ge=1)
    norm_num_groups: int = Field(32, ge=1)
    heads: int = Field(8, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        if len(self.attention) != len(self.block_out_channels):
            raise ValueError("'attention' needs one value per entry of 'block_out_channels'")
        _check_groups(self.block_out_channels, self.norm_num_groups)
        for channels, attention in zip(self.block_out_channels, self.attention, strict=True):
            if attention and channels % self.heads:
                raise ValueError(f"{channels} channels cannot be shared among {self.heads} attention heads")
        return self


class LatentNetwork(Strict):
    """Condition encoder, denoiser and codec: the latent-diffusion method."""

    kind: Literal["latent-diffusion"] = "latent-diffusion"
    codec: Name = "kl-f8"  # a key of the configuration's `codecs`
    condition: ConditionEncoder = ConditionEncoder()
    denoiser: Denoiser = Denoiser()


class DirectNetwork(Strict):
    """A plain U-Net (MONAI `UNet`) from image to mask logits: the baseline every other recipe is held against."""

    kind: Literal["direct"]
    channels: tuple[int, ...] = Field((32, 64, 128, 256, 512), min_length=2)
    residual_units: int = Field(2, ge=0)
    norm: Literal["instance", "batch"] = "instance"
    dropout: float = Field(0.0, ge=0, lt=1)


class Diffusion(Strict):
    """Noise schedule, prediction target, losses, and what inference starts from."""

    timesteps: int = Field(1000, ge=2)
    beta_start: float = Field(0.0015, gt=0, lt=1)
    beta_end: float = Field(0.0155, gt=0, lt=1)
    schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    prediction: Literal["x0", "epsilon"] = "x0"
    loss_noise: float = Field(0.0, ge=0)  # weight of the paper's L_noise, L1 on ε
    loss_latent: float = Field(1.0, ge=0)  # weight of the paper's L_latent, L1 on z_0
    train_timesteps: Literal["uniform", "last"] = "uniform"  # 'last': only the timestep inference uses
    train_noise: Literal["gaussian", "zero"] = "gaussian"
    inference_noise: Literal["zero", "fixed", "gaussian"] = "zero"
    sample_latents: bool = False  # True: encode masks by sampling the posterior, as the official code does

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.beta_end < self.beta_start:
            raise ValueError("'beta_end' must not be smaller than 'beta_start'")
        if self.loss_noise == 0 and self.loss_latent == 0:
            raise ValueError("'loss_noise' and 'loss_latent' are both 0: nothing would be learnt")
        if self.train_noise == "zero" and self.train_timesteps == "uniform":
            raise ValueError("'train_noise: zero' only makes sense where inference starts; set train_timesteps: last")
        if self.train_noise == "zero" and self.inference_noise != "zero":
            raise ValueError("'train_noise: zero' needs 'inference_noise: zero': the network never saw noise")
        return self


class Optimiser(Strict):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-5, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: float | None = Field(1.0, gt=0)


class Training(Strict):
    """Length, batches, precision, checkpoints."""

    steps: int = Field(100_000, ge=1)
    batch: int = Field(4, ge=1)  # samples per optimiser step, over all processes and accumulated parts
    accumulate: int = Field(1, ge=1)  # parts a batch is computed in, to save memory
    precision: Literal["no", "bf16", "fp16"] = "no"
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    ema_scope: Literal["all", "denoiser"] = "all"
    augmentation: Literal["none", "flips", "dihedral"] = "flips"
    validate_every: int = Field(1000, ge=1)
    validate_slices: int | None = Field(512, ge=1)  # at most this many, evenly spaced; null for all
    checkpoint_every: int = Field(1000, ge=1)
    log_every: int = Field(50, ge=1)
    workers: int = Field(2, ge=0)  # loader processes
    seed: int = 0

    @model_validator(mode="after")
    def _parts_divide(self) -> Self:
        if self.batch % self.accumulate:
            raise ValueError("'batch' must be a multiple of 'accumulate'")
        return self


class Inference(Strict):
    """What turns probabilities into a mask."""

    threshold: float = Field(0.5, gt=0, lt=1)
    batch: int = Field(8, ge=1)


class Recipe(Strict):
    """One method, complete, as values."""

    description: str
    network: Annotated[LatentNetwork | DirectNetwork, Field(discriminator="kind")]
    diffusion: Diffusion | None = None
    optimiser: Optimiser = Optimiser()
    training: Training = Training()
    inference: Inference = Inference()

    @model_validator(mode="after")
    def _method_agrees(self) -> Self:
        latent = self.network.kind == "latent-diffusion"
        if latent and self.diffusion is None:
            raise ValueError("a latent-diffusion network needs a 'diffusion' section")
        if not latent and self.diffusion is not None:
            raise ValueError("a direct network has no 'diffusion' section")
        return self


class Phantoms(Strict):
    """Synthetic datasets in the layout of the real ones. They stand in for real data where there is none."""

    seed: int = 0
    scale: float = Field(1.0, gt=0)  # multiplies the number of cases of every dataset


class Dataset(Strict):
    """One dataset of a run: where it lies, how it is split, what is segmented, at which size."""

    source: Name  # whose layout and labels: cvc, kseg, refuge2, btcv, sts
    raw: str | None = None  # folder with the files as their owner ships them; default <raw>/<name>
    origin: Literal["real", "sample", "phantom"] = "real"
    protocol: Name = "clean"
    split_file: str | None = None  # default <splits>/<source>/<protocol>.csv
    allow_missing: bool = False  # true: cases of the split file that are not on disk are left out
    target: str | None = None  # what to segment, a preset of the source; default: the source's first
    window: str = "corrected"  # intensity window, a preset of the source (volumes only)
    size: int = Field(256, ge=16)
    recipes: tuple[Name, ...] | None = None  # default: every recipe of the configuration
    overrides: dict[str, Any] = {}  # laid over every recipe of this dataset


class RecipeChoice(Strict):
    """A recipe file and the values laid over it."""

    file: str
    overrides: dict[str, Any] = {}


class Export(Strict):
    """The ONNX graph and the tolerances it must keep."""

    opset: int = Field(21, ge=18, le=25)
    parity_cases: int | None = Field(None, ge=1)  # at most this many test cases; null for all
    max_abs_difference: float = Field(1e-3, gt=0)  # of the probability
    max_dice_difference: float = Field(2e-3, gt=0)


class Config(Strict):
    """One run of the workflow."""

    raw: str = "resources/raw"  # your own copy of the datasets may lie anywhere: name its folder here
    splits: str = "resources/splits"
    results: str = "results"
    device: Literal["cpu", "cuda"] = "cpu"  # 'cuda' without a GPU is an error, never a silent CPU run
    phantoms: Phantoms | None = None
    codecs: dict[Name, Codec] = {}
    recipes: dict[Name, RecipeChoice] = Field(min_length=1)
    datasets: dict[Name, Dataset] = Field(min_length=1)
    export: Export = Export()
    threads: int = Field(4, ge=1)  # CPU threads of one training or export job

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


def load_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe file, optionally with overrides laid over it."""
    return parse(Recipe, merge(read_yaml(path), overrides or {}), where=str(path))


def load_codec(path: Path) -> Codec:
    return parse(Codec, read_yaml(path), where=str(path))


def load_dataset(path: Path) -> Dataset:
    return parse(Dataset, read_yaml(path), where=str(path))


def json_schema() -> dict[str, Any]:
    """The JSON schema of `Config`, as committed in workflow/schemas/config.schema.json."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` laid over it, section by section. Neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file, with one clear error for anything else."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("the file is missing", where=path, remedy="check the path and its spelling") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the file: {error}", where=path, remedy="check the file") from None
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML: {error}", where=path, remedy="correct the line named above") from None
    if not isinstance(data, dict):
        raise UserError("expected a mapping of keys to values", where=path, remedy="see config/config.yaml") from None
    return data


def parse(model: type[Model], data: dict[str, Any], *, where: str) -> Model:
    """Validate `data`; every problem is listed, an unknown key with the nearest known spelling."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [_explain(model, dict(problem)) for problem in error.errors()]
        raise ListedError(
            f"{len(problems)} problem(s) in the configuration:",
            problems,
            where=where,
            remedy="correct the keys named above; config/config.yaml explains each",
        ) from None


def _explain(model: type[BaseModel], problem: dict[str, Any]) -> str:
    location = [str(part) for part in problem["loc"] if part not in ("latent-diffusion", "direct")]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, problem["loc"][:-1])
        return f"unknown key '{key}': {nearest(location[-1], known)}"
    if problem["type"] == "missing":
        return f"missing key '{key}'"
    message = str(problem["msg"]).removeprefix("Value error, ")
    shown = "" if isinstance(problem["input"], dict | BaseModel) else f" (got {problem['input']!r})"
    return f"{key}: {message}{shown}" if key else message


def _keys_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Names of the fields that may stand at a location of the tree."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})

    def follow(node: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in node:
            return follow(definitions[node["$ref"].rsplit("/", 1)[-1]])
        options = node.get("anyOf", []) + node.get("oneOf", []) + node.get("allOf", [])
        return [leaf for option in options for leaf in follow(option)] if options else [node]

    nodes = follow(schema)
    for part in location:
        following: list[dict[str, Any]] = []
        for node in nodes:
            patterned = next(iter(node.get("patternProperties", {}).values()), None)  # a mapping with named keys
            child = node.get("properties", {}).get(str(part)) or patterned or node.get("items")
            if isinstance(child, dict):
                following += follow(child)
        nodes = following or nodes  # a discriminator's value is no step of the tree
    return [key for node in nodes for key in node.get("properties", {})]


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
