"""Dice against latency: trained recipes in every runtime that is installed, side by side, for docs/benchmarks.md.

python benchmarks/pareto.py --results results-pareto [--output benchmarks/figures/pareto.json]
python benchmarks/pareto.py --results results-pareto --more-seeds
python benchmarks/pareto.py --full RECIPE [RECIPE …]

`snakemake pareto` calls it with <results>/pareto.json, which the page shows. Dice is the mean per case of the test
split over the seeds of a recipe. What it takes, and how long, is that of its first seed: GFLOP, parameters, bytes of
its graph, and the median latency of one image, with one thread unless --threads says otherwise; of a model of volumes
that of a whole case of the test split, shared among its slices. All are measured in one
process, one call each in turn and again from the first, so that what else the machine does meets them alike.

--full measures recipes at the paper's size (256×256, KL-f8) with random weights: latency alone, the least of a few
calls, teachers in PyTorch alone (their graphs take minutes to write; docs/benchmarks.md has their runtimes). With one
thread it is the CPU time of the call, so that a busy machine gives the same figures as an idle one.
Rows that the output has of other data or recipes stay.

--more-seeds adds the Dice of further seeds to rows that the output has; what they take, and how long, was measured and
stays.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from benchmarks.trained_runs import TrainedRun, runs_by_recipe, spread  # noqa: E402
from sdseg.artifacts.results.pareto import Pareto, ParetoRow  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.core.files import read_json  # noqa: E402
from sdseg.core.provenance import provenance  # noqa: E402

RUNTIMES = {  # name -> the model folder (None) or the graph, and the device that `open_model` knows
    "torch": (None, "cpu"),
    "onnxruntime": ("model.onnx", "cpu"),
    "onnxruntime int8": ("model.int8.onnx", "cpu"),
    "openvino": ("model.onnx", "openvino"),
    "openvino bf16": ("model.onnx", "openvino-bf16"),
}
WARM_UP, ROUNDS = 3, 50
FULL_ROUNDS = 5  # of --full, after one call that is not counted
PATIENCE, FULL_PATIENCE = (
    300.0,
    8.0,
)  # seconds after which a model is not called again in a runtime: whole volumes take long
SIZE, SCALE = 256, 0.18215  # of --full: pixels, and Stable Diffusion's latent scale
Answer = Callable[[Any], Any]


@dataclass
class Subject:
    """What a row is of, and what its runtimes answer."""

    row: dict[str, Any]
    images: Any  # [1,H,W,C] raw values; for a model of volumes the slices of one, [Z,H,W,C]
    answers: dict[str, Answer]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results-pareto"))
    parser.add_argument("--full", type=Path, nargs="+", metavar="RECIPE", help="recipe files, untrained, in its place")
    parser.add_argument("--more-seeds", action="store_true", help="of rows that the output has: add their Dice alone")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/pareto.json")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="calls of each model in each runtime (50; with --full 5)")
    chosen = parser.parse_args(arguments)
    if chosen.full and chosen.more_seeds:
        parser.error("--full trains nothing: it has no seeds to add")
    os.environ["OMP_NUM_THREADS"] = str(chosen.threads)  # before any runtime is loaded
    return write_figures(lambda: figures(chosen), chosen.output)


def figures(chosen: argparse.Namespace) -> dict[str, Any]:
    """New rows, or rows with more seeds, and those of the output that none of them replaces."""
    earlier = read_json(chosen.output, Pareto) if chosen.output.exists() else None
    former = earlier.rows if earlier is not None else ()
    rows = with_more_seeds(chosen.results, former) if chosen.more_seeds else measure(chosen)
    measured = earlier.machine if earlier is not None and chosen.more_seeds else None
    what = ("--full", *chosen.full) if chosen.full else ("--results", chosen.results)
    what = (*what, "--more-seeds") if chosen.more_seeds else what
    command = " ".join(["python benchmarks/pareto.py", *(Path(word).as_posix() for word in what)])
    every = {(row.scale, row.dataset, row.role, row.name): row for row in (*former, *rows)}
    ordered = [every[key] for key in sorted(every)]
    dates = sorted({row.date for row in ordered})
    return Pareto.checked(
        command="; ".join(dict.fromkeys([*(earlier.command.split("; ") if earlier is not None else ()), command])),
        commit=", ".join(sorted({commit for row in ordered for commit in row.commits})),
        date=" to ".join(dict.fromkeys((dates[0], dates[-1]))),
        machine=measured or f"{machine()}, {chosen.threads} thread(s)",
        rows=[row.content() for row in ordered],
    ).content()


def with_more_seeds(results: Path, former: Sequence[ParetoRow]) -> list[ParetoRow]:
    """The rows that a results folder has seeds of, with these among the seeds of their Dice.

    Raises UserError where there is no such row, where it does not say which seeds its Dice is of, and where nothing
    was trained and scored in the folder.
    """
    rows = {(row.dataset, row.name): row for row in former}
    longer = []
    for (dataset, name), runs in runs_by_recipe(results, remedy="name the results of the further seeds").items():
        row = rows.get((dataset, name))
        if row is None or row.dice_by_seed is None:
            raise UserError(
                f"the output has no row of {dataset}/{name} that says which seeds its Dice is of",
                where=results,
                remedy="measure its seeds together, without --more-seeds",
            )
        dice = row.dice_by_seed | scores_by_seed(runs)
        more = {
            **spread("dice", list(dice.values())),
            "dice_by_seed": dict(sorted(dice.items(), key=lambda each: int(each[0]))),
            "seeds": len(dice),
            **origins(runs, row.date, row.commits),
        }
        longer.append(ParetoRow.checked(**row.content() | more))
    return longer


def scores_by_seed(runs: list[TrainedRun]) -> dict[str, float]:
    """Mean test Dice of every training by the seed that it was drawn from."""
    return {str(run.model.recipe["training"]["seed"]): round(run.summary.dice.mean, 4) for run in runs}


def origins(runs: list[TrainedRun], date: str = "", commits: tuple[str, ...] = ()) -> dict[str, Any]:
    """The last date and all commits of trainings, and of those that a row has already."""
    return {
        "date": max(date, *(run.model.provenance["time"][:10] for run in runs)),
        "commits": sorted({*commits, *(run.model.provenance["commit"] for run in runs)}),
    }


def measure(chosen: argparse.Namespace) -> list[ParetoRow]:
    """Every row, its latencies measured side by side. Raises UserError where there is nothing to measure."""
    import torch

    torch.set_num_threads(chosen.threads)
    of_all: Callable[[list[float]], float]
    with tempfile.TemporaryDirectory() as folder:
        subjects = full_subjects(chosen.full, Path(folder)) if chosen.full else trained_subjects(chosen.results)
        if chosen.full:
            clock = time.process_time if chosen.threads == 1 else time.perf_counter
            seconds, of_all = interleaved(subjects, chosen.rounds or FULL_ROUNDS, 1, FULL_PATIENCE, clock), min
        else:
            seconds, of_all = interleaved(subjects, chosen.rounds or ROUNDS, WARM_UP, PATIENCE), median
    rows = []
    for number, subject in enumerate(subjects):
        taken = {name: of_all(seconds[number, name]) / len(subject.images) for name in subject.answers}
        latency = {name: round(1e3 * each, 3) for name, each in taken.items()}
        rows.append(ParetoRow.checked(**subject.row, latency_ms=latency))
    return rows


def interleaved(
    subjects: list[Subject],
    rounds: int,
    warm_up: int,
    patience: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[tuple[int, str], list[float]]:
    """Seconds of every call, by the number of the subject and the runtime: one call each, then again from the first."""
    seconds: dict[tuple[int, str], list[float]] = {}
    for round_number in range(warm_up + rounds):
        for number, subject in enumerate(subjects):
            for name, answer in subject.answers.items():
                if sum(seconds.get((number, name), ())) > patience:
                    continue
                begun = clock()
                answer(subject.images)
                if round_number >= warm_up:
                    seconds.setdefault((number, name), []).append(clock() - begun)
    return seconds


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


if __name__ == "__main__":
    sys.exit(main())
