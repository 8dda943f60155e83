"""What is kept of a finished run, so that a rerun writes the same two models in seconds.

The weights in single precision, on disk once where the models have them so (links to their files); no optimiser, no
earlier states, no cached latents: whoever edits the settings of a finished run starts a new one.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from sdseg.artifacts.manifests import ModelManifest
from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder, write_json
from sdseg.core.settings import merge
from sdseg.models.model_folder import MODEL_WEIGHTS, OWNED, load_model, read_manifest, save_model
from sdseg.models.segmenter import Segmenter
from sdseg.training.resume import mark_finished

__all__ = ["KEPT", "AddPostprocessing", "keep_finished", "rewrite", "write_model"]

log = logging.getLogger("sdseg.training.train")
KEPT = "finished"  # folder in the state folder: KEPT/model and KEPT/last
NAMES = ("model", "last")
JOURNAL = "training.jsonl"
AddPostprocessing = Callable[[ModelManifest, Segmenter], ModelManifest]  # the manifest with its post-processing
PASSED = ("step-*", "best-*.safetensors", "latents-*.npy")  # needed to go on, and no longer


def write_model(output: Path, segmenter: Segmenter, manifest: ModelManifest, journal: Path) -> None:
    """A model folder with the history of its training."""
    with atomic_folder(output, OWNED) as folder:
        save_model(folder, segmenter, manifest)
        shutil.copyfile(journal, folder / JOURNAL)


def keep_finished(state: Path, places: Sequence[Path], segmenters: Sequence[Segmenter]) -> None:
    """Shrink the state folder of a run to what a rerun needs. `places` are the best and the last model, as written."""
    owned = [f"{name}/{pattern}" for name in NAMES for pattern in OWNED]
    with atomic_folder(state / KEPT, owned) as folder:
        for name, place, segmenter in zip(NAMES, places, segmenters, strict=True):
            (folder / name).mkdir()
            manifest = read_manifest(place)
            if manifest.recipe["training"]["weights"] == "fp32":
                _link(place / MODEL_WEIGHTS, folder / name / MODEL_WEIGHTS)
                write_json(folder / name / "config.json", manifest)
            else:
                recipe = merge(manifest.recipe, {"training": {"weights": "fp32"}})
                save_model(folder / name, segmenter, manifest.model_copy(update={"recipe": recipe}))
    mark_finished(state, read_manifest(places[0]).provenance)
    _drop_passed(state)


def rewrite(
    state: Path, recipe_name: str, recipe: Recipe, places: Sequence[Path], add_postprocessing: AddPostprocessing
) -> bool:
    """Write both models of a finished run again, as they were; False where what is kept of it is missing or damaged.

    The recipe may differ in what shapes no weights: the models tell of it as it is now, and have its
    post-processing, which `add_postprocessing` gives where it differs.
    """
    try:
        models = [load_model(state / KEPT / name) for name in NAMES]
    except UserError as error:
        log.warning("the finished training cannot be used (%s): training anew", error.what)
        return False
    renewed = {"recipe_name": recipe_name, "recipe": recipe.model_dump(mode="json")}
    for place, (segmenter, manifest) in zip(places, models, strict=True):
        manifest_now = manifest.model_copy(update=renewed)
        segmenter.flips = recipe.inference.flips
        segmenter.sliding_window = recipe.patches.window if recipe.patches is not None else None
        if _postprocessing_wanted(manifest) != _postprocessing_wanted(manifest_now):
            manifest_now = add_postprocessing(manifest_now, segmenter)
        write_model(place, segmenter, manifest_now, state / JOURNAL)
    _drop_passed(state)
    log.info("finished before, after step %d: both models are written again", models[0][1].training["steps"])
    return True


def _postprocessing_wanted(manifest: ModelManifest) -> tuple[object, ...]:
    """What a recipe says that the choice of post-processing depends on; those of earlier versions say nothing."""
    inference, patches = manifest.recipe.get("inference", {}), manifest.recipe.get("patches") or {}
    passes = tuple(inference.get(name, "none") for name in ("postprocessing", "flips"))
    return passes + tuple(patches.get(name) for name in ("overlap", "blending"))


def _link(source: Path, target: Path) -> None:
    """One file on disk under two names; two where the disk has no links. Files of ours are replaced, never edited."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _drop_passed(state: Path) -> None:
    for pattern in PASSED:
        for path in state.glob(pattern):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
