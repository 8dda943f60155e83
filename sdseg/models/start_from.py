"""Where training starts: the networks of a trained or converted model folder, taken over strictly."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sdseg.artifacts.manifests import ModelManifest
from sdseg.artifacts.results.training import FoldRecord
from sdseg.config.image_size import check_size
from sdseg.config.network import neighbours_of
from sdseg.config.patch_checks import check_volumes
from sdseg.config.recipe import Recipe
from sdseg.config.trained_models import ModelReference
from sdseg.core.errors import UserError
from sdseg.data.batches import may_have_seen
from sdseg.data.folds import fold_of_store, read_folds
from sdseg.data.patch_samples import check_depth
from sdseg.data.store import SliceStore
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.codec import MaskCodec, MaskDecoder, load_strictly
from sdseg.models.first_layer import widened
from sdseg.models.frozen_codec import FrozenCodec, open_codec, open_image_codec
from sdseg.models.label_classes import LabelClasses
from sdseg.models.latent_segmenter import LatentSegmenter, start_from_codec
from sdseg.models.model_folder import MODEL_WEIGHTS, load_model, read_manifest
from sdseg.models.segmenter import Segmenter

__all__ = [
    "Inputs",
    "Start",
    "check_held_out",
    "named_folder",
    "new_segmenter",
    "open_inputs",
    "open_named",
    "open_start",
    "same_weights",
    "take_over",
]

log = logging.getLogger("sdseg.training.train")
SEES_IMAGES = ("condition_encoder", "unet")  # parts


@dataclass(frozen=True)
class Start:
    """A model folder to start or to learn from; its weights are read by whoever needs them."""

    folder: Path
    manifest: ModelManifest

    @property
    def checksum(self) -> str:
        """SHA-256 of the weights: part of what identifies a run that starts or learns from them."""
        return self.manifest.files[MODEL_WEIGHTS]

    @property
    def record(self) -> dict[str, str]:
        """What the manifest of a model that came of it says about it."""
        return {"recipe": self.manifest.recipe_name, "sha256": self.checksum}


def open_start(recipe: Recipe, folder: Path | None) -> Start | None:
    """The model that training starts from: `folder`, else the one the recipe names; None for a fresh start.

    Raises UserError as `open_named` does.
    """
    return open_named(recipe.start_from, folder, "starts from", "--start-from")


def open_named(named: ModelReference | None, folder: Path | None, does: str, option: str) -> Start | None:
    """The model in `folder`, else the one that the recipe names, if any; `does`: what the recipe does with it.

    Raises UserError where the recipe names another recipe, whose folder only the caller knows (by `option`), and where
    the folder is no model.
    """
    if folder is None and named is not None and named.model is None:
        raise UserError(
            f"this recipe {does} the recipe '{named.recipe}'",
            where=option,
            remedy=f"name the model folder that '{named.recipe}' left on the same data: {option} FOLDER",
        )
    folder = named_folder(named, folder)
    return None if folder is None else Start(folder, read_manifest(folder))


def named_folder(named: ModelReference | None, folder: Path | None) -> Path | None:
    """`folder`, else the model folder that the recipe names; None where there is none, or only its recipe is named."""
    if folder is None and named is not None and named.model is not None:
        return Path(named.model)
    return folder


def check_held_out(start: Start, store: SliceStore, fold: FoldRecord | None) -> None:
    """Raise UserError for a model that was trained on cases which `fold` of the store's training split holds out.

    A model of the same dataset, prepared otherwise, is warned of: which cases it has seen is not known.
    """
    seen, data = [one.training for one in start.manifest.members or (start.manifest,)], store.manifest
    if fold is None:
        notes = [may_have_seen(data, "test", start.manifest.dataset, each.get("data_checksum")) for each in seen]
        for note in dict.fromkeys(note for note in notes if note):
            log.warning("%s: %s", start.folder, note)
        return
    same = [each for each in seen if each.get("data_checksum") == data.data_checksum]
    if any(each.get("fold") != fold.content() for each in same):
        raise UserError(
            f"the model was trained on cases that fold {fold.number} of {fold.of} holds out, whose scores would be too "
            "good",
            where=start.folder,
            remedy="name the model of the same fold of the same file of folds, or one that has not seen these data",
        )
    if start.manifest.dataset == data.dataset and len(same) < len(seen):
        message = "%s: made of '%s' as it was prepared at another time; has it seen the cases that fold %d holds out?"
        log.warning(message, start.folder, data.dataset, fold.number)


def take_over(segmenter: Segmenter, start: Start, codec: MaskCodec | None = None) -> None:
    """Load every trained network of `start` into `segmenter`, strictly; a frozen decoder must be the same already.

    One that sees more neighbours or channels than the model takes its weights for those that this one saw
    (models/first_layer.py).

    The window belongs to the data and the fixed noise to the new run: both stay; a refinement or a mask head that the
    model did not have is new. `codec` is the run's, of which a mask head does not tell. Raises UserError where a
    network, the codec or the latent scale is another, where a trained decoder or a refinement would be lost, and where
    the folder is not whole.
    """
    trained, manifest = load_model(start.folder)
    if type(trained) is not type(segmenter):
        raise UserError(
            f"the model is another kind of network ({manifest.recipe_name}, {type(trained).__name__})",
            where=start.folder,
            remedy="start from a model of the same kind: latent-diffusion, end-to-end-diffusion, or direct",
        )
    if isinstance(segmenter, LatentSegmenter) and isinstance(trained, LatentSegmenter):
        _check_decoder(segmenter, trained, start.folder, codec)
    theirs, not_taken = trained.parts(), {"normaliser"}
    if isinstance(trained, LatentSegmenter) and trained.decoding not in ("trained", "head"):
        not_taken.add("decoder")
    for name, part in segmenter.parts().items():
        if name in theirs and name not in not_taken:
            weights = theirs[name].state_dict()
            if name in SEES_IMAGES:
                weights = widened(weights, part.state_dict(), trained.planes, segmenter.planes)
            load_strictly(part, weights, start.folder / name)


def _check_decoder(own: LatentSegmenter, theirs: LatentSegmenter, folder: Path, codec: MaskCodec | None) -> None:
    """A UNet trained in one codec's latents means nothing in another's, and what was trained is to be kept."""
    if theirs.decoding != "frozen" and own.decoding != theirs.decoding:
        raise UserError(
            f"the model's mask decoder was trained ('network.decoder: {theirs.decoding}'), this recipe's is "
            f"'{own.decoding}': what it learnt would be lost",
            where=folder,
            remedy=f"set 'network.decoder: {theirs.decoding}', or start from a model whose decoder is frozen",
        )
    if not math.isclose(own.decoder.scale, theirs.decoder.scale, rel_tol=1e-4):
        raise UserError(
            f"the model was made with the latent scale {theirs.decoder.scale:.6g}, the codec has "
            f"{own.decoder.scale:.6g}",
            where=folder,
            remedy=f"set 'latent_scale: {theirs.decoder.scale:.6g}' of the codec, or use the codec the model was made "
            "with",
        )
    decoder = own.decoder if isinstance(own.decoder, MaskDecoder) or codec is None else MaskDecoder.of(codec)
    if theirs.decoding not in ("trained", "head") and not same_weights(decoder, theirs.decoder):
        raise UserError(
            "the model was made with another codec: its mask decoder has other weights",
            where=folder,
            remedy="train with the codec the model was made with, or start from a model of this codec",
        )


def same_weights(own: nn.Module, theirs: nn.Module) -> bool:
    """The same weights, where `theirs` may have been stored in half precision."""
    mine, other = own.state_dict(), theirs.state_dict()
    return mine.keys() == other.keys() and all(
        value.shape == other[name].shape
        and (torch.equal(value.cpu(), other[name]) or torch.equal(value.cpu().half().float(), other[name]))
        for name, value in mine.items()
    )


@dataclass(frozen=True)
class Inputs:
    """What training reads."""

    store: SliceStore
    codec: FrozenCodec | None
    start: Start | None
    image_codec: FrozenCodec | None = None  # that the condition encoder is taken from
    fold: FoldRecord | None = None  # held out of the training split; the store is as its training sees it


def open_inputs(
    prepared: Path,
    recipe: Recipe,
    codec: Path | None,
    start_from: Path | None,
    device: torch.device,
    fold: tuple[Path, int] | None = None,
    image_codec: Path | None = None,
) -> Inputs:
    """`fold`: a file of folds, and the one to hold out. Raises UserError for a store, codec, model or folds that do not
    fit the recipe.
    """
    store, held_out = SliceStore.open(prepared, verify=True), None
    if fold is not None:
        folds, number = read_folds(fold[0]), fold[1]
        store = fold_of_store(store, folds, number)
        held_out = FoldRecord(number=number, of=folds.count, sha256=folds.checksum)
    store = store.with_neighbours(neighbours_of(recipe.network))
    if recipe.training.patience is not None and not store.cases_of("val"):
        raise UserError(
            "'patience' waits for a better Dice on the validation split, and this split has no cases",
            where="training.patience",
            remedy="set it to null, or split the data so that some cases validate",
        )
    opened = open_codec(recipe, codec, device, store)
    settings = opened.manifest.settings if opened else None
    image, where = store.manifest.image, f"{prepared} with this recipe"
    check_size(image.sides, recipe.network, settings, where)
    if recipe.patches is not None:
        check_volumes(recipe.patches, image.modality, image.sides, store.manifest.dataset, where)
        check_depth(recipe.patches, store)
    images, start = open_image_codec(recipe, image_codec), open_start(recipe, start_from)
    if start is not None:
        check_held_out(start, store, held_out)
    return Inputs(store, opened, start, images, held_out)


def new_segmenter(recipe: Recipe, inputs: Inputs) -> Segmenter:
    """The networks as they are before the first step, on the CPU; random weights come from torch's generator."""
    prepared, codec = inputs.store.manifest, inputs.codec
    segmenter = build_segmenter(
        recipe,
        prepared.image,
        len(prepared.structures),
        codec.manifest.settings if codec else None,
        codec.manifest.latent_scale if codec else None,
        LabelClasses.of(prepared.structures),
    )
    if codec is not None and isinstance(segmenter, LatentSegmenter):
        start_from_codec(segmenter, codec.codec, inputs.image_codec.codec if inputs.image_codec else None)
    if inputs.start is not None:
        take_over(segmenter, inputs.start, codec.codec if codec else None)
    return segmenter
