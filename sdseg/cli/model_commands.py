"""The verbs of models: codec, convert, train, distill, ensemble."""

from __future__ import annotations

import argparse
from typing import Any

from sdseg.cli.assignments import assignments
from sdseg.cli.training_options import folders_beside
from sdseg.cli.unused_options import refuse_unused
from sdseg.core.collector import loading
from sdseg.core.errors import UserError
from sdseg.core.shipped_files import shipped_recipe

__all__ = ["codec_command", "convert_command", "distill_command", "ensemble_command", "train_command"]

NETWORKS = ("official", "ldm", "stable-diffusion")
USED = {  # which options of `convert` belong to which weights
    "autoencoder": ("ldm",),
    "context": ("stable-diffusion",),
    "unet": ("official", "ldm"),
    **dict.fromkeys(("recipe", "codec_output", "source", "target", "window", "name"), NETWORKS),
}


def codec_command(arguments: argparse.Namespace) -> int:
    with loading():
        from sdseg.config.recipe import load_codec
        from sdseg.training.codec import build_codec

    build_codec(
        settings=load_codec(arguments.settings),
        output=arguments.output,
        device=arguments.device,
        prepared=arguments.prepared,
    )
    return 0


def convert_command(arguments: argparse.Namespace) -> int:
    from sdseg.config.recipe import load_codec, load_recipe
    from sdseg.models.pretrained import convert

    codec, origin, weights, size = load_codec(arguments.codec), arguments.origin, arguments.weights, arguments.size
    refuse_unused(arguments, "--from", origin, USED)
    if codec.encodes != "mask":
        raise UserError(
            f"the published weights encode masks as images, and this layout has 'encodes: {codec.encodes}'",
            where=f"--codec {arguments.codec}",
            remedy="leave 'encodes' out; a codec of labels or images takes what is written here as its 'weights'",
        )
    if origin == "kl-f8":
        convert.convert_codec(weights=weights, codec=codec, output=arguments.output, size=size)
        return 0
    if arguments.recipe is None:
        raise UserError("no layout of the network", where="--recipe", remedy="name one, e.g. sdseg-paper.yaml")
    name, recipe = arguments.name or arguments.recipe.stem, load_recipe(shipped_recipe(arguments.recipe))
    outputs = {"output": arguments.output, "codec_output": arguments.codec_output}
    layout = convert.TargetLayout(name, recipe, codec, arguments.source, arguments.target, size, arguments.window)
    if origin == "official":
        convert.convert_official(layout, weights=weights, ema=arguments.unet != "raw", **outputs)
    elif origin == "ldm":
        ema, seed = arguments.unet == "ema", arguments.seed
        convert.convert_ldm(layout, unet=weights, autoencoder=arguments.autoencoder, ema=ema, seed=seed, **outputs)
    else:
        convert.convert_stable_diffusion(
            layout, folder=weights, context=arguments.context, seed=arguments.seed, **outputs
        )
    return 0


def ensemble_command(arguments: argparse.Namespace) -> int:
    with loading():
        from sdseg.training.make_ensemble import make_ensemble

    make_ensemble(models=arguments.model, output=arguments.output, name=arguments.name)
    return 0


def train_command(arguments: argparse.Namespace) -> int:
    return _train(arguments, {})


def distill_command(arguments: argparse.Namespace) -> int:
    return _train(arguments, {"distillation": {}})  # what the recipe says of it stays


def _train(arguments: argparse.Namespace, section: dict[str, Any]) -> int:
    """Train a recipe that has at least this section."""
    with loading():
        from sdseg.config.recipe import load_recipe
        from sdseg.core.settings import merge
        from sdseg.training.train import train

    if (arguments.folds is None) != (arguments.fold is None):
        raise UserError(
            "'--folds' and '--fold' belong together", where="--fold", remedy="give the file and the number of the fold"
        )
    last, state = folders_beside(arguments.output)
    recipe = load_recipe(shipped_recipe(arguments.recipe), merge(section, assignments(arguments.set)))
    if "distillation" in section and recipe.distillation is None:
        raise UserError(
            "the recipe has no 'distillation': it learns from no teacher",
            where="--set distillation=null",
            remedy="leave it out, or train without a teacher: 'sdseg train'",
        )
    train(
        fold=None if arguments.folds is None else (arguments.folds, arguments.fold),
        prepared=arguments.prepared,
        recipe_name=arguments.name or arguments.recipe.stem,
        recipe=recipe,
        codec=arguments.codec,
        image_codec=arguments.image_codec,
        output=arguments.output,
        last=arguments.last or last,
        state=arguments.state or state,
        device=arguments.device,
        quiet=arguments.quiet,
        start_from=arguments.start_from,
        teacher=arguments.teacher,
        on_edit=arguments.on_edit,
    )
    return 0
