"""What was found in a file, written in the file's own size, geometry and family of formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from sdseg.artifacts.manifests import Structure
from sdseg.core.array_types import AnyArray
from sdseg.data.transforms import from_axial, to_display
from sdseg.inference.dicom_seg import Maker, write_segmentation
from sdseg.inference.find_inputs import InputFile
from sdseg.inference.hypotheses import hypothesis_kinds
from sdseg.inference.native_size import NativeSegmentation
from sdseg.io.images import write_image
from sdseg.io.pictures import STRUCTURE_COLOURS, Outline, draw_outlines
from sdseg.io.volumes import write_volume

__all__ = ["FORMATS", "Format", "kinds_of", "probability_kinds", "targets_of", "write_masks", "write_overlay"]

Values: TypeAlias = AnyArray  # [N,H,W] by slice
LONGEST = 4096  # pixels along a side of an overlay that is enlarged


def _write_values(path: Path, native: NativeSegmentation, values: Values) -> None:
    """On the grid of the input, into a file whose suffix chooses the format."""
    if native.geometry is None:
        pixels = values[0]
        if pixels.dtype == np.float32:
            pixels = np.rint(np.clip(pixels, 0.0, 1.0) * 65535.0).astype(np.uint16)
        write_image(path, pixels)
    else:
        write_volume(from_axial(values), native.geometry, path)


def _write_ids(path: Path, native: NativeSegmentation, maker: Maker) -> None:
    ids = native.ids()
    if native.geometry is None and len(native.structures) == 1:
        ids = ids * np.uint8(255)
    _write_values(path, native, ids)


@dataclass(frozen=True)
class Format:
    """What the results of an input are written as."""

    mask: str  # ending of the mask's file
    probability: str
    write_mask: Callable[[Path, NativeSegmentation, Maker], None] = _write_ids
    write_values: Callable[[Path, NativeSegmentation, Values], None] = _write_values  # a probability


_METAIMAGE, _NRRD = Format(".mha", ".mha"), Format(".nrrd", ".nrrd")
# By the suffix of the input, else by its kind.
FORMATS: dict[str, Format] = {
    ".mha": _METAIMAGE,
    ".mhd": _METAIMAGE,
    ".nrrd": _NRRD,
    ".nhdr": _NRRD,
    "image": Format(".png", ".png"),
    "volume": Format(".nii.gz", ".nii.gz"),
    "series": Format(".dcm", ".nii.gz", write_segmentation),
}


def _format_of(file: InputFile) -> Format:
    by_suffix = None if file.kind == "series" else FORMATS.get(file.path.suffix.lower())  # any name may be a folder's
    return by_suffix or FORMATS[file.kind]


def kinds_of(
    structures: tuple[Structure, ...], probability: bool, overlay: bool, hypotheses: int = 0
) -> tuple[str, ...]:
    """The kinds of results that a run writes for each input."""
    more = (*(probability_kinds(structures) if probability else ()), *(("overlay",) if overlay else ()))
    return ("mask", *more, *hypothesis_kinds(hypotheses))


def targets_of(
    file: InputFile, structures: tuple[Structure, ...], *, probability: bool, overlay: bool, hypotheses: int = 0
) -> dict[str, str]:
    """Where the results of an input go: kind -> path below the output folder. The one place that names results."""
    format_ = _format_of(file)
    endings = dict.fromkeys(kinds_of(structures, probability, overlay, hypotheses), format_.probability)
    endings |= dict.fromkeys(("mask", *hypothesis_kinds(hypotheses)), format_.mask)
    if overlay:
        endings["overlay"] = ".png"
    return {kind: f"{file.name}_{kind}{ending}" for kind, ending in endings.items()}


def write_masks(native: NativeSegmentation, folder: Path, maker: Maker) -> dict[str, str]:
    """Write mask and, where they were wanted, probability and hypotheses; gives kind -> path below `folder`.

    Images: PNG, a single structure as 0 and 255, several by number; probability as 16 bits, 65535 for 1.
    Volumes: on the grid of the file, by number; NIfTI for NIfTI, MetaImage (.mha) and NRRD for their own.
    DICOM: a segmentation object with one segment per structure. Probability of volumes is float32, NIfTI for DICOM.
    """
    with_probability, hypotheses = native.probability is not None, len(native.hypotheses)
    names = targets_of(
        native.file, native.structures, probability=with_probability, overlay=False, hypotheses=hypotheses
    )
    format_ = _format_of(native.file)
    format_.write_mask(folder / names["mask"], native, maker)
    for kind, hypothesis in zip(hypothesis_kinds(hypotheses), native.hypotheses, strict=True):
        format_.write_mask(folder / names[kind], hypothesis, maker)
    if native.probability is not None:
        for index, kind in enumerate(probability_kinds(native.structures)):
            format_.write_values(folder / names[kind], native, native.probability[:, index])
    return names


def write_overlay(native: NativeSegmentation, folder: Path, window: tuple[float, float]) -> str:
    """Write the slice with the largest mask under its outlines; gives the path below `folder`."""
    if native.pixels_shown is None:
        raise ValueError("the input was opened without its pixels")
    index_shown = int(native.per_slice.argmax()) if not native.empty else len(native.per_slice) // 2
    image = to_display(native.pixels_shown[index_shown], window)  # [H,W,3]
    height, width, _ = image.shape
    line = max(2, min(height, width) // 300)
    one_slice = native.bits[index_shown]
    outlines = tuple(
        Outline(
            _legend(structure.name, index + 1),
            ((one_slice >> one_slice.dtype.type(index)) & one_slice.dtype.type(1)).astype(np.bool_)[None],
            STRUCTURE_COLOURS[index % len(STRUCTURE_COLOURS)],
            line,
        )
        for index, structure in enumerate(native.structures)
    )
    note = f"slice {index_shown + 1} of {len(native.per_slice)}" if native.geometry else ""
    if native.empty:
        note = f"nothing found {note}".strip()
    name = targets_of(native.file, native.structures, probability=False, overlay=True)["overlay"]
    factor = max(1, LONGEST // max(height, width))  # a sliver of an image must not become a huge picture
    write_image(folder / name, draw_outlines(image, outlines, note, smallest=min(512, factor * min(height, width))))
    return name


def probability_kinds(structures: tuple[Structure, ...]) -> tuple[str, ...]:
    """One kind per structure, by its name; by number too where names have the same letters or none that disks take."""
    if len(structures) == 1:
        return ("probability",)
    words = [re.sub(r"[^a-z0-9]+", "-", one.name.lower()) for one in structures]
    if len(set(words)) == len(words) and "-" not in words:
        return tuple(f"probability_{word}" for word in words)
    return tuple(f"probability_{number}-{word}".rstrip("-") for number, word in enumerate(words, start=1))


def _legend(name: str, number: int) -> str:
    """The name of a structure where its letters can be drawn, else its number in the label map."""
    return name if name.isascii() else f"structure {number}"
