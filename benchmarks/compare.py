"""Recipes side by side: the runs of a results folder as rows, for a table of docs/benchmarks.md.

python benchmarks/compare.py --results results-neighbours --figures neighbours

Dice is that of the test split, CPU seconds are those of training, both as means over the seeds. Writes
benchmarks/figures/NAME.json.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from benchmarks.trained_runs import TrainedRun, mean_if_known, runs_by_recipe, spread  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--figures", required=True, metavar="NAME")
    chosen = parser.parse_args()
    command = ["python", "benchmarks/compare.py", "--results", chosen.results.name, "--figures", chosen.figures]
    return write_figures(
        lambda: compared(chosen.results) | {"command": shlex.join(command)},
        ROOT / f"benchmarks/figures/{chosen.figures}.json",
    )


def compared(results: Path) -> dict[str, Any]:
    """The figures of a results folder. Raises UserError where nothing in it was trained and scored."""
    groups = runs_by_recipe(results, remedy="run the target evaluate first")
    records = [run.model.provenance for runs in groups.values() for run in runs]
    return {
        "commit": ", ".join(sorted({record["commit"] for record in records})),
        "date": max(record["time"] for record in records)[:10],
        "machine": machine(),
        "rows": [_row(*place, groups[place]) for place in sorted(groups)],
    }


def _row(dataset: str, recipe: str, runs: list[TrainedRun]) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "recipe": recipe,
        "seeds": len(runs),
        "cases": runs[0].summary.n_cases,
        "steps": runs[0].training.steps,
        "cpu_seconds": round(fmean(run.cpu_seconds for run in runs), 1),
        "val_mean": mean_if_known([run.training.best_dice for run in runs]),
        **spread("dice", [run.summary.dice.mean for run in runs]),
    }


if __name__ == "__main__":
    sys.exit(main())
