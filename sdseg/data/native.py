"""A file of the user's at its native size: read for a model, filled with masks slice by slice, written as masks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdseg.artifacts import Structure
from sdseg.data.geometry import Geometry
from sdseg.data.inputs import InputFile
from sdseg.data.overlays import STRUCTURE_COLOURS, Outline, draw_outlines
from sdseg.data.slices import from_axial, restore_probability, to_axial, to_display
from sdseg.data.volumes import IMAGE_SUFFIXES, VOLUME_SUFFIXES, read_image, read_volume, write_image, write_volume
from sdseg.errors import UserError
from sdseg.tensors import AnyArray, FloatArray, LabelArray, MaskArray, RawImages

__all__ = ["Native", "open_native"]


@dataclass
class Native:
    """An image (one slice) or a volume (its axial slices), and what was found in it so far."""

    file: InputFile
    structures: tuple[Structure, ...]
    slices: RawImages  # [N,H,W,C] raw values
    geometry: Geometry | None  # None: an image
    ids: LabelArray  # [N,H,W]: 0, or the number of the structure, from 1; a later structure over an earlier one
    pixels: npt.NDArray[np.int64]  # per structure, [K]
    probability: FloatArray | None  # [N,K,H,W], where it is wanted
    shown: int = 0  # the slice with the largest mask so far
    shown_masks: MaskArray | None = None  # its masks, [K,H,W]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns of an image; voxels along the axes of a volume's file."""
        return self.geometry.shape if self.geometry else self.ids.shape[1:]

    @property
    def empty(self) -> bool:
        """Whether nothing was found."""
        return not self.pixels.any()

    def put(self, index: int, probability: FloatArray, threshold: float) -> None:
        """Take the probability of slice `index` at the working size, [K,h,w].

        It is enlarged before the threshold is applied, so that outlines are smooth.
        """
        height, width = self.ids.shape[1:]
        native = restore_probability(probability, (height, width))  # [K,H,W]
        masks = native > threshold
        for number, mask in enumerate(masks, start=1):
            self.ids[index][mask] = number
        self.pixels += masks.sum(axis=(1, 2))
        if self.probability is not None:
            self.probability[index] = native
        if self.shown_masks is None or masks.sum() > self.shown_masks.sum():
            self.shown, self.shown_masks = index, masks

    def write(self, folder: Path) -> dict[str, str]:
        """Write mask and, where it was wanted, probability; gives kind -> path below `folder`.

        Images: PNG, a single structure as 0 and 255, several by number; probability as 16 bits, 65535 for 1.
        Volumes: NIfTI on the grid of the file, by number; probability as float32.
        """
        values: dict[str, AnyArray] = {"mask": self.ids}  # [N,H,W] each
        if self.probability is not None:
            for index, structure in enumerate(self.structures):
                word = re.sub(r"[^a-z0-9]+", "-", structure.name.lower())
                kind = f"probability_{word}" if len(self.structures) > 1 else "probability"
                values[kind] = self.probability[:, index]
        suffix = ".png" if self.geometry is None else ".nii.gz"
        names = {kind: f"{self.file.name}_{kind}{suffix}" for kind in values}
        for kind, name in names.items():
            if self.geometry is None:
                write_image(folder / name, _grey(values[kind][0], len(self.structures)))  # [H,W]
            else:
                write_volume(from_axial(values[kind]), self.geometry, folder / name)  # [X,Y,Z]
        return names

    def write_overlay(self, folder: Path, window: tuple[float, float]) -> str:
        """Write the slice with the largest mask under its outlines; gives the path below `folder`."""
        image = to_display(self.slices[self.shown], window)  # [H,W,3]
        height, width, _ = image.shape
        masks = self.shown_masks
        if masks is None:
            masks = np.zeros((len(self.structures), height, width), dtype=np.bool_)
        line = max(2, min(height, width) // 300)
        outlines = tuple(
            Outline(one.name, masks[index : index + 1], STRUCTURE_COLOURS[index % len(STRUCTURE_COLOURS)], line)
            for index, one in enumerate(self.structures)
        )
        note = f"slice {self.shown + 1} of {len(self.slices)}" if self.geometry else ""
        name = f"{self.file.name}_overlay.png"
        write_image(folder / name, draw_outlines(image, outlines, note))
        return name


def open_native(
    file: InputFile, modality: str, structures: tuple[Structure, ...], *, with_probability: bool = False
) -> Native:
    """Read an image for an 'rgb' model or a volume for a 'ct' model. Raises UserError for the other kind."""
    if file.volume != (modality == "ct"):
        kind, wanted, suffixes = (
            ("a volume", "images", IMAGE_SUFFIXES) if file.volume else ("an image", "CT volumes", VOLUME_SUFFIXES)
        )
        raise UserError(
            f"{kind}, but this model was made for {wanted} ({', '.join(suffixes)})",
            where=file.path,
            remedy="choose a model for this kind of file, or give the other kind",
        )
    geometry = None
    if file.volume:
        voxels, geometry = read_volume(file.path)  # [X,Y,Z] int16 HU
        slices: RawImages = to_axial(voxels)[..., None]  # [Z,H,W,1]
    else:
        slices = read_image(file.path)[None]  # [1,H,W,3]
    count, (depth, height, width) = len(structures), slices.shape[:3]
    return Native(
        file=file,
        structures=structures,
        slices=slices,
        geometry=geometry,
        ids=np.zeros((depth, height, width), dtype=np.uint8),
        pixels=np.zeros(count, dtype=np.int64),
        probability=np.zeros((depth, count, height, width), dtype=np.float32) if with_probability else None,
    )


def _grey(values: AnyArray, structures: int) -> AnyArray:
    """One image's result [H,W] as grey levels: a probability as 16 bits, a single structure as black and white."""
    if values.dtype == np.float32:
        return np.rint(np.clip(values, 0.0, 1.0) * 65535.0).astype(np.uint16)
    return values * np.uint8(255) if structures == 1 else values
