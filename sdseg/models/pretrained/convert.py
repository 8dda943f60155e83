"""Foreign weights -> a model folder or a codec folder of ours, strictly."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.artifacts.manifests import ModelManifest
from sdseg.config.codec import Codec
from sdseg.config.network import ConditionEncoder, Denoiser, LatentNetwork, UnetDenoiser, neighbours_of
from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder, sha256_file
from sdseg.core.locks import writes
from sdseg.core.overwrite_checks import check_owned
from sdseg.core.provenance import provenance
from sdseg.datasets.source_names import SOURCE_NAMES
from sdseg.datasets.sources import source_named
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.codec import MaskCodec, MaskDecoder, load_strictly
from sdseg.models.codec_quality import measure
from sdseg.models.latent_segmenter import LatentSegmenter
from sdseg.models.model_folder import OWNED, count_parameters, save_codec_folder, save_model
from sdseg.models.pretrained.initial import (
    InitialUnet,
    fill_from,
    read_context,
    read_kl_autoencoder,
    read_ldm_unet,
    read_stable_diffusion_unet,
    read_vae,
)
from sdseg.models.pretrained.ldm import autoencoder_from_ldm
from sdseg.models.pretrained.official import fill_segmenter, read_checkpoint

__all__ = ["TargetLayout", "convert_codec", "convert_ldm", "convert_official", "convert_stable_diffusion"]

log = logging.getLogger("sdseg.models.pretrained.convert")
UNTRAINED = "none"  # the dataset of weights that have seen no masks


@dataclass(frozen=True)
class TargetLayout:
    """What foreign weights become: the networks, and the images and structures they are for."""

    recipe_name: str
    recipe: Recipe
    codec: Codec
    source: str | None = None  # a known dataset; None: colour images, one structure
    target: str | None = None  # what to segment, a preset of the source; None: its first
    size: int = 256  # pixels
    window: str | None = None  # intensity window, a preset of the source; None: its first

    @property
    def network(self) -> LatentNetwork:
        if not isinstance(self.recipe.network, LatentNetwork):
            raise UserError(
                "the recipe is no latent diffusion", where="--recipe", remedy="use sdseg-paper or sdseg-multistep"
            )
        return self.recipe.network

    @property
    def denoiser(self) -> Denoiser:
        if isinstance(self.network.denoiser, UnetDenoiser):
            raise UserError(
                "the recipe's denoiser is a classic U-Net, for which no pretrained weights exist",
                where="network.denoiser.architecture of the recipe",
                remedy="set it to ldm or stable-diffusion, whichever the weights are of",
            )
        return self.network.denoiser

    @property
    def exclusive(self) -> bool:
        """Whether the structures exclude each other."""
        return self.source is not None and source_named(self.source).excludes(self.images()[1], None)

    def images(self) -> tuple[ImageContract, tuple[Structure, ...]]:
        contract, structures = self._images()
        return contract.model_copy(update={"neighbours": neighbours_of(self.recipe.network)}), structures

    def _images(self) -> tuple[ImageContract, tuple[Structure, ...]]:
        if self.source is None:
            if self.window is not None:
                what = "a window is a preset of a source, and none is named"
                raise UserError(what, where="--window", remedy="name one with --source, or leave it out")
            contract = ImageContract(modality="rgb", size=self.size, channels=3, window=(0.0, 255.0))
            return contract, (Structure(name="mask", values=(1,)),)
        source = source_named(self.source)
        _, structures = source.target(self.target)
        try:
            return source.contract(self.window, self.size), structures
        except UserError as error:
            raise UserError(error.what, where="--window", remedy=error.remedy) from None

    def build(self, scale: float) -> LatentSegmenter:
        if self.network.mask_head is not None:
            raise UserError(
                "published weights have a decoder, and no mask head",
                where="network.decoder of --recipe",
                remedy="leave 'decoder: head' out; a student learns its head from the model that is written",
            )
        contract, structures = self.images()
        segmenter = build_segmenter(self.recipe, contract, len(structures), self.codec, scale)
        if not isinstance(segmenter, LatentSegmenter):
            raise UserError(
                "the recipe is no latent diffusion", where="--recipe", remedy="use sdseg-paper or sdseg-multistep"
            )
        return segmenter


@writes("output", "codec_output")
def convert_official(
    layout: TargetLayout, *, weights: Path, ema: bool, output: Path, codec_output: Path | None = None
) -> None:
    """Write the model folder of an official SDSeg checkpoint, and its autoencoder as a codec folder where one is named.

    `layout` names the networks (`config/recipes/sdseg-paper.yaml` and KL-f8 for the published ones) and the dataset
    that they were trained on. Its window is by default what the official code does (`official`) where that is another
    than ours. Every key and shape must agree, else UserError and nothing is written.
    """
    if layout.source is None:
        remedy = f"name it, one of {', '.join(SOURCE_NAMES)}"
        raise UserError("nothing says what it was trained on", where="--source", remedy=remedy)
    if layout.window is None and "official" in source_named(layout.source).windows:
        layout = replace(layout, window="official")
        log.info("window 'official', with which the official code trains and tests; --window chooses another")
    _check_outputs(output, codec_output)
    network = layout.network
    checkpoint = read_checkpoint(weights)
    segmenter = layout.build(checkpoint.scale)
    full_codec = MaskCodec(layout.codec, checkpoint.scale)
    fill_segmenter(segmenter, network, full_codec, checkpoint, ema=ema)
    segmenter.decoder.load_state_dict(MaskDecoder.of(full_codec).state_dict())
    if codec_output is not None:
        _, dice = _measured(full_codec, layout.size)
        _write_codec(codec_output, full_codec, dice, [weights])
    training = {"unet": "ema" if ema else "raw", "steps": checkpoint.step}
    _write_model(output, layout, segmenter, [weights], training)
    log.info("%s (%s) -> %s", weights.name, "averaged UNet" if ema else "raw UNet", output)


@writes("output", "codec_output")
def convert_ldm(
    layout: TargetLayout,
    *,
    unet: Path,
    autoencoder: Path | None,
    output: Path,
    codec_output: Path | None = None,
    ema: bool = False,
    seed: int = 0,
) -> None:
    """Write the paper's initial weights as a model folder to start training from: LDM's UNet and the kl-f8 autoencoder.

    `unet` is an unconditional LDM checkpoint (lsun_churches256), `autoencoder` that of kl-f8; None takes the first
    stage in `unet`. The latent scale is the codec settings', or measured on shapes. What the weights do not determine
    is new: zero, or drawn with `seed`, and said in the log. Raises UserError where a key or shape does not fit.
    """
    _check_outputs(output, codec_output)
    torch.manual_seed(seed)
    initial = read_ldm_unet(unet, layout.denoiser, ema=ema)
    full_codec = MaskCodec(layout.codec)
    if autoencoder is not None:
        weights = read_kl_autoencoder(autoencoder, layout.codec)
    elif initial.first_stage:
        weights = autoencoder_from_ldm(initial.first_stage, layout.codec)
    else:
        raise UserError("the checkpoint holds no first stage", where=unet, remedy="name kl-f8's file: --autoencoder")
    load_strictly(full_codec.autoencoder, weights, autoencoder or unet)
    files = [unet] if autoencoder is None else [unet, autoencoder]
    _begin(layout, full_codec, initial, files, output, codec_output, {"unet": "ema" if ema else "raw", "seed": seed})


@writes("output", "codec_output")
def convert_stable_diffusion(
    layout: TargetLayout,
    *,
    folder: Path,
    context: str | None,
    output: Path,
    codec_output: Path | None = None,
    seed: int = 0,
) -> None:
    """Write Stable Diffusion 1.x in diffusers' layout (`unet/` and `vae/`) as a model folder to start training from.

    With the recipe's `context: constant`, `context` says what cross-attention reads at first: `zeros`, `random` or a
    safetensors file with one tensor [L,C]. Raises UserError where a setting, key or shape differs.
    """
    _check_outputs(output, codec_output)
    torch.manual_seed(seed)
    denoiser = layout.denoiser
    constant = _constant_context(layout, context)
    initial = read_stable_diffusion_unet(folder / "unet", denoiser)
    full_codec = MaskCodec(layout.codec)
    weights, vae = read_vae(folder / "vae", layout.codec)
    load_strictly(full_codec.autoencoder, weights, vae)
    more = {"unet": initial.path.name, "seed": seed, "context": Path(context).name if context else denoiser.context}
    _begin(layout, full_codec, initial, [initial.path, vae], output, codec_output, more, constant)


@writes("output")
def convert_codec(*, weights: Path, codec: Codec, output: Path, size: int = 256) -> None:
    """Write a codec folder from kl-f8's checkpoint, or from a `vae` folder in diffusers' layout.

    `weights` of a codec in the configuration may name that folder.
    """
    check_owned(output, OWNED)
    full_codec, file = MaskCodec(codec), weights
    if weights.is_dir():
        tensors, file = read_vae(weights, codec)
    else:
        tensors = read_kl_autoencoder(weights, codec)
    load_strictly(full_codec.autoencoder, tensors, file)
    full_codec.scale, dice = _measured(full_codec, size)
    _write_codec(output, full_codec, dice, [file])


def _begin(
    layout: TargetLayout,
    full_codec: MaskCodec,
    unet: InitialUnet,
    files: Sequence[Path],
    output: Path,
    codec_output: Path | None,
    training: dict[str, Any],
    context: torch.Tensor | None = None,
) -> None:
    """Model and codec folder of initial weights."""
    condition = layout.network.condition
    if isinstance(condition, ConditionEncoder) and condition.init != "codec":
        raise UserError(
            "the recipe's condition encoder starts from random weights, so the autoencoder's would be left out",
            where="network.condition.init of the recipe",
            remedy="set it to codec",
        )
    full_codec.scale, dice = _measured(full_codec, layout.size)
    segmenter = layout.build(full_codec.scale)
    new = fill_from(segmenter, layout.network, full_codec, unet, context)
    if codec_output is not None:
        _write_codec(codec_output, full_codec, dice, files[-1:])
    _write_model(output, layout, segmenter, files, {**training, "steps": 0, "new": list(new)}, trained=False)
    log.info("%s -> %s, to start from; new are: %s", " and ".join(map(str, files)), output, "; ".join(new))


def _constant_context(layout: TargetLayout, context: str | None) -> torch.Tensor | None:
    denoiser = layout.denoiser
    if denoiser.context != "constant":
        if context is not None:
            raise UserError(
                "the recipe has no constant context",
                where="--context",
                remedy="leave it out, or set 'context: constant'",
            )
        return None
    if context is None:
        raise UserError(
            "nothing says what cross-attention is to read in place of a text",
            where="--context",
            remedy="name a .safetensors file with the text encoder's last hidden state, or say zeros or random",
        )
    shape = (denoiser.context_tokens, denoiser.context_channels)
    if context == "random":
        return None
    return torch.zeros(shape) if context == "zeros" else read_context(Path(context), *shape)


def _measured(codec: MaskCodec, size: int) -> tuple[float, float]:
    """Latent scale (the settings', where they have one) and ceiling on random shapes."""
    log.info("measuring the codec on shapes of %d pixels", size)
    scale, dice = measure(codec.eval().requires_grad_(False), size, torch.device("cpu"))
    latent_scale = codec.settings.latent_scale
    scale = scale if latent_scale == "measured" else float(latent_scale)
    log.info("latent scale %.4f, Dice of decode(encode(shape)) %.4f", scale, dice)
    return scale, dice


def _check_outputs(output: Path, codec_output: Path | None) -> None:
    check_owned(output, OWNED)
    if codec_output is not None:
        check_owned(codec_output, OWNED)
        if codec_output.resolve() == output.resolve():
            raise UserError("model and codec want a folder each", where="--codec-output", remedy="name another one")


def _write_codec(output: Path, codec: MaskCodec, dice: float, files: Sequence[Path]) -> None:
    origin = {"converted_from": {path.name: sha256_file(path) for path in files}}
    with atomic_folder(output, OWNED) as folder:
        save_codec_folder(folder, codec, dice, provenance(("torch", "diffusers", "safetensors")) | origin)
    log.info("codec -> %s", output)


def _write_model(
    output: Path,
    layout: TargetLayout,
    segmenter: LatentSegmenter,
    files: Sequence[Path],
    training: dict[str, Any],
    *,
    trained: bool = True,
) -> None:
    contract, structures = layout.images()
    checksums = [sha256_file(path) for path in files]
    manifest = ModelManifest(
        dataset=layout.source if trained and layout.source else UNTRAINED,
        origin="real" if trained else UNTRAINED,
        protocol="unknown" if trained else UNTRAINED,
        recipe_name=layout.recipe_name,
        recipe=layout.recipe.model_dump(mode="json"),
        codec=layout.codec.model_dump(mode="json"),
        latent_scale=segmenter.decoder.scale,
        image=contract,
        structures=structures,
        exclusive=layout.exclusive,
        training={
            "converted_from": ", ".join(path.name for path in files),
            "sha256": ", ".join(checksums),
            **training,
            "codec_ceiling": None,
            "parameters": {name: count_parameters(part) for name, part in segmenter.parts().items()},
        },
        files={},
        provenance=provenance(("torch", "diffusers", "safetensors")),
    )
    with atomic_folder(output, OWNED) as folder:
        save_model(folder, segmenter.eval(), manifest)
