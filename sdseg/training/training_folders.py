"""The folders of a training: two models and a state to write, and never in the place of the models it begins with."""

from __future__ import annotations

from pathlib import Path

from sdseg.config.recipe import Recipe
from sdseg.core.overwrite_checks import check_apart
from sdseg.models.start_from import named_folder

__all__ = ["check_models_kept"]


def check_models_kept(
    recipe: Recipe,
    *,
    output: Path,
    last: Path,
    state: Path,
    start_from: Path | None = None,
    teacher: Path | None = None,
    codec: Path | None = None,
    image_codec: Path | None = None,
) -> None:
    """Raise UserError where a folder to be written is, holds or lies in a model or codec that is read, by any links."""
    taught_by = recipe.distillation.teacher if recipe.distillation is not None else None
    read = {
        "the model to start from": named_folder(recipe.start_from, start_from),
        "the teacher": named_folder(taught_by, teacher),
        "the codec": codec,
        "the codec of images": image_codec,
    }
    written = {"the output": output, "the folder '--last'": last, "the folder '--state'": state}
    for whose, folder in read.items():
        for name, place in written.items():
            if folder is not None:
                check_apart(place, folder, written=name, read=whose)
