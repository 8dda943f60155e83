"""Less memory in training for more arithmetic: the insides of blocks are computed again in the backward pass."""

from __future__ import annotations

from functools import partial

from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.utils.checkpoint import checkpoint

from sdseg.models.spatial_unet import SelfAttention, TimedBlock
from sdseg.models.unet_blocks import ConvolutionPair, NormalisedPair

__all__ = ["recompute_blocks"]


def recompute_blocks(module: nn.Module) -> None:
    """Let every block below `module` keep its input alone for the backward pass, and make the rest once more in it.

    Gradients are the same to the bit where the kernels are, dropout included. For the copy that is trained: one that is
    averaged, validated or exported stays as it is. Blocks are diffusers', MONAI's and ours.
    """
    from monai.networks.blocks.convolutions import Convolution, ResidualUnit  # MONAI takes seconds to import
    from monai.networks.blocks.dynunet_block import UnetBasicBlock
    from monai.networks.nets.basic_unet import TwoConv

    monais = (TwoConv, UnetBasicBlock, ResidualUnit, Convolution)
    ours = (TimedBlock, SelfAttention, ConvolutionPair, NormalisedPair)
    _wrap(module, (ResnetBlock2D, Attention, Transformer2DModel, Downsample2D, Upsample2D, *monais, *ours))


def _wrap(module: nn.Module, blocks: tuple[type[nn.Module], ...]) -> None:
    """Blocks are wrapped whole: what lies within one is not wrapped again."""
    for child in module.children():
        if isinstance(child, blocks):
            child.forward = partial(checkpoint, child.forward, use_reentrant=False)
        else:
            _wrap(child, blocks)
