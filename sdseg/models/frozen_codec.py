"""The frozen codec of a latent recipe, opened for training on a device."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from sdseg.artifacts.manifests import CodecManifest
from sdseg.config.network import LatentNetwork, check_codec, check_image_codec
from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.data.batches import named_structures
from sdseg.data.store import SliceStore
from sdseg.data.training_samples import build_samples
from sdseg.models.codec import MaskCodec
from sdseg.models.model_folder import load_codec_folder
from sdseg.models.segmenter import own_masks

__all__ = ["FrozenCodec", "latent_shape", "open_codec", "open_image_codec"]

log = logging.getLogger("sdseg.training.train")


@dataclass(frozen=True)
class FrozenCodec:
    """A frozen codec on the training device, and the folder's manifest."""

    codec: MaskCodec
    manifest: CodecManifest


def open_codec(
    recipe: Recipe, folder: Path | None, device: torch.device, store: SliceStore | None = None
) -> FrozenCodec | None:
    """The codec of a latent-diffusion recipe; None for a direct one.

    Raises UserError where one is missing, for one given to a direct recipe, which would be ignored, and for one that
    encodes something else than the recipe denoises, or label maps of other classes than those of `store`.

    With `latent_scale: first_batch` the scale is measured on the training split of `store`, as the official code's
    `scale_by_std` does, and stands in the manifest in place of the codec's own.
    """
    if not isinstance(recipe.network, LatentNetwork):
        if folder is not None:
            raise UserError("this recipe uses no mask codec", where=f"--codec {folder}", remedy="leave it out")
        return None
    if folder is None:
        raise UserError("this recipe needs a mask codec", where="--codec", remedy="make one with 'sdseg codec'")
    codec, manifest = load_codec_folder(folder)
    structures = store.manifest.structures if store is not None else None
    one = len(structures) if structures is not None else None
    check_codec(recipe.network, codec.settings.encodes, f"--codec {folder}", structures=one)
    if structures is not None and codec.classes is not None and manifest.structures != structures:
        raise UserError(
            f"the codec was made for label maps of {named_structures(manifest.structures or ())} "
            f"(dataset '{manifest.dataset}'), the data have {named_structures(structures)}",
            where=f"--codec {folder}",
            remedy="make one of these data: sdseg codec --prepared FOLDER",
        )
    codec = codec.to(device)
    if recipe.network.latent_scale == "first_batch" and store is not None:
        codec.scale = _first_batch_scale(store, recipe, codec, device)
        manifest = manifest.model_copy(update={"latent_scale": codec.scale})
        log.info("latent scale of the first batch: %.4f", codec.scale)
    return FrozenCodec(codec, manifest)


def open_image_codec(recipe: Recipe, folder: Path | None) -> FrozenCodec | None:
    """The codec of images that a recipe takes its condition encoder from, on the CPU; None where it names none.

    Raises UserError where one is missing, for one that is not asked for, and for one that encodes no images.
    """
    wanted = recipe.network.image_codec if isinstance(recipe.network, LatentNetwork) else None
    if wanted is None and folder is not None:
        raise UserError(
            "this recipe takes nothing from a codec of images", where=f"--image-codec {folder}", remedy="leave it out"
        )
    if wanted is None:
        return None
    if folder is None:
        raise UserError(
            f"this recipe needs the codec of images '{wanted}'",
            where="--image-codec",
            remedy="make one with 'sdseg codec' and 'encodes: image'",
        )
    codec, manifest = load_codec_folder(folder)
    check_image_codec(codec.settings.encodes, f"--image-codec {folder}")
    return FrozenCodec(codec, manifest)


def latent_shape(store: SliceStore, codec: MaskCodec) -> tuple[int, int, int]:
    """(c,h,w) of the latent of one mask of the store."""
    height, width = (side // codec.settings.factor for side in store.manifest.image.sides)
    return codec.settings.latent_channels, height, width


@torch.inference_mode()
def _first_batch_scale(store: SliceStore, recipe: Recipe, codec: MaskCodec, device: torch.device) -> float:
    """1/std of the unscaled latents of the masks that the first training step will see."""
    samples = build_samples(store, store.rows_of("train"), recipe, latent_shape(store, codec), None)
    batch = [samples[position] for position in range(recipe.training.batch)]
    whole, structure = (torch.stack([sample[name] for sample in batch]).to(device) for name in ("mask", "structure"))
    masks = own_masks(whole, structure, codec.at_once)  # [N,1 or K,H,W]
    latents, deviation = codec.moments(masks)
    if recipe.diffusion is not None and recipe.diffusion.sample_latents:
        latents = latents + deviation * torch.stack([sample["posterior"] for sample in batch]).to(device)
    return float(codec.scale / latents.std())
