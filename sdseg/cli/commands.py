"""`python -m sdseg <verb>`: parsing and logging only. Heavy libraries load inside the verb that needs them."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdseg.cli.evaluate_command import evaluate_command
from sdseg.cli.export_command import export_command
from sdseg.cli.parser import Handler, build_parser
from sdseg.cli.unused_options import refuse_unused
from sdseg.core.errors import UserError
from sdseg.core.shipped_files import shipped
from sdseg.core.signals import Stopped, heeded
from sdseg.datasets.source_names import SOURCE_NAMES

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status.

    0 done, 1 some inputs failed, 2 bad input, 130 interrupted, 143 ended by SIGTERM (129 by SIGHUP).
    """
    parsed = build_parser(HANDLERS).parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if parsed.verbose else logging.INFO, format="%(levelname).1s %(name)s: %(message)s"
    )
    try:
        handler: Handler = parsed.handler
        with heeded():
            return handler(parsed)
    except UserError as error:
        print(f"sdseg {parsed.verb}: error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"sdseg {parsed.verb}: {stopped}", file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print(f"sdseg {parsed.verb}: interrupted", file=sys.stderr)
        return 130


def _phantoms(arguments: argparse.Namespace) -> int:
    from sdseg.datasets.phantoms.write import phantoms

    phantoms(source=arguments.source, output=arguments.output, seed=arguments.seed, scale=arguments.scale)
    return 0


def _download(arguments: argparse.Namespace) -> int:
    from sdseg.config.dataset import load_dataset
    from sdseg.download.download import Means, download, download_weights

    means = Means(
        manual=arguments.manual,
        downloads=arguments.downloads,
        fetch=arguments.fetch,
        accept_terms=arguments.accept_terms,
    )
    if arguments.weights is not None:
        committed = shipped("resources/weights.yaml")
        folder = arguments.raw or Path("resources/weights") / arguments.weights
        registry = arguments.registry or committed
        download_weights(arguments.weights, folder=folder, registry=registry, means=means)
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
        means=means,
        own=load_dataset(arguments.settings).own if arguments.settings else None,
    )
    return 0


def _split(arguments: argparse.Namespace) -> int:
    from sdseg.config.dataset import Draw, load_dataset
    from sdseg.core.settings import parse
    from sdseg.datasets.split import split

    settings = load_dataset(arguments.settings)
    chosen = {"seed": arguments.seed, "fractions": arguments.fractions}
    asked = {key: value for key, value in chosen.items() if value is not None}
    drawn = (settings.split or Draw()).model_dump() | asked
    split(
        settings=settings,
        raw=arguments.raw,
        output=arguments.output,
        draw=parse(Draw, drawn, where="--seed and --fractions"),
    )
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
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


def _codec(arguments: argparse.Namespace) -> int:
    from sdseg.config.recipe import load_codec
    from sdseg.training.codec import build_codec

    build_codec(settings=load_codec(arguments.settings), output=arguments.output, device=arguments.device)
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from sdseg.config.recipe import load_codec, load_recipe
    from sdseg.models.pretrained import convert

    codec, origin, weights, size = load_codec(arguments.codec), arguments.origin, arguments.weights, arguments.size
    refuse_unused(arguments, "--from", origin, USED_OF_WEIGHTS)
    if origin == "kl-f8":
        convert.convert_codec(weights=weights, codec=codec, output=arguments.output, size=size)
        return 0
    if arguments.recipe is None:
        raise UserError("no layout of the network", where="--recipe", remedy="name one, e.g. sdseg-paper.yaml")
    name, recipe = arguments.name or arguments.recipe.stem, load_recipe(arguments.recipe)
    outputs = {"output": arguments.output, "codec_output": arguments.codec_output}
    if origin == "official":
        if arguments.source is None:
            remedy = f"name it, one of {', '.join(SOURCE_NAMES)}"
            raise UserError("nothing says what it was trained on", where="--source", remedy=remedy)
        meant = {"source": arguments.source, "target": arguments.target, "window": arguments.window, "size": size}
        ema = arguments.unet != "raw"
        convert.convert_official(
            weights=weights, recipe_name=name, recipe=recipe, codec=codec, ema=ema, **meant, **outputs
        )
        return 0
    layout = convert.Layout(name, recipe, codec, arguments.source, arguments.target, size, arguments.window)
    if origin == "ldm":
        ema, seed = arguments.unet == "ema", arguments.seed
        convert.convert_ldm(layout, unet=weights, autoencoder=arguments.autoencoder, ema=ema, seed=seed, **outputs)
    else:
        convert.convert_stable_diffusion(
            layout, folder=weights, context=arguments.context, seed=arguments.seed, **outputs
        )
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from sdseg.config.recipe import load_recipe
    from sdseg.training.train import train

    train(
        prepared=arguments.prepared,
        recipe_name=arguments.name or arguments.recipe.stem,
        recipe=load_recipe(arguments.recipe, _assignments(arguments.set)),
        codec=arguments.codec,
        output=arguments.output,
        last=arguments.last or arguments.output.with_name("last"),
        state=arguments.state or arguments.output.with_name("state"),
        device=arguments.device,
        quiet=arguments.quiet,
        start_from=arguments.start_from,
        on_edit=arguments.on_edit,
    )
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    from sdseg.inference.predict import Wanted, predict
    from sdseg.io.limits import asked_limits

    limits = asked_limits(arguments.max_pixels, arguments.max_voxels)
    return predict(
        model=arguments.model,
        inputs=arguments.inputs,
        output=arguments.output,
        device=arguments.device,
        wanted=Wanted(
            probability=arguments.probability,
            overlay=arguments.overlay,
            batch=arguments.batch,
            overwrite=arguments.overwrite,
            limits=limits,
        ),
    )


def _report(arguments: argparse.Namespace) -> int:
    from sdseg.report.report import compare, print_table, report

    if arguments.compare is not None:
        first, second = arguments.compare
        compare(first, second, arguments.output or first / "comparison.html")
        return 0
    if not arguments.table:
        committed = shipped("resources/paper")
        published = arguments.published or (committed if committed.is_dir() else None)
        report(arguments.results, arguments.output or arguments.results / "report.html", published)
    print_table(arguments.results, arguments.output or arguments.results / "report.html")
    return 0


def _estimate(arguments: argparse.Namespace) -> int:
    from sdseg.cli.estimate import estimate

    return estimate(arguments.config, probed=not arguments.no_probe, as_json=arguments.json, device=arguments.device)


def _doctor(arguments: argparse.Namespace) -> int:
    from sdseg.cli.doctor import doctor

    return doctor(config=arguments.config)


def _assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """`a.b=value` pairs as a nested mapping; values are read as YAML."""
    from sdseg.core.yaml_json import yaml_value

    nested: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"'{pair}' is not KEY=VALUE", where="--set", remedy="write for example training.steps=500")
        place = nested
        *sections, last = key.split(".")
        for section in sections:
            place = place.setdefault(section, {}) if isinstance(place, dict) else place
        if not isinstance(place, dict) or last in place:  # a value where a section is meant, or twice the same key
            raise UserError(f"'{pair}' does not fit", where="--set", remedy="give each key once")
        place[last] = yaml_value(value, where=f"--set {pair}")
    return nested


NETWORKS = ("official", "ldm", "stable-diffusion")
USED_OF_WEIGHTS = {  # which options of `convert` belong to which weights
    "autoencoder": ("ldm",),
    "context": ("stable-diffusion",),
    "unet": ("official", "ldm"),
    **dict.fromkeys(("recipe", "codec_output", "source", "target", "window", "name"), NETWORKS),
}
HANDLERS: dict[str, Handler] = {
    "phantoms": _phantoms,
    "download": _download,
    "split": _split,
    "prepare": _prepare,
    "codec": _codec,
    "convert": _convert,
    "train": _train,
    "evaluate": evaluate_command,
    "export": export_command,
    "predict": _predict,
    "report": _report,
    "estimate": _estimate,
    "doctor": _doctor,
}
