"""What benchmarks/pareto.py measures: trained recipes of a results folder, or untrained ones at the paper's size."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.trained_runs import TrainedRun, runs_by_recipe, spread
from sdseg.artifacts.results.pareto import ParetoRow
from sdseg.core.errors import UserError
from sdseg.core.provenance import provenance

__all__ = [
    "SIZE",
    "Answer",
    "Subject",
    "all_answers",
    "full_subjects",
    "opened",
    "origins",
    "role_of",
    "scores_by_seed",
    "trained_subjects",
    "write_untrained",
]

RUNTIMES = {  # name -> the model folder (None) or the graph, and the device that `open_model` knows
    "torch": (None, "cpu"),
    "onnxruntime": ("model.onnx", "cpu"),
    "onnxruntime int8": ("model.int8.onnx", "cpu"),
    "openvino": ("model.onnx", "openvino"),
    "openvino bf16": ("model.onnx", "openvino-bf16"),
}
SIZE, SCALE = 256, 0.18215  # of full_subjects: pixels, and Stable Diffusion's latent scale
Answer = Callable[[Any], Any]


@dataclass
class Subject:
    """What a row is of, and what its runtimes answer."""

    row: dict[str, Any]
    images: Any  # [1,H,W,C] raw values; for a model of volumes the slices of one, [Z,H,W,C]
    answers: dict[str, Answer]


def trained_subjects(results: Path) -> list[Subject]:
    """A subject per dataset and recipe of a results folder. Raises UserError where there is none, or no graph of it."""
    from sdseg.data.store import SliceStore

    groups = runs_by_recipe(results, remedy="run the targets evaluate and export first")
    subjects = []
    for (dataset, name), runs in groups.items():
        first, dice = runs[0], [run.summary.dice.mean for run in runs]
        export = first.folder / "export"
        if not (export / "model.onnx").is_file():
            raise UserError("no graph to measure", where=export, remedy=first.commands["export"])
        store = SliceStore.open(first.folder.parent / "prepared").with_neighbours(first.model.image.neighbours)
        case = store.cases_of("test")[0]
        models = {name: opened(first.folder / "model", export, *runtime) for name, runtime in RUNTIMES.items()}
        row = {
            "scale": "phantom" if first.summary.origin == "phantom" else dataset,
            "dataset": dataset,
            "role": role_of(first.model.recipe),
            "name": name,
            **spread("dice", dice),
            "dice_by_seed": scores_by_seed(runs),
            "seeds": len(dice),
            **origins(runs),
            **costs(first.folder / "model", export / "model.onnx"),
        }
        answers = {name: answer for name, answer in models.items() if answer is not None}
        slices = case.slices if first.model.recipe.get("patches") else 1  # patches are of a whole volume
        subjects.append(Subject(row, store.images[case.start : case.start + slices], answers))
    return subjects


def all_answers(answer: Answer, images: Any, batch: int = 8) -> Any:
    """The answer to images [N,H,W,C], given in batches."""
    import numpy as np

    return np.concatenate([answer(images[start : start + batch]) for start in range(0, len(images), batch)])


def full_subjects(recipes: list[Path], folder: Path) -> list[Subject]:
    """A subject per recipe file at the paper's size, its weights random."""
    import numpy as np

    image, subjects = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8), []
    for file in recipes:
        place = folder / file.stem
        role = write_untrained(file, place)
        models = {name: opened(place / "model", place, *runtime) for name, runtime in RUNTIMES.items()}
        now = provenance()
        row = {
            "scale": "full",
            "dataset": "",
            "role": role,
            "name": file.stem,
            "seeds": 0,
            "date": now["time"][:10],
            "commits": [now["commit"]],
            **costs(place / "model", place / "model.onnx"),
        }
        subjects.append(Subject(row, image, {name: answer for name, answer in models.items() if answer is not None}))
    return subjects


def write_untrained(file: Path, place: Path, *, graphs: bool = False) -> str:
    """A model folder with random weights, and its graph, of a teacher with `graphs` alone; returns its role."""
    import torch

    from sdseg.artifacts.image_contract import ImageContract, Structure
    from sdseg.artifacts.manifests import GraphManifest, ModelManifest
    from sdseg.config.codec import Codec
    from sdseg.config.network import neighbours_of
    from sdseg.config.recipe import load_recipe
    from sdseg.export.tracing import export_graph, graph_inputs, graph_outputs
    from sdseg.models.build_segmenter import build_segmenter
    from sdseg.models.model_folder import save_model

    recipe, image = load_recipe(file), ImageContract(modality="rgb", size=SIZE, channels=3, window=(0.0, 255.0))
    if recipe.patches is not None or neighbours_of(recipe.network):
        raise UserError(
            "--full measures on an image, and this recipe sees several slices of a volume",
            where=file,
            remedy="leave it out; '--results' measures what was trained on volumes",
        )
    codec = Codec() if recipe.network.kind == "latent-diffusion" else None
    structures, scale = (Structure(name="polyp", values=(1,)),), SCALE if codec else None
    torch.manual_seed(0)
    segmenter = build_segmenter(recipe, image, 1, codec, scale).eval()
    about = {"dataset": "none", "origin": "phantom", "image": image, "structures": structures}
    (place / "model").mkdir(parents=True)
    layout = codec.model_dump(mode="json") if codec else None
    manifest = ModelManifest(
        **about,
        protocol="none",
        recipe_name=file.stem,
        recipe=recipe.model_dump(mode="json"),
        codec=layout,
        latent_scale=scale,
        training={},
        files={},
        provenance={},
    )
    save_model(place / "model", segmenter, manifest)
    role = role_of(manifest.recipe)
    if role == "teacher" and not graphs:
        return role
    ports = {"inputs": graph_inputs(image, segmenter.noise_shape), "outputs": graph_outputs(image, 1)}
    graph = GraphManifest(**about, **ports, recipe=file.stem, threshold=0.5, opset=21, provenance={})
    export_graph(segmenter, graph, place / "model.onnx")
    return role


def scores_by_seed(runs: list[TrainedRun]) -> dict[str, float]:
    """Mean test Dice of every training by the seed that it was drawn from."""
    return {str(run.model.recipe["training"]["seed"]): round(run.summary.dice.mean, 4) for run in runs}


def origins(runs: list[TrainedRun], row: ParetoRow | None = None) -> dict[str, Any]:
    """The last date, all commits and all models of trainings, and of those that a row has already."""
    from sdseg.artifacts.manifests import model_checksum

    date, commits, models = ("", (), ()) if row is None else (row.date, row.commits, row.model_checksums)
    own = {model_checksum(run.model) for run in runs}
    return {
        "date": max(date, *(run.model.provenance["time"][:10] for run in runs)),
        "commits": sorted({*commits, *(run.model.provenance["commit"] for run in runs)}),
        "model_checksums": None if models is None else sorted({*models, *own}),
    }


def role_of(recipe: dict[str, Any]) -> str:
    """What had a teacher, or has a mask head, is a student; a direct network a U-Net; all else may be a teacher."""
    network = recipe["network"]
    if network.get("mask_head") or recipe.get("distillation"):
        return "student"
    return "unet" if network["kind"] == "direct" else "teacher"


def costs(model: Path, graph: Path) -> dict[str, Any]:
    """GFLOP of one image, or of a volume's slice, parameters, bytes of the graph; without one those of its weights."""
    from sdseg.evaluation.studies.efficiency import counted

    every = counted(model)
    size = sum(each.stat().st_size for each in graph.parent.glob(f"{graph.name}*") if each.suffix != ".json")
    return {
        "gflop": round(every["flops"] / 1e9, 4),
        "parameters": every["parameters"],
        "bytes": size or 4 * every["parameters"],
    }


def opened(model: Path, export: Path, file: str | None, device: str) -> Answer | None:
    """What answers in a runtime; None where it is not installed, or its graph was not made."""
    from sdseg.backends.open_model import open_model

    path = model if file is None else export / file
    if not path.exists():
        return None
    try:
        answer: Answer = open_model(path, device).backend.probability
    except UserError as error:
        print(f"left out: {path} on {device}: {error.what}", file=sys.stderr)
        return None
    return answer
