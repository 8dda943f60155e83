"""The archives of a dataset, from wherever they may be had: the manual folder, then the cache, then the network."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdseg.core.credentials import KAGGLE, SYNAPSE, Credential, credential, hidden
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import atomic_folder
from sdseg.core.locks import locked
from sdseg.datasets.registry import RegistryEntry, RemoteFile
from sdseg.download.accounts import Address, RefusedError, kaggle_address, synapse_address
from sdseg.download.archives import unpack
from sdseg.download.notes import Notes, Origin, write_origin
from sdseg.download.partial_download import checksum_of

if TYPE_CHECKING:
    from sdseg.download.http_client import Patience

__all__ = ["DownloadOptions", "obtain"]

log = logging.getLogger(__name__)
UNIMPORTANT = (".sdseg-origin.json", ".gitkeep", ".DS_Store")  # what a raw folder that counts as empty may hold


@dataclass(frozen=True)
class DownloadOptions:
    """Where archives are looked for, and what is allowed to get them."""

    manual: Path  # <manual>/<source>/<file>: laid there by hand, only read
    downloads: Path  # <downloads>/<source>/<file>: what was fetched
    fetch: bool = False  # the network may be used
    accept_terms: bool = False  # the owner's terms have been read and accepted


@dataclass(frozen=True)
class _Job:
    source: str
    title: str
    entry: RegistryEntry
    options: DownloadOptions
    raw: Path
    layout: str  # in words

    @property
    def cache(self) -> Path:
        return self.options.downloads / self.source

    @property
    def manual(self) -> Path:
        return self.options.manual / self.source


def obtain(
    source: str,
    entry: RegistryEntry,
    options: DownloadOptions,
    raw: Path,
    *,
    title: str,
    layout: str,
    confirm: Callable[[Path], object],
    patience: Patience | None = None,
) -> Origin:
    """Get every archive of a dataset and unpack them into `raw`, which appears complete or not at all.

    `title` and `layout` say in words what the dataset is called and how its files lie; `confirm` is given the unpacked
    folder and raises UserError where they lie otherwise. Raises UserError or ListedError that say what to do where an
    archive is neither here nor to be fetched, or is not the one expected.
    """
    job = _Job(source, title, entry, options, raw, layout)
    here = {file.name: _local(job, file) for file in job.entry.files}
    missing = tuple(file for file in job.entry.files if here[file.name] is None)
    if missing:
        who = _permitted(job, missing)
        with (
            locked(job.cache, inside=True, wait=True),
            hidden(tuple(secret for each in who.values() for secret in each.secrets)),
        ):
            for file in missing:  # another job may have fetched it by now
                here[file.name] = _local(job, file) or _fetched(job, file, who, patience)
    notes = Notes(job.cache)
    paths = {file: path for file in job.entry.files if (path := here[file.name]) is not None}
    archives = tuple(notes.check(file, path, by_hand=path.parent == job.manual) for file, path in paths.items())
    origin = Origin(source=source, version=job.entry.version, archives=archives)
    _unpack(job, paths, origin, confirm)
    return origin


def _local(job: _Job, file: RemoteFile) -> Path | None:
    return next((folder / file.name for folder in (job.manual, job.cache) if (folder / file.name).is_file()), None)


def _permitted(job: _Job, missing: tuple[RemoteFile, ...]) -> dict[str, Credential]:
    """Credentials by service, once everything allows to fetch the missing files."""
    if job.entry.access == "manual":
        raise _not_here(job, missing, "it is fetched by hand only")
    if not job.options.fetch:
        raise _not_here(job, missing, "fetching is not allowed")
    if job.entry.access == "account" and not job.options.accept_terms:
        raise _not_here(job, missing, "its owner's terms are not accepted")
    who = {}
    for place, needed in ((KAGGLE, any(file.kaggle for file in missing)), (SYNAPSE, any(f.synapse for f in missing))):
        if needed:
            secret = credential(place)
            if secret is None:
                what = f"no {place.service} token is here, neither in {place.variables} nor in {place.files}"
                raise _not_here(job, missing, what)
            who[place.service] = secret
    return who


def _fetched(job: _Job, file: RemoteFile, who: dict[str, Credential], patience: Patience | None) -> Path:
    try:
        from sdseg.download.http_client import Patience, fetch
    except ImportError as error:
        raise UserError(
            f"fetching needs the package 'requests', which cannot be imported: {error}",
            remedy="install the extra: pip install 'sdseg[download]'",
        ) from None
    log.info("%s: fetching %s from %s", job.title, file.name, file.place)
    target = job.cache / file.name
    try:
        checksum = fetch(
            lambda: _address(file, who),
            target,
            size=file.size,
            checksum=file.checksum,
            patience=patience or Patience(),
        )
    except RefusedError as error:
        raise _not_here(job, (file,), error.what) from None
    notes = Notes(job.cache)
    if checksum is not None or not notes.know(file.name):  # what was first seen stays, to be compared with
        notes.write(file.name, checksum or checksum_of(target), file.place)
    if file.checksum is None and checksum is None:
        log.warning("no checksum of %s is published; the first one seen is in %s", file.name, notes.path)
    return target


def _address(file: RemoteFile, who: dict[str, Credential]) -> Address:
    if file.kaggle:
        return kaggle_address(file.kaggle, who[KAGGLE.service])
    if file.synapse:
        address = synapse_address(file.synapse, who[SYNAPSE.service])
        if address.checksum and file.checksum:
            agree = address.checksum == file.checksum
            log.log(
                logging.INFO if agree else logging.WARNING,
                "%s: Synapse says %s, the registry %s%s",
                *(file.name, address.checksum, file.expected, "" if agree else "; Synapse's own is used"),
            )
        return address
    return Address(str(file.url))


def _unpack(job: _Job, files: dict[RemoteFile, Path], origin: Origin, confirm: Callable[[Path], object]) -> None:
    paths = [path for file, path in files.items() if file.to is None]
    raw = job.raw.resolve()  # a link stays, and what it leads to is filled
    parent = next(folder for folder in raw.parents if folder.exists())
    log.info("%s: laying %d file(s) into %s", job.title, len(files), job.raw)
    with atomic_folder(raw, owned=UNIMPORTANT) as folder:
        if paths:
            unpack(paths, folder, only=job.entry.unpack, free=shutil.disk_usage(parent).free)
        for file, path in files.items():
            if file.to is not None:
                (folder / file.to).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / file.to)
        try:
            confirm(folder)
        except UserError as error:
            what = f"the archives do not hold {job.title} as expected: {error.what}"
            remedy = f"expected are {job.layout}; see what is in them, and lay the files into {job.raw} yourself"
            if isinstance(error, ListedError):
                raise ListedError(what, error.problems, where=job.cache, remedy=remedy) from None
            raise UserError(what, where=job.cache, remedy=remedy) from None
        write_origin(folder, origin)


def _not_here(job: _Job, missing: tuple[RemoteFile, ...], why: str) -> UserError:
    """Everything there is to know to go on: page, terms, files, folders, checksums, variables."""
    entry, options = job.entry, job.options
    lines = [f"{file.name}: {file.expected}{f', {file.size:,} bytes' if file.size else ''}" for file in missing]
    ways = [
        f"lay your unpacked copy into {job.raw}, as {job.layout}",
        f"or fetch the above from {entry.page} (terms: {entry.terms}) and lay it into {job.manual}",
    ]
    if entry.access != "manual":
        steps = [] if options.fetch else ["fetch: true in the configuration (--fetch)"]
        if entry.access == "account":
            steps += [] if options.accept_terms else ["accept_terms: true for this dataset (--accept-terms)"]
            for place, used in ((KAGGLE, entry.files[0].kaggle), (SYNAPSE, entry.files[0].synapse)):
                steps += [f"your {place.service} token in {place.variables}, or in {place.files}"] if used else []
        ways.append(f"or have it fetched: {'; '.join(steps) or 'run again'}")
    what = f"the raw folder of {job.title} is {'empty' if job.raw.exists() else 'missing'}, and so are its archives"
    return ListedError(f"{what}; {why}:", lines, where=job.raw, remedy="\n          ".join(ways))
