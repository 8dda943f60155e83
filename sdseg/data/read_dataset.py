"""One pass over the raw files of a dataset: pairs, split, headers, then every file once; all problems collected.

`prepare` keeps what is read, `prepare --check` lets it go; both see the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.dataset import Dataset
from sdseg.config.shape import AutoSize, Resampling, bound_of
from sdseg.core.errors import ListedError, UserError
from sdseg.core.parallel import attempt
from sdseg.data.choose_shape import choose_plane, choose_size, choose_spacing, slice_sizes
from sdseg.data.read_case import CaseArrays, CaseFacts, count_tiles, read_case, read_grid, voxel_values
from sdseg.data.slicing import check_slices
from sdseg.data.store import Case
from sdseg.datasets.check_shape import check_shape
from sdseg.datasets.layouts import RawCase, UnpairedError, annotators_of
from sdseg.datasets.raw_cases import open_raw
from sdseg.datasets.sources import Source
from sdseg.datasets.split_files import SplitRow, check_split, read_split
from sdseg.io.images import size_in_header
from sdseg.io.limits import LIMITS, Limits, asked_limits
from sdseg.io.number_types import kept_type

__all__ = ["RawDataset", "ReadCase", "ReadTask", "open_raw_dataset"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadTask:
    """One case to be read, and the rows it will fill."""

    files: RawCase
    row: SplitRow
    start: int
    slices: int


@dataclass(frozen=True)
class ReadCase:
    """A case that was read, and what the check wants to know of it."""

    case: Case
    facts: CaseFacts


@dataclass(frozen=True)
class RawDataset:
    """A dataset before its pixels are read."""

    source: Source
    raw: Path
    image: ImageContract
    jobs: int
    tasks: tuple[ReadTask, ...]
    problems: tuple[str, ...]  # of pairs, split and headers
    limits: Limits = LIMITS
    annotators: tuple[str, ...] = ()
    chosen: Mapping[str, str] = field(default_factory=dict)  # of the shape, and why

    @property
    def rows(self) -> int:
        """Slices of all cases together."""
        return sum(task.slices for task in self.tasks)

    def read(self, keep: Callable[[ReadTask, CaseArrays], None]) -> tuple[list[ReadCase], list[str]]:
        """Every case in turn, `jobs` at a time, given to `keep`; what was seen, and what cannot be used."""

        def work(task: ReadTask) -> ReadCase:
            stretched = self.image.stretch and task.row.split != "train"
            arrays = read_case(self.source, task.files, self.image, stretched=stretched, limits=self.limits)
            if len(arrays.images) != task.slices:
                raise UserError(
                    f"{len(arrays.images)} tiles of its pixels, and {task.slices} of the size in its header",
                    where=task.files.image,
                    remedy="save it again as PNG or TIFF",
                )
            keep(task, arrays)
            return ReadCase(_case(task, arrays, self.raw), arrays.facts)

        contents, problems = attempt(work, self.tasks, jobs=self.jobs, title=self.source.title, where=self.raw)
        return [contents[place] for place in sorted(contents)], problems


def open_raw_dataset(settings: Dataset, raw: Path, split: Path, jobs: int = 2) -> RawDataset:
    """Pair the files, match them with the split file, compare the headers of volumes.

    Raises UserError for settings that do not exist, and where there is nothing to check: no raw files, no readable
    split file.
    """
    problems: list[str] = []
    try:
        source, cases = open_raw(settings, raw)
    except UnpairedError as error:
        source, cases = error.source, error.cases
        problems += error.problems
    _, structures = source.target(settings.target)  # refused now rather than after the work
    source.excludes(structures, settings.exclusive)
    check_shape(settings, source.modality, "the dataset's settings")
    image = source.contract(settings.window, bound_of(settings.size)).model_copy(update={"tiles": settings.tiles})
    limits = asked_limits(settings.max_pixels, settings.max_voxels)
    rows = read_split(split)
    by_id = {case.id: case for case in cases}
    try:
        check_split(rows, by_id.keys(), where=split, protocol=settings.protocol, allow_missing=settings.allow_missing)
    except ListedError as error:
        problems += [f"{split.name}: {problem}" for problem in error.problems]
    pairs = [(by_id[row.id], row) for row in rows if row.id in by_id]
    depths, chosen = dict.fromkeys(range(len(pairs)), 1), dict[str, str]()
    if source.modality != "rgb":
        image, chosen, depths, unreadable = _shaped_volumes(image, settings, pairs, jobs, raw)
        problems += unreadable
        if settings.own is not None and not image.is_normalised:  # of others the type is known
            volumes = [path for place in sorted(depths) for path in pairs[place][0].images]
            image = _fitting(image, source, volumes, jobs, raw, limits)
    elif settings.tiles is not None:
        title = f"{source.title}, sizes"
        depths, unreadable = attempt(
            lambda pair: count_tiles(pair[0].image, image), pairs, jobs=jobs, title=title, where=raw
        )
        problems += unreadable
    elif isinstance(settings.size, AutoSize):
        image, chosen, unreadable = _shaped_images(image, settings.size, pairs, jobs, raw)
        problems += unreadable
    for why in chosen.values():
        log.info("%s: %s", source.title, why)
    starts = np.cumsum([0, *(depths[place] for place in sorted(depths))]).tolist()
    tasks = tuple(
        ReadTask(*pairs[place], start, depths[place]) for place, start in zip(sorted(depths), starts[:-1], strict=True)
    )
    return RawDataset(source, raw, image, jobs, tasks, tuple(problems), limits, annotators_of(cases), chosen)


Pairs = Sequence[tuple[RawCase, SplitRow]]


def _shaped_volumes(
    image: ImageContract, settings: Dataset, pairs: Pairs, jobs: int, raw: Path
) -> tuple[ImageContract, dict[str, str], dict[int, int], list[str]]:
    """The contract with plane, spacing and size of the slices, and what was chosen of these and why.

    Then how many slices each volume has, by its place, and which volumes cannot be used.
    """
    title = f"{image.modality} volumes, headers"
    grids, problems = attempt(lambda pair: read_grid(pair[0], image.modality), pairs, jobs=jobs, title=title, where=raw)
    training = [grids[place] for place in sorted(grids) if pairs[place][1].split == "train"]
    plane, why = choose_plane(settings.slicing, training)
    chosen, update = ({"slicing": why} if why else {}), dict[str, Any](slicing=plane)
    spacing = None if settings.spacing == "none" or not training else settings.spacing
    if spacing == "median":
        spacing, chosen["spacing"] = choose_spacing(training, plane)
    if spacing is not None:
        update["resampling"] = Resampling(spacing=spacing, fit=settings.fit)

    def count(place: int) -> int:
        path, shape = pairs[place][0].image, grids[place].canonical_shape
        slices, *_ = check_slices(shape, plane, path)
        try:
            slice_sizes((grids[place],), plane, spacing)
        except UserError as error:
            raise UserError(error.what, where=path, remedy=error.remedy) from None
        return slices

    places = sorted(grids)
    counts, flat = attempt(count, places, jobs=1, title=title, where=raw)
    if isinstance(settings.size, AutoSize) and training and not flat:
        sizes = slice_sizes(training, plane, spacing)
        update["size"], chosen["size"] = choose_size(sizes, settings.size, settings.fit if spacing else None)
    depths = {places[number]: slices for number, slices in counts.items()}
    return image.model_copy(update=update), chosen, depths, [*problems, *flat]


def _shaped_images(
    image: ImageContract, auto: AutoSize, pairs: Pairs, jobs: int, raw: Path
) -> tuple[ImageContract, dict[str, str], list[str]]:
    """The contract with the size that is chosen of the training images, why, and which of them do not tell theirs."""

    def size(pair: tuple[RawCase, SplitRow]) -> tuple[int, int]:
        path = pair[0].label_files[0]  # as large as its image once that is turned as the camera was
        sides = size_in_header(path)
        if sides is None:
            raise UserError("an image whose size cannot be read", where=path, remedy="save it again as PNG or TIFF")
        return sides

    training = [pair for pair in pairs if pair[1].split == "train"]
    sizes, problems = attempt(size, training, jobs=jobs, title="sizes of images", where=raw)
    if not sizes:
        return image, {}, problems
    chosen, why = choose_size(list(sizes.values()), auto, None)
    return image.model_copy(update={"size": chosen}), {"size": why}, problems


def _fitting(
    image: ImageContract, source: Source, volumes: Sequence[Path], jobs: int, raw: Path, limits: Limits
) -> ImageContract:
    """The contract with the number type that keeps the values of all volumes; files that no header tells it are read.

    What cannot be read is left to the reading that follows, which names it.
    """
    title = f"{source.title}, range of values"
    ranges, _ = attempt(lambda path: voxel_values(path, image, limits), volumes, jobs=jobs, title=title, where=raw)
    return image.model_copy(update={"dtype": kept_type(ranges.values(), image.window)}) if ranges else image


def _case(task: ReadTask, arrays: CaseArrays, raw: Path) -> Case:
    geometry = arrays.geometry
    return Case(
        case=task.row.id,
        group=task.row.group,
        split=task.row.split,
        start=task.start,
        slices=task.slices,
        image=task.files.image.relative_to(raw).as_posix(),
        label=task.files.label.relative_to(raw).as_posix(),
        height=arrays.height,
        width=arrays.width,
        depth=task.slices if geometry else 1,
        spacing=geometry.spacing if geometry else (),
        axcodes=geometry.axcodes if geometry else "",
        affine=geometry.affine if geometry else (),
        sha256=task.files.checksum,
        annotations=tuple((name, path.relative_to(raw).as_posix()) for name, path in task.files.annotations),
        channels=tuple((name, path.relative_to(raw).as_posix()) for name, path in task.files.channels),
    )
