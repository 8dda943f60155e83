"""Images that are the same picture, found by perceptual hash: of an image itself, of a volume three of its slices.

The hash is imagehash's 256-bit `phash`: signs of the lowest frequencies of a 64×64 thumbnail. How the limit was chosen
is told in docs/data.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from sdseg.core.array_types import RawImages
from sdseg.data.transforms import resize_images, to_display

__all__ = ["LIMIT", "near_pairs", "picture_hash"]

LIMIT = 20  # of 256 bits, on average over the slices of a volume
SIDE, HASH = 64, 16
SLICES = (0.25, 0.5, 0.75)  # of a volume's height

Fingerprint = npt.NDArray[np.uint64]  # [S,4]: 256 bits of each of S slices


def picture_hash(images: RawImages, window: tuple[float, float]) -> Fingerprint | None:
    """The hashes of an image [1,H,W,C], or of three slices of a volume [N,H,W,C] seen through `window`, [S,4].

    None where a picture is of one colour: all such pictures would be each other's duplicates.
    """
    places = [0] if len(images) == 1 else sorted({int(share * (len(images) - 1)) for share in SLICES})
    small = resize_images(np.ascontiguousarray(images[places]), (SIDE, SIDE))
    pictures = [to_display(picture, window) for picture in small]
    if any(picture.min() == picture.max() for picture in pictures):
        return None
    bits = [imagehash.phash(Image.fromarray(picture), hash_size=HASH).hash.ravel() for picture in pictures]
    return np.packbits(np.stack(bits), axis=1).view(np.uint64)


def near_pairs(prints: Sequence[Fingerprint | None]) -> Iterator[tuple[int, int, float]]:
    """Numbers of every two alike and how many bits they differ in, on average over their slices."""
    places: dict[int, list[int]] = {}  # number of slices -> cases that have as many
    for place, own in enumerate(prints):
        if own is not None:
            places.setdefault(len(own), []).append(place)
    for members in places.values():
        stacked = np.stack([own for place in members if (own := prints[place]) is not None])  # [M,S,4]
        for number, place in enumerate(members[:-1]):
            later = stacked[number + 1 :]
            apart = np.bitwise_count(later ^ stacked[number]).sum(axis=(1, 2)) / later.shape[1]
            for other in np.flatnonzero(apart <= LIMIT):
                yield place, members[number + 1 + int(other)], float(apart[other])
