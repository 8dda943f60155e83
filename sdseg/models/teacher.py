"""The teacher of a student: a trained model, frozen, that answers for the images of a training step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sdseg.artifacts.manifests import ModelManifest
from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Recipe
from sdseg.config.trained_models import Distillation
from sdseg.core.errors import UserError
from sdseg.data.batches import unlike_images
from sdseg.models.codec import MaskDecoder
from sdseg.models.frozen_codec import FrozenCodec
from sdseg.models.latent_segmenter import LatentSegmenter
from sdseg.models.matching import TeacherAnswer
from sdseg.models.model_folder import load_model
from sdseg.models.segmenter import Segmenter, own_masks
from sdseg.models.start_from import Inputs, Start, check_held_out, open_named, same_weights

__all__ = ["Teacher", "open_teacher"]


@dataclass(frozen=True)
class Teacher:
    """A frozen segmenter on the training device. No `nn.Module`: nothing of it is trained, averaged or saved."""

    start: Start
    segmenter: Segmenter
    wanted: Distillation
    own_structure: bool  # of each sample the student learns one structure; False: all at once

    @torch.no_grad()
    def answer(self, image: Tensor, structure: Tensor) -> TeacherAnswer:
        """To raw images [N,H,W,C], for the structure [N] that each sample trains: only what the student learns from."""
        if isinstance(self.segmenter, LatentSegmenter):
            several = self.segmenter.passes > 1
            if self.own_structure or not several:  # else every structure needs a pass of its own
                estimate = self.segmenter.estimate(
                    image,
                    structure if several else None,
                    latent=bool(self.wanted.latent or self.wanted.head),
                    probability=bool(self.wanted.probability),
                )
                probability = estimate.probability
                if probability is not None and not several:
                    probability = self._wanted(probability, structure)
                return TeacherAnswer(probability, estimate.condition, estimate.latent)
        return TeacherAnswer(self._wanted(self.segmenter.one_pass(image), structure))

    def _wanted(self, probability: Tensor, structure: Tensor) -> Tensor:
        return own_masks(probability, structure, 1 if self.own_structure else probability.shape[1])


def open_teacher(recipe: Recipe, folder: Path | None, inputs: Inputs, device: torch.device) -> Teacher | None:
    """The teacher of a recipe, `folder` or the one that it names, on `device`; None for a recipe that has none.

    Raises UserError for a recipe without `distillation` where a folder is given, one whose teacher nobody names, a
    folder that is no model, and a teacher that sees other images, has seen those that a fold holds out, knows other
    structures, draws its answers from noise, or has nothing of what is to be matched.
    """
    wanted = recipe.distillation
    if wanted is None:
        if folder is not None:
            raise UserError(
                "this recipe has no 'distillation': it learns from no teacher",
                where=f"--teacher {folder}",
                remedy="give it a section 'distillation', or start it by 'sdseg distill', which does",
            )
        return None
    start = open_named(wanted.teacher, folder, "learns from", "--teacher")
    if start is None:
        raise UserError(
            "this recipe learns from a teacher, and nobody names one",
            where="distillation.teacher",
            remedy="name a model folder: --teacher FOLDER",
        )
    check_held_out(start, inputs.store, inputs.fold)
    segmenter, manifest = load_model(start.folder)
    _check_data(manifest, recipe, inputs, start.folder)
    if segmenter.noise_shape is not None:
        raise _unfit(
            start.folder,
            "the teacher starts from Gaussian noise: its answers are drawn, and another each time",
            "teach with a recipe whose 'inference_noise' is zero or fixed",
        )
    _check_matched(wanted, recipe, segmenter, manifest, inputs, start.folder)
    one = isinstance(recipe.network, LatentNetwork) and recipe.network.classes == "per-class"
    for each in segmenter.modules():  # of an ensemble the members, too
        if isinstance(each, Segmenter):
            each.flips = "none"
    return Teacher(start, segmenter.to(device), wanted, own_structure=one)


def _check_data(manifest: ModelManifest, recipe: Recipe, inputs: Inputs, folder: Path) -> None:
    data, remedy = inputs.store.manifest, "name a teacher that was trained on these data"
    if unlike := unlike_images(data.image, manifest.image):
        if manifest.image.neighbours != data.image.neighbours:
            same = "give both the same 'network.condition.neighbours' (a direct network has 0)"
            remedy = same if len(unlike) == 1 else f"{same}, and {remedy}"
        raise _unfit(folder, f"the teacher was made for other images: {'; '.join(unlike)}", remedy)
    patches, patch = manifest.recipe.get("patches"), recipe.patches
    if (patches["size"] if patches else None) != (list(patch.size) if patch else None):
        seen = f"patches of {tuple(patches['size'])}" if patches else "slices"
        raise _unfit(folder, f"the teacher sees {seen}, this recipe does not", "name a teacher with the same 'patches'")
    if manifest.structures != data.structures:
        raise _unfit(folder, "the teacher segments other structures than those of the data", remedy)


def _check_matched(
    wanted: Distillation, recipe: Recipe, teacher: Segmenter, manifest: ModelManifest, inputs: Inputs, folder: Path
) -> None:
    """Latents can be matched where both have them, in the space of one codec; those of the condition in one shape."""
    keys = [key for key in ("condition", "latent", "head") if getattr(wanted, key)]
    network, codec = recipe.network, inputs.codec
    if not keys or not isinstance(network, LatentNetwork) or codec is None:  # the recipe's own check
        return
    named = [f"'distillation.{key}'" for key in keys]
    what = f"{' and '.join(named)} match latents, and "
    if not isinstance(teacher, LatentSegmenter):
        raise _unfit(folder, f"{what}the teacher has none", "set them to 0: 'probability' needs no latent")
    if manifest.recipe["network"].get("classes", "per-class") != network.classes:
        what += "teacher and student do not share 'network.classes'"
        raise _unfit(folder, what, "set them to 0, or give both the same")
    if (wanted.latent or wanted.head) and not _of_one_codec(teacher, manifest, codec):
        remedy = "train with the teacher's codec, or set 'latent' and 'head' to 0"
        raise _unfit(folder, f"{what}the teacher's are another codec's", remedy)
    theirs, ours = (
        (each.latent_channels, tuple(side // each.factor for side in manifest.image.sides))
        for each in (teacher.condition_encoder.settings, network.condition)
    )
    if wanted.condition and theirs != ours:
        raise _unfit(
            folder,
            f"the teacher's condition latent has {theirs[0]} channels of {_by(theirs[1])} pixels, the student's "
            f"{ours[0]} of {_by(ours[1])}",
            "give both the same 'network.condition.latent_channels', or set 'distillation.condition' to 0",
        )


def _of_one_codec(teacher: LatentSegmenter, manifest: ModelManifest, codec: FrozenCodec) -> bool:
    """Whether the teacher denoises the latents of this codec, as far as its decoder tells of it."""
    if not math.isclose(teacher.decoder.scale, codec.codec.scale, rel_tol=1e-4):
        return False
    if isinstance(teacher.decoder, MaskDecoder) and teacher.decoding != "trained":
        return same_weights(MaskDecoder.of(codec.codec), teacher.decoder)
    return manifest.codec == codec.manifest.settings.model_dump(mode="json")


def _by(sides: tuple[int, ...]) -> str:
    return "×".join(map(str, sides))


def _unfit(folder: Path, what: str, remedy: str) -> UserError:
    return UserError(what, where=f"teacher {folder}", remedy=remedy)
