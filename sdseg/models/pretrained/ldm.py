"""Names and layouts of LDM's modules (`openaimodel.py`, `autoencoder.py`) in terms of diffusers' classes.

Pure renaming: every function takes the weights of one LDM module, by their names within it, and gives ours. A name
it cannot place is kept, so that strict loading names it.
"""

from __future__ import annotations

import re

from torch import Tensor

from sdseg.config.codec import Autoencoder
from sdseg.config.network import Denoiser

__all__ = ["autoencoder_from_ldm", "ema_names", "encoder_from_ldm", "unet_from_ldm"]

Weights = dict[str, Tensor]

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_TOP = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "label_emb": "class_embedding",
}
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def unet_from_ldm(weights: Weights, settings: Denoiser) -> Weights:
    """The UNet of `model.diffusion_model` as diffusers' `UNet2DModel`."""
    places = {**_TOP, **_places(settings)}
    converted: Weights = {}
    for name, value in weights.items():
        place = next((old for old in _prefixes(name) if old in places), None)
        if place is None:
            converted[name] = value
            continue
        rest = name[len(place) + 1 :]
        new = places[place]
        if ".attentions." in f".{new}.":
            converted |= _attention(new, rest, value, settings.heads)
        else:
            converted[_renamed(f"{new}.{rest}", _RESNET)] = value
    return converted


def autoencoder_from_ldm(weights: Weights, settings: Autoencoder) -> Weights:
    """The autoencoder of `first_stage_model` as diffusers' `AutoencoderKL`."""
    levels = len(settings.block_out_channels)
    converted: Weights = {}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        if part in ("encoder", "decoder"):
            new, changed = _autoencoder_name(rest, value, levels)
            converted[f"{part}.{new}"] = changed
        else:
            converted[name] = value
    return converted


def encoder_from_ldm(weights: Weights, settings: Autoencoder) -> Weights:
    """The encoder of `cond_stage_model` (`encoder.*` and the 1×1 convolution `out`) as our `ImageEncoder`."""
    renamed = {
        name if name.startswith("encoder.") else _renamed(name, {"out": "projection"}): weights[name]
        for name in weights
    }
    return autoencoder_from_ldm(renamed, settings)


def ema_names(weights: Weights, raw: Weights) -> Weights:
    """LDM's `model_ema` keeps names without their dots; give them the dots of the raw weights' names back."""
    dotted = {f"diffusion_model{name}".replace(".", ""): name for name in raw}
    return {dotted.get(name, name): value for name, value in weights.items() if name not in ("decay", "num_updates")}


def _places(settings: Denoiser) -> dict[str, str]:
    """LDM's numbered blocks and what they are: `input_blocks.4.1` -> `down_blocks.1.attentions.0`."""
    levels, layers = len(settings.block_out_channels), settings.layers_per_block
    places = {"middle_block.0": "mid_block.resnets.0", "middle_block.1": "mid_block.attentions.0"}
    places["middle_block.2"] = "mid_block.resnets.1"
    number = 1
    for level in range(levels):
        for layer in range(layers):
            places[f"input_blocks.{number}.0"] = f"down_blocks.{level}.resnets.{layer}"
            places[f"input_blocks.{number}.1"] = f"down_blocks.{level}.attentions.{layer}"
            number += 1
        if level < levels - 1:
            places[f"input_blocks.{number}.0"] = f"down_blocks.{level}.downsamplers.0"
            number += 1
    number = 0
    for up in range(levels):
        attends = settings.attention[levels - 1 - up]
        for layer in range(layers + 1):
            places[f"output_blocks.{number}.0"] = f"up_blocks.{up}.resnets.{layer}"
            if attends:
                places[f"output_blocks.{number}.1"] = f"up_blocks.{up}.attentions.{layer}"
            if layer == layers and up < levels - 1:
                places[f"output_blocks.{number}.{1 + attends}"] = f"up_blocks.{up}.upsamplers.0"
            number += 1
    return places


def _attention(place: str, rest: str, value: Tensor, heads: int) -> Weights:
    """One attention block. LDM keeps q, k and v together, head by head: [head][q,k,v][dim]."""
    kind, _, leaf = rest.rpartition(".")
    if kind != "qkv":
        return {f"{place}.{_ATTENTION.get(kind, kind)}.{leaf}": _linear(value)}
    joint = _linear(value)  # [3·C,C] or [3·C]
    split = joint.reshape(heads, 3, -1, *joint.shape[1:])
    return {
        f"{place}.to_{letter}.{leaf}": split[:, index].reshape(-1, *joint.shape[1:])
        for index, letter in enumerate("qkv")
    }


def _autoencoder_name(name: str, value: Tensor, levels: int) -> tuple[str, Tensor]:
    if match := re.fullmatch(r"down\.(\d+)\.(.+)", name):
        return f"down_blocks.{match[1]}.{_block_name(match[2])}", value
    if match := re.fullmatch(r"up\.(\d+)\.(.+)", name):
        return f"up_blocks.{levels - 1 - int(match[1])}.{_block_name(match[2])}", value
    if match := re.fullmatch(r"mid\.block_(\d)\.(.+)", name):
        return f"mid_block.resnets.{int(match[1]) - 1}.{_block_name(match[2])}", value
    if match := re.fullmatch(r"mid\.attn_1\.(\w+)\.(\w+)", name):
        return f"mid_block.attentions.0.{_ATTENTION.get(match[1], match[1])}.{match[2]}", _linear(value)
    return _renamed(name, {"norm_out": "conv_norm_out"}), value


def _block_name(name: str) -> str:
    name = re.sub(r"^block\.(\d+)\.", r"resnets.\1.", name).replace("nin_shortcut", "conv_shortcut")
    return name.replace("downsample.conv", "downsamplers.0.conv").replace("upsample.conv", "upsamplers.0.conv")


def _linear(value: Tensor) -> Tensor:
    """A 1×1 convolution's weight as that of a linear layer."""
    return value.flatten(1) if value.ndim > 2 else value


def _prefixes(name: str) -> list[str]:
    """All dotted beginnings of a name, longest first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _renamed(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        name = re.sub(rf"(^|\.){re.escape(old)}\.", rf"\g<1>{new}.", name)
    return name
