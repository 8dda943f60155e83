"""A classic U-Net as denoiser: nnU-Net's blocks, every level shifted by the timestep."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn

from sdseg.config.network import UnetDenoiser
from sdseg.models.unet_blocks import NormalisedPair, UpsamplingBlock

__all__ = ["ClassicUnet"]

EMBEDDING = 4  # its width, in channels of the first level, as in LDM's UNet


class ClassicUnet(nn.Module):
    """Two convolutions with instance norm and LeakyReLU a level, strided ones between levels, one 1×1 at the end.

    The blocks are those of MONAI's `DynUNet`. What each gives on the way down is shifted, channel by channel, by a
    linear map of the timestep's embedding; of several structures, which one it is joins that embedding.
    """

    def __init__(self, settings: UnetDenoiser, inputs: int, outputs: int, structures: int | None) -> None:
        super().__init__()
        channels, dropout = settings.block_out_channels, settings.dropout
        width = EMBEDDING * channels[0]
        self.timestep = Timesteps(channels[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.embedding = TimestepEmbedding(channels[0], width)
        self.structure = nn.Embedding(structures, width) if structures else None
        self.down = nn.ModuleList(
            NormalisedPair(before, count, 2 if level else 1, dropout)
            for level, (before, count) in enumerate(pairwise((inputs, *channels)))
        )
        self.shift = nn.ModuleList(nn.Linear(width, count) for count in channels)
        self.up = nn.ModuleList(  # coarsest first
            UpsamplingBlock(below, count, dropout) for count, below in reversed(list(pairwise(channels)))
        )
        self.output = nn.Conv2d(channels[0], outputs, 1)

    @property
    def mid_block(self) -> nn.Module:
        """The coarsest block: [N,M,h/2^L,w/2^L]."""
        return self.down[-1]

    def forward(self, joined: Tensor, timesteps: Tensor, structure: Tensor | None, coarser: Sequence[Tensor]) -> Tensor:
        """Input [N,C,h,w], t [N] and the structure's index [N] -> prediction [N,c,h,w].

        `coarser`: [N,M,h/2,w/2], [N,M',h/4,w/4], … of the levels' own channels, added to them on the way down.
        """
        embedded = self.embedding(self.timestep(timesteps).to(joined.dtype))  # [N,E]
        if self.structure is not None and structure is not None:
            embedded = embedded + self.structure(structure)
        current, skips = joined, []
        for level, (block, shift) in enumerate(zip(self.down, self.shift, strict=True)):
            current = block(current) + shift(embedded)[:, :, None, None]
            if 0 < level <= len(coarser):
                current = current + coarser[level - 1]
            skips.append(current)
        current = skips.pop()
        for block in self.up:
            current = block(current, skips.pop())
        prediction: Tensor = self.output(current)
        return prediction
