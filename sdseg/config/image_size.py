"""Which sizes of image the networks of a recipe can take."""

from __future__ import annotations

from dataclasses import dataclass

from sdseg.config.codec import Codec
from sdseg.config.direct_network import DirectNetwork
from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.config.network import LatentNetwork, UnetConditionEncoder, UnetDenoiser
from sdseg.core.bounded_types import in_pixels
from sdseg.core.errors import UserError

__all__ = ["SizeSteps", "check_halving", "check_size", "size_steps"]

AnyNetwork = LatentNetwork | EndToEndNetwork | DirectNetwork


@dataclass(frozen=True)
class SizeSteps:
    """What each side of an image must be: a multiple, and no less than the least."""

    multiple: int
    least: int = 1
    key: str = ""  # of the network's setting that has as many entries as make the coarsest level so coarse


def size_steps(network: AnyNetwork, codec: Codec | None) -> SizeSteps:
    """For one network; any size will do for one that sees patches (config/patch_checks.py)."""
    if getattr(network, "dimensions", 2) == 3:
        return SizeSteps(1)
    if isinstance(network, DirectNetwork):
        coarsest = network.factor if network.norm == "instance" else 0
        return SizeSteps(network.factor, 2 * coarsest or 1, "network.channels")
    if isinstance(network, EndToEndNetwork):
        return SizeSteps(network.smallest)
    if codec is None:  # missing: said by whoever opens it
        return SizeSteps(1)
    denoiser, condition = network.denoiser, network.condition
    levels = len(denoiser.block_out_channels) - 1
    steps = SizeSteps(codec.factor << levels)
    if isinstance(condition, UnetConditionEncoder):
        coarser = condition.coarser_channels
        key = "coarser_channels" if coarser else "block_out_channels"
        steps = SizeSteps(steps.multiple, 2 * condition.factor << len(coarser), f"network.condition.{key}")
    if isinstance(denoiser, UnetDenoiser) and 2 * codec.factor << levels >= steps.least:
        steps = SizeSteps(steps.multiple, 2 * codec.factor << levels, "network.denoiser.block_out_channels")
    return steps


def check_size(sides: tuple[int, int], network: AnyNetwork, codec: Codec | None, where: str) -> None:
    """Raise UserError where images of this height and width do not fit the network, or its encoder not the codec."""
    if isinstance(network, LatentNetwork) and codec is not None:
        _check_codec(network, codec, where)
    steps = size_steps(network, codec)
    check_halving(sides, steps.multiple, where)
    if min(sides) < steps.least:  # instance norm makes zeros of a map of one pixel
        raise UserError(
            f"size {_shown(sides)} leaves one pixel at the coarsest level, which instance norm cannot normalise",
            where=where,
            remedy=f"use size {_given(_at_least(sides, steps.least))}, or give {steps.key} fewer entries",
        )


def check_halving(sides: tuple[int, int], multiple: int, where: str) -> None:
    """Raise UserError, with the nearest sizes that work, unless both sides are multiples."""
    if not any(side % multiple for side in sides):
        return
    below = _at_least((sides[0] // multiple * multiple, sides[1] // multiple * multiple), multiple)
    above = (-(-sides[0] // multiple) * multiple, -(-sides[1] // multiple) * multiple)
    needed = f"a multiple of {multiple} is needed" if sides[0] == sides[1] else f"multiples of {multiple} are needed"
    raise UserError(
        f"size {_shown(sides)} cannot be halved often enough: {needed}",
        where=where,
        remedy=f"use size {' or '.join(dict.fromkeys((_given(below), _given(above))))}",
    )


def _check_codec(network: LatentNetwork, codec: Codec, where: str) -> None:
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


def _at_least(sides: tuple[int, int], least: int) -> tuple[int, int]:
    return max(sides[0], least), max(sides[1], least)


def _shown(sides: tuple[int, int]) -> str:
    """A square by its side."""
    return str(sides[0]) if sides[0] == sides[1] else in_pixels(sides)


def _given(sides: tuple[int, int]) -> str:
    """As the configuration has it."""
    return str(sides[0]) if sides[0] == sides[1] else str(list(sides))
