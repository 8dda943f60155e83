"""What pictures show of images with several channels: one of them, by its name."""

from __future__ import annotations

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.array_types import RawImages

__all__ = ["shown_name", "shown_of"]


def shown_of(images: RawImages, image: ImageContract) -> RawImages:
    """Of images [...,C] what pictures show: of named channels the one that is chosen, [...,1]; else all; a view."""
    return images[..., image.shown_channel : image.shown_channel + 1] if image.channel_names else images


def shown_name(image: ImageContract) -> str:
    """The name of that channel; "" where there is one file per case."""
    return image.channel_names[image.shown_channel] if image.channel_names else ""
