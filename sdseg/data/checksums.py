"""Whether the files of a slice store are those that were prepared."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from isal import isal_zlib

from sdseg.artifacts.manifests import PreparedManifest
from sdseg.core.errors import ListedError
from sdseg.core.files import sha256_file, sha256_text
from sdseg.data.packed_masks import ANNOTATOR_FILES, MASK_FILES

__all__ = [
    "ARRAYS",
    "FILES",
    "TABLES",
    "arrays_of",
    "check_arrays",
    "check_tables",
    "combined_checksum",
    "fast_checksum",
    "files_of",
]

ARRAYS = ("images.npy", MASK_FILES[0])
TABLES = (MASK_FILES[1], "cases.csv", "slices.csv")  # small: checked whenever a store is opened
FILES = ("images.npy", *MASK_FILES, "cases.csv", "slices.csv")
BLOCK = 1 << 24  # bytes
REMEDY = "prepare the dataset again (sdseg prepare)"


def files_of(annotators: Collection[str]) -> tuple[str, ...]:
    """The files of a store of these annotators; nobody: where nothing tells them apart."""
    return (*FILES, *ANNOTATOR_FILES) if annotators else FILES


def arrays_of(annotators: Collection[str]) -> tuple[str, ...]:
    """Those of its files that are large."""
    return (*ARRAYS, ANNOTATOR_FILES[0]) if annotators else ARRAYS


def combined_checksum(checksums: dict[str, str]) -> str:
    """One SHA-256 over named checksums: names a preparation."""
    return sha256_text("".join(f"{value}  {name}\n" for name, value in sorted(checksums.items())))


def fast_checksum(path: Path) -> str:
    """CRC-32 of a file, eight hexadecimal digits: finds any damage and any slip, at the speed of memory."""
    value = 0
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(BLOCK):
            value = isal_zlib.crc32(block, value)
    return f"{value:08x}"


def check_tables(folder: Path, manifest: PreparedManifest) -> None:
    """Raise ListedError where a small file of the store is not the one that was prepared, or the manifest was edited.

    Splits and rows are in these: a store whose cases changed places would be scored without a word.
    """
    changed = _changed(folder, manifest, (*TABLES, *((ANNOTATOR_FILES[1],) if manifest.annotators else ())))
    if manifest.data_checksum != combined_checksum(manifest.checksums):
        changed.append("manifest.json")
    _refuse(changed, folder)


def check_arrays(folder: Path, manifest: PreparedManifest) -> None:
    """Raise ListedError where an array is not the one that was prepared: before training and evaluation start.

    A store of an earlier version has no fast checksums; its arrays are compared by SHA-256.
    """
    expected = manifest.fast_checksums
    arrays = arrays_of(manifest.annotators)
    slow = [name for name in arrays if name not in expected]
    other = [name for name in arrays if name in expected and fast_checksum(folder / name) != expected[name]]
    _refuse([*other, *_changed(folder, manifest, slow)], folder)


def _changed(folder: Path, manifest: PreparedManifest, names: Collection[str]) -> list[str]:
    return [name for name in names if sha256_file(folder / name) != manifest.checksums.get(name)]


def _refuse(changed: Collection[str], folder: Path) -> None:
    if changed:
        raise ListedError("files changed since they were prepared:", changed, where=folder, remedy=REMEDY)
