"""What a configuration asks for and is not here: raw files, splits, weights, accounts, GPU, room on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sdseg.config.dataset import Dataset
from sdseg.config.recipe import Recipe
from sdseg.config.run import Config
from sdseg.core.credentials import KAGGLE, SYNAPSE, Place, credential
from sdseg.core.errors import UserError
from sdseg.core.shipped_files import shipped
from sdseg.datasets.registry import RegistryEntry, read_registry
from sdseg.datasets.source_lookup import makes_split

__all__ = ["Download", "Missing", "downloads_of", "missing_inputs", "room"]


@dataclass(frozen=True)
class Missing:
    """One thing that a run would stop at, and what to do."""

    subject: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Download:
    """The archives a dataset would be filled from."""

    files: tuple[str, ...]  # names of those that are neither fetched nor laid down by hand
    bytes: int | None  # of those files; None where no size is published
    access: str  # open, account, manual


def missing_inputs(config: Config, recipes: Mapping[tuple[str, str], Recipe]) -> list[Missing]:
    """Everything at once, in the order of the configuration."""
    missing = [each for name in config.datasets for each in (*_raw(config, name), *_split(config, name))]
    for name, codec in config.codecs.items():
        if codec.weights is not None and not Path(codec.weights).is_dir():
            remedy = (
                "see docs/weights.md: sdseg download --weights kl-f8, then sdseg convert; or give 'training' instead"
            )
            missing.append(Missing(f"codec {name}", f"no weights in {codec.weights}", remedy))
    named = {(key, each.model) for recipe in recipes.values() for key, each in recipe.builds_on.items() if each.model}
    missing += [
        Missing(f"{key} {model}", "no model folder", "name one made by 'sdseg train' or 'sdseg convert'")
        for key, model in sorted(named)
        if not (Path(model) / "config.json").is_file()
    ]
    return missing


def downloads_of(config: Config, name: str) -> Download | None:
    """What would have to be fetched for a dataset; None where its raw files are here, or are nobody's to fetch."""
    settings, entry = config.datasets[name], _entry(config, name)
    if entry is None or settings.origin != "real" or _holds_something(config.raw_folder(name)):
        return None
    places = [Path(folder) / settings.source for folder in (config.manual, config.downloads)]
    files = [file for file in entry.files if not any((place / file.name).is_file() for place in places)]
    sizes = [file.size for file in files]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    return Download(tuple(file.name for file in files), total, entry.access)


def room(folder: Path, needed: int) -> Missing | None:
    """Whether the disk under `folder` has room for so many bytes."""
    place = folder.absolute()
    existing = next(each for each in (place, *place.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if free >= needed:
        return None
    what = f"{free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB wanted"
    return Missing("disk", what, "set 'results' to a larger disk, or run fewer datasets or recipes at a time")


def _raw(config: Config, name: str) -> Iterator[Missing]:
    settings, raw = config.datasets[name], config.raw_folder(name)
    if settings.origin == "phantom" or _holds_something(raw):
        return
    download = downloads_of(config, name)
    if download is None:
        yield Missing(name, f"no raw files in {raw}", "put them there, or set 'raw' to where they are")
    elif not download.files:
        return  # the archives are here: they are unpacked by the run
    elif download.access == "manual":
        remedy = (
            f"fetch {', '.join(download.files)} by hand into {Path(config.manual) / settings.source} (docs/download.md)"
        )
        yield Missing(name, f"no raw files in {raw}, and they are fetched by hand only", remedy)
    else:
        yield from _permissions(config, name, settings, raw)


def _permissions(config: Config, name: str, settings: Dataset, raw: Path) -> Iterator[Missing]:
    """Why a dataset that could be fetched would not be."""
    entry = _entry(config, name)
    if entry is None:
        return
    if not config.fetch:
        remedy = f"put them there, set 'raw' to where they are, or 'fetch: true' ({entry.access})"
        yield Missing(name, f"no raw files in {raw}, and fetching is not allowed", remedy)
    if entry.access == "account" and not settings.accept_terms:
        yield Missing(name, "its owner's terms are not accepted", f"read {entry.page}, then set 'accept_terms: true'")
    services = ((KAGGLE, any(file.kaggle for file in entry.files)), (SYNAPSE, any(f.synapse for f in entry.files)))
    yield from (_account(name, place) for place, used in services if used and not _known(place))


def _account(name: str, place: Place) -> Missing:
    return Missing(name, f"no {place.service} token", f"set {place.variables}, or write {place.files}")


def _known(place: Place) -> bool:
    try:
        return credential(place) is not None
    except UserError:  # its file cannot be read; the download says so
        return False


def _split(config: Config, name: str) -> Iterator[Missing]:
    settings, path = config.datasets[name], config.split_path(name)
    if makes_split(settings) or path.is_file() or (settings.origin == "phantom" and settings.split_file is None):
        return
    remedy = "set 'protocol' to one that is there, or 'split_file' to your own"
    yield Missing(name, f"no split file {path}", remedy)


def _entry(config: Config, name: str) -> RegistryEntry | None:
    path = shipped(config.registry)
    if config.datasets[name].own is not None or not path.is_file():
        return None
    return _registry(path, path.stat().st_mtime_ns).get(config.datasets[name].source)


@lru_cache(maxsize=2)
def _registry(path: Path, changed: int) -> dict[str, RegistryEntry]:
    """Read once for all datasets: it takes longer than all the rest."""
    return dict(read_registry(path))


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir())
