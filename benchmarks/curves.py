"""Dice against CPU seconds of training: the runs of config/curves.yaml as rows, for docs/benchmarks.md.

python benchmarks/curves.py --results results-curves [--output benchmarks/figures/curves.json]
python benchmarks/curves.py --results results-curves128 --cpu-seconds-per-step sdseg=0.682 unet=0.376

Rows that the output has of other data, sizes, recipes or budgets stay, with the commit and date they were made at.

A run counts under the recipe that its name begins with and the budget that it ends in (`unet-200s-seed0`). Dice is that
of the test split at native size, `val_mean` the best of the validation split in training, both as means over the seeds.
Runs on a GPU count with the CPU seconds that as many steps would have taken: the seconds of a step of their recipe,
timed on a CPU, are given; such rows say what they were trained on.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from benchmarks.trained_runs import TrainedRun, cpu_seconds, mean_if_known, named_seconds, trained_runs  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.report.recipe_comparison import recipe_of  # noqa: E402

NAMED = re.compile(r"(?P<recipe>.+)-(?P<budget>\d+)s")
KINDS = {"direct": "unet", "latent-diffusion": "latent", "end-to-end-diffusion": "latent"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results-curves"))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/curves.json")
    parser.add_argument("--cpu-seconds-per-step", nargs="+", type=named_seconds, default=[], metavar="RECIPE=SECONDS")
    chosen = parser.parse_args()
    timed = dict(chosen.cpu_seconds_per_step)
    return write_figures(lambda: joined(curves(chosen.results, timed), read(chosen.output)), chosen.output)


def curves(results: Path, timed: dict[str, float]) -> list[dict[str, Any]]:
    """The rows of a results folder. Raises UserError where it holds none, or one of a GPU whose step was not timed."""
    groups: dict[tuple[str, str, int], list[TrainedRun]] = {}
    for run in trained_runs(results):
        named = NAMED.fullmatch(recipe_of(run))
        if named and run.training.cpu_seconds is not None:
            groups.setdefault((run.dataset, named["recipe"], int(named["budget"])), []).append(run)
    if not groups:
        raise UserError(
            "no run is named after a budget, such as unet-200s", where=results, remedy="run config/curves.yaml first"
        )
    return [_row(*name, runs, timed) for name, runs in groups.items()]


def joined(rows: list[dict[str, Any]], earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures: new rows, and those of earlier ones that none of them replaces."""
    every = {_place(row): row for row in (*earlier, *rows)}
    ordered = [every[place] for place in sorted(every)]
    dates = sorted({date for row in ordered for date in row["dates"]})
    return {
        "command": "python benchmarks/curves.py --results results-curves",
        "commit": ", ".join(sorted({commit for row in ordered for commit in row["commits"]})),
        "date": " to ".join(dict.fromkeys((dates[0], dates[-1]))),
        "machine": machine(),
        "rows": ordered,
    }


def read(figures: Path) -> list[dict[str, Any]]:
    """Rows that were written before; none where there is no file."""
    rows = json.loads(figures.read_text("utf-8"))["rows"] if figures.exists() else []
    return [row for row in rows if "commits" in row]


def _place(row: dict[str, Any]) -> tuple[str, int, int, str]:
    return row["dataset"], row["size"], row["budget"], row["recipe"]


def _row(dataset: str, recipe: str, budget: int, runs: list[TrainedRun], timed: dict[str, float]) -> dict[str, Any]:
    dice = [run.summary.dice.mean for run in runs]
    seconds = [cpu_seconds(recipe, run.device, run.cpu_seconds, run.training.steps, timed) for run in runs]
    return {
        "dataset": dataset,
        "size": runs[0].summary.size,
        "recipe": recipe,
        "kind": KINDS[runs[0].model.recipe["network"]["kind"]],
        "budget": budget,
        "cpu_seconds": round(fmean(seconds), 1),
        "seeds": len(runs),
        "dice_mean": round(fmean(dice), 4),
        "dice_sd": round(stdev(dice), 4) if len(dice) > 1 else None,
        "commits": sorted({run.model.provenance["commit"] for run in runs}),
        "dates": sorted({run.model.provenance["time"][:10] for run in runs}),
        "val_mean": mean_if_known([run.training.best_dice for run in runs]),
        "trained_on": ", ".join(sorted({run.device for run in runs})),
    }


if __name__ == "__main__":
    sys.exit(main())
