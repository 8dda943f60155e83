"""Weights to begin with that know nothing of masks: LDM's and Stable Diffusion's, taken apart strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from sdseg.config.codec import Autoencoder, Codec
from sdseg.config.network import Denoiser, LatentNetwork, UnetConditionEncoder
from sdseg.core.errors import UserError, nearest
from sdseg.models.codec import MaskCodec, load_strictly, modern_names
from sdseg.models.latent_segmenter import LatentSegmenter, start_from_codec
from sdseg.models.model_folder import read_tensors
from sdseg.models.pretrained.checkpoint_file import Weights, read_checkpoint_file
from sdseg.models.pretrained.ldm import autoencoder_from_ldm, ema_names, unet_from_ldm
from sdseg.models.pretrained.official import BUFFER_STEMS, BUFFERS

__all__ = [
    "InitialUnet",
    "fill_from",
    "read_context",
    "read_kl_autoencoder",
    "read_ldm_unet",
    "read_stable_diffusion_unet",
    "read_vae",
]

AUTOENCODER = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
UNET, UNET_EMA, FIRST_STAGE = "model.diffusion_model.", "model_ema.", "first_stage_model."
VARIANTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")


@dataclass(frozen=True)
class InitialUnet:
    """A UNet's weights by our names, its first convolution still that of latents alone."""

    weights: Weights
    path: Path  # where they came from
    first_stage: Weights  # the autoencoder in the same file by LDM's names; empty where there is none


def read_ldm_unet(path: Path, settings: Denoiser, *, ema: bool) -> InitialUnet:
    """The UNet of an unconditional LDM checkpoint (lsun_churches256), raw or averaged."""
    kind = "an unconditional LDM checkpoint"
    weights, _ = read_checkpoint_file(path, kind)
    parts: dict[str, Weights] = {UNET: {}, UNET_EMA: {}, FIRST_STAGE: {}}
    for name, value in weights.items():
        prefix = next((prefix for prefix in parts if name.startswith(prefix)), None)
        if prefix is not None:
            parts[prefix][name.removeprefix(prefix)] = value.float()
        elif name not in BUFFERS and not name.startswith(BUFFER_STEMS):
            raise _foreign(kind, f"unknown key '{name}' ({nearest(name, (*parts, *BUFFERS))})", path)
    if not parts[UNET]:
        raise _foreign(kind, f"nothing below '{UNET}'", path)
    if ema and not parts[UNET_EMA]:
        raise UserError("the checkpoint holds no averaged UNet", where=path, remedy="convert with --unet raw")
    unet = ema_names(parts[UNET_EMA], parts[UNET]) if ema else parts[UNET]
    first = {name: value for name, value in parts[FIRST_STAGE].items() if not name.startswith("loss.")}
    return InitialUnet(unet_from_ldm(unet, settings), path, first)


def read_kl_autoencoder(path: Path, settings: Autoencoder) -> Weights:
    """LDM's kl-f8 checkpoint as diffusers' `AutoencoderKL`; the training loss's networks are left out."""
    kind = "a KL autoencoder's checkpoint"
    weights, _ = read_checkpoint_file(path, kind)
    for name in weights:
        if not name.startswith((*AUTOENCODER, "loss.")):
            raise _foreign(kind, f"unknown key '{name}' ({nearest(name, (*AUTOENCODER, 'loss.'))})", path)
    autoencoder = {name: value.float() for name, value in weights.items() if name.startswith(AUTOENCODER)}
    return autoencoder_from_ldm(autoencoder, settings)


def read_vae(folder: Path, settings: Codec) -> tuple[Weights, Path]:
    """Stable Diffusion's `vae` folder, as its config.json and the codec's settings both describe it; and the file."""
    expected = {
        "_class_name": "AutoencoderKL",
        "block_out_channels": list(settings.block_out_channels),
        "layers_per_block": settings.layers_per_block,
        "latent_channels": settings.latent_channels,
        "norm_num_groups": settings.norm_num_groups,
    }
    _check_config(folder, expected, "the codec's settings")
    path = _weights_file(folder)
    return modern_names({name: value.float() for name, value in read_tensors(path).items()}), path


def read_stable_diffusion_unet(folder: Path, settings: Denoiser) -> InitialUnet:
    """Stable Diffusion 1.x's `unet` folder, as its config.json and the recipe both describe it."""
    expected = {
        "_class_name": "UNet2DConditionModel",
        "block_out_channels": list(settings.block_out_channels),
        "layers_per_block": settings.layers_per_block,
        "cross_attention_dim": settings.context_channels,
        "attention_head_dim": settings.heads,
        "norm_num_groups": settings.norm_num_groups,
    }
    _check_config(folder, expected, "network.denoiser of the recipe")
    path = _weights_file(folder)
    return InitialUnet({name: value.float() for name, value in read_tensors(path).items()}, path, {})


def read_context(path: Path, tokens: int, channels: int) -> Tensor:
    """The one tensor of a safetensors file, [L,C] or [1,L,C]: what cross-attention reads in place of a text."""
    tensors = list(read_tensors(path).values())
    context = tensors[0].float() if len(tensors) == 1 else None
    if context is not None and context.ndim == 3 and len(context) == 1:
        context = context[0]
    if context is None or tuple(context.shape) != (tokens, channels):
        what = f"{len(tensors)} tensors" if context is None else f"a tensor {tuple(context.shape)}"
        raise UserError(
            f"the context is to be one tensor ({tokens}, {channels}), and the file holds {what}",
            where=path,
            remedy="store the text encoder's last hidden state, or set context_tokens and context_channels to its size",
        )
    return context


def fill_from(
    segmenter: LatentSegmenter, network: LatentNetwork, codec: MaskCodec, unet: InitialUnet, context: Tensor | None
) -> tuple[str, ...]:
    """Fill a segmenter with initial weights; returns in words what they do not determine and is new.

    Where the condition latent joins at the input, the first convolution gets channels of zeros for it: at first the
    network computes what it did before (the paper). A condition encoder of the codec's layout starts from its weights.
    """
    own, theirs = segmenter.denoiser.unet.state_dict(), dict(unet.weights)
    new, first = [], theirs.get("conv_in.weight")
    if first is not None and first.ndim == 4:
        added = own["conv_in.weight"].shape[1] - first.shape[1]
        if added > 0:
            theirs["conv_in.weight"] = pad(first, (0, 0, 0, 0, 0, added))
            new.append(f"{added} condition channels of the first convolution (zero)")
    if "class_embedding.weight" in own and "class_embedding.weight" not in theirs:
        theirs["class_embedding.weight"] = torch.zeros_like(own["class_embedding.weight"])
        new.append("the embedding of the structures (zero)")
    load_strictly(segmenter.denoiser.unet, theirs, unet.path)
    start_from_codec(segmenter, codec)
    if isinstance(network.condition, UnetConditionEncoder):
        new.append("the condition encoder (random)")
    elif network.condition.projection == "new":
        new.append("the condition encoder's 1×1 convolution (random)")
    if segmenter.denoiser.context is not None:
        if context is not None:
            segmenter.denoiser.context.data.copy_(context)
        else:
            new.append("the constant context (random)")
    if segmenter.denoiser.context_projection is not None:
        new.append("the projection of the image's tokens (random)")
    if segmenter.refinement is not None:
        new.append("the refinement of the decoded mask (its correction zero)")
    return tuple(new)


def _check_config(folder: Path, expected: Mapping[str, Any], ours: str) -> None:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            "the folder has no config.json", where=folder, remedy="name the folder that holds unet/ and vae/, whole"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error}", where=path, remedy="get the folder again") from None
    for key, value in expected.items():
        if not isinstance(config, dict) or config.get(key) != value:
            has = config.get(key) if isinstance(config, dict) else config
            raise UserError(
                f"'{key}' is {has!r} there and {value!r} in {ours}",
                where=path,
                remedy="use weights of the architecture that the settings describe, or settings that describe them",
            )


def _weights_file(folder: Path) -> Path:
    """Full precision where it is there, else half."""
    files = [folder / name for name in VARIANTS if (folder / name).is_file()]
    if not files:
        sharded = any(folder.glob("*.safetensors.index.json"))
        raise UserError(
            "the weights are in several pieces" if sharded else f"neither {VARIANTS[0]} nor {VARIANTS[1]} is there",
            where=folder,
            remedy="get the folder whole, with its weights as one safetensors file; pickled .bin files are not read",
        )
    return files[0]


def _foreign(kind: str, why: str, path: Path) -> UserError:
    return UserError(f"not {kind}: {why}", where=path, remedy="name the file its authors publish, whole")
