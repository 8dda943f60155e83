"""Verb: foreign weights -> a model folder of ours, strictly."""

from __future__ import annotations

import logging
from pathlib import Path

from sdseg.artifacts import ImageContract, ModelManifest, atomic_folder, check_owned, provenance, sha256_file
from sdseg.data.sources import source_named
from sdseg.errors import UserError
from sdseg.model.checkpoint import OWNED, count_parameters, save_model
from sdseg.model.codecs import MaskCodec, MaskDecoder
from sdseg.model.official import fill_segmenter, read_checkpoint
from sdseg.model.segmenter import LatentSegmenter, build_segmenter
from sdseg.networks import Codec, LatentNetwork
from sdseg.recipes import Recipe

__all__ = ["convert_official"]

log = logging.getLogger("sdseg.convert")


def convert_official(
    *, weights: Path, recipe_name: str, recipe: Recipe, codec: Codec, source: str, size: int, ema: bool, output: Path
) -> None:
    """Write the model folder of an official SDSeg checkpoint.

    `recipe` and `codec` describe the network's layout (`config/recipes/sdseg-paper.yaml` and KL-f8 for the published
    one), `source` the dataset it was trained on. Every key and shape must agree, else UserError and nothing is written.
    """
    check_owned(output, OWNED)
    if not isinstance(recipe.network, LatentNetwork):
        raise UserError("the recipe is no latent diffusion", where="--recipe", remedy="use sdseg-paper")
    known = source_named(source)
    target, structures = known.target(None)
    contract = ImageContract(
        modality=known.modality,
        size=size,
        channels=3 if known.modality == "rgb" else 1,
        window=known.window(next(iter(known.windows))),
    )
    checkpoint = read_checkpoint(weights)
    segmenter = build_segmenter(recipe, contract, len(structures), codec, checkpoint.scale)
    if not isinstance(segmenter, LatentSegmenter):
        raise UserError("the recipe is no latent diffusion", where="--recipe", remedy="use sdseg-paper")
    whole = MaskCodec(codec, checkpoint.scale)
    fill_segmenter(segmenter, recipe.network, whole, checkpoint, ema=ema)
    segmenter.decoder.load_state_dict(MaskDecoder.of(whole).state_dict())
    manifest = ModelManifest(
        dataset=source,
        origin="real",
        protocol="unknown",
        recipe_name=recipe_name,
        recipe=recipe.model_dump(mode="json"),
        codec=codec.model_dump(mode="json"),
        latent_scale=checkpoint.scale,
        image=contract,
        structures=structures,
        threshold=recipe.inference.threshold,
        training={
            "converted_from": weights.name,
            "sha256": sha256_file(weights),
            "unet": "ema" if ema else "raw",
            "steps": checkpoint.step,
            "codec_ceiling": None,
            "parameters": {name: count_parameters(part) for name, part in segmenter.parts().items()},
        },
        files={},
        provenance=provenance(("torch", "diffusers", "safetensors")),
    )
    with atomic_folder(output, OWNED) as folder:
        save_model(folder, segmenter.eval(), manifest)
    log.info("%s (%s, target %s) -> %s", weights.name, "EMA UNet" if ema else "raw UNet", target, output)
