"""What was found in a file, written in the file's own size, geometry and family of formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from sdseg.artifacts.image_contract import Structure
from sdseg.core.array_types import AnyArray
from sdseg.inference.dicom_seg import Maker, write_segmentation
from sdseg.inference.find_inputs import InputFile
from sdseg.inference.hypotheses import spread_of_sizes
from sdseg.inference.native_size import NativeSegmentation
from sdseg.inference.preview import draw_preview
from sdseg.inference.result_pictures import draw_hypotheses, draw_mask
from sdseg.io.images import write_image
from sdseg.io.nifti import write_nifti
from sdseg.io.volumes import write_volume

__all__ = ["FORMATS", "Format", "has_label_map", "probability_kinds", "targets_of", "write_masks", "write_pictures"]

Values: TypeAlias = AnyArray  # [N,H,W] by slice


def _write_values(path: Path, native: NativeSegmentation, values: Values) -> None:
    """On the grid of the input, into a file whose suffix chooses the format."""
    if native.geometry is None:
        pixels = values[0]
        if pixels.dtype == np.float32:
            pixels = np.rint(np.clip(pixels, 0.0, 1.0) * 65535.0).astype(np.uint16)
        write_image(path, pixels)
    else:
        write_volume(native.canonical(values), native.geometry, path)


def _write_ids(path: Path, native: NativeSegmentation, maker: Maker) -> None:
    ids = native.ids()
    white = native.geometry is None and len(native.structures) == 1 and native.file.naming == "sdseg"
    _write_values(path, native, ids * np.uint8(255) if white else ids)


def _write_stack(path: Path, native: NativeSegmentation) -> None:
    """The label maps of all hypotheses as one volume of four axes."""
    if native.geometry is None:
        raise ValueError("an image has no third axis, and so no fourth")
    write_nifti(np.stack([native.canonical(one.ids()) for one in native.hypotheses], axis=-1), native.geometry, path)


@dataclass(frozen=True)
class Format:
    """What the results of an input are written as."""

    mask: str  # ending of the mask's file
    probability: str
    write_mask: Callable[[Path, NativeSegmentation, Maker], None] = _write_ids
    write_values: Callable[[Path, NativeSegmentation, Values], None] = _write_values  # a probability
    # Of all hypotheses together; None where each has a file in the form of the mask.
    write_hypotheses: Callable[[Path, NativeSegmentation], None] | None = None


_NIFTI = Format(".nii.gz", ".nii.gz", write_hypotheses=_write_stack)
_METAIMAGE, _NRRD = Format(".mha", ".mha"), Format(".nrrd", ".nrrd")
# By the suffix of the input, else by its kind.
FORMATS: dict[str, Format] = {
    ".mha": _METAIMAGE,
    ".mhd": _METAIMAGE,
    ".nrrd": _NRRD,
    ".nhdr": _NRRD,
    "image": Format(".png", ".png"),
    "volume": _NIFTI,
    "series": Format(".dcm", ".nii.gz", write_segmentation),
}


def _format_of(file: InputFile) -> Format:
    if file.kind == "series" and file.naming == "nnunet":
        return _NIFTI
    by_suffix = None if file.kind == "series" else FORMATS.get(file.path.suffix.lower())  # any name may be a folder's
    return by_suffix or FORMATS[file.kind]


def _hypothesis_kinds(format_: Format, count: int) -> tuple[str, ...]:
    """The kinds of results that `count` hypotheses are: together, or hypothesis1, hypothesis2, …"""
    if count and format_.write_hypotheses is not None:
        return ("hypotheses",)
    return tuple(f"hypothesis{number}" for number in range(1, count + 1))


def targets_of(
    file: InputFile,
    structures: tuple[Structure, ...],
    *,
    probability: bool,
    overlay: bool,
    preview: bool = False,
    hypotheses: int = 0,
) -> dict[str, str]:
    """Where the results of an input go: kind -> path below the output folder. The one place that names results."""
    format_ = _format_of(file)
    endings = {"mask": format_.mask}
    endings |= dict.fromkeys(probability_kinds(structures) if probability else (), format_.probability)
    endings |= {"overlay": ".png"} if overlay else {}
    endings |= {"preview": ".png"} if preview else {}
    endings |= dict.fromkeys(_hypothesis_kinds(format_, hypotheses), format_.mask)
    endings |= {"confidence": format_.probability, "uncertainty": ".png"} if hypotheses else {}
    names = {kind: f"{file.name}_{kind}{ending}" for kind, ending in endings.items()}
    return names if file.naming == "sdseg" else names | {"mask": f"{file.name}{format_.mask}"}


def has_label_map(file: InputFile, structures: tuple[Structure, ...]) -> bool:
    """Whether the mask's file has the number of a structure in every pixel, and says nothing else of it."""
    in_words = file.kind == "series" and file.naming == "sdseg"  # DICOM has names and colours of its own
    return not in_words and (file.kind != "image" or len(structures) > 1)


def write_masks(native: NativeSegmentation, folder: Path, maker: Maker) -> dict[str, str]:
    """Write mask and what else was wanted: probability, hypotheses and confidence; gives kind -> path below `folder`.

    Images: PNG, a single structure as 0 and 255, several by number; probability as 16 bits, 65535 for 1.
    Volumes: on the grid of the file, by number; NIfTI for NIfTI, MetaImage (.mha) and NRRD for their own. The
    hypotheses are files like the mask, of NIfTI one with a fourth axis. The confidence is written like a probability.
    DICOM: a segmentation object with one segment per structure. Probability of volumes is float32, NIfTI for DICOM.
    With names of nnU-Net every mask is a label map, of images too, and NIfTI for DICOM.
    """
    with_probability, hypotheses = native.probability is not None, len(native.hypotheses)
    names = targets_of(
        native.file, native.structures, probability=with_probability, overlay=False, hypotheses=hypotheses
    )
    format_ = _format_of(native.file)
    names.pop("uncertainty", None)  # a picture
    format_.write_mask(folder / names["mask"], native, maker)
    if hypotheses and format_.write_hypotheses is not None:
        format_.write_hypotheses(folder / names["hypotheses"], native)
    elif hypotheses:
        for kind, hypothesis in zip(_hypothesis_kinds(format_, hypotheses), native.hypotheses, strict=True):
            format_.write_mask(folder / names[kind], hypothesis, maker)
    if native.confidence is not None:
        format_.write_values(folder / names["confidence"], native, native.confidence)
    if native.probability is not None:
        for index, kind in enumerate(probability_kinds(native.structures)):
            format_.write_values(folder / names[kind], native, native.probability[:, index])
    return names


def write_pictures(
    native: NativeSegmentation, folder: Path, window: tuple[float, float], *, overlay: bool, preview: bool = False
) -> dict[str, str]:
    """Write overlay and preview if wanted, and a picture of hypotheses if there are any; gives kind -> path."""
    names = targets_of(
        native.file,
        native.structures,
        probability=False,
        overlay=overlay,
        preview=preview,
        hypotheses=len(native.hypotheses),
    )
    pictures = {"overlay": draw_mask(native, window)} if overlay else {}
    if preview:
        pictures["preview"] = draw_preview(native, window)
    if native.hypotheses:
        pictures["uncertainty"] = draw_hypotheses(native, window, spread_of_sizes(native))
    for kind, picture in pictures.items():
        write_image(folder / names[kind], picture)
    return {kind: names[kind] for kind in pictures}


def probability_kinds(structures: tuple[Structure, ...]) -> tuple[str, ...]:
    """One kind per structure, by its name; by number too where names have the same letters or none that disks take."""
    if len(structures) == 1:
        return ("probability",)
    words = [re.sub(r"[^a-z0-9]+", "-", one.name.lower()) for one in structures]
    if len(set(words)) == len(words) and "-" not in words:
        return tuple(f"probability_{word}" for word in words)
    return tuple(f"probability_{number}-{word}".rstrip("-") for number, word in enumerate(words, start=1))
