"""Raw dataset to slice store: check, read in parallel, resize, write."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sdseg.artifacts.image_contract import ImageContract
from sdseg.artifacts.manifests import PreparedManifest
from sdseg.config.dataset import Dataset
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import atomic_folder, sha256_file, write_json
from sdseg.core.locks import locked
from sdseg.core.overwrite_checks import check_apart, check_owned, check_record
from sdseg.core.provenance import provenance
from sdseg.core.reserved_arrays import reserve_array
from sdseg.data.checks import Examination, examine, summary
from sdseg.data.checksums import FILES, arrays_of, combined_checksum, fast_checksum, files_of
from sdseg.data.packed_masks import ANNOTATOR_FILES, pack, write_packed
from sdseg.data.read_case import CaseArrays, with_intensities
from sdseg.data.read_dataset import RawDataset, ReadCase, ReadTask, open_raw_dataset
from sdseg.data.store import Case, write_index
from sdseg.datasets.source_lookup import makes_split
from sdseg.datasets.split_files import SPLITS

__all__ = ["check", "prepare"]

OF_FILES = "replace the files named above, or take both image and label away together with their line of the split file"
CHECK = "'sdseg prepare --check' shows all there is to say"
OWNED = (*FILES, *ANNOTATOR_FILES, "manifest.json", "check.json")
log = logging.getLogger(__name__)


def prepare(*, name: str, settings: Dataset, raw: Path, split: Path, output: Path, jobs: int = 2) -> PreparedManifest:
    """Check one dataset and write its slice store to `output`, replacing an older one only when all went well.

    Every file is read once: what the check wants to know is taken on the way, and `check.json` lies in the store.

    Parameters
    ----------
    name: the dataset's name in the results.
    settings: source, protocol, target, window, size.
    raw: folder with the files as their owner ships them.
    split: CSV file with id, group, split.
    jobs: cases read at the same time; memory holds that many volumes, whatever their number.

    Raises UserError or ListedError with every problem found; nothing is then left behind. An output that is, holds or
    lies in the raw folder is refused, and so is a folder that holds anything but a store.
    """
    check_apart(output, raw)
    check_owned(output, OWNED)  # before hours of reading
    raw_dataset = _open(settings, raw, split, jobs)
    if raw_dataset.problems:  # the files are still read, so that one run names all
        raise _refusal(raw_dataset, _examine(raw_dataset, settings, *raw_dataset.read(_discard)), settings, split)
    with locked(output), atomic_folder(output, OWNED) as folder:
        writer = _StoreWriter(folder, raw_dataset)
        read_cases, unusable = raw_dataset.read(writer.write)
        examination = _examine(raw_dataset, settings, read_cases, unusable)
        if examination.problems:
            raise _refusal(raw_dataset, examination, settings, split)
        writer.close()
        cases = [each.case for each in read_cases]
        write_index(folder, cases)
        write_json(folder / "check.json", examination.record(name, settings).content())
        image = with_intensities(raw_dataset.image, [each.facts for each in read_cases if each.case.split == "train"])
        manifest = _manifest(name, settings, raw_dataset, image, cases, folder)
        write_json(folder / "manifest.json", manifest)
    for warning in examination.warnings:
        log.warning("%s: %s", name, warning)
    log.info("%s: %s cases, %s slices in %s", name, manifest.n_cases, manifest.n_slices, output)
    return manifest


def check(*, name: str, settings: Dataset, raw: Path, split: Path, output: Path | None = None, jobs: int = 2) -> bool:
    """Check one dataset as `prepare` does, print what is there and all that is wrong, and keep nothing of it.

    `output` names a JSON file to write, if any: the same as the `check.json` of a store. Gives whether the dataset
    may be prepared. Raises UserError where there is nothing to check: no files, no split file; and for an `output` in
    the raw folder, or in the place of another file.
    """
    if output is not None:
        check_apart(output, raw)
        check_record(output, ("dataset", "passed", "problems"))
    raw_dataset = _open(settings, raw, split, jobs)
    record = _examine(raw_dataset, settings, *raw_dataset.read(_discard)).record(name, settings)
    print(summary(record))
    if output is not None:
        write_json(output, record.content())
    return record.passed


class _StoreWriter:
    """The arrays of a store while they are filled: every case has rows of its own, so threads need no lock.

    Rows are written to the file, not through a memory map: mapped pages would count as memory until the end.
    """

    def __init__(self, folder: Path, raw_dataset: RawDataset) -> None:
        image = raw_dataset.image
        self.folder = folder
        self.dtype = np.dtype(image.dtype)
        self.row = self.dtype.itemsize * math.prod(image.sides) * image.channels  # bytes
        shape = (raw_dataset.rows, *image.sides, image.channels)
        self.offset = _reserve(folder / "images.npy", self.dtype, shape)
        self.masks: dict[int, list[bytes]] = {}  # first row of a case -> its slices, packed
        self.annotators = raw_dataset.annotators
        self.annotated: dict[int, list[bytes]] = {}  # the same, of each slice one for each annotator

    def write(self, task: ReadTask, arrays: CaseArrays) -> None:
        with (self.folder / "images.npy").open("r+b") as stream:
            stream.seek(self.offset + task.start * self.row)
            stream.write(np.ascontiguousarray(arrays.images, dtype=self.dtype).data)
        self.masks[task.start] = pack(arrays.masks)
        if self.annotators:  # of one who left out the case an empty map, which the list of cases says is none
            nothing = np.zeros_like(arrays.masks)
            by_annotator = [pack(arrays.annotated.get(name, nothing)) for name in self.annotators]
            self.annotated[task.start] = [stream for of_slice in zip(*by_annotator, strict=True) for stream in of_slice]

    def close(self) -> None:
        write_packed(self.folder, (stream for start in sorted(self.masks) for stream in self.masks[start]))
        if self.annotators:
            streams = (stream for start in sorted(self.annotated) for stream in self.annotated[start])
            write_packed(self.folder, streams, ANNOTATOR_FILES)


def _discard(task: ReadTask, arrays: CaseArrays) -> None:
    """Keep nothing: only what was seen counts."""


def _open(settings: Dataset, raw: Path, split: Path, jobs: int) -> RawDataset:
    if jobs < 1:
        raise UserError(f"{jobs} parallel readers", where="--jobs", remedy="use 1 or more")
    return open_raw_dataset(settings, raw, split, jobs)


def _examine(
    raw_dataset: RawDataset, settings: Dataset, read_cases: Sequence[ReadCase], unusable: Sequence[str]
) -> Examination:
    return examine(raw_dataset.source, settings, read_cases, [*raw_dataset.problems, *unusable])


def _refusal(raw_dataset: RawDataset, examination: Examination, settings: Dataset, split: Path) -> ListedError:
    what = f"{raw_dataset.source.title}: {len(examination.problems)} problem(s):"
    remedies = [OF_FILES] if examination.of_files else []
    drawn = makes_split(settings) and raw_dataset.source.split_by == "drawn"
    remedies += [_of_copies(examination.copies, settings, split, drawn)] if examination.copies else []
    return ListedError(what, examination.problems, where=raw_dataset.raw, remedy="; ".join([*remedies, CHECK]))


def _of_copies(copies: Sequence[Sequence[str]], settings: Dataset, split: Path, drawn: bool) -> str:
    """What to do about cases of the same picture that the split tears apart; `drawn`: it was, and may be once more."""
    same = "give all cases of the same picture the same split"
    if not drawn:
        return f"{same}, in a copy of {split} that is named as 'split_file'"
    together = yaml.safe_dump(list(map(list, copies)), default_flow_style=True, width=10**6).strip()
    remedy = f"say 'split: {{together: {together}}}' in the dataset's entry, delete {split}, and run again"
    if settings.own is not None and settings.own.layout == "table":
        remedy += f" (where the table has a column 'split', {same} there)"
    return remedy


def _manifest(
    name: str,
    settings: Dataset,
    raw_dataset: RawDataset,
    image: ImageContract,
    cases: Sequence[Case],
    folder: Path,
) -> PreparedManifest:
    source = raw_dataset.source
    target, structures = source.target(settings.target)
    exclusive = source.excludes(structures, settings.exclusive)
    checksums = {file: sha256_file(folder / file) for file in files_of(raw_dataset.annotators)}
    cases_per_split = Counter(case.split for case in cases)
    return PreparedManifest(
        dataset=name,
        source=source.name,
        origin=settings.origin,
        protocol=settings.protocol,
        target=target,
        image=image,
        structures=structures,
        exclusive=exclusive,
        labels=dict(source.labels),
        n_cases={part: cases_per_split[part] for part in SPLITS},
        n_slices={part: sum(case.slices for case in cases if case.split == part) for part in SPLITS},
        checksums=checksums,
        data_checksum=combined_checksum(checksums),
        fast_checksums={file: fast_checksum(folder / file) for file in arrays_of(raw_dataset.annotators)},
        annotators=raw_dataset.annotators,
        chosen=dict(raw_dataset.chosen),
        provenance=provenance(("nibabel", "opencv-python-headless"), stage="data.prepare"),
    )


def _reserve(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """An array on disk whose space is taken now, not after an hour of work; gives where its first row begins."""
    try:
        return reserve_array(path, dtype, shape)
    except OSError as error:
        raise UserError(
            f"cannot reserve {dtype.itemsize * math.prod(shape) / 1e6:.1f} MB: {error.strerror}",
            where=path.parent.parent,
            remedy="make room, choose another results folder, or a smaller 'size'",
        ) from None
