"""What the verbs that train take: `train`, and `distill`, which is `train` with a teacher."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from sdseg.cli.argument_types import path, whole
from sdseg.cli.device_argument import add_device

__all__ = ["NewVerb", "add_training_verbs", "folders_beside"]

NewVerb = Callable[[str, str], argparse.ArgumentParser]  # name, description


def add_training_verbs(verb: NewVerb) -> None:
    command = verb("train", "slice store to model folder; continues where it was stopped")
    command.add_argument(
        "--recipe", type=path, required=True, help="YAML file with the recipe, or the name of one that ships: sdseg"
    )
    teacher = "model folder to learn from, of a recipe with 'distillation' (default: the teacher that it names)"
    command.add_argument("--teacher", type=path, help=teacher)
    _training_options(command)

    command = verb("distill", "'train' of a recipe that learns from a trained model as well, its teacher")
    teacher = "model folder to learn from: of any recipe, or an ensemble"
    command.add_argument("--teacher", type=path, required=True, help=teacher)
    student = "YAML file with the student's recipe; where it has no 'distillation', the section's defaults hold"
    command.add_argument("--student", dest="recipe", type=path, required=True, help=student)
    _training_options(command)


def folders_beside(output: Path) -> tuple[Path, Path]:
    """Where the last model and the state go that belong to `output`, unless told otherwise: beside it.

    They are `last` and `state` where it is called `model`, as in results/. Any other name is part of theirs, so that no
    two trainings of one folder share them.
    """
    output = output if output.name not in ("", "..") else output.resolve()  # '.' has no name
    before = "" if output.name == "model" else f"{output.name}-"
    return output.with_name(f"{before}last"), output.with_name(f"{before}state")


def _training_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--prepared", type=path, required=True, help="folder made by 'prepare'")
    command.add_argument("--name", help="the recipe's name in your results (default: the file's name)")
    over = "lay a value over the recipe's"
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=over)
    command.add_argument("--codec", type=path, help="folder made by 'codec' (latent-diffusion recipes)")
    images = "folder made by 'codec' with 'encodes: image' (recipes with network.condition.codec)"
    command.add_argument("--image-codec", type=path, help=images)
    begin = "model folder to start from, made by 'train' or 'convert' (default: the recipe's start_from, or none)"
    command.add_argument("--start-from", type=path, help=begin)
    best = "model folder to write: the best on the validation split"
    command.add_argument("--output", type=path, required=True, help=best)
    last = "model folder of the last step (default: 'last' beside an --output called 'model', else OUTPUT-last)"
    command.add_argument("--last", type=path, help=last)
    state = "folder of the training state (default: 'state' beside an --output called 'model', else OUTPUT-state)"
    command.add_argument("--state", type=path, help=state)
    command.add_argument("--folds", type=path, help="file made by 'folds': the training split but for one fold trains")
    command.add_argument("--fold", type=whole(1, 50), metavar="K", help="the fold that is held out, and validates")
    edited = "when settings of an unfinished run were changed (default: refuse, naming them)"
    command.add_argument("--on-edit", choices=("refuse", "restart", "continue"), default="refuse", help=edited)
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    device = "where to compute (default: cpu)"
    add_device(command, device)
