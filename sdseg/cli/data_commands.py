"""The verbs of data: phantoms, download, split, prepare."""

from __future__ import annotations

import argparse
from pathlib import Path

from sdseg.core.errors import UserError
from sdseg.core.shipped_files import shipped

__all__ = ["download_command", "folds_command", "phantoms_command", "prepare_command", "split_command"]


def phantoms_command(arguments: argparse.Namespace) -> int:
    from sdseg.datasets.phantoms.write import phantoms

    phantoms(source=arguments.source, output=arguments.output, seed=arguments.seed, scale=arguments.scale)
    return 0


def download_command(arguments: argparse.Namespace) -> int:
    from sdseg.config.dataset import load_dataset
    from sdseg.download.download import DownloadOptions, download, download_weights

    options = DownloadOptions(
        manual=arguments.manual,
        downloads=arguments.downloads,
        fetch=arguments.fetch,
        accept_terms=arguments.accept_terms,
    )
    if arguments.weights is not None:
        committed = shipped("resources/weights.yaml")
        folder = arguments.raw or Path("resources/weights") / arguments.weights
        registry = arguments.registry or committed
        download_weights(arguments.weights, folder=folder, registry=registry, options=options)
        return 0
    for name in ("raw", "output"):
        if getattr(arguments, name) is None:
            raise UserError("not given", where=f"--{name}", remedy="name it: it is needed for a dataset")
    committed = shipped("resources/datasets.yaml")
    download(
        source=arguments.source,
        raw=arguments.raw,
        output=arguments.output,
        registry=arguments.registry or (committed if committed.exists() else None),
        options=options,
        own=load_dataset(arguments.settings).own if arguments.settings else None,
    )
    return 0


def split_command(arguments: argparse.Namespace) -> int:
    from sdseg.config.dataset import Draw, load_dataset
    from sdseg.core.settings import parse
    from sdseg.datasets.split import split

    settings = load_dataset(arguments.settings)
    options = {"seed": arguments.seed, "fractions": arguments.fractions}
    given = {key: value for key, value in options.items() if value is not None}
    draw = (settings.split or Draw()).model_dump() | given
    split(
        settings=settings,
        raw=arguments.raw,
        output=arguments.output,
        draw=parse(Draw, draw, where="--seed and --fractions"),
    )
    return 0


def folds_command(arguments: argparse.Namespace) -> int:
    from sdseg.data.folds import make_folds

    make_folds(arguments.prepared, arguments.folds, arguments.output, arguments.seed)
    return 0


def prepare_command(arguments: argparse.Namespace) -> int:
    from sdseg.config.dataset import load_dataset
    from sdseg.data.prepare import check, prepare

    settings, paths = load_dataset(arguments.settings), {"raw": arguments.raw, "split": arguments.split}
    if arguments.check:
        passed = check(name=arguments.name, settings=settings, **paths, output=arguments.output, jobs=arguments.jobs)
        return 0 if passed else 1
    if arguments.output is None:
        raise UserError("no folder to write to", where="--output", remedy="name one, or only check with --check")
    prepare(name=arguments.name, settings=settings, **paths, output=arguments.output, jobs=arguments.jobs)
    return 0
