"""The UNet on latents, and how it sees the condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from sdseg.config.network import AnyDenoiser, Denoiser, UnetDenoiser
from sdseg.models.unet_denoiser import ClassicUnet

__all__ = ["ConditionalDenoiser"]


class ConditionalDenoiser(nn.Module):
    """UNet on z_t and z_c: one prediction [N,C,h,w] per call.

    z_c joins z_t at the input, or is read by cross-attention as h·w tokens, or both; with a constant context the
    cross-attention reads learnt tokens instead, in place of the text that Stable Diffusion was trained with. Features
    of the image coarser than the latent are added where the UNet has their size.
    """

    def __init__(
        self,
        settings: AnyDenoiser,
        latent_channels: int,
        condition_channels: int,
        structures: int,
        coarser_channels: Sequence[int] = (),
    ) -> None:
        """`coarser_channels`: of the image's features at h/2, h/4, …; at most one entry per change of resolution."""
        super().__init__()
        self.latent_channels = latent_channels
        self.context: nn.Parameter | None = None
        self.context_projection: nn.Linear | None = None
        self.concatenate = True
        labels, joined = structures if structures > 1 else None, latent_channels + condition_channels
        widths = settings.block_out_channels  # of what a level begins with; in LDM's blocks the last one's
        if isinstance(settings, UnetDenoiser):
            self.unet: nn.Module = ClassicUnet(settings, joined, latent_channels, labels)
            widths = widths[1:]
        else:
            self.concatenate = settings.concatenate
            build = _ldm_unet if settings.architecture == "ldm" else _stable_diffusion_unet
            self.unet = build(settings, joined if self.concatenate else latent_channels, latent_channels, labels)
            # A text embedding's entries are about as large as standard normal numbers.
            if settings.context == "constant":
                self.context = nn.Parameter(torch.randn(settings.context_tokens, settings.context_channels))
            if settings.context == "image":
                self.context_projection = nn.Linear(condition_channels, settings.context_channels)
        entries = zip(coarser_channels, widths, strict=False)
        self.coarser = nn.ModuleList([nn.Conv2d(count, width, 1) for count, width in entries])

    @property
    def middle(self) -> nn.Module:
        """The coarsest block, whose output is what alignment looks at: [N,M,h/2^L,w/2^L]."""
        return cast("nn.Module", self.unet.mid_block)

    def forward(
        self,
        noisy: Tensor,
        condition: Tensor,
        timesteps: Tensor,
        structure: Tensor | None,
        coarser: Sequence[Tensor] = (),
    ) -> Tensor:
        """Prediction for z_t [N,C,h,w] given z_c [N,C',h,w], t [N] and, for several structures, their index [N].

        `coarser`: the image's features at [N,D,h/2,w/2], [N,D',h/4,w/4], …, where the encoder has them.
        """
        joined = torch.cat([noisy, condition], dim=1) if self.concatenate else noisy  # [N,C+C',h,w]
        if isinstance(self.unet, ClassicUnet):
            entering = [entry(features) for entry, features in zip(self.coarser, coarser, strict=False)]
            return cast("Tensor", self.unet(joined, timesteps, structure, entering))
        more = {}
        if self.context is not None:
            more["encoder_hidden_states"] = self.context.unsqueeze(0).expand(len(noisy), -1, -1)  # [N,L,D]
        if self.context_projection is not None:
            tokens = condition.flatten(2).transpose(1, 2)  # [N,h·w,C']
            more["encoder_hidden_states"] = self.context_projection(tokens)  # [N,h·w,D]
        with self._joined_by(coarser):
            prediction: Tensor = self.unet(joined, timesteps, class_labels=structure, return_dict=False, **more)[0]
        return prediction

    @contextmanager
    def _joined_by(self, coarser: Sequence[Tensor]) -> Iterator[None]:
        """The image's coarser features are added to what the UNet's blocks of their size begin with."""

        def joining(entry: nn.Module, features: Tensor) -> Callable[..., tuple[tuple[()], dict[str, Any]]]:
            def add(_block: nn.Module, _args: tuple[()], named: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
                return (), named | {"hidden_states": named["hidden_states"] + entry(features)}

            return add

        blocks = list(cast("nn.ModuleList", self.unet.down_blocks))[1:]
        with ExitStack() as hooks:
            for entry, features, block in zip(self.coarser, coarser, blocks, strict=False):
                handle = block.register_forward_pre_hook(joining(entry, features), with_kwargs=True)
                hooks.callback(handle.remove)
            yield


def _ldm_unet(settings: Denoiser, inputs: int, outputs: int, labels: int | None) -> UNet2DModel:
    """LDM's lsun_churches256 layout."""
    # LDM changes resolution in residual blocks everywhere; with plain UpBlock2D the first level up would lack one
    # (288.5 M parameters at full width, not 295.0 M).
    unet: UNet2DModel = UNet2DModel(
        in_channels=inputs,
        out_channels=outputs,
        num_class_embeds=labels,
        **_levels(settings, ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"), ("AttnDownBlock2D", "AttnUpBlock2D")),
        attn_norm_num_groups=settings.norm_num_groups,
        dropout=settings.dropout,
        resnet_time_scale_shift="scale_shift",
        downsample_type="resnet",
        upsample_type="resnet",
        attention_head_dim=max(settings.block_out_channels[-1] // settings.heads, 1),
    )
    # UNet2DModel knows one head size only; LDM fixes the number of heads instead.
    for module in unet.modules():
        if isinstance(module, Attention):
            module.heads = settings.heads
    return unet


def _stable_diffusion_unet(settings: Denoiser, inputs: int, outputs: int, labels: int | None) -> UNet2DConditionModel:
    """Stable Diffusion 1.x's layout, by the names of its diffusers folder."""
    unet: UNet2DConditionModel = UNet2DConditionModel(
        in_channels=inputs,
        out_channels=outputs,
        num_class_embeds=labels,
        **_levels(settings, ("DownBlock2D", "UpBlock2D"), ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")),
        cross_attention_dim=settings.context_channels,
        attention_head_dim=settings.heads,  # in this class the argument is the number of heads, whatever its name
    )
    return unet


def _levels(settings: Denoiser, plain: tuple[str, str], attending: tuple[str, str]) -> dict[str, Any]:
    """What both classes are told of their levels; `plain` and `attending`: the blocks on the way down and up."""
    kinds = [attending if attends else plain for attends in settings.attention]
    return {
        "down_block_types": tuple(down for down, _ in kinds),
        "up_block_types": tuple(up for _, up in reversed(kinds)),
        "block_out_channels": settings.block_out_channels,
        "layers_per_block": settings.layers_per_block,
        "norm_num_groups": settings.norm_num_groups,
    }
