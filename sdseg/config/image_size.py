"""Which sizes of image the networks of a recipe can take."""

from __future__ import annotations

from sdseg.config.codec import Codec
from sdseg.config.direct_network import DirectNetwork
from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.config.network import LatentNetwork, UnetConditionEncoder, UnetDenoiser
from sdseg.core.errors import UserError

__all__ = ["check_size"]


def check_size(
    size: int, network: LatentNetwork | EndToEndNetwork | DirectNetwork, codec: Codec | None, where: str
) -> None:
    """Raise UserError where images of `size`² pixels do not fit the network, or its encoder not the codec."""
    if getattr(network, "dimensions", 2) == 3:
        return  # it sees patches: config/patch_checks.py
    if isinstance(network, DirectNetwork):
        _check_halving(size, network.factor, where)
        if network.norm == "instance":
            _check_coarsest(size, network.factor, where, "network.channels")
        return
    if isinstance(network, EndToEndNetwork):
        _check_halving(size, network.smallest, where)
        return
    if codec is None:
        return  # missing: said by whoever opens it
    if network.condition.factor != codec.factor:
        raise UserError(
            f"the condition encoder shrinks the image {network.condition.factor}×, the codec {codec.factor}×",
            where=where,
            remedy="give network.condition.block_out_channels as many entries as the codec's",
        )
    enlarged = 1 << (len(network.mask_head.channels) - 1) if network.mask_head else 1
    if enlarged > codec.factor:
        raise UserError(
            f"the mask head would enlarge the latent {enlarged}×, and the codec shrinks the image {codec.factor}×",
            where=f"network.mask_head.channels, {where}",
            remedy=f"give it at most {codec.factor.bit_length()} entries",
        )
    _check_halving(size, codec.factor * 2 ** (len(network.denoiser.block_out_channels) - 1), where)
    if isinstance(network.denoiser, UnetDenoiser):
        levels = len(network.denoiser.block_out_channels) - 1
        _check_coarsest(size, codec.factor << levels, where, "network.denoiser.block_out_channels")
    if isinstance(network.condition, UnetConditionEncoder):
        coarser = network.condition.coarser_channels
        key = "coarser_channels" if coarser else "block_out_channels"
        _check_coarsest(size, network.condition.factor << len(coarser), where, f"network.condition.{key}")


def _check_halving(size: int, multiple: int, where: str) -> None:
    if size % multiple:
        raise UserError(
            f"size {size} cannot be halved often enough: a multiple of {multiple} is needed",
            where=where,
            remedy=f"use size {max(1, round(size / multiple)) * multiple}",
        )


def _check_coarsest(size: int, factor: int, where: str, key: str) -> None:
    """Instance norm makes zeros of a map of one pixel."""
    if size < 2 * factor:
        raise UserError(
            f"size {size} leaves one pixel at the coarsest level, which instance norm cannot normalise",
            where=where,
            remedy=f"use size {2 * factor}, or give {key} fewer entries",
        )
