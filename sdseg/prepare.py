"""Raw dataset to slice store: pair, check, read in parallel, resize, write."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from sdseg.artifacts import ImageContract, PreparedManifest, atomic_folder, provenance, sha256_file, write_json
from sdseg.config import Dataset
from sdseg.data.layouts import RawCase, find_cases
from sdseg.data.packed import pack, write_packed
from sdseg.data.parallel import each
from sdseg.data.reading import Reading, count_slices, read_case
from sdseg.data.sources import Source, source_named
from sdseg.data.splits import SPLITS, SplitRow, check_split, read_split
from sdseg.data.store import FILES, Case, combined_checksum, write_index
from sdseg.errors import UserError

__all__ = ["prepare"]

REMEDY = "replace the files named above, or take both image and label away together with their line of the split file"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Task:
    """One case to be read, and the rows it will fill."""

    files: RawCase
    row: SplitRow
    start: int
    slices: int


def prepare(*, name: str, settings: Dataset, raw: Path, split: Path, output: Path, jobs: int = 2) -> PreparedManifest:
    """Write the slice store of one dataset to `output`, replacing an older one only when all went well.

    Parameters
    ----------
    name: the dataset's name in the results.
    settings: source, protocol, target, window, size.
    raw: folder with the files as their owner ships them.
    split: CSV file with id, group, split.
    jobs: cases read at the same time; memory holds that many volumes, whatever their number.

    Raises UserError or ListedError with every problem found; nothing is then left behind.
    """
    if jobs < 1:
        raise UserError(f"{jobs} parallel readers", where="--jobs", remedy="use 1 or more")
    source = source_named(settings.source)
    target, structures = source.target(settings.target)
    image = ImageContract(
        modality=source.modality,
        size=settings.size,
        channels=1 if source.modality == "ct" else 3,
        window=source.window(settings.window),
    )
    cases = {case.id: case for case in find_cases(source, raw)}
    rows = check_split(
        read_split(split),
        cases.keys(),
        where=split,
        protocol=settings.protocol,
        allow_missing=settings.allow_missing,
    )
    tasks = _plan(source, raw, [(cases[row.id], row) for row in rows], jobs)
    with atomic_folder(output) as folder:
        done = _fill(folder, source, raw, tasks, image, jobs)
        write_index(folder, done)
        checksums = {file: sha256_file(folder / file) for file in FILES}
        cases_per_split = Counter(case.split for case in done)
        manifest = PreparedManifest(
            dataset=name,
            source=source.name,
            origin=settings.origin,
            protocol=settings.protocol,
            target=target,
            image=image,
            structures=structures,
            labels=dict(source.labels),
            n_cases={part: cases_per_split[part] for part in SPLITS},
            n_slices={part: sum(case.slices for case in done if case.split == part) for part in SPLITS},
            checksums=checksums,
            data_checksum=combined_checksum(checksums),
            provenance=provenance(("nibabel", "opencv-python-headless")),
        )
        write_json(folder / "manifest.json", manifest)
    log.info("%s: %s cases, %s slices in %s", name, manifest.n_cases, manifest.n_slices, output)
    return manifest


def _plan(source: Source, raw: Path, pairs: Sequence[tuple[RawCase, SplitRow]], jobs: int) -> list[_Task]:
    """The rows each case will fill; headers are compared here, before any voxel is read."""
    depths = [1] * len(pairs)
    if source.modality == "ct":
        depths = each(
            lambda pair: count_slices(pair[0]),
            pairs,
            jobs=jobs,
            title=f"{source.title}, headers",
            where=raw,
            remedy=REMEDY,
        )
    starts = np.cumsum([0, *depths]).tolist()
    return [
        _Task(files, row, start, depth) for (files, row), start, depth in zip(pairs, starts[:-1], depths, strict=True)
    ]


def _fill(
    folder: Path, source: Source, raw: Path, tasks: Sequence[_Task], image: ImageContract, jobs: int
) -> list[Case]:
    """Read every case into its rows of the images, where no other thread writes; masks follow, packed."""
    rows = sum(task.slices for task in tasks)
    images = _reserve(folder / "images.npy", image.dtype, (rows, image.size, image.size, image.channels))
    masks: dict[int, list[bytes]] = {}  # first row of a case -> its slices

    def fill(task: _Task) -> Case:
        reading = read_case(source, task.files, image.size)
        images[task.start : task.start + task.slices] = reading.images
        masks[task.start] = pack(reading.masks)
        return _case(task, reading, raw)

    done = each(fill, tasks, jobs=jobs, title=source.title, where=raw, remedy=REMEDY)
    images.flush()
    write_packed(folder, (stream for start in sorted(masks) for stream in masks[start]))
    return done


def _reserve(path: Path, dtype: str, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    """An array on disk whose space is taken now: a disk that fills up under a memory map would kill the process."""
    try:
        array: np.memmap[Any, np.dtype[Any]] = open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise UserError(
            f"cannot reserve {np.dtype(dtype).itemsize * math.prod(shape) / 1e6:.1f} MB: {error.strerror}",
            where=path.parent.parent,
            remedy="make room, choose another results folder, or a smaller 'size'",
        ) from None
    return array


def _case(task: _Task, reading: Reading, raw: Path) -> Case:
    geometry = reading.geometry
    return Case(
        case=task.row.id,
        group=task.row.group,
        split=task.row.split,
        start=task.start,
        slices=task.slices,
        image=task.files.image.relative_to(raw).as_posix(),
        label=task.files.label.relative_to(raw).as_posix(),
        height=reading.height,
        width=reading.width,
        depth=task.slices,
        spacing=geometry.spacing if geometry else (),
        axcodes=geometry.axcodes if geometry else "",
        affine=geometry.affine if geometry else (),
        sha256=sha256_file(task.files.image),
    )
