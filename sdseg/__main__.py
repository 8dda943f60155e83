"""`python -m sdseg <verb>`: parsing and logging only. Heavy libraries load inside the verb that needs them."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sdseg import __version__
from sdseg.errors import UserError

__all__ = ["main"]

Handler = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status (0 done, 1 some inputs failed, 2 bad input, 130 interrupted)."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if parsed.verbose else logging.INFO, format="%(levelname).1s %(name)s: %(message)s"
    )
    try:
        handler: Handler = parsed.handler
        return handler(parsed)
    except UserError as error:
        print(f"sdseg {parsed.verb}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"sdseg {parsed.verb}: interrupted", file=sys.stderr)
        return 130


def _phantoms(arguments: argparse.Namespace) -> int:
    from sdseg.phantoms import phantoms

    phantoms(source=arguments.source, output=arguments.output, seed=arguments.seed, scale=arguments.scale)
    return 0


def _download(arguments: argparse.Namespace) -> int:
    from sdseg.config import load_dataset
    from sdseg.download import Means, download

    committed = Path("resources/datasets.yaml")
    means = Means(
        manual=arguments.manual,
        downloads=arguments.downloads,
        fetch=arguments.fetch,
        accept_terms=arguments.accept_terms,
    )
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
    from sdseg.config import load_dataset
    from sdseg.own import Draw
    from sdseg.settings import parse
    from sdseg.split import split

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
    from sdseg.config import load_dataset
    from sdseg.prepare import check, prepare

    settings, paths = load_dataset(arguments.settings), {"raw": arguments.raw, "split": arguments.split}
    if arguments.check:
        passed = check(name=arguments.name, settings=settings, **paths, output=arguments.output, jobs=arguments.jobs)
        return 0 if passed else 1
    if arguments.output is None:
        raise UserError("no folder to write to", where="--output", remedy="name one, or only check with --check")
    prepare(name=arguments.name, settings=settings, **paths, output=arguments.output, jobs=arguments.jobs)
    return 0


def _codec(arguments: argparse.Namespace) -> int:
    from sdseg.codec import build_codec
    from sdseg.recipes import load_codec

    build_codec(settings=load_codec(arguments.settings), output=arguments.output, device=arguments.device)
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from sdseg.convert import convert_official
    from sdseg.recipes import load_codec, load_recipe

    convert_official(
        weights=arguments.weights,
        recipe_name=arguments.name or arguments.recipe.stem,
        recipe=load_recipe(arguments.recipe),
        codec=load_codec(arguments.codec),
        source=arguments.source,
        size=arguments.size,
        ema=arguments.unet == "ema",
        output=arguments.output,
    )
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from sdseg.recipes import load_recipe
    from sdseg.train import train

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
    )
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from sdseg.evaluate import evaluate

    evaluate(
        prepared=arguments.prepared,
        model=arguments.model,
        output=arguments.output,
        split=arguments.split,
        device=arguments.device,
        batch=arguments.batch,
    )
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from sdseg.config import Export
    from sdseg.export import export

    settings = {
        "opset": arguments.opset,
        "parity_cases": arguments.parity_cases,
        "max_abs_difference": arguments.max_abs_difference,
        "max_dice_difference": arguments.max_dice_difference,
    }
    export(
        model=arguments.model,
        prepared=arguments.prepared,
        output=arguments.output,
        settings=Export.model_validate({key: value for key, value in settings.items() if value is not None}),
    )
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    from sdseg.predict import predict

    return predict(
        model=arguments.model,
        inputs=arguments.inputs,
        output=arguments.output,
        device=arguments.device,
        batch=arguments.batch,
        probability=arguments.probability,
        overlay=arguments.overlay,
    )


def _report(arguments: argparse.Namespace) -> int:
    from sdseg.report import print_table, report

    if not arguments.table:
        report(results=arguments.results, output=arguments.output or arguments.results / "report.html")
    print_table(arguments.results, arguments.output or arguments.results / "report.html")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from sdseg.doctor import doctor

    return doctor(config=arguments.config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sdseg", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.description = "Medical image segmentation by latent diffusion with one reverse step: raw data to ONNX."
    parser.add_argument("--version", action="version", version=f"sdseg {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, handler: Handler, description: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=description, description=description)
        made.add_argument("-v", "--verbose", action="store_true", help="log details")
        made.set_defaults(handler=handler)
        return made

    def add_path(to: argparse.ArgumentParser, name: str, help: str, **extra: Any) -> None:
        extra.setdefault("required", True)
        to.add_argument(name, type=Path, help=help, **extra)

    def add_device(to: argparse.ArgumentParser) -> None:
        to.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")

    made = verb("phantoms", _phantoms, "write a synthetic dataset in the layout of a real one")
    made.add_argument("--source", required=True, help="whose layout: cvc, kseg, refuge2, btcv, sts")
    made.add_argument("--seed", type=int, default=0, help="same seed, same files (default: 0)")
    made.add_argument("--scale", type=float, default=1.0, help="multiplies the number of cases (default: 1)")
    add_path(made, "--output", "folder to write")

    made = verb("download", _download, "find the raw files of a dataset, or get them, and record what is there")
    whose = "whose layout: cvc, kseg, refuge2, btcv, sts, isic2018, sts-zenodo, own"
    made.add_argument("--source", required=True, help=whose)
    add_path(made, "--raw", "folder with the files as their owner ships them")
    add_path(made, "--output", "JSON file to write: every file with its size, and one fingerprint over all")
    add_path(made, "--settings", "YAML file with the dataset's settings, for source 'own'", required=False)
    resources = Path("resources")
    registry = "where each dataset comes from (default: resources/datasets.yaml)"
    manual = "<here>/<source>/ holds archives you fetched yourself; only read (default: resources/manual)"
    downloads = "<here>/<source>/ keeps archives that were fetched (default: resources/downloads)"
    add_path(made, "--registry", registry, required=False)
    add_path(made, "--manual", manual, required=False, default=resources / "manual")
    add_path(made, "--downloads", downloads, required=False, default=resources / "downloads")
    made.add_argument("--fetch", action="store_true", help="allow to fetch what is missing (default: nothing is)")
    made.add_argument("--accept-terms", action="store_true", help="you have read and accept the owner's terms")

    made = verb("split", _split, "write which case trains, validates and tests, once; then check that it still holds")
    add_path(made, "--settings", "YAML file with the dataset's settings (a value of 'datasets' in the configuration)")
    add_path(made, "--raw", "folder with the files as their owner ships them")
    add_path(made, "--output", "CSV file to write: id, group, split; kept where it is there")
    made.add_argument("--seed", type=int, help="same seed and cases, same split (default: the settings', or 0)")
    made.add_argument("--fractions", type=_numbers, metavar="A,B,C", help="shares of train, val, test (0.8,0.1,0.1)")

    made = verb("prepare", _prepare, "check raw files and cut them into a memory-mapped slice store")
    made.add_argument("--name", required=True, help="the dataset's name in your results")
    add_path(made, "--settings", "YAML file with the dataset's settings (a value of 'datasets' in the configuration)")
    add_path(made, "--raw", "folder with the files as their owner ships them")
    add_path(made, "--split", "CSV file with the columns id, group, split")
    add_path(made, "--output", "folder to write; with --check the JSON file to write, if any", required=False)
    made.add_argument("--check", action="store_true", help="only check: print what is there and all that is wrong")
    made.add_argument("--jobs", type=int, default=2, help="parallel readers (default: 2)")

    made = verb("codec", _codec, "train a small mask autoencoder on shapes, or take in a pretrained one")
    add_path(made, "--settings", "YAML file with the codec's settings (a value of 'codecs' in the configuration)")
    add_path(made, "--output", "folder to write")
    add_device(made)

    made = verb("convert", _convert, "an official SDSeg checkpoint to a model folder, strictly")
    add_path(made, "--weights", "the official .ckpt file")
    add_path(made, "--recipe", "YAML file with the network's layout, e.g. config/recipes/sdseg-paper.yaml")
    add_path(made, "--codec", "YAML file with the codec's layout (a value of 'codecs' in the configuration)")
    made.add_argument("--name", help="the recipe's name in your results (default: the file's name)")
    made.add_argument("--source", required=True, help="the dataset it was trained on: cvc, kseg, refuge2, btcv, sts")
    made.add_argument("--size", type=int, default=256, help="working size in pixels (default: 256)")
    made.add_argument("--unet", choices=("ema", "raw"), default="ema", help="averaged or last UNet (default: ema)")
    add_path(made, "--output", "model folder to write")

    made = verb("train", _train, "slice store to model folder; continues where it was stopped")
    add_path(made, "--prepared", "folder made by 'prepare'")
    add_path(made, "--recipe", "YAML file with the recipe")
    made.add_argument("--name", help="the recipe's name in your results (default: the file's name)")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the recipe's")
    add_path(made, "--codec", "folder made by 'codec' (latent-diffusion recipes)", required=False)
    add_path(made, "--output", "model folder to write: the best on the validation split")
    add_path(made, "--last", "model folder of the last step (default: 'last' beside --output)", required=False)
    add_path(made, "--state", "folder of the training state (default: 'state' beside --output)", required=False)
    made.add_argument("--quiet", action="store_true", help="no progress bar")
    add_device(made)

    made = verb("evaluate", _evaluate, "score a model on one split of a slice store")
    add_path(made, "--prepared", "folder made by 'prepare'")
    add_path(made, "--model", "model folder or .onnx file")
    add_path(made, "--output", "folder to write: cases.csv, summary.json, overlays")
    made.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    made.add_argument("--batch", type=int, default=8, help="slices at a time (default: 8)")
    add_device(made)

    made = verb("export", _export, "model folder to one ONNX graph, checked against the model on real cases")
    add_path(made, "--model", "model folder")
    add_path(made, "--prepared", "folder made by 'prepare', for the parity check")
    add_path(made, "--output", "folder to write: model.onnx, io.json, parity.json")
    made.add_argument("--opset", type=int, help="ONNX operator set (default: 21)")
    made.add_argument("--parity-cases", type=int, help="check at most this many test cases (default: all)")
    made.add_argument("--max-abs-difference", type=float, help="tolerance of the probability (default: 0.001)")
    made.add_argument("--max-dice-difference", type=float, help="tolerance of the Dice (default: 0.002)")

    made = verb("predict", _predict, "images or volumes to masks in their own size and geometry")
    made.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="image or NIfTI files, or folders of them")
    add_path(made, "--model", "model folder or .onnx file")
    add_path(made, "--output", "folder to write")
    made.add_argument("--batch", type=int, default=8, help="slices at a time (default: 8)")
    made.add_argument("--probability", action="store_true", help="also write the probability")
    made.add_argument("--overlay", action="store_true", help="also write the mask's outline over the image")
    add_device(made)

    made = verb("report", _report, "every result to one page that opens without network")
    add_path(made, "--results", "folder of results", required=False, default=Path("results"))
    add_path(made, "--output", "page to write (default: report.html in the results folder)", required=False)
    made.add_argument("--table", action="store_true", help="only print the table; the page is left as it is")

    made = verb("doctor", _doctor, "what this machine can and cannot do, each with its fix")
    add_path(made, "--config", "also check that this configuration can run here", required=False)
    return parser


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """`a.b=value` pairs as a nested mapping; values are read as YAML."""
    import yaml

    nested: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"'{pair}' is not KEY=VALUE", where="--set", remedy="write for example training.steps=500")
        place = nested
        *sections, last = key.split(".")
        try:
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = yaml.safe_load(value)
        except (AttributeError, TypeError, yaml.YAMLError):  # a value where a section was meant, or no YAML
            raise UserError(
                f"'{pair}' does not fit", where="--set", remedy="give each key once, with a value that is valid YAML"
            ) from None
    return nested


if __name__ == "__main__":
    sys.exit(main())
