"""Every summary of a results folder to one self-contained page, and to a small table for the terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from sdseg.core.files import write_text
from sdseg.core.locks import locked
from sdseg.datasets.sources import SOURCES
from sdseg.report import formats
from sdseg.report.collect import CollectedResults, ScoredRun, collect_results
from sdseg.report.csv_export import records_of, records_over_seeds, table_of
from sdseg.report.folder_comparison import compare_folders
from sdseg.report.page import ORIGINS, render, render_comparison
from sdseg.report.published import load_published

__all__ = ["compare", "print_table", "report"]

# The graph and the model are compared on the same images at the working size: their difference says what a second
# Dice, at another size than the first, would hide.
HEADINGS = ("dataset", "recipe", "Dice", "ONNX differs", "IoU", "s/image")
LONGEST_NAME = 18  # so that a line fits 80 columns


def report(results: Path, output: Path, published: Path | None = None) -> None:
    """Write the page of every `<results>/<dataset>/<recipe>/evaluation/summary.json` to `output`, in one step.

    summary.csv and summary.json beside it hold the same figures. `published` is a folder of published figures; without
    it none stand beside ours.

    Raises UserError when nothing was scored, or a file is missing, truncated or not as expected.
    """
    titles = {name: source.title for name, source in SOURCES.items()}
    collected = collect_results(results)
    page = render(collected, titles, load_published(published) if published else None, output)
    plain = {"format": 1, "runs": records_of(collected), "over_seeds": records_over_seeds(collected)}
    texts = {
        output: page,
        output.with_name("summary.csv"): _utf8(table_of(collected)),
        output.with_name("summary.json"): json.dumps(plain, indent=2, allow_nan=False) + "\n",
    }
    with locked(*texts):
        for path, text in texts.items():
            write_text(path, text)


def compare(a: Path, b: Path, output: Path) -> None:
    """Write the page of two results folders side by side, and print the same figures.

    Raises ListedError where runs of one name were not scored on the same cases by the same protocol; UserError as
    `report` does, and where the folders have nothing in common.
    """
    comparison = compare_folders(collect_results(a), collect_results(b))
    write_text(output, render_comparison(comparison))
    rows: list[tuple[str, ...]] = [("dataset", "recipe", "Dice A", "Dice B", "B - A", "p")]
    for pair in comparison.pairs:
        dice = (f"{run.summary.dice.mean:.4f}" for run in (pair.a, pair.b))
        p = formats.p_value(pair.paired.p_value) if pair.paired else formats.NOT_DEFINED
        rows.append((_shown(pair.a.dataset), _shown(pair.a.recipe), *dice, f"{pair.difference:+.4f}", p))
    _print_rows(rows)
    for letter, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        for name in names:
            print(f"only in {letter}: {_shown(name, 60)}")
    print(f"page: {output}")


def _utf8(text: str) -> str:
    """A folder's name that is not UTF-8 must not stop the table."""
    return text.encode("utf-8", "replace").decode()


def print_table(results: Path, page: Path) -> None:
    """Print the scores of every run and where the page is. Raises UserError as `report` does."""
    collected = collect_results(results)
    rows = [HEADINGS, *(_row(run) for run in collected.runs)]
    _print_rows(rows)
    for line in _notes(collected):
        print(line)
    missing = f"not made yet; python -m sdseg report --results {shlex.quote(str(results))}"
    print(f"page: {page if page.is_file() else missing}")


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """A table for the terminal, the first row its heading, two columns of names before the figures; an empty line."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) if column < 2 else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        print("  ".join(cells).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    print()


def _row(run: ScoredRun) -> tuple[str, ...]:
    summary, parity = run.summary, run.parity
    exported = (
        "no model"
        if run.elsewhere
        else "not made"
        if parity is None
        else f"{parity.dice_difference:.4f}" + ("" if parity.passed else " !")
    )
    return (
        _shown(run.dataset),
        _shown(run.recipe),
        f"{summary.dice.mean:.4f}",
        exported,
        f"{summary.iou.mean:.4f}",
        "n/a" if summary.seconds_per_image is None else f"{summary.seconds_per_image:.4f}",
    )


def _notes(collected: CollectedResults) -> list[str]:
    """What must be known beside the figures: what they were measured on, failed exports, parts of another model."""
    notes = []
    for origin, number in collected.origins.items():
        which = "all figures" if len(collected.origins) == 1 else f"{number} of {len(collected.runs)} rows"
        if origin != "real" or len(collected.origins) > 1:
            names = sorted({run.dataset for run in collected.runs if run.summary.origin == origin})
            listed = "" if len(collected.origins) == 1 else f" ({_shown(', '.join(names), 30)})"
            notes.append(f"data: {which}{listed} on {ORIGINS[origin][0].lower()}")
    if any(run.parity and not run.parity.passed for run in collected.runs):
        notes.append("!     the ONNX model does not agree with the trained one, see the page")
    for run in collected.runs:
        notes += [f"{what}: {_shown(run.dataset)} / {_shown(run.recipe)}" for what in run.other_weights]
    notes += [f"unscored: {_shown(one.dataset)} / {_shown(one.recipe)}" for one in collected.unscored]
    return notes


def _shown(name: str, longest: int = LONGEST_NAME) -> str:
    """A name for the terminal: no control characters, not longer than `longest`."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain if len(plain) <= longest else plain[: longest - 2] + ".."
