"""A UNet with timesteps and self-attention, in two or three dimensions, and its blocks.

MONAI's own (`DiffusionModelUNet`, `SpatialAttentionBlock`) need a further package for their attention.
"""

from __future__ import annotations

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn
from torch.nn import functional

from sdseg.config.end_to_end_network import LatentDenoiser

__all__ = ["SelfAttention", "SpatialUnet", "TimedBlock"]

EMBEDDING = 4  # its width, in channels of the first level


class SelfAttention(nn.Module):
    """Self-attention among all pixels, added to its input [N,C,…], after group norm."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.entering = nn.Linear(channels, 3 * channels)
        self.leaving = nn.Linear(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.norm(features).flatten(2).transpose(1, 2)  # [N,L,C]
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.entering(tokens).chunk(3, dim=2)
        )  # [N,H,L,C/H] each
        attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        change: Tensor = self.leaving(attended).transpose(1, 2).reshape(features.shape)
        return features + change


class TimedBlock(nn.Module):
    """Residual block: group norm, SiLU and convolution, twice, shifted by the timestep between the two."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(groups, inputs), nn.SiLU(), _conv(dimensions, inputs, outputs))
        self.shift = nn.Sequential(nn.SiLU(), nn.Linear(embedding, outputs))
        self.second = nn.Sequential(nn.GroupNorm(groups, outputs), nn.SiLU(), _conv(dimensions, outputs, outputs))
        self.shortcut = nn.Identity() if inputs == outputs else _conv(dimensions, inputs, outputs, kernel=1)

    def forward(self, features: Tensor, embedded: Tensor) -> Tensor:
        # New axes by index: a reshape would keep a graph from computing the timestep beforehand.
        shift = self.shift(embedded)[(..., *(None,) * (features.ndim - 2))]  # [N,C',1,1]
        current: Tensor = self.second(self.first(features) + shift) + self.shortcut(features)
        return current


class SpatialUnet(nn.Module):
    """Blocks per level on the way down, one more each on the way up, two with attention between them at the bottom.

    Levels are changed by a strided convolution, and by one behind an enlargement.
    """

    def __init__(self, settings: LatentDenoiser, dimensions: int, inputs: int, outputs: int) -> None:
        super().__init__()
        channels, groups = settings.block_out_channels, settings.norm_num_groups
        width = EMBEDDING * channels[0]
        self.timestep = Timesteps(channels[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.embedding = TimestepEmbedding(channels[0], width)
        self.entering = _conv(dimensions, inputs, channels[0])

        def pair(before: int, count: int, attends: bool) -> nn.ModuleList:
            """A block, and what follows it: attention, or nothing."""
            attention = SelfAttention(count, settings.heads, groups) if attends else nn.Identity()
            return nn.ModuleList([TimedBlock(dimensions, before, count, width, groups), attention])

        current, skips = channels[0], [channels[0]]
        self.down, self.smaller = nn.ModuleList(), nn.ModuleList()
        for number, (count, attends) in enumerate(zip(channels, settings.attention, strict=True)):
            pairs = nn.ModuleList()
            for _ in range(settings.layers_per_block):
                pairs.append(pair(current, count, attends))
                current = count
                skips.append(count)
            self.down.append(pairs)
            if number < len(channels) - 1:
                self.smaller.append(_conv(dimensions, count, count, stride=2))
                skips.append(count)
        self.middle = nn.ModuleList([pair(current, current, True), pair(current, current, False)])
        self.up, self.larger = nn.ModuleList(), nn.ModuleList()  # coarsest first
        for number in reversed(range(len(channels))):
            pairs = nn.ModuleList()
            for _ in range(settings.layers_per_block + 1):
                pairs.append(pair(current + skips.pop(), channels[number], settings.attention[number]))
                current = channels[number]
            self.up.append(pairs)
            if number:
                self.larger.append(_conv(dimensions, current, current))
        self.leaving = nn.Sequential(nn.GroupNorm(groups, channels[0]), nn.SiLU(), _conv(dimensions, current, outputs))

    def forward(self, joined: Tensor, timesteps: Tensor) -> Tensor:
        """Input [N,C,…] and t [N] -> prediction [N,c,…]."""
        embedded = self.embedding(self.timestep(timesteps).to(joined.dtype))  # [N,E]
        current: Tensor = self.entering(joined)
        skips = [current]
        for number, pairs in enumerate(self.down):
            if number:
                current = self.smaller[number - 1](current)
                skips.append(current)
            for block, attention in pairs:  # type: ignore[attr-defined]
                current = attention(block(current, embedded))
                skips.append(current)
        for block, attention in self.middle:  # type: ignore[misc]
            current = attention(block(current, embedded))
        for number, pairs in enumerate(self.up):
            if number:
                current = self.larger[number - 1](functional.interpolate(current, scale_factor=2.0))
            for block, attention in pairs:  # type: ignore[attr-defined]
                current = attention(block(torch.cat([current, skips.pop()], dim=1), embedded))
        prediction: Tensor = self.leaving(current)
        return prediction


def _conv(dimensions: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    layer = nn.Conv2d if dimensions == 2 else nn.Conv3d
    return layer(inputs, outputs, kernel, stride, kernel // 2)
