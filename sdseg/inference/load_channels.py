"""The channels of a case, each opened by itself as a model of one channel would, on one grid, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.data.read_channels import check_grids, check_sizes
from sdseg.inference.find_inputs import InputFile
from sdseg.inference.native_size import NativeSegmentation

__all__ = ["channels_of_array", "contract_of_channel", "side_by_side"]


def contract_of_channel(image: ImageContract, number: int) -> ImageContract:
    """What a model of one of the channels alone would want."""
    return image.model_copy(
        update={
            "channels": 1,
            "channel_names": (image.channel_names[number],),
            "shown_channel": 0,
            "normalisations": image.normalisations[number : number + 1],
            "intensities": image.channel_intensities[number] if image.channel_intensities else None,
            "channel_intensities": (),
        }
    )


def channels_of_array(array: AnyArray, image: ImageContract) -> list[AnyArray]:
    """Views of an array's channels, which are its last axis. Raises UserError where it has others than the model's."""
    names = ", ".join(image.channel_names)
    if not isinstance(array, np.ndarray) or array.ndim < 3 or array.shape[-1] != image.channels:
        shape = array.shape if isinstance(array, np.ndarray) else f"none, a {type(array).__name__}"
        raise UserError(
            f"an array of shape {shape}; this model wants {image.channels} channels ({names}) as its last axis",
            remedy="numpy.stack([first, second], axis=-1), or predict({'NAME': path}) with a file for each",
        )
    return [array[..., number] for number in range(image.channels)]


def side_by_side(file: InputFile, opened: Sequence[NativeSegmentation], image: ImageContract) -> NativeSegmentation:
    """One input of the channels in the model's order. Raises UserError for grids or sizes that differ, with both."""
    named = [(name, one.file.path) for name, one in zip(image.channel_names, opened, strict=True)]
    grids = [(channel, one.geometry) for channel, one in zip(named, opened, strict=True) if one.geometry is not None]
    if grids:
        check_grids(grids)
    check_sizes([(channel, one.size) for channel, one in zip(named, opened, strict=True)])
    first, shown = opened[0], opened[image.shown_channel]
    common = [note for note in first.notes if all(note in one.notes for one in opened)]
    notes = [f"{name}: {note}" for (name, _), one in zip(named, opened, strict=True) for note in one.notes]
    return replace(
        first,
        file=file,
        images=np.concatenate([one.images for one in opened], axis=-1),
        pixels_shown=shown.pixels_shown,
        raw_values=shown.raw_values,
        notes=common + [note for note in notes if note.partition(": ")[2] not in common],
    )
