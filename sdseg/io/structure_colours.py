"""One colour for each structure, the same wherever it is shown: pictures, label files of viewers, DICOM."""

from __future__ import annotations

import colorsys

__all__ = ["Colour", "structure_colour"]

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255
# Apart for every kind of colour vision (Okabe and Ito's set, without its black).
FIRST: tuple[Colour, ...] = (
    (240, 228, 66),
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
GOLDEN = 0.618034  # of a turn of hue between one colour and the next: those drawn so far stay far from a new one
SHADES = ((0.55, 0.95), (0.9, 0.75), (0.35, 0.8))  # saturation and value, in turns


def structure_colour(number: int) -> Colour:
    """The colour of structure `number`, counted from 0; no two of the first 64 are the same."""
    if number < len(FIRST):
        return FIRST[number]
    saturation, value = SHADES[number % len(SHADES)]
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
