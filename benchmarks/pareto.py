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
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from benchmarks.latency_subjects import (  # noqa: E402
    Subject,
    full_subjects,
    origins,
    scores_by_seed,
    trained_subjects,
)
from benchmarks.trained_runs import runs_by_recipe, spread  # noqa: E402
from sdseg.artifacts.results.pareto import Pareto, ParetoRow  # noqa: E402
from sdseg.cli.argument_types import whole  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.core.files import read_json  # noqa: E402

WARM_UP, ROUNDS = 3, 50
FULL_ROUNDS = 5  # of --full, after one call that is not counted
# Seconds after which a model is not called again in a runtime: whole volumes take long.
PATIENCE, FULL_PATIENCE = 300.0, 8.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results-pareto"))
    parser.add_argument("--full", type=Path, nargs="+", metavar="RECIPE", help="recipe files, untrained, in its place")
    parser.add_argument("--more-seeds", action="store_true", help="of rows that the output has: add their Dice alone")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/pareto.json")
    parser.add_argument("--threads", type=whole(), default=1)
    parser.add_argument("--rounds", type=whole(), help="calls of each model in each runtime (50; with --full 5)")
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
            **origins(runs, row),
        }
        longer.append(ParetoRow.checked(**row.content() | more))
    return longer


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


if __name__ == "__main__":
    sys.exit(main())
