"""Names and colours of a label map's numbers, as viewers read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sdseg.io.structure_colours import structure_colour

__all__ = ["itk_snap_lines", "slicer_lines"]

RULE = "################################################\n"


def slicer_lines(names: Sequence[str]) -> Iterator[str]:
    """A colour table of 3D Slicer (.ctbl): value, name without spaces, red, green, blue, opacity."""
    yield "# Color table file\n"
    yield f"# {len(names) + 1} values\n"
    yield "0 background 0 0 0 0\n"
    for number, name in enumerate(names, start=1):
        red, green, blue = structure_colour(number - 1)
        yield f"{number} {'_'.join(name.split())} {red} {green} {blue} 255\n"


def itk_snap_lines(names: Sequence[str]) -> Iterator[str]:
    """Label descriptions of ITK-SNAP: value, red, green, blue, opacity, visible, visible as a mesh, name in quotes."""
    yield f"{RULE}# ITK-SnAP Label Description File\n# File format:\n"
    yield f"# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n{RULE}"
    yield _snap(0, (0, 0, 0), 0, "Clear Label")
    for number, name in enumerate(names, start=1):
        yield _snap(number, structure_colour(number - 1), 1, " ".join(name.replace('"', "'").split()))


def _snap(number: int, colour: tuple[int, int, int], shown: int, name: str) -> str:
    red, green, blue = colour
    return f'{number:5d} {red:5d} {green:4d} {blue:4d} {shown:8d} {shown:2d} {shown:2d}    "{name}"\n'
