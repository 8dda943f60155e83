"""Images and volumes of one's own -> masks in their own size and geometry, with a report of the run."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sdseg.artifacts import provenance, write_json
from sdseg.data.inputs import InputFile, find_inputs
from sdseg.data.native import Native, open_native
from sdseg.data.slices import resize_images, stretch
from sdseg.errors import UserError
from sdseg.serving import Served, open_model

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
        model, opened = self.served, []
        for file in group:
            try:
                found = open_native(file, model.image.modality, model.structures, with_probability=self.probability)
            except UserError as error:
                self.failures.append(_failure(error, file.path))
                continue
            if model.image.stretch:
                found.slices = stretch(found.slices, model.image.window)
            opened.append(found)
        try:
            self._compute(opened)
        except UserError as error:  # of the model or the device: it concerns the whole group
            self.failures += [_failure(error, found.file.path) for found in opened]
            return
        for found in opened:
            try:
                outputs = found.write(self.output)
                if self.overlay:
                    outputs["overlay"] = found.write_overlay(self.output, model.image.window)
            except UserError as error:
                self.failures.append(_failure(error, found.file.path))
                continue
            self.done.append(_record(found, outputs, (time.perf_counter() - started) / len(group)))

    def _compute(self, opened: Sequence[Native]) -> None:
        """Find the masks of some inputs; a batch may span several of them."""
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
            # 3. Back to the native size.
            for (found, index), own in zip(part, probability, strict=True):
                found.put(index, own, self.served.threshold)

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


def _record(found: Native, outputs: dict[str, str], seconds: float) -> dict[str, Any]:
    """What run.json says of one input. `seconds` is its share of the time of its group."""
    return {
        "input": str(found.file.path),
        "outputs": outputs,
        "shape": list(found.shape),
        "pixels": {one.name: int(count) for one, count in zip(found.structures, found.pixels, strict=True)},
        "empty": found.empty,
        "seconds": seconds,
    }


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
