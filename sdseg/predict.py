"""Images and volumes of one's own -> masks in their own size and geometry, with a report of the run."""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from sdseg.artifacts import provenance, write_json
from sdseg.data.geometry import Geometry
from sdseg.data.inputs import InputFile, find_inputs
from sdseg.data.overlays import STRUCTURE_COLOURS, Outline, draw_outlines
from sdseg.data.slices import from_axial, resize_images, restore_probability, to_axial, to_display
from sdseg.data.volumes import IMAGE_SUFFIXES, VOLUME_SUFFIXES, read_image, read_volume, write_image, write_volume
from sdseg.errors import UserError
from sdseg.serving import Served, open_model
from sdseg.tensors import AnyArray, FloatArray, LabelArray, MaskArray, RawImages

__all__ = ["predict"]

log = logging.getLogger(__name__)
FORMAT = 1


def predict(
    model: Path,
    inputs: Sequence[Path],
    output: Path,
    device: str = "cpu",
    batch: int = 8,
    probability: bool = False,
    overlay: bool = False,
) -> int:
    """Segment files and write `<name>_mask.png` or `<name>_mask.nii.gz` for each, and run.json for all.

    Masks have the input's own size; those of volumes its shape, affine and orientation too. One structure: 0 and 255
    in images, 0 and 1 in volumes. Several: 0 for background and k for the k-th structure of the model, a later
    structure over an earlier one where they overlap.

    Parameters
    ----------
    model: a model folder or an .onnx file.
    inputs: PNG, JPEG, TIFF or BMP images for an RGB model, NIfTI volumes for a CT model, or folders of them.
    output: folder to write into; files of the same name are replaced, others are left alone.
    device: 'cpu' or 'cuda'.
    batch: slices computed at a time; images are read in groups of this many.
    probability: also write `<name>_probability`: 16-bit PNG (65535 is 1) or float32 NIfTI, one per structure.
    overlay: also write `<name>_overlay.png`: the mask's outline, of a volume the slice with the largest mask.

    Returns 0, or 1 when a file could not be segmented: it is named at the end and in run.json, the others are done.
    Raises UserError when nothing can be done at all: no model, no such device, no place to write.
    """
    # 1. The model, the files, and a place for the results.
    served = open_model(model, device)
    if batch < 1:
        raise UserError(f"a batch of {batch} slices", where="--batch", remedy="give 1 or more")
    files, problems = find_inputs(inputs, output)
    _check_writable(output)
    started = time.perf_counter()
    run = _Run(served, output, batch, probability, overlay, failures=[_failure(problem) for problem in problems])

    # 2. One group of files after the other: read, compute, write.
    with tqdm(total=len(files), desc="predict", unit="file", disable=None) as bar:
        for group in _groups(files, batch):
            run.segment(group)
            bar.update(len(group))

    # 3. The report, and what went wrong.
    write_json(output / "run.json", run.report(time.perf_counter() - started))
    for failure in run.failures:
        log.error("%s: %s; %s", failure["input"], failure["problem"], failure["remedy"])
    for done in run.done:
        if done["empty"]:
            log.warning("%s: the mask is empty", done["input"])
    log.info("%d of %d inputs segmented, see %s", len(run.done), len(run.done) + len(run.failures), output / "run.json")
    return 1 if run.failures else 0


@dataclass
class _Opened:
    """One input with its native slices, and the masks that are filled in slice by slice."""

    file: InputFile
    slices: RawImages  # [N,H,W,C] raw values
    geometry: Geometry | None  # None: an image
    ids: LabelArray  # [N,H,W]: 0, or the number of the structure, from 1
    pixels: npt.NDArray[np.int64]  # per structure, [K]
    probability: FloatArray | None  # [N,K,H,W], where it is wanted
    shown: int = 0  # the slice with the largest mask so far, and its masks [K,H,W]
    shown_masks: MaskArray | None = None

    def put(self, index: int, probability: FloatArray, threshold: float) -> None:
        """Take the native probability [K,H,W] of one slice."""
        masks = probability > threshold  # [K,H,W]
        for number, mask in enumerate(masks, start=1):
            self.ids[index][mask] = number
        self.pixels += masks.sum(axis=(1, 2))
        if self.probability is not None:
            self.probability[index] = probability
        if self.shown_masks is None or masks.sum() > self.shown_masks.sum():
            self.shown, self.shown_masks = index, masks


@dataclass
class _Run:
    """One call of `predict`: what it was asked for, and what came of it."""

    served: Served
    output: Path
    batch: int
    probability: bool
    overlay: bool
    done: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def segment(self, group: Sequence[InputFile]) -> None:
        """Read, segment and write some files; those that fail are noted."""
        started = time.perf_counter()
        opened = []
        for file in group:
            try:
                opened.append(_open(file, self.served, self.probability))
            except UserError as error:
                self.failures.append(_failure(error, file.path))
        try:
            self._compute(opened)
        except UserError as error:  # of the model or the device: it concerns the whole group
            self.failures += [_failure(error, found.file.path) for found in opened]
            return
        for found in opened:
            try:
                outputs = self._write(found)
            except UserError as error:
                self.failures.append(_failure(error, found.file.path))
                continue
            self.done.append(_record(found, outputs, self.served, (time.perf_counter() - started) / len(group)))

    def _compute(self, opened: Sequence[_Opened]) -> None:
        """Fill in the masks of some inputs; a batch may span several of them."""
        size = (self.served.image.size, self.served.image.size)
        flat = [(found, index) for found in opened for index in range(len(found.slices))]
        for start in range(0, len(flat), self.batch):
            part = flat[start : start + self.batch]
            # 1. To the working size.
            images = np.concatenate([resize_images(found.slices[i : i + 1], size) for found, i in part])  # [N,S,S,C]
            # 2. Probability of every structure.
            probability = self.served.backend.probability(images)  # [N,K,S,S]
            if not np.isfinite(probability).all():
                raise UserError(
                    "the model gives NaN or infinite probability", remedy="export or train it again in fp32"
                )
            # 3. Back to the native size; the threshold comes last, so that outlines are smooth.
            for (found, index), own in zip(part, probability, strict=True):
                native = restore_probability(own, found.ids.shape[1:])  # [K,H,W]
                found.put(index, native, self.served.threshold)

    def _write(self, found: _Opened) -> dict[str, str]:
        """Write what was asked for; gives kind -> path below the output folder."""
        outputs: dict[str, AnyArray] = {"mask": found.ids}  # [N,H,W] each
        if found.probability is not None:
            several = len(self.served.structures) > 1
            for index, structure in enumerate(self.served.structures):
                kind = f"probability_{re.sub(r'[^a-z0-9]+', '-', structure.name.lower())}" if several else "probability"
                outputs[kind] = found.probability[:, index]
        names = {}
        for kind, values in outputs.items():
            names[kind] = f"{found.file.name}_{kind}{'.nii.gz' if found.geometry else '.png'}"
            if found.geometry is not None:
                write_volume(from_axial(values), found.geometry, self.output / names[kind])  # [X,Y,Z]
            else:
                write_image(self.output / names[kind], _grey(values[0], len(self.served.structures)))  # [H,W]
        if self.overlay:
            names["overlay"] = f"{found.file.name}_overlay.png"
            write_image(self.output / names["overlay"], _draw(found, self.served))
        return names

    def report(self, seconds: float) -> dict[str, Any]:
        """The content of run.json."""
        served = self.served
        return {
            "format": FORMAT,
            "model": {
                "path": str(served.path),
                "checksum": served.checksum,
                "dataset": served.dataset,
                "origin": served.origin,
                "recipe": served.recipe,
            },
            "backend": served.backend.name,
            "threshold": served.threshold,
            "values": {str(number): one.name for number, one in enumerate(served.structures, start=1)},
            "seconds": seconds,
            "n_done": len(self.done),
            "n_failed": len(self.failures),
            "empty_masks": [done["input"] for done in self.done if done["empty"]],
            "inputs": self.done,
            "failures": self.failures,
            "provenance": provenance(("torch", "onnxruntime", "nibabel", "opencv-python-headless")),
        }


def _open(file: InputFile, served: Served, with_probability: bool) -> _Opened:
    """Read one input. Raises UserError where it is damaged, or of the kind that this model was not made for."""
    if file.volume != (served.image.modality == "ct"):
        wanted = (
            f"CT volumes ({', '.join(VOLUME_SUFFIXES)})" if not file.volume else f"images ({', '.join(IMAGE_SUFFIXES)})"
        )
        raise UserError(
            f"{'a volume' if file.volume else 'an image'}, but this model ({served.dataset}, {served.recipe}) "
            f"was made for {wanted}",
            where=file.path,
            remedy="choose a model for this kind of file, or give the other kind",
        )
    geometry = None
    if file.volume:
        voxels, geometry = read_volume(file.path)  # [X,Y,Z] int16 HU
        slices: RawImages = to_axial(voxels)[..., None]  # [Z,H,W,1]
    else:
        slices = read_image(file.path)[None]  # [1,H,W,3]
    count, (height, width) = len(served.structures), slices.shape[1:3]
    return _Opened(
        file=file,
        slices=slices,
        geometry=geometry,
        ids=np.zeros(slices.shape[:3], dtype=np.uint8),
        pixels=np.zeros(count, dtype=np.int64),
        probability=np.zeros((len(slices), count, height, width), dtype=np.float32) if with_probability else None,
    )


def _record(found: _Opened, outputs: dict[str, str], served: Served, seconds: float) -> dict[str, Any]:
    """What run.json says of one input. `seconds` is its share of the time of its group."""
    shape = found.geometry.shape if found.geometry else found.ids.shape[1:]
    return {
        "input": str(found.file.path),
        "outputs": outputs,
        "shape": list(shape),
        "pixels": {one.name: int(count) for one, count in zip(served.structures, found.pixels, strict=True)},
        "empty": not found.pixels.any(),
        "seconds": seconds,
    }


def _grey(values: AnyArray, structures: int) -> AnyArray:
    """One image's result [H,W] as grey levels: a probability as 16 bits, a single structure as black and white."""
    if values.dtype == np.float32:
        return np.rint(np.clip(values, 0.0, 1.0) * 65535.0).astype(np.uint16)
    return values * np.uint8(255) if structures == 1 else values


def _draw(found: _Opened, served: Served) -> npt.NDArray[np.uint8]:
    image = to_display(found.slices[found.shown], served.image.window)  # [H,W,3]
    height, width, _ = image.shape
    masks = (
        np.zeros((len(served.structures), height, width), np.bool_) if found.shown_masks is None else found.shown_masks
    )
    line = max(2, min(height, width) // 300)
    outlines = tuple(
        Outline(one.name, masks[index : index + 1], STRUCTURE_COLOURS[index % len(STRUCTURE_COLOURS)], line)
        for index, one in enumerate(served.structures)
    )
    note = f"slice {found.shown + 1} of {len(found.slices)}" if found.geometry else ""
    return draw_outlines(image, outlines, note)


def _groups(files: Sequence[InputFile], batch: int) -> Iterator[list[InputFile]]:
    """Up to `batch` images in a row together; a volume alone, for the sake of memory."""
    group: list[InputFile] = []
    for file in files:
        if group and (file.volume or group[-1].volume or len(group) == batch):
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _failure(error: UserError, path: Path | None = None) -> dict[str, str]:
    return {"input": str(path or error.where), "problem": error.what, "remedy": error.remedy}


def _check_writable(output: Path) -> None:
    """Before hours of work, not after."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write: {error.strerror or error}",
            where=output,
            remedy="choose an output folder you may write to, on a disk with space left",
        ) from None
