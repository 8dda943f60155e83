"""Masks made elsewhere, one file per case at its native size: found by name, checked, and read structure by structure.

What `sdseg predict` writes is read as it is; of other programs the files are named as the cases are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

from sdseg.artifacts.image_contract import Structure
from sdseg.core.array_types import LabelArray, MaskArray
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import sha256_file, sha256_text
from sdseg.data.fit import fit_of
from sdseg.data.slicing import to_slices
from sdseg.data.store import Case, SliceStore
from sdseg.datasets.lidc_xml import is_markup
from sdseg.io.geometry import check_same_grid
from sdseg.io.images import read_mask
from sdseg.io.limits import LIMITS, Limits
from sdseg.io.volumes import VOLUME_SUFFIXES, read_geometry, read_labels

__all__ = ["PredictedMasks", "find_predictions"]

IMAGE_MASKS = (".png", ".tif", ".tiff", ".bmp")
MARK = "_mask"  # what `sdseg predict` puts behind a name
WHITE = 255  # a single structure in an image
REMEDY = "give masks of the size, and volumes on the grid, of the label files: 0 for background, k for structure k"


@dataclass(frozen=True)
class PredictedMasks:
    """The masks of some cases of a store: 0 for background, k for the store's k-th structure.

    A structure that is part of another (a cup in its disc) is a part of it here, too: both masks hold it.
    """

    store: SliceStore
    raw: Path  # the labels lie here
    files: Mapping[str, Path]  # by the case's name

    @property
    def checksum(self) -> str:
        """SHA-256 over the cases and the checksums of their files: names these very masks."""
        return sha256_text("".join(f"{sha256_file(path)}  {case}\n" for case, path in sorted(self.files.items())))

    def check(self, cases: Sequence[Case]) -> None:
        """Read every file once. Raises ListedError that names all whose size, grid or values do not fit."""
        problems = []
        for case in cases:
            try:
                self.ids(case)
            except UserError as error:
                problems.append(f"{case.case}: {error.what} ({self.files[case.case].name})")
        if problems:
            raise ListedError(
                f"{len(problems)} of {len(cases)} predictions do not fit their cases:",
                problems,
                where=self.files[cases[0].case].parent,
                remedy=REMEDY,
            )

    def masks(self, case: Case) -> Iterator[MaskArray]:
        """One mask [Z,H,W] per structure, at the native size."""
        ids = self.ids(case)
        return (table[ids] for table in self._tables())

    def at_working_size(self, case: Case) -> MaskArray:
        """Masks [Z,K,S,S] to look at."""
        ids = fit_of(self.store.manifest.image, (case.height, case.width), case.spacing).labels(self.ids(case))
        return np.stack([table[ids] for table in self._tables()], axis=1)

    def ids(self, case: Case) -> LabelArray:
        """Numbers of the structures, [Z,H,W]; Z is 1 for an image. Raises UserError for a file that does not fit."""
        path = self.files[case.case]
        read_ids = self._image if self.store.manifest.image.modality == "rgb" else self._volume
        ids = read_ids(case, path)
        structures = self.store.manifest.structures
        counts = np.zeros(256, dtype=np.int64)
        for plane in ids:  # a whole volume at once would take eight times its size
            counts += np.bincount(plane.ravel(), minlength=256)
        values = np.flatnonzero(counts)
        if len(structures) == 1 and set(values.tolist()) <= {0, WHITE}:
            return np.asarray(ids == WHITE, dtype=np.uint8)
        foreign = [str(value) for value in values if value > len(structures)]
        if foreign:
            listed = ", ".join(foreign[:8]) + (", …" if len(foreign) > 8 else "")
            raise UserError(
                f"values {listed} are no structure; known are {_structures_in_words(structures)}",
                where=path,
                remedy=REMEDY,
            )
        return ids

    def _image(self, case: Case, path: Path) -> LabelArray:
        ids = read_mask(path, _limits(case))[None]
        if ids.shape[1:] != (case.height, case.width):
            size, expected = (
                f"{width} × {height} pixels" for height, width in (ids.shape[1:], (case.height, case.width))
            )
            raise UserError(f"{size}, the label has {expected}", where=path, remedy=REMEDY)
        return ids

    def _volume(self, case: Case, path: Path) -> LabelArray:
        volume, geometry = read_labels(path, _limits(case))
        grid = case.image if is_markup(Path(case.label)) else case.label  # outlines have none of their own
        difference = check_same_grid(read_geometry(self.raw / grid), geometry, ("label", "prediction"))
        if difference is not None:
            raise UserError(difference, where=path, remedy=REMEDY)
        return to_slices(volume, self.store.manifest.image.slicing)

    def _tables(self) -> Iterator[MaskArray]:
        """For each structure which of the 256 numbers belong to it."""
        structures = self.store.manifest.structures
        for outer in structures:
            table = np.zeros(256, dtype=np.bool_)
            for number, inner in enumerate(structures, start=1):
                table[number] = set(inner.values) <= set(outer.values)
            yield table


def _limits(case: Case) -> Limits:
    return LIMITS.at_least(case.height * case.width * case.depth)  # prepare may have been allowed more


def find_predictions(folder: Path, store: SliceStore, split: str, raw: Path) -> PredictedMasks:
    """The file of every case of `split` in `folder` or below it.

    A file is named as its case, as the case's image, or as the image with folders; `_mask` may follow. Where files so
    marked are there, only these are taken.

    Raises ListedError where a case has no file or several, and where a file is of no case of the split.
    """
    suffixes = IMAGE_MASKS if store.manifest.image.modality == "rgb" else VOLUME_SUFFIXES
    if not folder.is_dir():
        raise UserError("no predictions here: the folder is missing", where=folder, remedy="name the folder of masks")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name.lower().endswith(suffixes)]
    paths = [path for path in paths if _name(path).endswith(MARK)] or paths
    case_by_name, splits = _names(store.cases), {case.case: case.split for case in store.cases}
    files: dict[str, Path] = {}
    problems = []
    for path in paths:
        within = path.relative_to(folder)
        case = _case_of(within, case_by_name)
        if case is None:
            problems.append(f"{within}: no case has this name")
        elif splits[case] != split:
            problems.append(f"{within}: case '{case}' is in the split '{splits[case]}', not in '{split}'")
        elif case in files:
            problems.append(f"{within}: case '{case}' has {files[case].relative_to(folder)} already")
        else:
            files[case] = path
    missing = [case.case for case in store.cases_of(split) if case.case not in files]
    problems += [f"case '{case}' has no file" for case in missing]
    if problems:
        raise ListedError(
            f"the predictions and the cases of the split '{split}' do not match ({len(problems)} problem(s)):",
            problems,
            where=folder,
            remedy=f"give one file ({', '.join(suffixes)}) per case of the split, named as the case is in cases.csv "
            "of the prepared data, and no other",
        )
    return PredictedMasks(store, raw, files)


def _names(cases: Sequence[Case]) -> dict[str, str]:
    """What a file may be called -> case: the case's own name above its image's path, that above the image's name."""
    image_paths = {case.case: PurePosixPath(case.image) for case in cases}
    short = {case: _name(path) for case, path in image_paths.items()}
    occurrences = Counter(short.values())
    names = {name: case for case, name in short.items() if occurrences[name] == 1}
    names |= {str(path.parent / short[case]): case for case, path in image_paths.items()}
    return names | {case.case: case.case for case in cases}


def _case_of(within: Path, case_by_name: Mapping[str, str]) -> str | None:
    """The case of a file at a path below the folder of predictions."""
    name = _name(within)
    for stem in (name, name.removesuffix(MARK)):
        for called in ((within.parent / stem).as_posix(), stem):
            if called in case_by_name:
                return case_by_name[called]
    return None


def _name(path: PurePath) -> str:
    """A file's name without its format, which may have two parts (.nii.gz)."""
    return path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem


def _structures_in_words(structures: Sequence[Structure]) -> str:
    return ", ".join(f"{number} {one.name}" for number, one in enumerate(structures, start=1))
