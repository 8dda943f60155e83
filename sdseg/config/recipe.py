"""The typed recipe: one method, complete, as values. `config/recipes/*.yaml` hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from sdseg.config.codec import Codec
from sdseg.config.direct_network import AnyDirectNetwork
from sdseg.config.network import ConditionEncoder, LatentNetwork
from sdseg.config.patch_checks import check_patches
from sdseg.config.patches import Patches
from sdseg.config.recipe_overrides import lay_over
from sdseg.config.trained_models import Distillation, ModelReference
from sdseg.core.errors import UserError
from sdseg.core.settings import MANY, Seed, Strict, parse, read_yaml

__all__ = [
    "PASSES",
    "Augmentation",
    "Diffusion",
    "Flips",
    "Inference",
    "MaskLoss",
    "Optimiser",
    "Postprocessing",
    "Recipe",
    "Training",
    "check_batch",
    "load_codec",
    "load_recipe",
    "read_recipe",
]


# YAML reads an unquoted `no` as false; what is meant is clear.
Precision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(lambda value: "no" if value is False else value)]
Augmentation = Literal["none", "flips", "dihedral", "intensity", "affine", "strong"]
# dice: overlap; ce: cross entropy; focal: cross entropy of hard pixels; tversky: overlap, misses counting more than
# false alarms; lovasz: IoU itself, convexly extended; boundary, hausdorff: errors by their distance from the outline.
MaskLoss = Literal["dice_ce", "dice_focal", "tversky_ce", "lovasz_ce", "dice_ce_boundary", "dice_ce_hausdorff"]
Momentum = Annotated[float, Field(ge=0, lt=1)]


class Diffusion(Strict):
    """Noise schedule, prediction target, losses, and what inference starts from."""

    timesteps: int = Field(1000, ge=2, le=100_000)
    beta_start: float = Field(0.0015, gt=0, lt=1)
    beta_end: float = Field(0.0155, gt=0, lt=1)
    schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    zero_terminal_snr: bool = False  # rescale the schedule so that the last timestep is pure noise (arXiv 2305.08891)
    prediction: Literal["x0", "epsilon", "v"] = "x0"
    loss_noise: float = Field(0.0, ge=0, le=1e6)  # weight of the paper's L_noise, on ε
    loss_latent: float = Field(1.0, ge=0, le=1e6)  # weight of the paper's L_latent, on z_0
    loss_velocity: float = Field(0.0, ge=0, le=1e6)  # weight of the same on v
    loss_mask: float = Field(0.0, ge=0, le=1e6)  # weight of `training.mask_loss` on the decoded mask
    loss_head: float = Field(0.0, ge=0, le=1e6)  # weight of the same on what a mask head makes of the mask's own latent
    loss_mask_from: int = Field(0, ge=0, le=MANY)  # steps by the other losses alone, before that of the mask joins
    loss_mask_warmup: int = Field(0, ge=0, le=MANY)  # steps over which its weight then grows to its value
    # How far is far: mean absolute error (the paper's) or mean square. The first aims at the median, which for a mask
    # that covers little of most images is no mask at all; the second at the mean.
    distance: Literal["l1", "l2"] = "l1"
    train_timesteps: Literal["uniform", "last"] = "uniform"  # 'last': only the timestep inference starts at
    train_noise: Literal["gaussian", "zero"] = "gaussian"
    inference_noise: Literal["zero", "fixed", "gaussian"] = "zero"
    spacing: Literal["trailing", "leading"] = "trailing"  # timesteps of inference: trailing ones end at T−1
    sample_latents: bool = False  # True: encode masks by sampling the posterior, as the official code does

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.beta_end < self.beta_start:
            raise ValueError("'beta_end' must not be smaller than 'beta_start'")
        if not any((self.loss_noise, self.loss_latent, self.loss_velocity, self.loss_mask)):
            raise ValueError(
                "'loss_noise', 'loss_latent', 'loss_velocity' and 'loss_mask' are all 0: nothing is learnt"
            )
        if not self.loss_mask and (self.loss_mask_from or self.loss_mask_warmup):
            raise ValueError("'loss_mask_from' and 'loss_mask_warmup' mean nothing with 'loss_mask: 0'")
        if self.loss_mask_from and not any((self.loss_noise, self.loss_latent, self.loss_velocity)):
            raise ValueError(
                f"the first stage is missing: until 'loss_mask_from: {self.loss_mask_from}' nothing is learnt, since "
                "'loss_noise', 'loss_latent' and 'loss_velocity' are all 0"
            )
        if self.train_noise == "zero" and self.train_timesteps == "uniform":
            raise ValueError("'train_noise: zero' only makes sense where inference starts; set train_timesteps: last")
        if self.train_noise == "zero" and self.inference_noise != "zero":
            raise ValueError("'train_noise: zero' needs 'inference_noise: zero': the network never saw noise")
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError(
                "'prediction: epsilon' with 'zero_terminal_snr': at the last timestep ᾱ = 0, and Eq. 2 divides by it; "
                "predict x0 or v"
            )
        if self.zero_terminal_snr and self.spacing == "leading":
            raise ValueError(
                "'zero_terminal_snr' needs 'spacing: trailing': leading timesteps never reach the last one"
            )
        if self.train_noise == "zero" and self.prediction != "x0":
            raise ValueError(f"'train_noise: zero' leaves no {self.prediction} to predict; set 'prediction: x0'")
        if self.train_noise == "zero" and (self.loss_noise or self.loss_velocity):
            raise ValueError("'train_noise: zero' leaves nothing for 'loss_noise' or 'loss_velocity'; set them to 0")
        return self


class Optimiser(Strict):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-5, gt=0, le=10)
    times_batch: bool = False  # multiply the rate by the batch size, as the official code does
    weight_decay: float = Field(0.01, ge=0, le=1000)
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    warmup_steps: int = Field(0, ge=0, le=MANY)
    schedule: Literal["constant", "cosine"] = "constant"
    # Two stages: the rate after `diffusion.loss_mask_from` steps, with warm-up and schedule of its own; null: as before
    mask_learning_rate: float | None = Field(None, gt=0, le=10)
    clip_norm: float | None = Field(1.0, gt=0, le=1e9)


class Training(Strict):
    """Length, batches, precision, checkpoints."""

    steps: int = Field(100_000, ge=1, le=MANY)
    batch: int = Field(4, ge=1, le=65536)  # samples per optimiser step, over all processes and accumulated parts
    accumulate: int = Field(1, ge=1, le=65536)  # parts a batch is computed in, to save memory
    precision: Precision = "no"
    gradient_checkpointing: bool = False  # less memory, about a third more time: blocks are computed twice
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    ema_scope: Literal["all", "denoiser"] = "all"
    structures: Literal["any", "present"] = "any"  # one structure a sample; 'present': of those in the slice
    augmentation: Augmentation = "flips"  # flips: the paper's
    mask_loss: MaskLoss = "dice_ce"  # of direct networks, and of latent ones with `diffusion.loss_mask`
    validate_every: int = Field(1000, ge=1, le=MANY)
    validate_slices: int | None = Field(512, ge=1, le=MANY)  # at most this many, evenly spaced; null for all
    patience: int | None = Field(None, ge=1, le=MANY)  # stop after so many validations without a better Dice
    loss_limit: float | None = Field(None, gt=0, le=1e9)  # stop above this loss; null: when it is not finite
    checkpoint_every: int = Field(1000, ge=1, le=MANY)
    log_every: int = Field(50, ge=1, le=MANY)
    workers: int = Field(2, ge=0, le=1024)  # loader processes
    weights: Literal["fp32", "fp16"] = "fp32"  # number format of the model folder's weights
    seed: Seed = 0

    @property
    def kept_views(self) -> int:
        """How many forms a mask takes whose latents are kept; 0 where there is no end of them."""
        return {"none": 1, "flips": 4, "dihedral": 8, "intensity": 8, "affine": 0, "strong": 0}[self.augmentation]

    @property
    def deforms_masks(self) -> bool:
        """Whether masks take forms without end: their latents are then encoded at every step."""
        return not self.kept_views

    @model_validator(mode="after")
    def _parts_divide(self) -> Self:
        if self.batch % self.accumulate:
            raise ValueError("'batch' must be a multiple of 'accumulate'")
        return self


class Postprocessing(Strict):
    """What is mended in the masks of a whole image or volume, structure by structure."""

    largest_component: bool = False  # the largest connected part alone
    fill_holes: bool = False


def _word_or_mapping(value: Any) -> Any:
    if isinstance(value, dict | Postprocessing) or (isinstance(value, str) and value in ("none", "auto")):
        return value
    raise ValueError("'none', 'auto' or a mapping with 'largest_component' and 'fill_holes' is expected")


PostprocessingWish = Annotated[
    Annotated[Literal["none", "auto"], Tag("word")] | Annotated[Postprocessing, Tag("mapping")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "mapping"),
    BeforeValidator(_word_or_mapping),
]


Flips = Literal["none", "horizontal", "both"]
PASSES = {"none": 1, "horizontal": 2, "both": 4}  # of the networks, for one answer


class Inference(Strict):
    """How many passes are made, and what turns probabilities into a mask."""

    steps: int = Field(1, ge=1, le=50)  # reverse steps, DDIM (η = 0); the paper's point is that one is enough
    samples: int = Field(1, ge=1, le=10_000)  # hypotheses from different noise, averaged into one probability
    # Test-time flips: the mean over the image and its mirror images, left-right, or also upside down and both at once.
    flips: Flips = "none"
    threshold: float = Field(0.5, gt=0, lt=1)
    # auto: the one of the four combinations with the best mean Dice on the validation split, after training
    postprocessing: PostprocessingWish = "none"
    batch: int = Field(8, ge=1, le=65536)

    @property
    def passes(self) -> int:
        """How often the networks see an image, flipped or not, for one answer."""
        return PASSES[self.flips]


class Recipe(Strict):
    """One method, complete, as values."""

    description: str
    network: Annotated[LatentNetwork | AnyDirectNetwork, Field(discriminator="kind")]
    diffusion: Diffusion | None = None
    patches: Patches | None = Field(None, exclude_if=lambda patches: patches is None)  # of volumes, in three dimensions
    start_from: ModelReference | None = None  # layouts must agree
    distillation: Distillation | None = None  # None: trained on the masks alone
    optimiser: Optimiser = Optimiser()
    training: Training = Training()
    inference: Inference = Inference()

    @property
    def builds_on(self) -> dict[str, ModelReference]:
        """The trained models that it needs, by the key that names them."""
        teacher = self.distillation.teacher if self.distillation else None
        named = {"start_from": self.start_from, "distillation.teacher": teacher}
        return {key: reference for key, reference in named.items() if reference is not None}

    @model_validator(mode="after")
    def _method_agrees(self) -> Self:
        latent = self.network.kind == "latent-diffusion"
        if latent and self.diffusion is None:
            raise ValueError("a latent-diffusion network needs a 'diffusion' section")
        if not latent and self.diffusion is not None:
            raise ValueError("a direct network has no 'diffusion' section")
        if not latent and (self.inference.steps > 1 or self.inference.samples > 1):
            raise ValueError("a direct network has one pass and one answer; leave out inference.steps and .samples")
        check_patches(self.network, self.patches, self.training.augmentation)
        return self

    @model_validator(mode="after")
    def _one_origin_of_the_encoder(self) -> Self:
        condition = self.network.condition if isinstance(self.network, LatentNetwork) else None
        if self.start_from is not None and isinstance(condition, ConditionEncoder) and condition.codec is not None:
            raise ValueError(
                "'start_from' takes the condition encoder from a model, 'network.condition.codec' from a codec of "
                "images; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _joint_trains_all(self) -> Self:
        joint = isinstance(self.network, LatentNetwork) and self.network.classes == "joint"
        if joint and self.training.structures == "present":
            raise ValueError(
                "'training.structures: present' draws one structure a step, and 'network.classes: joint' trains all; "
                "leave it out"
            )
        return self

    @model_validator(mode="after")
    def _mask_loss_is_used(self) -> Self:
        process = self.diffusion
        decoder = self.network.decoder if isinstance(self.network, LatentNetwork) else "frozen"
        if process is not None and process.loss_head and decoder != "head":
            raise ValueError("'diffusion.loss_head' teaches a mask head; set 'network.decoder: head', or leave it out")
        taught = self.distillation is not None and self.distillation.head > 0
        head = decoder == "head" and process is not None and (process.loss_head > 0 or taught)
        if process is not None and not process.loss_mask and decoder != "frozen" and not head:
            also = " and so is 'diffusion.loss_head'" if decoder == "head" else ""
            raise ValueError(
                f"'network.decoder: {decoder}' learns by the loss on the mask, and 'diffusion.loss_mask' is 0{also}; "
                "give it a weight"
            )
        if process is not None and not (process.loss_mask or head) and self.training.mask_loss != "dice_ce":
            raise ValueError(
                f"'training.mask_loss: {self.training.mask_loss}' means nothing with 'diffusion.loss_mask: 0'; "
                "give it a weight"
            )
        switch = process.loss_mask_from if process is not None else 0
        if switch >= self.training.steps:
            raise ValueError(
                f"the second stage is missing: 'diffusion.loss_mask_from: {switch}' lies at or behind the last of "
                f"{self.training.steps} steps"
            )
        if self.optimiser.mask_learning_rate is not None and not switch:
            raise ValueError("'optimiser.mask_learning_rate' is that of a second stage; set 'diffusion.loss_mask_from'")
        return self

    @model_validator(mode="after")
    def _teacher_is_heard(self) -> Self:
        if self.distillation is not None:
            self.distillation.check(self.network)
        return self

    @model_validator(mode="after")
    def _inference_agrees(self) -> Self:
        if self.diffusion is None:
            return self
        noise = self.diffusion.inference_noise
        if self.inference.samples > 1 and noise != "gaussian":
            raise ValueError(
                f"'inference.samples: {self.inference.samples}' with 'inference_noise: {noise}' would average equal "
                "answers; set diffusion.inference_noise: gaussian, or one sample"
            )
        if self.inference.steps > 1 and self.diffusion.train_timesteps == "last":
            raise ValueError("'train_timesteps: last' learns one timestep alone; set inference.steps: 1")
        if self.inference.steps == 1 and self.diffusion.spacing == "leading":
            raise ValueError("one step with 'spacing: leading' would start at timestep 1; set 'spacing: trailing'")
        return self


def check_batch(training: Training, processes: int, *, where: str) -> None:
    """Raise UserError for a batch that processes and accumulation do not share evenly; `where`: the keys to change."""
    parts = training.accumulate * processes
    if training.batch % parts:
        raise UserError(
            f"a batch of {training.batch} cannot be shared by {processes} processes in {training.accumulate} part(s)",
            where=where,
            remedy=f"make 'batch' a multiple of {parts}, or set 'processes' to another number",
        )


def load_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe file, optionally with overrides laid over it."""
    return parse(Recipe, lay_over(read_recipe(path), overrides or {}), where=str(path))


def read_recipe(path: Path) -> dict[str, Any]:
    """The values of a recipe file; one with `base: other.yaml` (beside it) is the other with its own values laid over.

    Raises UserError for a base that is no file name, is missing, or leads back to this file.
    """
    values, passed = read_yaml(path), [path.resolve()]
    while (base := values.pop("base", None)) is not None:
        if not isinstance(base, str):
            raise UserError(
                f"'base' is {base!r}, and no file name", where=path, remedy="name the recipe file it changes, beside it"
            )
        file = (passed[-1].parent / base).resolve()
        if file in passed:
            raise UserError(
                f"a circle: {' is based on '.join(each.name for each in [*passed, file])}",
                where=path,
                remedy="let one of them hold every value",
            )
        passed.append(file)
        values = lay_over(read_yaml(file), values)
    return values


def load_codec(path: Path) -> Codec:
    return parse(Codec, read_yaml(path), where=str(path))
