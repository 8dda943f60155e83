"""What `make demo` left: the scores of its models, for docs/benchmarks.md.

python benchmarks/demo.py --results results [--output benchmarks/figures/demo.json]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.report.collect import ScoredRun, collect_results  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/demo.json")
    chosen = parser.parse_args()
    return write_figures(lambda: demo(chosen.results), chosen.output)


def demo(results: Path) -> dict[str, Any]:
    """The figures of a results folder. Raises UserError where it holds none, or no model."""
    runs = collect_results(results).runs
    models = [run.model for run in runs if run.model is not None]
    if not models:
        raise UserError("nothing here was trained and scored", where=results, remedy="run 'make demo' first")
    return {
        "command": "python benchmarks/demo.py --results results",
        "commit": ", ".join(sorted({model.provenance["commit"] for model in models})),
        "date": max(model.provenance["time"] for model in models)[:10],
        "machine": machine(),
        "rows": [_row(run) for run in sorted(runs, key=lambda run: (run.dataset, run.recipe))],
    }


def _row(run: ScoredRun) -> dict[str, Any]:
    seconds = run.training.cpu_seconds if run.training else None
    return {
        "dataset": run.dataset,
        "recipe": run.recipe,
        "cases": run.summary.n_cases,
        "dice": round(run.summary.dice.mean, 4),
        "iou": round(run.summary.iou.mean, 4),
        "onnx_dice_difference": round(run.parity.dice_difference, 6) if run.parity else None,
        "training_cpu_seconds": None if seconds is None else round(seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
