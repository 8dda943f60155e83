"""The folders of a run: what is written must not lie in what is only read, nor the other way round."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sdseg.config.run import Config
from sdseg.core.errors import UserError

__all__ = ["check_folders", "check_places"]


def check_places(settings: Config, models: Iterable[tuple[str, str]] = ()) -> None:
    """Refuse results in a folder that is only read, and raw files where results are written.

    `models`: keys and folders of models that trainings build on. Links are followed. Raises UserError.
    """
    results = _real(settings.results)
    for key, folder in (*_read(settings), *models):
        if _within(results, _real(folder)):
            raise UserError(
                f"results would be written into {folder}, which is only read ('{key}')",
                where=f"results: {settings.results}",
                remedy="name another folder for 'results'",
            )
    result_folders = ["codecs", "logs", *settings.datasets]
    for key, folder in _raw(settings):
        inside = next((name for name in result_folders if _within(_real(folder), results / name)), None)
        if inside is not None:
            raise UserError(
                f"raw files would lie in {Path(settings.results) / inside}, where results are written",
                where=f"{key}: {folder}",
                remedy="name another folder for them, or for 'results'",
            )
    for name, dataset in settings.datasets.items():
        downloads = Path(settings.downloads) / dataset.source
        if dataset.origin != "phantom" and _within(_real(downloads), _real(settings.raw_folder(name))):
            raise UserError(
                f"archives would be kept in {downloads}, among the raw files of '{name}'",
                where=f"downloads: {settings.downloads}",
                remedy="name another folder for 'downloads'",
            )


def check_folders(settings: Config) -> None:
    """Refuse folders that cannot be: files in their place, results where nothing can be written. Raises UserError."""
    for key, folder in (("results", settings.results), *_read(settings), ("downloads", settings.downloads)):
        existing = _existing(Path(folder))
        if not existing.is_dir():
            what = f"{existing} is a file, and a folder is expected"
            raise UserError(what, where=f"{key}: {folder}", remedy="name a folder")
    existing = _existing(Path(settings.results))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(
            f"nothing can be written to {existing}",
            where=f"results: {settings.results}",
            remedy="name a folder of your own for 'results'",
        )


def _raw(settings: Config) -> Iterator[tuple[str, str | Path]]:
    """Keys and folders of raw files, each dataset's own."""
    for name, dataset in settings.datasets.items():
        yield ("raw" if dataset.raw is None else f"datasets.{name}.raw"), settings.raw_folder(name)


def _read(settings: Config) -> Iterator[tuple[str, str | Path]]:
    """Keys and folders of what is only read."""
    if any(dataset.raw is None for dataset in settings.datasets.values()):
        yield "raw", settings.raw
    yield from _raw(settings)
    yield "manual", settings.manual
    yield "splits", settings.splits
    for name, codec in settings.codecs.items():
        if codec.weights is not None:
            yield f"codecs.{name}.weights", codec.weights


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(path))


def _within(inner: Path, outer: Path) -> bool:
    return inner == outer or outer in inner.parents


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = Path(os.path.abspath(path))
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path
