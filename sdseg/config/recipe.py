"""The typed recipe: one method, complete, as values. `config/recipes/*.yaml` hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from sdseg.config.codec import Codec
from sdseg.config.direct_network import AnyDirectNetwork
from sdseg.config.end_to_end_network import EndToEndNetwork, check_end_to_end
from sdseg.config.inference import Inference
from sdseg.config.network import ConditionEncoder, LatentNetwork
from sdseg.config.noise_process import Diffusion
from sdseg.config.patch_checks import check_patches
from sdseg.config.patches import Patches
from sdseg.config.recipe_overrides import lay_over
from sdseg.config.trained_models import Distillation, ModelReference
from sdseg.config.training import Optimiser, Training
from sdseg.core.errors import UserError
from sdseg.core.settings import Strict, parse, read_yaml

__all__ = ["AnyNetwork", "Recipe", "load_codec", "load_recipe", "read_recipe"]

AnyNetwork = LatentNetwork | EndToEndNetwork | AnyDirectNetwork


class Recipe(Strict):
    """One method, complete, as values."""

    description: str
    network: Annotated[AnyNetwork, Field(discriminator="kind")]
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

    @property
    def joint(self) -> bool:
        """Whether a latent holds the whole label map, so that all structures are trained at once."""
        if isinstance(self.network, LatentNetwork):
            return self.network.classes == "joint"
        return isinstance(self.network, EndToEndNetwork)

    def sides(self, image: tuple[int, int]) -> tuple[int, ...]:
        """Pixels that the network sees at once along each axis, of images of `size`² pixels: these, or a patch."""
        return self.patches.size if self.patches is not None else image

    @model_validator(mode="after")
    def _method_agrees(self) -> Self:
        direct, inference = self.network.kind == "direct", self.inference
        if not direct and self.diffusion is None:
            raise ValueError(f"a {self.network.kind} network needs a 'diffusion' section")
        if direct and self.diffusion is not None:
            raise ValueError("a direct network has no 'diffusion' section")
        if direct and (inference.steps > 1 or inference.samples > 1):
            raise ValueError("a direct network has one pass and one answer; leave out inference.steps and .samples")
        if direct and (inference.sampler != "ddim" or inference.standardise != "none" or inference.last_noise):
            raise ValueError(
                "a direct network denoises nothing; leave out inference.sampler, .standardise and .last_noise"
            )
        if isinstance(self.network, EndToEndNetwork) and self.diffusion is not None:
            check_end_to_end(self.network, self.diffusion)
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
        if self.joint and self.training.structures == "present":
            how = "network.classes: joint" if isinstance(self.network, LatentNetwork) else "end-to-end-diffusion"
            raise ValueError(
                f"'training.structures: present' draws one structure a step, and '{how}' trains all; leave it out"
            )
        if not self.joint and self.training.mask_loss == "ce_2dice":
            raise ValueError(
                "'training.mask_loss: ce_2dice' is of the classes of a label map; set 'network.classes: joint', or "
                "take 'dice_ce'"
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
        inference, noise = self.inference, self.diffusion.inference_noise
        if inference.steps > self.diffusion.timesteps:
            raise ValueError(
                f"'inference.steps: {inference.steps}' is more than the {self.diffusion.timesteps} timesteps there are "
                "('diffusion.timesteps'); take fewer"
            )
        for value, key in ((inference.sampler == "ddpm", "sampler: ddpm"), (inference.last_noise, "last_noise: true")):
            if value and noise != "gaussian":
                raise ValueError(
                    f"'inference.{key}' adds Gaussian noise, and 'inference_noise: {noise}' starts without; set "
                    "diffusion.inference_noise: gaussian, or leave it out"
                )
        if inference.standardise != "none" and isinstance(self.network, LatentNetwork):
            raise ValueError(
                f"'inference.standardise: {inference.standardise}' with a frozen codec, whose latents do not have zero "
                "mean and unit deviation in every case; leave it out, or take 'network.kind: end-to-end-diffusion'"
            )
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
