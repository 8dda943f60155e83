"""Images, volumes and DICOM series of one's own -> masks in their own size and geometry, with a report of the run."""

from __future__ import annotations

import importlib.metadata
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sdseg import __version__
from sdseg.artifacts import provenance
from sdseg.data.dicom_seg import Maker
from sdseg.data.given import open_file
from sdseg.data.inputs import REPORT, InputFile, find_inputs
from sdseg.data.native import Native
from sdseg.data.native_files import kinds_of, write_masks, write_overlay
from sdseg.errors import UserError
from sdseg.predicting.account import Account
from sdseg.predicting.choosing import Chosen, choose_model
from sdseg.predicting.overlap import overlapped
from sdseg.predicting.segmenting import segment

__all__ = ["Wanted", "predict"]

log = logging.getLogger(__name__)
PACKAGES = (
    "torch",
    "onnxruntime",
    "tensorrt",
    "nibabel",
    "simpleitk",
    "opencv-python-headless",
    "pydicom",
    "highdicom",
)
PROBE = 1 << 16  # bytes


@dataclass(frozen=True)
class Wanted:
    """What a run writes beside the masks, and how it goes about it."""

    probability: bool = False  # `<name>_probability`: 16-bit PNG (65535 is 1) or float32 volume, one per structure
    overlay: bool = False  # `<name>_overlay.png`: the mask's outline, of a volume the slice with the largest mask
    batch: int = 8  # slices computed at a time; images are read in groups of this many
    overwrite: bool = False  # compute again what a former run into the same folder has done


def predict(
    model: Path, inputs: Sequence[Path], output: Path, device: str = "auto", wanted: Wanted | None = None
) -> int:
    """Segment files and write `<name>_mask` for each and predict.json for all; continues where a run was cut off.

    Masks have the input's own size; those of volumes its shape, affine and orientation too. One structure: 0 and 255
    in images, 0 and 1 in volumes. Several: 0 for background and k for the k-th structure of the model, a later
    structure over an earlier one where they overlap. DICOM segmentation objects have a segment per structure.

    Parameters
    ----------
    model: a model folder, an .onnx or .engine file, or a results folder: the best for this machine is taken.
    inputs: images for an RGB model, volumes and DICOM series for a CT model, patterns, or folders of them.
    output: folder to write into; results of the same inputs are replaced, other files are left alone.
    device: 'cpu', 'cuda', or 'auto' for the GPU where the model's runtime can use one.

    Returns 0, or 1 when a file could not be segmented: it is named at the end and in predict.json, the others are
    done. Raises UserError when nothing can be done at all: no model, no such device, no place to write (any more).
    """
    started, wanted = time.perf_counter(), wanted or Wanted()
    logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells of every header it copies
    # 1. A place for the results, the model, the files.
    if wanted.batch < 1:
        raise UserError(f"a batch of {wanted.batch} slices", where="--batch", remedy="give 1 or more")
    _check_writable(output)
    chosen = choose_model(model, device)
    log.info("model %s on %s: %s", chosen.served.path, chosen.served.backend.name, chosen.reason)
    account = Account(output)
    found = find_inputs(inputs, output, account.names)
    for problem in found.problems:
        account.fail(problem)
    for path, reason in found.skipped:
        log.info("left out: %s: %s", path, reason)

    # 2. Read, compute and write, at the same time.
    run = _Run(chosen, output, wanted, account)
    todo = [file for file in found.inputs if wanted.overwrite or not account.kept(file, run.kinds, run.maker.checksum)]
    if len(todo) < len(found.inputs):
        log.info(
            "%d of %d inputs are done already (--overwrite: again)", len(found.inputs) - len(todo), len(found.inputs)
        )
    with tqdm(total=len(todo), desc="predict", unit="file", disable=None) as bar:
        ahead = 1 if wanted.probability else 2  # probability takes many times the memory of masks
        for count in overlapped(_groups(todo, wanted.batch), run.read, run.compute, run.write, ahead):
            bar.update(count)

    # 3. The report, and what went wrong.
    skipped = [{"input": str(path), "reason": reason} for path, reason in found.skipped]
    report = run.report(time.perf_counter() - started) | {"skipped": skipped}
    account.close(report, [file.key for file in found.inputs])
    _tell(account, output)
    return 1 if account.failures else 0


@dataclass
class _Group:
    """Some inputs on their way."""

    opened: list[Native]
    count: int  # inputs, those that failed included
    seconds: float = 0.0


@dataclass(frozen=True)
class _Run:
    """One call of `predict`: what it was asked for, and what its stages do."""

    chosen: Chosen
    output: Path
    wanted: Wanted
    account: Account

    @property
    def kinds(self) -> tuple[str, ...]:
        return kinds_of(self.chosen.served.structures, self.wanted.probability, self.wanted.overlay)

    @property
    def maker(self) -> Maker:
        served = self.chosen.served
        return Maker(f"{served.recipe} {served.dataset}", served.checksum, __version__)

    def read(self, files: Sequence[InputFile]) -> _Group:
        """Open some files; those that fail are noted."""
        started, served, group = time.perf_counter(), self.chosen.served, _Group([], len(files))
        for file in files:
            try:
                group.opened.append(
                    open_file(
                        file,
                        served.image,
                        served.structures,
                        with_probability=self.wanted.probability,
                        with_pixels=self.wanted.overlay,
                    )
                )
            except UserError as error:
                self.account.fail(error, file.path)
            except MemoryError:
                self.account.fail(UserError("larger than the memory", remedy="use a machine with more"), file.path)
        group.seconds += time.perf_counter() - started
        return group

    def compute(self, group: _Group) -> None:
        """Find the masks."""
        started = time.perf_counter()
        try:
            segment(self.chosen.served, group.opened, self.wanted.batch)
        except UserError as error:  # of the model or the device: it concerns the whole group
            for native in group.opened:
                self.account.fail(error, native.file.path)
            group.opened = []
        group.seconds += time.perf_counter() - started

    def write(self, group: _Group) -> int:
        """Write the results; gives how many inputs the group had. Raises UserError when nothing can be written."""
        for native in group.opened:
            started = time.perf_counter()
            try:
                outputs = write_masks(native, self.output, self.maker)
                if self.wanted.overlay:
                    outputs["overlay"] = write_overlay(native, self.output, self.chosen.served.image.window)
                seconds = group.seconds / group.count + time.perf_counter() - started
                self.account.add(native.file, _record(native, outputs, seconds, self.maker.checksum))
            except (UserError, OSError) as error:
                _check_writable(self.output)  # a full disk ends the run, a single name that does not fit does not
                if not isinstance(error, UserError):
                    error = UserError(f"cannot write: {error.strerror or error}", remedy="check name and disk")
                self.account.fail(error, native.file.path)
        return group.count

    def report(self, seconds: float) -> dict[str, Any]:
        """What predict.json says of the run as a whole."""
        served = self.chosen.served
        return {
            "model": {
                "path": str(served.path),
                "checksum": served.checksum,
                "dataset": served.dataset,
                "origin": served.origin,
                "recipe": served.recipe,
                "chosen": self.chosen.reason,
            },
            "backend": served.backend.name,
            "device": self.chosen.device,
            "threshold": served.threshold,
            "values": {str(number): one.name for number, one in enumerate(served.structures, start=1)},
            "seconds": seconds,
            "provenance": provenance(tuple(name for name in PACKAGES if _installed(name))),
        }


def _record(native: Native, outputs: dict[str, str], seconds: float, checksum: str) -> dict[str, Any]:
    """What predict.json says of one input. `seconds` has its share of the time its group took to read and compute."""
    return {
        "outputs": outputs,
        "shape": list(native.shape),
        "pixels": {one.name: int(count) for one, count in zip(native.structures, native.pixels, strict=True)},
        "empty": native.empty,
        "notes": native.notes,
        "seconds": seconds,
        "model": checksum,
    }


def _groups(files: Sequence[InputFile], batch: int) -> Iterator[list[InputFile]]:
    """Up to `batch` images in a row together; a volume alone, for the sake of memory."""
    group: list[InputFile] = []
    for file in files:
        if group and (file.kind != "image" or group[-1].kind != "image" or len(group) == batch):
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _tell(account: Account, output: Path) -> None:
    for record in account.done:
        for note in record["notes"]:
            log.warning("%s: %s", record["input"], note)
        if record["empty"]:
            log.warning("%s: the mask is empty", record["input"])
    for failure in account.failures:
        log.error("%s: %s; %s", failure["input"], failure["problem"], failure["remedy"])
    done, failed = len(account.done), len(account.failures)
    log.info("%d of %d inputs segmented, see %s", done, done + failed, output / REPORT)


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _check_writable(output: Path) -> None:
    """Before hours of work, not after."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output) as stream:
            stream.write(bytes(PROBE))
            stream.flush()
    except OSError as error:
        raise UserError(
            f"cannot write: {error.strerror or error}",
            where=output,
            remedy="choose an output folder you may write to, on a disk with space left; what is done is kept",
        ) from None
