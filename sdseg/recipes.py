"""The typed recipe: one method, complete, as values. `config/recipes/*.yaml` hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from sdseg.settings import Name, Strict, merge, parse, read_yaml

__all__ = [
    "Autoencoder",
    "Codec",
    "CodecTraining",
    "ConditionEncoder",
    "Denoiser",
    "Diffusion",
    "DirectNetwork",
    "Inference",
    "LatentNetwork",
    "Optimiser",
    "Recipe",
    "Training",
    "load_codec",
    "load_recipe",
]


# YAML reads an unquoted `no` as false; what is meant is clear.
Precision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(lambda value: "no" if value is False else value)]


def _check_groups(channels: tuple[int, ...], groups: int) -> None:
    for count in channels:
        if count % groups:
            raise ValueError(f"{count} channels cannot be normalised in {groups} groups ('norm_num_groups')")


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
    precision: Precision = "no"
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    ema_scope: Literal["all", "denoiser"] = "all"
    augmentation: Literal["none", "flips", "dihedral", "strong"] = "flips"  # flips: the paper's
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


def load_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe file, optionally with overrides laid over it."""
    return parse(Recipe, merge(read_yaml(path), overrides or {}), where=str(path))


def load_codec(path: Path) -> Codec:
    return parse(Codec, read_yaml(path), where=str(path))
