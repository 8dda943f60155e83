"""A model in a few lines of Python: `sdseg.load(path).predict(image)`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdseg.artifacts.image_contract import ImageContract
from sdseg.backends.open_model import Served
from sdseg.core.array_types import AnyArray, FloatArray, LabelArray, MaskArray
from sdseg.core.errors import ListedError, UserError
from sdseg.inference.choose_model import choose_model, warn_of_origin
from sdseg.inference.find_inputs import find_inputs
from sdseg.inference.group_channels import Channels
from sdseg.inference.load_input import open_array, open_file
from sdseg.inference.pipeline import segment
from sdseg.io.geometry import Geometry
from sdseg.io.images import write_image
from sdseg.io.limits import LIMITS, Limits, asked_limits
from sdseg.io.volumes import write_volume

__all__ = ["Prediction", "Predictor", "load_predictor"]

EXACT_IMAGES = (".png", ".tif", ".tiff", ".bmp")  # a JPEG would blur the mask
VOLUMES = (".nii.gz", ".nii", ".mha", ".nrrd")
NOWHERE = Path("/nonexistent")  # no output folder that could lie among the inputs


@dataclass(frozen=True)
class Prediction:
    """What was found in one image or volume, in its own size and axis order.

    `grid` below is [H,W] of an image or a slice, [i,j,k] of a volume: the axes of its file, as nibabel has them.
    """

    structures: tuple[str, ...]  # K names
    mask: (
        LabelArray  # [grid] uint8: 0, or the number of the structure from 1; where they overlap the inner or later one
    )
    masks: MaskArray  # [K,grid] bool: each structure by itself; they overlap unless `exclusive`
    probability: FloatArray  # [K,grid], 0 to 1
    geometry: Geometry | None  # where the voxels of a volume lie (`.matrix` is the affine); None for images
    notes: tuple[str, ...]  # what is odd about the input
    exclusive: bool = False  # whether no pixel belongs to two structures

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.mask.shape))
        unit = "pixels" if self.geometry is None else "voxels"
        counts = (f"{name} {int(mask.sum())} {unit}" for name, mask in zip(self.structures, self.masks, strict=True))
        notes = f", {len(self.notes)} note{'s' if len(self.notes) > 1 else ''}" if self.notes else ""
        return f"<Prediction {shape}: {', '.join(counts)}{notes}>"

    def save(self, path: str | Path) -> None:
        """Write the mask with the values of `sdseg predict`: .png of an image, .nii.gz, .mha or .nrrd of a volume.

        Raises UserError for another suffix and where it cannot be written.
        """
        path = Path(path)
        suffixes = EXACT_IMAGES if self.geometry is None else VOLUMES
        if not path.name.lower().endswith(suffixes):
            raise UserError("no suffix for this mask", where=path, remedy=f"choose one of {', '.join(suffixes)}")
        if self.geometry is None:
            write_image(path, self.mask * np.uint8(255) if len(self.structures) == 1 else self.mask)
        else:
            volume = self.mask.reshape(self.geometry.shape)  # a slice given with an affine is a volume of one
            write_volume(self.geometry.to_canonical(volume), self.geometry, path)


class Predictor:
    """An open model. One may be used by several threads at once; they take turns in computing."""

    def __init__(self, served: Served, batch: int = 8, reason: str = "", limits: Limits = LIMITS) -> None:
        self._served, self._batch, self._limits, self._lock = served, batch, limits, threading.Lock()
        self.reason = reason  # why this model was taken, of those in a results folder

    def __repr__(self) -> str:
        served = self._served
        structures = ", ".join(self.structures) + (" (exclusive)" if self.exclusive else "")
        origin = "" if served.origin == "real" else f" {served.origin}"
        return (
            f"<Predictor {served.path}: {structures} in {served.image.modality} images, {served.recipe} trained on"
            f"{origin} {served.dataset}, {self.backend}>"
        )

    @property
    def exclusive(self) -> bool:
        """Whether its structures exclude each other: no pixel belongs to two of them."""
        return self._served.rule.exclusive

    @property
    def structures(self) -> tuple[str, ...]:
        """What the model finds, in the order of its numbers."""
        return tuple(one.name for one in self._served.structures)

    @property
    def image(self) -> ImageContract:
        """What the model was made for: 'rgb' images or volumes of a modality, and its working size."""
        return self._served.image

    @property
    def backend(self) -> str:
        """Runtime and device, for example onnxruntime-cpu."""
        return self._served.backend.name

    def predict(
        self, image: AnyArray | str | Path | Mapping[str, str | Path], affine: npt.ArrayLike | None = None
    ) -> Prediction:
        """Find the model's structures in one image or volume.

        Parameters
        ----------
        image: a path (image, volume, folder with one DICOM series), or an array. RGB models take [H,W,3], [H,W,4] or
            grey [H,W], uint8 or uint16. CT models take Hounsfield units, those of other volumes the scanner's own
            values: a volume [i,j,k] with its `affine`, an axial slice [i,j] of one with the same `affine`, or an axial
            slice [H,W] without, as radiologists see it: row 0 the patient's front, column 0 the right side. Without
            affine a note says that it was taken so. Of several channels a mapping of their names to paths, a path as
            nnU-Net names it (the others lie beside it), or an array with the channels as its last axis.
        affine: of an array: [4,4], voxel to millimetres in RAS+, as nibabel has it. Images have none, files their own.

        Raises sdseg.core.errors.UserError for what the model was not made for, and for damaged files.
        """
        served = self._served
        if isinstance(image, str | Path | Mapping):
            if affine is not None:
                raise UserError(
                    "an affine beside a file, which has its own",
                    where=str(image),
                    remedy="leave it out, or give the voxels as an array: predict(array, affine=affine)",
                )
            several = {name: (Path(path),) for name, path in image.items()} if isinstance(image, Mapping) else {}
            listing = find_inputs(
                [] if isinstance(image, Mapping) else [Path(image)],
                NOWHERE,
                model=served.words,
                modality=served.image.modality,
                channels=Channels(served.image.channel_names, several),
            )
            if listing.problems:
                raise listing.problems[0]
            if len(listing.inputs) != 1:
                raise ListedError(
                    f"{len(listing.inputs)} inputs where one is expected:",
                    (one.name for one in listing.inputs),
                    where=str(image),
                    remedy="give one file or series, or use 'sdseg predict' for a folder",
                )
            native = open_file(
                listing.inputs[0], served.image, served.structures, with_probability=True, limits=self._limits
            )
        else:
            native = open_array(image, affine, served.image, served.structures)
        with self._lock:
            segment(served, [native], self._batch)
        if native.probability is None:
            raise ValueError("opened without a place for the probability")
        count = range(len(served.structures))
        return Prediction(
            structures=self.structures,
            mask=np.ascontiguousarray(native.as_file(native.ids())),
            masks=np.stack([native.as_file(native.mask(number)) for number in count]),
            probability=np.stack([native.as_file(native.probability[:, number]) for number in count]),
            geometry=native.geometry,
            notes=tuple(native.notes),
            exclusive=self.exclusive,
        )


def load_predictor(
    path: str | Path,
    device: str = "auto",
    batch: int = 8,
    max_pixels: int | None = None,
    max_voxels: int | None = None,
) -> Predictor:
    """Open a model for `Predictor.predict`; what `sdseg.load` does.

    `path` is a model folder, an .onnx or .engine file, or a results folder, whose best model for this machine is taken;
    `device` is 'cpu', 'cuda', 'auto', or for graphs 'openvino' or 'openvino-bf16'; `batch` is how many slices of a
    volume are computed at a time; `max_pixels` of an image and `max_voxels` of a volume are read from files, None for
    16384² and 1024³. Raises UserError where it cannot be opened.
    """
    if batch < 1:
        raise UserError(f"a batch of {batch} slices", where="batch", remedy="give 1 or more")
    chosen = choose_model(Path(path), device)
    warn_of_origin(chosen.served)
    return Predictor(chosen.served, batch, chosen.reason, asked_limits(max_pixels, max_voxels))
