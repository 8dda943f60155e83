"""Raw files of a dataset, or weights, got, found and recorded: every file with its checksum, one fingerprint.

The record is what later stages depend on: it changes when a raw file's content, name or number does, and not when
the folder is copied or touched. Whole files are hashed, since a corrected label may keep its size; that reads about
a gigabyte per second and runs once.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from sdseg.artifacts.results.raw_files import RawFile, RawFiles
from sdseg.artifacts.results.record import FORMAT
from sdseg.config.dataset import Own
from sdseg.core.errors import ListedError, UserError, nearest
from sdseg.core.files import sha256_file, sha256_text, write_json
from sdseg.core.locks import locked, writes
from sdseg.core.overwrite_checks import check_record
from sdseg.core.parallel import each
from sdseg.datasets.layouts import RawCase, find_cases
from sdseg.datasets.own import own_dataset
from sdseg.datasets.registry import RegistryEntry, read_registry
from sdseg.datasets.sources import Source, source_named
from sdseg.download.notes import origin_of
from sdseg.download.obtain import DownloadOptions, obtain
from sdseg.download.partial_download import checksum_of
from sdseg.io.content import file_size

__all__ = ["DownloadOptions", "download", "download_weights"]

log = logging.getLogger(__name__)


@writes("output")
def download(
    *,
    source: str,
    raw: Path,
    output: Path,
    registry: Path | None = None,
    options: DownloadOptions | None = None,
    own: Own | None = None,
) -> str:
    """Check that `raw` holds the dataset in its owner's layout, write the record to `output`, return the fingerprint.

    A folder that is missing or empty is filled from the dataset's archives, which `registry` names, as far as `options`
    allow; one that holds anything is taken as it is and never written to. With source 'own' the section `own` says what
    is there.

    The record is JSON: format, source, n_cases, n_files, bytes, fingerprint (SHA-256 over path, size and SHA-256 of
    every file), archives (what `raw` was unpacked from, null where that was not done here), files. It holds no absolute
    path and no time: same files, same record.

    Raises UserError or ListedError where the folder is missing or empty and cannot be filled, or its files are no
    complete pairs, and where `output` is a file that is no such record.
    """
    check_record(output, ("source", "fingerprint", "files"))
    record, cases = _here(source, raw, own, registry, options)
    paths = sorted({path for case in cases for path in (*case.image_files, *case.label_files)})
    files = each(
        lambda path: _recorded(path, raw),
        paths,
        jobs=min(4, os.cpu_count() or 1),
        title=f"{record.title}, checksums",
        where=raw,
        remedy="allow yourself to read them, or copy them anew",
    )
    fingerprint = sha256_text("".join(f"{file.sha256} {file.size} {file.path}\n" for file in files))
    origin = origin_of(raw)
    written = RawFiles.checked(
        format=FORMAT,
        source=record.name,
        n_cases=len(cases),
        n_files=len(files),
        bytes=sum(file.size for file in files),
        fingerprint=fingerprint,
        archives=None if origin is None else [archive.model_dump() for archive in origin.archives],
        files=files,
    )
    write_json(output, written.content())
    log.info("%s: %d cases in %d files, fingerprint %s", record.title, len(cases), len(files), fingerprint[:12])
    return fingerprint


def download_weights(name: str, *, folder: Path, registry: Path, options: DownloadOptions) -> dict[str, str]:
    """Fill `folder` with the weights that `registry` calls `name`, or check what is there; SHA-256 of every file.

    A folder that holds anything is never written to. Raises UserError for an unknown name, for weights that are neither
    here nor to be fetched, for a file that is missing from the folder, and for one with another checksum than the
    registry's.
    """
    entries = read_registry(registry)
    entry = entries.get(name)
    if entry is None:
        what = f"unknown weights '{name}', {nearest(name, entries)}"
        raise UserError(what, where=registry, remedy="choose one of the registry, or describe yours there")
    if _holds_nothing(folder):
        layout = ", ".join(entry.holds)
        _fill(name, entry, options, folder, title=entry.title, layout=layout, confirm=lambda at: _whole(entry, at))
    else:
        log.info("%s: taking what is in %s", entry.title, folder)
    checksums = _whole(entry, folder)
    for path, checksum in checksums.items():
        log.info("%s  %s", checksum, folder / path)
    log.info("%s is for: %s (licence: %s)", entry.title, entry.purpose or "not said", entry.licence)
    return checksums


def _whole(entry: RegistryEntry, folder: Path) -> dict[str, str]:
    """`sha256:…` of every file of a folder of weights, once all of them are there and none is another."""
    missing = [f"{path} is missing" for path in entry.holds if not (folder / path).is_file()]
    checksums = {path: checksum_of(folder / path) for path in entry.holds if (folder / path).is_file()}
    expected = {file.to: file.checksum for file in entry.files if file.to is not None and file.checksum is not None}
    other = [
        f"{path} has {checksums[path]} instead of {expected[path]}"
        for path in checksums
        if checksums[path] != expected.get(path, checksums[path])
    ]
    if missing or other:
        raise ListedError(
            f"the weights of {entry.title} are not whole:",
            [*missing, *other],
            where=folder,
            remedy="copy the whole folder again, or remove it and run again",
        )
    return checksums


def _here(
    source: str, raw: Path, own: Own | None, registry: Path | None, options: DownloadOptions | None
) -> tuple[Source, tuple[RawCase, ...]]:
    """Record and cases of the dataset, whose files are fetched first where that is wanted; `own` ones never are."""
    if own is not None:
        return own_dataset(own, raw)
    if source == "own":
        what = "nothing says how the files of a dataset of your own lie"
        raise UserError(what, where="--source own", remedy="give its settings as well: --settings FILE")
    record = source_named(source)
    if registry is not None and options is not None and _holds_nothing(raw):
        entry = read_registry(registry).get(source)  # without one the folder's own error says what is missing
        if entry is not None:
            _fill(
                *(source, entry, options, raw),
                title=record.title,
                layout=record.layout,
                confirm=lambda folder: find_cases(record, folder),
            )
    return record, find_cases(record, raw)


def _fill(source: str, entry: RegistryEntry, options: DownloadOptions, raw: Path, **more: Any) -> None:
    """Get the files into `raw`, once: a job beside this one, for a dataset of the same folder, waits for it."""
    with locked(raw.resolve(), wait=True):  # a link stays, and what it leads to is filled
        if _holds_nothing(raw):
            obtain(source, entry, options, raw, **more)


def _holds_nothing(raw: Path) -> bool:
    if not raw.exists():
        return True
    return raw.is_dir() and all(entry.name.startswith(".") for entry in raw.iterdir())


def _recorded(path: Path, raw: Path) -> RawFile:
    try:
        return RawFile(path=path.relative_to(raw).as_posix(), size=file_size(path), sha256=sha256_file(path))
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=path, remedy="check its permissions and the disk"
        ) from None
