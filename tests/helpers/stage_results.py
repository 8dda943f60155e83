"""One results folder that the stages wrote, tiny and complete, and copies of it for tests of the page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdseg.config.dataset import Dataset
from sdseg.data.prepare import prepare
from sdseg.datasets.phantoms.write import phantoms

__all__ = ["StageResults", "edit_json", "run_stages"]

# Dataset -> the size of its phantom, its target, and the recipes on it.
DATASETS = {
    "cvc": (0.55, None, ("sdseg", "unet", "unet-seed1", "unet-seed2")),  # the same cases by several seeds
    "refuge2": (0.1, "disc-cup", ("unet",)),  # two structures
    "btcv": (0.2, None, ("unet",)),  # volumes
}
LATENT = {"diffusion": {"inference_noise": "gaussian", "prediction": "v"}}  # so that several samples differ
SHORT = {"validate_every": 4, "log_every": 1}


def run_stages(folder: Path) -> None:
    """Phantoms → prepare → codec → train → evaluate → studies → export, each by the stage's own function."""
    from sdseg.training.codec import build_codec  # torch takes seconds to load: only where it is needed
    from tests.helpers.networks import CODEC

    build_codec(settings=CODEC, output=folder / "codecs" / "tiny" / "codec")
    for name, (scale, target, recipes) in DATASETS.items():
        raw = folder / "raw" / name
        phantoms(name, raw, seed=1, scale=scale)
        settings = Dataset.model_validate({"source": name, "origin": "phantom", "size": 32, "target": target})
        prepared = folder / name / "prepared"
        prepare(name=name, settings=settings, raw=raw, split=raw / "split.csv", output=prepared)
        for recipe in recipes:
            _run(folder, raw, prepared, recipe)


def _run(folder: Path, raw: Path, prepared: Path, name: str) -> None:
    """One recipe: of the further seeds only the scores, since exports and studies take their time."""
    from sdseg.config.export import Export
    from sdseg.config.studies import Studies
    from sdseg.evaluation.evaluate import EvaluationOptions, evaluate
    from sdseg.evaluation.studies.run import Origins, Scope, study
    from sdseg.export.onnx import export
    from sdseg.training.train import train
    from tests.helpers.networks import direct_recipe, quick_recipe

    run, codec = prepared.parent / name, folder / "codecs" / "tiny" / "codec" if name == "sdseg" else None
    _, _, seed = name.partition("-seed")
    training = {**SHORT, "steps": 40, "batch": 8, "seed": int(seed or 0)}
    direct = direct_recipe(training=training, optimiser={"learning_rate": 1e-2})
    train(
        prepared=prepared,
        recipe_name=name,
        recipe=quick_recipe(training=SHORT, **LATENT) if codec else direct,
        codec=codec,
        output=run / "model",
        last=run / "last",
        state=run / "state",
        quiet=True,
    )
    evaluate(prepared, run / "model", run / "evaluation", EvaluationOptions(raw=raw))
    if not seed:
        export(run / "model", prepared, run / "export", Export(max_abs_difference=0.01, max_dice_difference=0.05))
        studies = Studies(stability=2, steps=(1, 10), samples=(1, 2))
        study(prepared, run / "model", run / "evaluation", studies, Scope(limit=1), Origins(codec))


@dataclass(frozen=True)
class StageResults:
    """What the stages wrote into `folder`; tests copy of it what they need, and change the copy."""

    folder: Path

    def results(
        self,
        folder: Path,
        datasets: Sequence[str] = ("cvc", "kseg"),
        recipes: Sequence[str] = ("sdseg", "unet"),
        *,
        origin: str = "phantom",
    ) -> Path:
        """Every recipe on every dataset, complete; of datasets that were not run the one most like it. The folder."""
        for dataset in datasets:
            _copy(self.folder / _like(dataset) / "prepared", folder / dataset / "prepared", dataset, origin)
            for recipe in recipes:
                self.run(folder / dataset / recipe, origin=origin)
        return folder

    def run(self, folder: Path, *, origin: str = "phantom", seed: int = 0) -> None:
        """One recipe on one dataset, both by the names of `folder`: model, evaluation and export."""
        dataset = self.folder / _like(folder.parent.name)
        wanted = (f"unet-seed{seed}", "unet") if seed else (folder.name, folder.name.partition("-")[0], "unet")
        run = next(dataset / name for name in wanted if (dataset / name).is_dir())
        for part in ("model", "evaluation", "export"):
            if (run / part).is_dir():
                _copy(run / part, folder / part, folder.parent.name, origin, folder.name)


def edit_json(path: Path, **changes: Any) -> None:
    """Set top-level keys of a JSON file; None removes a key."""
    merged = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}), encoding="utf-8")


def _like(dataset: str) -> str:
    return dataset if dataset in DATASETS else "btcv" if dataset == "sts" else "cvc"


def _copy(source: Path, target: Path, dataset: str, origin: str, recipe: str = "") -> None:
    """Copy what a stage wrote, under the names of another dataset and recipe; arrays and weights are left out."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.npy", "*.safetensors", "*.onnx"))
    names = {"dataset": dataset, "source": dataset, "origin": origin, "recipe": recipe, "recipe_name": recipe}
    for path in target.rglob("*.json"):
        path.write_text(json.dumps(_renamed(json.loads(path.read_text("utf-8")), names)), encoding="utf-8")


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key: names[key] if isinstance(held, str) and key in names else _renamed(held, names)
        for key, held in value.items()
    }
