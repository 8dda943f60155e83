"""What `predict` takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sdseg.cli.argument_types import named_path, number, path, whole
from sdseg.cli.device_argument import add_device
from sdseg.cli.training_options import NewVerb

__all__ = ["add_predict", "number_as_samples"]


def add_predict(verb: NewVerb, more_devices: Sequence[str]) -> None:
    command = verb("predict", "images, volumes or DICOM series to masks in their own size and geometry")
    inputs = "files (PNG, JPEG, TIFF, BMP; NIfTI, MetaImage, NRRD; DICOM), patterns like 'scans/**/*.png', or folders"
    command.add_argument("inputs", nargs="*", type=path, metavar="INPUT", help=inputs)
    channel = "of a model of several channels: files, a folder or a pattern of one; say it for each (else names tell)"
    command.add_argument("--channel", type=named_path, action="append", metavar="NAME=PATH", help=channel)
    model = "model folder, .onnx or .engine file, or a results folder: its best model for this machine is taken"
    several = f"{model}; given several times, the mean of their probabilities"
    command.add_argument("--model", type=path, required=True, action="append", help=several)
    output = "folder to write: masks, predict.json, statistics.csv; an interrupted run continues where it was"
    command.add_argument("--output", type=path, required=True, help=output)
    command.add_argument("--batch", type=whole(1, 65536), default=8, help="slices at a time (default: 8)")
    command.add_argument(
        "--overwrite", action="store_true", help="compute again what is done; replace files no run wrote"
    )
    command.add_argument(
        "--max-pixels", type=whole(1, 10**15), metavar="N", help="refuse larger images (default: 268435456, 16384²)"
    )
    command.add_argument(
        "--max-voxels", type=whole(1, 10**15), metavar="N", help="refuse larger volumes (default: 1073741824, 1024³)"
    )
    auto = "default: auto, the GPU if it can be used; openvino and openvino-bf16 run .onnx files"
    add_device(command, auto, more=("auto", *more_devices), default="auto")
    _results(command)
    _tiles(command)
    _rule(command)
    command.epilog = "Exit status: 0 all done, 1 some inputs failed (named in predict.json), 2 nothing could be done."


def number_as_samples(arguments: Sequence[str]) -> list[str]:
    """`predict --hypotheses N` as `--hypotheses --samples N`: any other word that follows is an input."""
    words = list(arguments)
    if words[:1] == ["predict"]:
        for place, word in reversed(list(enumerate(words))):
            name, sign, number = word.partition("=")
            if name == "--hypotheses" and sign:
                words[place : place + 1] = [name, "--samples", number]
            elif name == "--hypotheses" and words[place + 1 : place + 2] and words[place + 1].isdecimal():
                words.insert(place + 1, "--samples")
    return words


def _results(command: argparse.ArgumentParser) -> None:
    also = command.add_argument_group("what else is written, and how it is named")
    also.add_argument("--probability", action="store_true", help="the probability of each structure")
    hypotheses = "each hypothesis of a model that draws several, a confidence map and a picture; --hypotheses N: of N"
    also.add_argument("--hypotheses", action="store_true", help=hypotheses)
    samples = "hypotheses to draw, of a model folder (default: the recipe's; a graph has its own)"
    also.add_argument("--samples", type=whole(2, 1000), metavar="N", help=samples)
    also.add_argument("--overlay", action="store_true", help="the mask's outline over the image, or its largest slice")
    preview = "a picture of each volume: three planes, or its slices where they lie far apart; of an image its overlay"
    also.add_argument("--preview", action="store_true", help=preview)
    names = "nnunet: masks are CASE.nii.gz (.mha, .nrrd, .png by the input), label maps, without '_0000'"
    also.add_argument("--names", choices=("sdseg", "nnunet"), default="sdseg", help=f"{names} (default: sdseg)")


def _tiles(command: argparse.ArgumentParser) -> None:
    about = "large images through a window of the model's size, where it shall be other than the model was trained"
    tiles = command.add_argument_group("tiles", about)
    help = "see images in overlapping tiles of their own pixels; --no-tiles: resize them as a whole"
    tiles.add_argument("--tiles", action=argparse.BooleanOptionalAction, help=help)
    help = "share of a tile that it has in common with the next, 0 to 0.9 (default: the model's, else 0.5)"
    tiles.add_argument("--overlap", type=number(0, 0.9), metavar="SHARE", help=help)


def _rule(command: argparse.ArgumentParser) -> None:
    about = "of masks, where it shall be other than the model was made and scored with; --no-… turns it off"
    rule = command.add_argument_group("post-processing", about)
    for name, help in (
        ("--exclusive", "of structures that claim a pixel the likeliest has it"),
        ("--keep-largest", "of every structure the largest connected part alone"),
        ("--fill-holes", "fill what a structure encloses, of volumes in three dimensions"),
    ):
        rule.add_argument(name, action=argparse.BooleanOptionalAction, help=help)
