"""The slice store: every slice of a dataset in memory-mapped arrays, with an index of cases beside them.

Files: `images.npy` [N,H,W,C] and the deflated label maps of data/packed_masks.py at the working size, `cases.csv` (one
line per case), `slices.csv` (one line per row of the arrays), `manifest.json`, and `check.json` for the reader. Nothing
is read until rows are asked for. Of several annotators the label maps are what their majority says; those of each are
in files beside them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.artifacts.manifests import PreparedManifest
from sdseg.core.array_types import AnyArray, LabelArray, MaskArray, RawImages
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import csv_text, read_json, write_text
from sdseg.data.checksums import REMEDY, check_arrays, check_tables, files_of
from sdseg.data.neighbours import NeighbouringSlices
from sdseg.data.packed_masks import ANNOTATOR_FILES, MASK_FILES, PackedLabels
from sdseg.data.tile_grid import TileGrid, WholeImages

__all__ = ["Case", "SliceStore", "read_cases", "structure_masks", "write_index"]

SEVERAL = ("annotations", "channels")  # columns of names and paths


@dataclass(frozen=True)
class Case:
    """One image or volume of the store and where it came from."""

    case: str
    group: str
    split: str
    start: int  # first row of the arrays
    slices: int  # number of rows: slices, or tiles of an image
    image: str  # path of the image below the raw folder
    label: str
    height: int  # rows of a native slice (volumes: of an axial one)
    width: int
    depth: int  # number of native slices, 1 for an image
    spacing: tuple[float, ...]  # mm along the patient's x, y, z; empty for images
    axcodes: str  # patient directions of the file's axes, e.g. LPS; empty for images
    affine: tuple[tuple[float, ...], ...]  # 4×4 of the file; empty for images
    sha256: str  # of the image file
    annotations: tuple[tuple[str, str], ...] = ()  # annotator and path of his label; empty: one who has no name
    channels: tuple[tuple[str, str], ...] = ()  # channel and path of its image, the first as `image`; empty: one file

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """Annotator and path of the label of each; the name is empty where there is one alone."""
        return self.annotations or (("", self.label),)

    @property
    def rows(self) -> slice:
        """The case's rows of the arrays."""
        return slice(self.start, self.start + self.slices)


@dataclass(frozen=True)
class SliceStore:
    """A prepared dataset, open for reading."""

    folder: Path
    manifest: PreparedManifest
    images: RawImages  # [N,H,W,C] uint8 (rgb), or values of volumes in the manifest's type, read-only
    masks: PackedLabels  # [N,H,W] label ids, read-only
    cases: tuple[Case, ...]
    annotator_masks: PackedLabels | None = None  # [N·A,H,W] of A annotators, row by row; None: they are not told apart

    @classmethod
    def open(cls, folder: Path, *, verify: bool = False) -> SliceStore:
        """Open the store in `folder`; `verify` also compares the checksums of its arrays, which reads them.

        Raises UserError where a file is missing, truncated, does not fit the manifest, or was changed.
        """
        if not folder.is_dir():
            raise UserError("no prepared dataset here: the folder is missing", where=folder, remedy=REMEDY)
        manifest = read_json(folder / "manifest.json", PreparedManifest)
        missing = [name for name in files_of(manifest.annotators) if not (folder / name).is_file()]
        if missing:
            raise ListedError("the prepared dataset lacks files:", missing, where=folder, remedy=REMEDY)
        images, streams, ends = (_map(folder / name) for name in ("images.npy", *MASK_FILES))
        cases = read_cases(folder / "cases.csv")
        problems = [
            *_disagreements(manifest, images, cases),
            *_damaged(streams, ends, sum(manifest.n_slices.values()), MASK_FILES),
        ]
        drawn = None
        if manifest.annotators:
            own, own_ends = (_map(folder / name) for name in ANNOTATOR_FILES)
            rows = sum(manifest.n_slices.values()) * len(manifest.annotators)
            problems += [*_damaged(own, own_ends, rows, ANNOTATOR_FILES), *_unknown_annotators(manifest, cases)]
            drawn = PackedLabels(own, own_ends, manifest.image.sides, folder / ANNOTATOR_FILES[0])
        if problems:
            raise ListedError("the prepared dataset contradicts its manifest:", problems, where=folder, remedy=REMEDY)
        check_tables(folder, manifest)
        if verify:
            check_arrays(folder, manifest)
        masks = PackedLabels(streams, ends, manifest.image.sides, folder / MASK_FILES[0])
        return cls(folder, manifest, images, masks, cases, drawn)

    def cases_of(self, split: str) -> tuple[Case, ...]:
        """Cases of 'train', 'val' or 'test', in the order of the rows."""
        return tuple(case for case in self.cases if case.split == split)

    def rows_of(self, split: str) -> npt.NDArray[np.int64]:
        """Ascending row numbers of a split's slices."""
        ranges = [np.arange(case.start, case.start + case.slices) for case in self.cases_of(split)]
        return np.concatenate(ranges).astype(np.int64) if ranges else np.empty(0, dtype=np.int64)

    def annotators_of(self, rows: npt.NDArray[np.int64]) -> list[tuple[int, ...]]:
        """Who drew each of some rows, as numbers in the manifest's annotators; 0 where they are not told apart."""
        numbers = {name: number for number, name in enumerate(self.manifest.annotators or ("",))}
        drew = [tuple(numbers[name] for name, _ in case.labels) for case in self.cases]
        last = np.cumsum([case.slices for case in self.cases])
        return [drew[place] for place in np.searchsorted(last, rows, side="right")]

    @property
    def slices(self) -> RawImages:
        """Raw images [N,H,W,C], each row's own slice alone: what is shown and measured."""
        return self.images.slices if isinstance(self.images, NeighbouringSlices) else self.images

    def with_neighbours(self, count: int) -> SliceStore:
        """The store as a model with `count` neighbours on each side sees it; 0: as it is.

        Raises UserError where every case is a single slice.
        """
        if not count:
            return self
        if all(case.depth == 1 for case in self.cases):
            raise UserError(
                f"{count} slices on each side are to be seen, and every case of these data is a single image or slice",
                where=self.folder,
                remedy="set network.condition.neighbours: 0, or use a dataset whose cases are volumes",
            )
        images = NeighbouringSlices(self.slices, [case.rows for case in self.cases], count)
        contract = self.manifest.image.model_copy(update={"neighbours": count})
        manifest = self.manifest.model_copy(update={"image": contract})
        return replace(self, images=cast("RawImages", images), manifest=manifest)

    def grid_of(self, case: Case) -> TileGrid:
        """Where the tiles lie that the rows of a case are, of a store that has them."""
        return TileGrid(*self.manifest.image.working_size(case.height, case.width), self.manifest.image.sides)

    def whole(self) -> SliceStore:
        """The store with one row for each image, at the size at which it is looked at; as it is without tiles."""
        if self.manifest.image.tiles is None:
            return self
        grids, drawn = [self.grid_of(case) for case in self.cases], self.annotator_masks
        by_annotator = None if drawn is None else WholeImages(drawn, grids, len(self.manifest.annotators))
        return replace(
            self,
            images=cast("RawImages", WholeImages(self.images, grids)),
            masks=cast("PackedLabels", WholeImages(self.masks, grids)),
            annotator_masks=cast("PackedLabels | None", by_annotator),
            cases=tuple(replace(case, start=row, slices=1) for row, case in enumerate(self.cases)),
        )

    def seen_by(self, image: ImageContract) -> SliceStore:
        """The store as a model is given it where it is judged: with its neighbouring slices, or whole images."""
        return self.with_neighbours(image.neighbours).whole()

    def drawn_by(self, annotator: str, rows: slice | Sequence[int] | npt.NDArray[np.integer[Any]]) -> LabelArray:
        """Label ids [n,H,W] of one annotator in some rows; "" where there is one alone. Nothing where he drew none."""
        if self.annotator_masks is None:
            return self.masks[rows]
        number, count = self.manifest.annotators.index(annotator), len(self.manifest.annotators)
        numbers = range(len(self.masks))[rows] if isinstance(rows, slice) else rows
        return self.annotator_masks[[int(row) * count + number for row in numbers]]


def structure_masks(labels: AnyArray, structures: Sequence[Structure]) -> MaskArray:
    """Binary masks [N,K,H,W] of label ids [N,H,W], one channel per structure; structures may overlap."""
    tables = np.zeros((len(structures), 256), dtype=np.bool_)
    for table, structure in zip(tables, structures, strict=True):
        table[list(structure.values)] = True
    masks = np.empty((len(labels), len(structures), *labels.shape[1:]), dtype=np.bool_)
    for channel, table in enumerate(tables):
        masks[:, channel] = table[labels]
    return masks


def write_index(folder: Path, cases: Sequence[Case]) -> None:
    """Write `cases.csv` and `slices.csv`."""
    # Without annotators and channels the file is what it always was.
    absent = [name for name in SEVERAL if not any(getattr(case, name) for case in cases)]
    columns = [field.name for field in fields(Case) if field.name not in absent]
    write_text(folder / "cases.csv", csv_text(columns, (_encode(case, columns) for case in cases)))
    slices = (
        (case.start + number, case.case, case.group, case.split, number)
        for case in cases
        for number in range(case.slices)
    )
    write_text(folder / "slices.csv", csv_text(("row", "case", "group", "split", "slice"), slices))


def read_cases(path: Path) -> tuple[Case, ...]:
    """The cases that `write_index` wrote. Raises UserError for a damaged file."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return tuple(_decode(line) for line in csv.DictReader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise UserError(f"not a list of cases: {error!r}", where=path, remedy=REMEDY) from None


def _encode(case: Case, columns: Sequence[str]) -> list[str]:
    values = {name: getattr(case, name) for name in columns}
    values["spacing"] = ";".join(str(length) for length in case.spacing)
    values["affine"] = json.dumps(case.affine) if case.affine else ""
    for name in SEVERAL:
        if name in values:
            values[name] = json.dumps(dict(values[name]), ensure_ascii=False)
    return [str(value) for value in values.values()]


def _decode(line: dict[str, str]) -> Case:
    return Case(
        case=line["case"],
        group=line["group"],
        split=line["split"],
        start=int(line["start"]),
        slices=int(line["slices"]),
        image=line["image"],
        label=line["label"],
        height=int(line["height"]),
        width=int(line["width"]),
        depth=int(line["depth"]),
        spacing=tuple(float(length) for length in line["spacing"].split(";") if length),
        axcodes=line["axcodes"],
        affine=tuple(tuple(map(float, row)) for row in json.loads(line["affine"])) if line["affine"] else (),
        sha256=line["sha256"],
        **{name: tuple(json.loads(line.get(name) or "{}").items()) for name in SEVERAL},
    )


def _map(path: Path) -> AnyArray:
    try:
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"not a whole array file: {error}", where=path, remedy=REMEDY) from None


def _disagreements(manifest: PreparedManifest, images: AnyArray, cases: Sequence[Case]) -> Iterable[str]:
    expected_shape = (sum(manifest.n_slices.values()), *manifest.image.sides, manifest.image.channels)
    if images.shape != expected_shape or images.dtype != np.dtype(manifest.image.dtype):
        yield f"images.npy is {images.dtype} {images.shape}, expected {manifest.image.dtype} {expected_shape}"
    start = 0
    for case in cases:
        if case.start != start:
            yield f"cases.csv: case '{case.case}' starts at row {case.start}, expected {start}"
            break
        start += case.slices
    for split, number in manifest.n_cases.items():
        n_listed = sum(case.split == split for case in cases)
        if n_listed != number:
            yield f"cases.csv lists {n_listed} cases of '{split}', expected {number}"
    for split, number in manifest.n_slices.items():
        n_listed = sum(case.slices for case in cases if case.split == split)
        if n_listed != number:
            yield f"cases.csv lists {n_listed} slices of '{split}', expected {number}"


def _unknown_annotators(manifest: PreparedManifest, cases: Sequence[Case]) -> Iterable[str]:
    for case in cases:
        names = {name for name, _ in case.annotations}
        if not names or names - set(manifest.annotators):
            yield f"cases.csv: case '{case.case}' has the annotators {sorted(names)}, known are {manifest.annotators}"
            break


def _damaged(streams: AnyArray, ends: AnyArray, rows: int, names: tuple[str, str]) -> Iterable[str]:
    if streams.dtype != np.uint8 or streams.ndim != 1:
        yield f"{names[0]} is {streams.dtype} {streams.shape}, expected uint8 in one row"
    if ends.dtype != np.int64 or ends.shape != (rows,):
        yield f"{names[1]} is {ends.dtype} {ends.shape}, expected int64 {(rows,)}"
    elif rows and (np.diff(ends, prepend=0).min() < 1 or ends[-1] != len(streams)):
        yield f"{names[1]} does not fit the length of {names[0]}"
