"""Several structures in one pass, in a pass each, and by a U-Net: the runs of config/multiclass.yaml as rows.

python benchmarks/multiclass.py --results results-multiclass [--output benchmarks/figures/multiclass.json]

Dice is that of the test split, per structure and as their mean, over the seeds. Seconds per slice are measured here,
one model after the other on the same slices, several times over: the least of the rounds' means, since other work only
adds.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.figure_file import write_figures  # noqa: E402
from benchmarks.trained_runs import TrainedRun, runs_by_recipe, spread  # noqa: E402
from sdseg.backends.open_model import open_model  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.data.store import SliceStore  # noqa: E402

ROUNDS, SLICES = 3, 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results-multiclass"))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/multiclass.json")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    return write_figures(lambda: multiclass(chosen.results), chosen.output)


def multiclass(results: Path) -> dict[str, Any]:
    """The figures of a results folder. Raises UserError where it holds none."""
    groups = runs_by_recipe(results, remedy="run config/multiclass.yaml first")
    models = [run.model for runs in groups.values() for run in runs]
    dates = sorted({model.provenance["time"][:10] for model in models})
    return {
        "command": "python benchmarks/multiclass.py --results results-multiclass",
        "commit": ", ".join(sorted({model.provenance["commit"] for model in models})),
        "date": " to ".join(dict.fromkeys((dates[0], dates[-1]))),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread, Python {platform.python_version()}",
        "rows": [_row(*name, runs, _seconds(runs[0])) for name, runs in sorted(groups.items())],
    }


def _row(dataset: str, recipe: str, runs: list[TrainedRun], seconds: float) -> dict[str, Any]:
    structures = list(runs[0].summary.structures)
    by_structure = {name: spread("dice", [_dice(run, name) for run in runs]) for name in structures}
    ceilings = [run.ceiling for run in runs if run.ceiling is not None]
    return {
        "dataset": dataset,
        "size": runs[0].summary.size,
        "recipe": recipe,
        "steps": runs[0].training.steps,
        "seeds": len(runs),
        **spread("dice", [run.summary.dice.mean for run in runs]),
        "structures": by_structure,
        "codec_ceiling": round(fmean(ceilings), 4) if ceilings else None,
        "training_cpu_seconds": round(fmean(run.cpu_seconds for run in runs), 1),
        "seconds_per_slice": round(seconds, 4),
    }


def _dice(run: TrainedRun, structure: str) -> float:
    """Of one structure. Raises UserError where no case has it."""
    mean = run.summary.structures[structure]["dice"].mean
    if mean is None:
        raise UserError(
            f"no case has a Dice of '{structure}'",
            where=run.folder / "evaluation/summary.json",
            remedy="evaluate on cases that show every structure",
        )
    return mean


def _seconds(run: TrainedRun) -> float:
    """Of one slice through the model of a run, from raw values to probability."""
    store = SliceStore.open(run.folder.parent / "prepared")
    images = store.images[store.rows_of("test")[:SLICES]]
    backend = open_model(run.folder / "model").backend
    backend.probability(images[:1])  # memory is taken, kernels are chosen
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        backend.probability(images)
        rounds.append((time.perf_counter() - began) / len(images))
    return min(rounds)


if __name__ == "__main__":
    sys.exit(main())
