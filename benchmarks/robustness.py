"""Dice of several models on images that get worse, side by side, for docs/benchmarks.md.

python benchmarks/robustness.py --models RUN [RUN …] [--output benchmarks/figures/robustness.json]

A RUN is a folder of results whose `evaluation/robustness.json` was written by `sdseg evaluate --robustness`, all on the
same cases. Each corruption has the strengths of that study.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from sdseg.artifacts.results.studies import Robustness  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.core.files import read_json  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="+", required=True, metavar="RUN")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/robustness.json")
    chosen = parser.parse_args()
    return write_figures(lambda: side_by_side(chosen.models), chosen.output)


def side_by_side(runs: list[Path]) -> dict[str, Any]:
    """The figures of some runs. Raises UserError where they were not made on the same cases."""
    studies = {run.name: read_json(run / "evaluation" / "robustness.json", Robustness) for run in runs}
    if len({(study.data_checksum, study.split, study.n_cases) for study in studies.values()}) > 1:
        raise UserError("the runs were made on different cases", where="--models", remedy="name runs of one dataset")
    names = [f"{run.parent.name}/{run.name}" for run in runs]
    return {
        "command": shlex.join(["python", "benchmarks/robustness.py", "--models", *names]),
        "commit": ", ".join(sorted({study.provenance["commit"] for study in studies.values()})),
        "date": max(study.provenance["time"] for study in studies.values())[:10],
        "machine": machine(),
        "rows": [row for name, study in studies.items() for row in rows(name, study)],
    }


def rows(name: str, study: Robustness) -> list[dict[str, Any]]:
    """One row per corruption and strength, the clean images first."""
    given = {"model": name, "cases": study.n_cases}
    clean = {**given, "kind": "none", "unit": "", "strength": 0.0, "dice": round(study.clean.dice, 4)}
    worse = [
        {**given, "kind": curve.kind, "unit": curve.unit, "strength": level.strength, "dice": round(level.dice, 4)}
        for curve in study.curves
        for level in curve.levels
    ]
    return [clean, *worse]


if __name__ == "__main__":
    sys.exit(main())
