"""A file of the user's at its native size: ready for a model slice by slice, filled with what the model finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdseg.artifacts.image_contract import Structure
from sdseg.config.shape import Plane
from sdseg.core.array_types import AnyArray, FloatArray, LabelArray, MaskArray, RawImages
from sdseg.core.errors import UserError
from sdseg.data.fit import SliceFit
from sdseg.data.mask_rule import MaskRule
from sdseg.data.slicing import along_slices, from_slices
from sdseg.inference.find_inputs import InputFile
from sdseg.io.geometry import Geometry

__all__ = ["NativeSegmentation"]


@dataclass
class NativeSegmentation:
    """An image (one slice) or a volume (its slices), and what was found in it so far.

    The masks of all structures lie in one array of bits: structures may overlap, and thirteen of them in a CT volume
    would fill the memory otherwise.
    """

    file: InputFile
    structures: tuple[Structure, ...]
    images: RawImages  # [N,S,S,C] raw values, or normalised ones, at the working size
    fit: SliceFit  # how these come from the native size
    geometry: Geometry | None = None  # None: an image
    plane: Plane = "axial"  # of the slices of a volume
    sources: tuple[Path, ...] = ()  # of a DICOM series: its files slice by slice
    pixels_shown: RawImages | None = None  # [N,H,W,C] the same at the native size, where a picture of them is wanted
    raw_values: RawImages | None = None  # [N,H,W,C] where those shown are normalised, and wanted: as the file has them
    with_probability: bool = False
    flat: bool = False  # given as one slice [i,j] of a volume: its values have no third axis
    notes: list[str] = field(default_factory=list)  # what is odd about it
    hypotheses: tuple[NativeSegmentation, ...] = ()  # the same input, of each the masks of one; none: not wanted
    hypothesis: int = 0  # which of them this is, from 1; 0: the mask itself
    bits: AnyArray = field(init=False)  # [N,H,W]: bit k is structure k
    pixels: npt.NDArray[np.int64] = field(init=False)  # of each structure, overlaps included, [K]
    per_slice: npt.NDArray[np.int64] = field(init=False)  # pixels of any structure, [N]
    probability: FloatArray | None = field(init=False, default=None)  # [N,K,H,W], where it is wanted
    confidence: FloatArray | None = field(init=False, default=None)  # [N,H,W], beside hypotheses: see `put_hypotheses`

    def __post_init__(self) -> None:
        count, slices = len(self.structures), len(self.images)
        if count > 64:
            raise UserError(f"a model of {count} structures", where=self.file.path, remedy="64 are the most here")
        width = next(bits for bits in (8, 16, 32, 64) if count <= bits)
        self.bits = np.zeros((slices, *self.size), dtype=f"uint{width}")
        self.pixels = np.zeros(count, dtype=np.int64)
        self.per_slice = np.zeros(slices, dtype=np.int64)
        if self.with_probability:
            self.probability = np.zeros((slices, count, *self.size), dtype=np.float32)

    @property
    def size(self) -> tuple[int, int]:
        """Native rows and columns."""
        return self.fit.native

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns of an image; voxels along the axes of a volume's file."""
        return self.geometry.shape if self.geometry else self.size

    @property
    def millilitres_per_voxel(self) -> float | None:
        """The volume of a voxel; None for an image, whose pixels have no known size."""
        if self.geometry is None:
            return None
        return abs(float(np.linalg.det(self.geometry.matrix[:3, :3]))) / 1000.0  # of mm³

    @property
    def empty(self) -> bool:
        """Whether nothing was found."""
        return not self.pixels.any()

    def put(self, index: int, probability: FloatArray, rule: MaskRule) -> None:
        """Take the probability of slice `index` at the working size, [K,h,w].

        It is enlarged before it becomes masks, so that outlines are smooth.
        """
        native = self.fit.restore(probability)  # [K,H,W]
        bits = self.bits[index]
        bits[...] = 0
        for number, mask in enumerate(rule.masks(native)):
            self.pixels[number] += np.count_nonzero(mask)
            bits |= mask.astype(bits.dtype) << bits.dtype.type(number)
        self.per_slice[index] = np.count_nonzero(bits)
        if self.probability is not None:
            self.probability[index] = native

    def put_hypotheses(self, index: int, probabilities: FloatArray, rule: MaskRule) -> None:
        """Take every hypothesis of slice `index` at the working size, [S,K,h,w].

        The confidence in a pixel is the probability of what the mask says of it: the mean p over the hypotheses inside,
        1 − p outside; of several structures that of the one that is least sure.
        """
        for hypothesis, own in zip(self.hypotheses, probabilities, strict=True):
            hypothesis.put(index, own, rule)
        if self.confidence is None:
            self.confidence = np.zeros(self.bits.shape, dtype=np.float32)
        native = self.fit.restore(np.asarray(probabilities.mean(axis=0), dtype=np.float32))  # [K,H,W]
        self.confidence[index] = np.where(rule.masks(native), native, 1.0 - native).min(axis=0)

    def finish(self, rule: MaskRule) -> None:
        """Post-process the masks, once every slice is there; the probability stays as the model gave it."""
        for hypothesis in self.hypotheses:
            hypothesis.finish(rule)
        if not rule.postprocesses:
            return
        rule.finish_in_place(self, len(self.structures))
        self.pixels[:] = [np.count_nonzero(self.mask(number)) for number in range(len(self.structures))]
        self.per_slice[:] = np.count_nonzero(self.bits, axis=(1, 2))

    def replace(self, number: int, mask: MaskArray) -> None:
        """Let structure `number` be where `mask` [N,H,W] is."""
        bit = self.bits.dtype.type(1 << number)
        np.bitwise_and(self.bits, ~bit, out=self.bits)
        np.bitwise_or(self.bits, bit, out=self.bits, where=mask)

    def mask(self, number: int) -> MaskArray:
        """Where structure `number` is, [N,H,W]."""
        return np.asarray((self.bits >> self.bits.dtype.type(number)) & self.bits.dtype.type(1), dtype=np.bool_)

    def ids(self) -> LabelArray:
        """One label map [N,H,W]: 0, or the number of the structure from 1.

        Where structures overlap it shows one of them: an inner one (a cup) over the one it is part of (its disc),
        whatever their order, else the later one.
        """
        ids = np.zeros(self.bits.shape, dtype=np.uint8)
        for number in sorted(range(len(self.structures)), key=lambda one: -len(set(self.structures[one].values))):
            ids[self.mask(number)] = number + 1
        return ids

    def label_counts(self) -> npt.NDArray[np.int64]:
        """Pixels of each structure's number in the label map, [K]: fewer than `pixels` where structures overlap."""
        count, total = len(self.structures) + 1, np.zeros(len(self.structures) + 1, dtype=np.int64)
        for plane in self.ids():  # a whole volume at once would take eight times its size
            total += np.bincount(plane.ravel(), minlength=count)
        return total[1:]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres between slices, rows and columns; empty for an image."""
        return along_slices(self.geometry.spacing, self.plane) if self.geometry else ()

    def canonical(self, slices: AnyArray) -> AnyArray:
        """Values by slice [N,H,W] of a volume along the patient's axes, [X,Y,Z]; a view."""
        return from_slices(slices, self.plane)

    def as_file(self, slices: AnyArray) -> AnyArray:
        """Values by slice [N,H,W] as the file has them: [H,W] of an image, [i,j,k] of a volume; a view."""
        if self.geometry is None:
            return np.asarray(slices[0])
        values = self.geometry.to_native(self.canonical(slices))
        return values[..., 0] if self.flat else values
