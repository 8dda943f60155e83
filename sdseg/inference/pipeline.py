"""What happens to the inputs of a run, in three stages that go on at the same time: reading, computing, writing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sdseg import __version__
from sdseg.backends.base import batch_for, hypotheses_of, window_of
from sdseg.backends.open_model import Served
from sdseg.backends.probability import check_finite
from sdseg.config.patches import SlidingWindow
from sdseg.core.array_types import FloatArray, RawImages
from sdseg.core.errors import UserError
from sdseg.data.neighbours import with_neighbours
from sdseg.data.shown_channel import shown_name
from sdseg.inference.choose_model import ChosenModel
from sdseg.inference.choose_tiles import counting_tiles
from sdseg.inference.dicom_seg import Maker
from sdseg.inference.find_inputs import InputFile, Naming
from sdseg.inference.hypotheses import hypotheses_given, record_of, spread_of_sizes
from sdseg.inference.load_input import open_file
from sdseg.inference.native_size import NativeSegmentation
from sdseg.inference.output_folder import check_room
from sdseg.inference.place_results import ResultFiles
from sdseg.inference.run_record import RunLog
from sdseg.inference.structure_statistics import statistics_of
from sdseg.inference.write_outputs import targets_of, write_masks, write_pictures
from sdseg.io.images import pixels_of
from sdseg.io.limits import LIMITS, Limits

__all__ = ["InputGroup", "PredictOptions", "Stages", "input_groups", "segment"]

log = logging.getLogger(__name__)
TOGETHER = 1 << 25  # pixels of the images of a group, unless there is but one


@dataclass(frozen=True)
class PredictOptions:
    """What a run writes beside the masks, and how it goes about it."""

    probability: bool = False  # `<name>_probability`: 16-bit PNG (65535 is 1) or float32 volume, one per structure
    # `<name>_hypothesis1`, …, of NIfTI `<name>_hypotheses`: the masks of each, of a model that samples; and with them
    # `<name>_confidence` and `<name>_uncertainty.png`
    hypotheses: bool = False
    samples: int | None = None  # how many are drawn; None: as many as the model was made to
    naming: Naming = "sdseg"  # "nnunet": the mask is `<case>.nii.gz` and the like, a label map
    preview: bool = False  # `<name>_preview.png`: a volume at one glance, of an image its overlay
    exclusive: bool | None = None  # whether structures exclude each other; None, as below: as the model was made
    keep_largest: bool | None = None  # of every structure the largest connected part alone
    fill_holes: bool | None = None
    tiles: bool | None = None  # whether images are seen in tiles of their own pixels; None: as the model was made
    overlap: float | None = None  # of tiles, a share of one; None: as the model was made
    overlay: bool = False  # `<name>_overlay.png`: the mask's outline, of a volume the slice with the largest mask
    batch: int = 8  # slices computed at a time; images are read in groups of this many
    overwrite: bool = False  # compute again what a former run has done; replace files that no run wrote
    limits: Limits = LIMITS  # the largest image and volume that is read
    channels: tuple[tuple[str, Path], ...] = ()  # of a model of several: names and files, folders or patterns of each


@dataclass
class InputGroup:
    """Some inputs on their way."""

    opened: list[NativeSegmentation]
    count: int  # inputs, those that failed included
    seconds: float = 0.0


def input_groups(files: Sequence[InputFile], batch: int) -> Iterator[list[InputFile]]:
    """Up to `batch` images in a row together, fewer where they are large; a volume alone, for the sake of memory."""
    group, group_pixels = list[InputFile](), 0
    for file in files:
        pixels = pixels_of(file.path) if file.kind == "image" else TOGETHER
        if group and (len(group) == batch or group_pixels + pixels > TOGETHER):
            yield group
            group, group_pixels = [], 0
        group.append(file)
        group_pixels += pixels
    if group:
        yield group


@dataclass(frozen=True)
class Stages:
    """The stages of one run: an input that fails in any is noted, and the others go on."""

    chosen: ChosenModel
    output: Path
    options: PredictOptions
    run_log: RunLog
    files: Sequence[InputFile] = ()  # all inputs of the run: none may be replaced by a result of another

    @cached_property
    def results(self) -> ResultFiles:
        """Where results go."""
        return ResultFiles(self.run_log, self.files, self._targets, overwrite=self.options.overwrite)

    def kept(self, file: InputFile) -> bool:
        """Whether a former run has made all that is wanted of this input; then it is noted as done."""
        checksum, rule, samples = self.maker.checksum, self.chosen.served.rule, self.options.samples
        return self.run_log.kept(file, self._targets(file), checksum, rule, samples, self._tiles)

    @cached_property
    def hypotheses(self) -> int:
        """How many hypotheses of each input are written. Raises UserError where the model gives none."""
        return hypotheses_given(self.chosen.served) if self.options.hypotheses else 0

    @property
    def one_label_each(self) -> bool:
        """Whether a label map holds all that was found: no pixel belongs to two structures."""
        served = self.chosen.served
        return served.rule.exclusive or len(served.structures) == 1

    @property
    def maker(self) -> Maker:
        """Who finds the masks."""
        served = self.chosen.served
        return Maker(f"{served.recipe} {served.dataset}", served.checksum, __version__)

    def read(self, files: Sequence[InputFile]) -> InputGroup:
        """Open some files."""
        started, group = time.perf_counter(), InputGroup([], len(files))
        for file in files:
            try:
                self.results.check(file)
                group.opened.append(self._open(file))
            except Exception as error:  # whatever it is, it is one file's
                log.debug("%s", file.path, exc_info=True)
                self.run_log.fail(_in_our_words(error), file.path)
        group.seconds += time.perf_counter() - started
        return group

    def compute(self, group: InputGroup, progress: Callable[[int, int], None] | None = None) -> None:
        """Find the masks; `progress` is told the slices done and all slices of the group."""
        started = time.perf_counter()
        try:
            segment(self.chosen.served, group.opened, self.options.batch, progress)
        except UserError as error:  # of the model or the device: it concerns the whole group
            for native in group.opened:
                self.run_log.fail(error, native.file.path)
            group.opened = []
        group.seconds += time.perf_counter() - started

    def write(self, group: InputGroup) -> int:
        """Write the results; gives how many inputs the group had. Raises UserError when nothing can be written."""
        for native in group.opened:
            started = time.perf_counter()
            try:
                with self.results.aside() as folder:
                    outputs = write_masks(native, folder, self.maker)
                    window, overlay = self.chosen.served.image.window, self.options.overlay
                    outputs |= write_pictures(native, folder, window, overlay=overlay, preview=self.options.preview)
                    seconds = group.seconds / group.count + time.perf_counter() - started
                    record = self._record(native, outputs, seconds)
                    self.results.place(native.file, record, folder)
            except Exception as error:
                log.debug("%s", native.file.path, exc_info=True)
                # A disk without room for one such result ends the run; a name that is too long for it does not.
                check_room(self.output, native.bits.size * (4 if self.options.probability else 1))
                self.run_log.fail(_in_our_words(error), native.file.path)
        return group.count

    def _targets(self, file: InputFile) -> dict[str, str]:
        options = self.options
        wanted = {"probability": options.probability, "overlay": options.overlay, "preview": options.preview}
        return targets_of(file, self.chosen.served.structures, **wanted, hypotheses=self.hypotheses)

    @property
    def _tiles(self) -> dict[str, Any] | None:
        """How images are seen in tiles; None: they are not."""
        tiles = self.chosen.served.image.tiles
        return None if tiles is None else tiles.model_dump(mode="json")

    def _record(self, native: NativeSegmentation, outputs: dict[str, str], seconds: float) -> dict[str, Any]:
        """What predict.json says of one input. `seconds` has its share of the time its group took."""
        pixels = _named(native, native.pixels)
        record: dict[str, Any] = {"outputs": outputs, "shape": list(native.shape), "pixels": pixels}
        if not self.one_label_each and not outputs["mask"].endswith(".dcm"):  # which keeps overlaps
            record["label_map"] = _named(native, native.label_counts())
        image = self.chosen.served.image
        record |= statistics_of(native, image.modality, shown_name(image))
        voxel = native.millilitres_per_voxel
        if voxel is not None:
            record["millilitres"] = {name: round(count * voxel, 3) for name, count in pixels.items()}
        if native.hypotheses:
            record |= {"hypotheses": record_of(native), "over_hypotheses": spread_of_sizes(native)}
        if self.options.samples is not None:
            record["samples"] = self.options.samples
        if self._tiles is not None:
            record["tiles"] = self._tiles
        rule, model = asdict(self.chosen.served.rule), self.maker.checksum
        return record | {"empty": native.empty, "notes": native.notes, "seconds": seconds, "model": model, "rule": rule}

    def _open(self, file: InputFile) -> NativeSegmentation:
        served = self.chosen.served
        native = open_file(
            file,
            served.image,
            served.structures,
            with_probability=self.options.probability,
            with_pixels=True,
            limits=self.options.limits,
        )
        native.hypotheses = tuple(
            # Notes of their own: what is odd about the input is said once, beside the mask.
            replace(native, with_probability=False, pixels_shown=None, raw_values=None, notes=[], hypothesis=number)
            for number in range(1, self.hypotheses + 1)
        )
        return native


def _named(native: NativeSegmentation, counts: Iterable[int]) -> dict[str, int]:
    return {one.name: int(count) for one, count in zip(native.structures, counts, strict=True)}


def _in_our_words(error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    if isinstance(error, MemoryError):
        return UserError("larger than the memory", remedy="use a machine with more")
    if isinstance(error, OSError):
        return UserError(f"cannot be read or written: {error.strerror or error}", remedy="check name and disk")
    first = (str(error).splitlines() or [""])[0]
    return UserError(
        f"cannot be worked on: {type(error).__name__} {first}".rstrip(),
        remedy="replace the file by a whole copy; if it is one, please report this with what '--verbose' says",
    )


def segment(
    served: Served, opened: Sequence[NativeSegmentation], batch: int, progress: Callable[[int, int], None] | None = None
) -> None:
    """Fill in what the model finds in some inputs; a batch of slices may span several of them.

    `progress` is told after each batch how many of all slices are done, of images in tiles how many tiles.
    Raises UserError where the model fails or gives NaN.
    """
    sampled = hypotheses_of(served.backend) if any(native.hypotheses for native in opened) else None
    _note_shallow(opened, window_of(served.backend))
    with counting_tiles(served.backend, opened, progress) as of_slices:
        _fill(served, opened, batch, of_slices, sampled)
    # 4. What is mended in whole masks.
    for native in opened:
        native.finish(served.rule)


def _fill(
    served: Served,
    opened: Sequence[NativeSegmentation],
    batch: int,
    progress: Callable[[int, int], None] | None,
    sampled: Callable[[RawImages], FloatArray] | None,
) -> None:
    done, total = 0, sum(len(native.images) for native in opened)
    for part in _slice_groups(opened, batch_for(served.backend, batch)):
        # 1. The slices at the working size.
        beside = served.image.neighbours
        images = np.stack([with_neighbours(native.images, index, beside) for native, index in part])  # [N,S,S,C]
        # 2. Probability of every structure.
        probability, hypotheses = _answers(served, images, sampled)
        # 3. Back to the native size.
        for place, (native, index) in enumerate(part):
            native.put(index, probability[place], served.rule)
            if hypotheses is not None:
                native.put_hypotheses(index, hypotheses[place], served.rule)
        done += len(part)
        if progress is not None:
            progress(done, total)


def _note_shallow(opened: Sequence[NativeSegmentation], window: SlidingWindow | None) -> None:
    """Say of volumes that are less deep than a patch what is around them."""
    for native in opened:
        if window is not None and (count := len(native.images)) < window.size[0]:
            native.notes.append(
                f"{count} slice{'' if count == 1 else 's'}, and the model sees {window.size[0]} at a time: it gets "
                "nothing but the lower end of the window above and below"
            )


def _slice_groups(
    opened: Sequence[NativeSegmentation], batch: int | None
) -> Iterator[list[tuple[NativeSegmentation, int]]]:
    """The slices of some inputs, `batch` at a time; None: those of one input."""
    if batch is None:
        yield from ([(native, index) for index in range(len(native.images))] for native in opened)
        return
    flat = [(native, index) for native in opened for index in range(len(native.images))]
    yield from (flat[start : start + batch] for start in range(0, len(flat), batch))


def _answers(
    served: Served, images: RawImages, sampled: Callable[[RawImages], FloatArray] | None
) -> tuple[FloatArray, FloatArray | None]:
    """Probabilities [N,K,S,S], and where they are wanted hypotheses [N,H,K,S,S], of which they are then the mean."""
    if sampled is None:
        return check_finite(served.backend.probability(images), served.path), None
    hypotheses = check_finite(sampled(images), served.path)
    return np.asarray(hypotheses.mean(axis=1), dtype=np.float32), hypotheses
