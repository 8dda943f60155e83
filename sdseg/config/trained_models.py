"""Trained models that a recipe builds on: the one that training starts from, and the teacher it learns from."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from sdseg.config.direct_network import DirectNetwork
from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.config.network import LatentNetwork
from sdseg.core.settings import Name, Place, Strict

__all__ = ["Distillation", "ModelReference"]

Weight = Annotated[float, Field(ge=0, le=1e6)]


class ModelReference(Strict):
    """A trained model: another recipe's of the run, or a folder from elsewhere."""

    recipe: Name | None = None  # another recipe of the run, trained on the same dataset
    model: Place | None = None  # a model folder, from `sdseg train` or `sdseg convert`

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.recipe is None) == (self.model is None):
            raise ValueError("give either 'recipe' (one of this run) or 'model' (a folder)")
        return self


class Distillation(Strict):
    """What training learns from the answers of a trained model, the teacher, beside the masks; each by its weight.

    The teacher sees the same augmented images, and is frozen. It may be of any recipe, or an ensemble; what is matched
    of it has to be there.
    """

    teacher: ModelReference | None = None  # None: named where training is started (`sdseg distill --teacher`)
    condition: Weight = 0.0  # mean square between the condition latents, as a share of the teacher's variance
    latent: Weight = 1.0  # `diffusion.distance` between the estimates of z_0
    probability: Weight = 1.0  # cross entropy of the probability, the teacher's being the label
    head: Weight = 0.0  # `training.mask_loss` of what the mask head makes of the teacher's estimate of z_0

    @model_validator(mode="after")
    def _something_is_learnt(self) -> Self:
        if not any((self.condition, self.latent, self.probability, self.head)):
            raise ValueError(
                "'condition', 'latent', 'probability' and 'head' are all 0: nothing is learnt from the teacher; give "
                "one of them a weight, or set 'distillation: null'"
            )
        return self

    def check(self, network: LatentNetwork | EndToEndNetwork | DirectNetwork) -> None:
        """Raise ValueError where a student of this network has nothing of what is to be matched."""
        if isinstance(network, EndToEndNetwork):
            raise ValueError(
                f"'network.kind: {network.kind}' learns its own latents from the masks, and not from a teacher; leave "
                "out 'distillation'"
            )
        if not isinstance(network, LatentNetwork):
            for key in ("condition", "latent", "head"):
                if getattr(self, key):
                    raise ValueError(
                        f"a direct network has no latents; set 'distillation.{key}: 0' in the recipe, or give "
                        f"'--set distillation.{key}=0'"
                    )
        elif self.head and network.decoder != "head":
            raise ValueError("'distillation.head' teaches a mask head; set 'network.decoder: head', or leave it out")
