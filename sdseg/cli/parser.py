"""What each verb takes, as argparse sees it: names, types, defaults, help. Nothing is imported for it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdseg import __version__
from sdseg.cli.argument_types import SEEDS, ShowFiles, number, path, several, switch_or_number, whole
from sdseg.cli.configure_options import add_configure
from sdseg.cli.device_argument import add_device
from sdseg.cli.predict_options import add_predict
from sdseg.cli.training_options import NewVerb, add_training_verbs
from sdseg.config.study_options import STUDY_OPTIONS
from sdseg.datasets.source_names import PHANTOM_NAMES, SOURCE_NAMES

__all__ = ["Handler", "build_parser"]

Handler = Callable[[argparse.Namespace], int]
OPENVINO = ("openvino", "openvino-bf16")  # devices that run exported graphs alone


def build_parser(handlers: Mapping[str, Handler]) -> argparse.ArgumentParser:
    """The parser of `python -m sdseg`; the parsed `handler` is the one of the verb's name."""
    parser = argparse.ArgumentParser(
        prog="sdseg",
        description="Medical image segmentation by latent diffusion with one reverse step: raw data to ONNX.",
    )
    parser.add_argument("--version", action="version", version=f"sdseg {__version__}")
    parser.add_argument("--files", action=ShowFiles, help="print the folder of what ships: config, workflow; and exit")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_VerbParser)

    def verb(name: str, description: str) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=description, description=description)
        command.add_argument("-v", "--verbose", action="store_true", help="log details")
        command.set_defaults(handler=handlers[name])
        return command

    _verbs_of_data(verb)
    _verbs_of_models(verb)
    _verb_of_ensembles(verb)
    _verbs_of_results(verb)
    return parser


class _VerbParser(argparse.ArgumentParser):
    """Refuses what its verb does not take with the verb's own usage; argparse would show that of `sdseg`."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown


def _verbs_of_data(verb: NewVerb) -> None:
    command = verb("phantoms", "write a synthetic dataset in the layout of a real one")
    command.add_argument("--source", required=True, help=f"whose layout: {', '.join(PHANTOM_NAMES)}; mr: nnU-Net's")
    command.add_argument("--seed", type=whole(0, SEEDS), default=0, help="same seed, same files (default: 0)")
    command.add_argument(
        "--scale", type=number(0, 1000, above=True), default=1.0, help="multiplies the number of cases (default: 1)"
    )
    _path(command, "--output", "folder to write")

    command = verb("download", "find the raw files of a dataset, or weights, or get them, and record what is there")
    whose = f"whose layout: {', '.join((*SOURCE_NAMES, 'own'))}"
    choice = command.add_mutually_exclusive_group(required=True)
    choice.add_argument("--source", help=whose)
    weights = "name in resources/weights.yaml: kl-f8, lsun-churches256, stable-diffusion-1-5, sdseg-official"
    choice.add_argument("--weights", metavar="NAME", help=weights)
    folder = "folder with the files as their owner ships them (default for weights: resources/weights/NAME)"
    _path(command, "--raw", folder, required=False)
    record = "JSON file to write: every file with its size, and one fingerprint over all (not for weights)"
    _path(command, "--output", record, required=False)
    _path(command, "--settings", "YAML file with the dataset's settings, for source 'own'", required=False)
    resources = Path("resources")
    registry = "where everything comes from (default: resources/datasets.yaml, or resources/weights.yaml)"
    manual = "<here>/<source>/ holds archives you fetched yourself; only read (default: resources/manual)"
    downloads = "<here>/<source>/ keeps archives that were fetched (default: resources/downloads)"
    _path(command, "--registry", registry, required=False)
    _path(command, "--manual", manual, required=False, default=resources / "manual")
    _path(command, "--downloads", downloads, required=False, default=resources / "downloads")
    command.add_argument("--fetch", action="store_true", help="allow to fetch what is missing (default: nothing is)")
    command.add_argument("--accept-terms", action="store_true", help="you have read and accept the owner's terms")

    command = verb("split", "write which case trains, validates and tests, once; then check that it still holds")
    _path(command, "--settings", "YAML file with the dataset's settings (a value of 'datasets' in the configuration)")
    _path(command, "--raw", "folder with the files as their owner ships them")
    _path(command, "--output", "CSV file to write: id, group, split; kept where it is there")
    command.add_argument(
        "--seed", type=whole(0, SEEDS), help="same seed and cases, same split (default: the settings', or 0)"
    )
    command.add_argument(
        "--fractions",
        type=several(number(0, 1), "0.8,0.1,0.1", 3),
        metavar="A,B,C",
        help="shares of train, val, test (0.8,0.1,0.1)",
    )

    command = verb("folds", "share the training split of a slice store among folds, by whole groups, once")
    _path(command, "--prepared", "folder made by 'prepare'")
    command.add_argument("--folds", type=whole(2, 50), required=True, help="how many")
    command.add_argument("--seed", type=whole(0, SEEDS), default=0, help="same seed and cases, same folds (default: 0)")
    _path(command, "--output", "CSV file to write: id, group, fold; kept where it is there")

    command = verb("prepare", "check raw files and cut them into a memory-mapped slice store")
    command.add_argument("--name", required=True, help="the dataset's name in your results")
    _path(command, "--settings", "YAML file with the dataset's settings (a value of 'datasets' in the configuration)")
    _path(command, "--raw", "folder with the files as their owner ships them")
    _path(command, "--split", "CSV file with the columns id, group, split")
    _path(command, "--output", "folder to write; with --check the JSON file to write, if any", required=False)
    command.add_argument("--check", action="store_true", help="only check: print what is there and all that is wrong")
    command.add_argument("--jobs", type=whole(1, 4096), default=2, help="parallel readers (default: 2)")


def _verbs_of_models(verb: NewVerb) -> None:
    command = verb("codec", "train a small mask autoencoder on shapes or a dataset, or take in a pretrained one")
    _path(command, "--settings", "YAML file with the codec's settings (a value of 'codecs' in the configuration)")
    _path(command, "--prepared", "folder made by 'prepare', for a codec with 'data: dataset'", required=False)
    _path(command, "--output", "folder to write")
    _device(command)

    command = verb("convert", "foreign weights to a model folder or a codec folder, strictly")
    origins = (
        "official: an SDSeg checkpoint (default); ldm: the paper's initial weights, LDM's lsun_churches256 UNet and "
        "kl-f8; stable-diffusion: initial weights from version 1.x in diffusers' layout; kl-f8: only a codec, from "
        "its checkpoint or a diffusers vae folder"
    )
    kinds = ("official", "ldm", "stable-diffusion", "kl-f8")
    command.add_argument("--from", dest="origin", choices=kinds, default="official", help=origins)
    _path(command, "--weights", "the .ckpt file; stable-diffusion: the folder that holds unet/ and vae/")
    _path(command, "--autoencoder", "ldm: kl-f8's .ckpt (default: the first stage in --weights)", required=False)
    layout = "YAML file with the network's layout, e.g. config/recipes/sdseg-paper.yaml (not for kl-f8)"
    _path(command, "--recipe", layout, required=False)
    _path(command, "--codec", "YAML file with the codec's layout (a value of 'codecs' in the configuration)")
    command.add_argument("--name", help="the recipe's name in your results (default: the file's name)")
    command.add_argument(
        "--source",
        help=f"official: the dataset it was trained on, e.g. {SOURCE_NAMES[0]}; else the one it is meant for",
    )
    command.add_argument("--target", help="what to segment, a preset of the source (default: its first)")
    window = "intensity window, a preset of the source (default: official, for --from official; else its first)"
    command.add_argument("--window", help=window)
    command.add_argument("--size", type=whole(16, 8192), default=256, help="working size in pixels (default: 256)")
    which = "averaged or last UNet (default: ema for official, raw for ldm as the paper)"
    command.add_argument("--unet", choices=("ema", "raw"), help=which)
    reads = "stable-diffusion with a constant context: zeros, random, or a .safetensors file with one tensor [L,C]"
    command.add_argument("--context", metavar="zeros|random|FILE", help=reads)
    command.add_argument("--seed", type=whole(0, SEEDS), default=0, help="of what is new and random (default: 0)")
    _path(command, "--output", "model folder to write (kl-f8: codec folder)")
    _path(command, "--codec-output", "also write the autoencoder as a codec folder, as 'codec' does", required=False)
    add_training_verbs(verb)


def _verb_of_ensembles(verb: NewVerb) -> None:
    command = verb("ensemble", "several model folders to one that is their mean, for every later stage")
    _path(command, "--model", "model folder; give it several times", action="append")
    _path(command, "--output", "model folder to write, as large as all of them together")
    command.add_argument("--name", help="its name in your results (default: those of its members)")


def _verbs_of_results(verb: NewVerb) -> None:
    command = verb("evaluate", "score a model, or masks of any other method, on one split of a slice store")
    _path(command, "--prepared", "folder made by 'prepare'")
    scored = command.add_mutually_exclusive_group(required=True)
    several_models = "model folder, .onnx or .engine file; given several times, the mean of their probabilities"
    scored.add_argument("--model", type=path, action="append", help=several_models)
    masks = "folder of masks made elsewhere: a file per case, PNG or NIfTI at native size (docs/results.md)"
    scored.add_argument("--predictions", type=path, metavar="FOLDER", help=masks)
    command.add_argument("--name", help="of the method that made the masks; --device and --batch mean nothing then")
    _path(command, "--output", "folder to write: cases.csv, summary.json, overlays")
    command.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    out = (
        "file made by 'folds': score every training case by the --model that has not seen it, of those trained on them"
    )
    _path(command, "--folds", out, required=False)
    command.add_argument("--batch", type=whole(1, 65536), default=8, help="slices at a time (default: 8)")
    _path(command, "--raw", "raw files the store was made from, for scores at native size", required=False)
    _path(command, "--settings", "YAML file with the dataset's settings, for source 'own'", required=False)
    best = "take the best threshold of the validation split"
    command.add_argument("--choose-threshold", action="store_true", default=None, help=best)
    command.add_argument(
        "--nsd-tolerance", type=number(0, 1000, above=True), help="of the surface Dice, in mm (default: 2)"
    )
    _device(command, *OPENVINO)
    _studies(command)

    command = verb(
        "export", "model folder to one ONNX graph, graph to an engine or a web page, to a server; checked on real cases"
    )
    graphs = "model folder; with --to triton the folder of exported graphs and engines; with --to web a graph as well"
    _path(command, "--model", graphs)
    _path(command, "--prepared", "folder made by 'prepare', for the parity check (not for triton)", required=False)
    _path(
        command,
        "--output",
        "folder to write: model.onnx, io.json, parity.json; or the engine; or the repository; or the .html file",
    )
    kinds = ("onnx", "tensorrt", "triton", "web")
    command.add_argument("--to", choices=kinds, default="onnx", help="what to make (onnx)")
    _check_options(command)
    _graph_options(command)
    _engine_options(command)

    add_predict(verb, OPENVINO)

    command = verb("report", "every result to one page that opens without network")
    _path(command, "--results", "folder of results", required=False, default=Path("results"))
    _path(command, "--output", "page to write (default: report.html in the results folder)", required=False)
    command.add_argument("--table", action="store_true", help="only print the table; the page is left as it is")
    two = "two results folders side by side instead (page: comparison.html in the first)"
    command.add_argument("--compare", nargs=2, type=path, metavar=("A", "B"), help=two)
    _path(
        command, "--published", "folder of published figures (default: resources/paper, if it is there)", required=False
    )

    command = verb("estimate", "what a configuration needs: cases, memory, disk, hours, and all that is missing")
    command.add_argument(
        "config", type=path, metavar="CONFIG", help="a workflow configuration, e.g. config/config.yaml"
    )
    command.add_argument("--no-probe", action="store_true", help="make no training steps to time them here")
    probed = "where those steps are made (default: the configuration's)"
    add_device(command, probed, default=None)
    command.add_argument("--json", action="store_true", help="print JSON, with every figure")

    add_configure(verb)

    command = verb("doctor", "what this machine can and cannot do, each with its fix")
    _path(command, "--config", "also check that this configuration can run here", required=False)


def _studies(evaluate: argparse.ArgumentParser) -> None:
    about = "each writes its own file into --output; with any of these nothing is scored anew"
    studies = evaluate.add_argument_group("studies", about)
    file = "YAML file that says which, and how (a value of 'studies' in the configuration); options lie over it"
    studies.add_argument("--studies", type=path, metavar="FILE", help=file)
    for name, study in STUDY_OPTIONS.items():
        if study.counts:
            studies.add_argument(f"--{name}", type=whole(2, 1000), metavar="M", help=study.help)
        else:
            _switch(studies, f"--{name}", study.help)
    studies.add_argument("--limit", type=whole(), metavar="N", help="at most N cases, evenly spread (default: all)")
    steps, samples = "of --sweep (default: 1,2,5,10,20,50)", "of --sweep (default: 1,5)"
    studies.add_argument("--steps", type=several(whole(1, 50), "1,2,5"), metavar="A,B", help=steps)
    studies.add_argument("--samples", type=several(whole(1, 1000), "1,5"), metavar="A,B", help=samples)
    weights = "of --stability: AlexNet's weights, or 'fetch' (default: no LPIPS)"
    studies.add_argument("--lpips", metavar="FILE", help=weights)
    studies.add_argument("--codec", type=path, help="of --latents: folder made by 'codec'")
    studies.add_argument("--start-from", type=path, help="of --latents: model folder that training started from")


def _check_options(to: argparse.ArgumentParser) -> None:
    check = to.add_argument_group("parity check, with --to onnx and tensorrt")
    file = "YAML file of graphs and tolerances (a value of 'export' in the configuration); options lie over it"
    check.add_argument("--settings", type=path, metavar="FILE", help=file)
    check.add_argument("--parity-cases", type=whole(), help="check at most this many test cases (default: all)")
    probability, dice = "tolerance of the probability (default: 0.001)", "tolerance of the Dice (default: 0.002)"
    check.add_argument("--max-abs-difference", type=number(0, 1, above=True), help=f"fp32: {probability}")
    check.add_argument("--max-dice-difference", type=number(0, 1, above=True), help=f"fp32: {dice}")
    masks = "fp32: Dice between the masks, at least (default: 0.99)"
    check.add_argument("--min-mask-dice", type=number(0, 1), help=masks)
    limits = "int8.max_abs_difference, .max_mean_difference, .max_dice_difference, .min_mask_dice"
    check.add_argument(
        "--tolerance", action="append", metavar="NAME=VALUE", help=f"of a precision below fp32: {limits}"
    )


def _graph_options(to: argparse.ArgumentParser) -> None:
    graph = to.add_argument_group("with --to onnx")
    graph.add_argument("--opset", type=whole(18, 25), help="ONNX operator set (default: 21)")
    names = "fp32 (always made), fp16, bf16, int8, int8_mixed, int8_weights (default: fp32)"
    graph.add_argument("--precisions", metavar="A,B", help=names)
    providers = "where to check graphs: cpu, cuda, openvino, openvino-bf16 (default: cpu)"
    graph.add_argument("--providers", metavar="A,B", help=providers)
    unchecked = "what becomes of a graph that none of them can run (default: refuse)"
    graph.add_argument("--unchecked", choices=("refuse", "keep"), help=unchecked)
    graph.add_argument("--calibration-images", type=whole(), help="training images to calibrate int8 on (default: 64)")
    hypotheses = (
        "give the hypotheses, too, of a recipe that starts from noise, N or its own count (default: their mean)"
    )
    graph.add_argument("--hypotheses", action=switch_or_number(2, 1000), help=hypotheses)


def _engine_options(to: argparse.ArgumentParser) -> None:
    engine = to.add_argument_group("with --to tensorrt")
    graph = "the exported graph; its precision is the engine's (default: model.onnx in --output)"
    engine.add_argument("--graph", type=path, help=graph)
    file = (
        "YAML file of the build (a value of 'engines' in the configuration, whose 'precisions' and 'missing' are for "
        "the workflow); options lie over it"
    )
    engine.add_argument("--engine-settings", type=path, metavar="FILE", help=file)
    engine.add_argument("--batches", metavar="MIN,OPT,MAX", help="sizes of a batch (default: 1,8,16)")
    workspace = "scratch memory while building (default: all there is)"
    engine.add_argument("--workspace-gb", type=number(0, 10_000, above=True), help=workspace)
    engine.add_argument("--level", type=whole(0, 5), help="the builder's effort, 0 to 5 (default: 3)")
    hardware = ("this-gpu", "same-compute-capability", "ampere-plus")
    engine.add_argument("--hardware", choices=hardware, help="where the engine will run (default: this-gpu)")
    _switch(engine, "--tf32", "let fp32 layers round to 10 bits of mantissa")
    cache = "file that later builds on the same GPU profit from (default: none)"
    engine.add_argument("--timing-cache", type=path, help=cache)
    page = to.add_argument_group("with --to web")
    file = "YAML file of the page (a value of 'web' in the configuration); options lie over it"
    page.add_argument("--web-settings", type=path, metavar="FILE", help=file)
    page.add_argument("--sample", type=path, metavar="FILE", help="what the page offers to try (default: a phantom)")
    within = "larger models lie beside the page, which then asks for them (default: 100)"
    page.add_argument("--most-megabytes", type=number(0, 300), metavar="MB", help=within)
    _switch(page, "--webgpu", "compute with a graphics processor where a browser has one; the page is 6 MB larger")
    server = to.add_argument_group("with --to triton")
    server.add_argument("--max-batch", type=whole(1, 65536), help="largest batch a graph is given (default: 8)")
    server.add_argument("--cpu", action="store_true", default=None, help="serve graphs on the CPU")


def _switch(to: argparse._ArgumentGroup, name: str, help: str) -> None:
    """A choice that a settings file may make, and that `--no-…` unmakes."""
    to.add_argument(name, action=argparse.BooleanOptionalAction, help=help)


def _path(to: argparse.ArgumentParser, name: str, help: str, **extra: Any) -> None:
    extra.setdefault("required", True)
    to.add_argument(name, type=path, help=help, **extra)


def _device(to: argparse.ArgumentParser, *more: str) -> None:
    about = "where to compute (default: cpu)" + ("; openvino and openvino-bf16 run .onnx files" if more else "")
    add_device(to, about, more=more)
