"""Rows of a model card's tables, as text: the undefined is n/a with its reason, what was not run has its command."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from sdseg.artifacts.results.evaluation import CaseRow, MetricSummary
from sdseg.artifacts.results.parity import Check, Parity
from sdseg.artifacts.results.studies import STUDIES
from sdseg.metrics.metric_table import METRICS
from sdseg.report.collect import ScoredRun
from sdseg.report.formats import NOT_DEFINED

__all__ = [
    "Cell",
    "MetricRow",
    "MissingStudy",
    "checks",
    "failures",
    "metric_rows",
    "missing_studies",
    "structure_columns",
    "web_link",
]

MORE_TITLES = {"cup_to_disc_error": "Cup-to-disc error"}  # of what is not scored of each structure
FAILURES = 5  # cases that are listed


@dataclass(frozen=True)
class Cell:
    """A figure with its interval, or n/a; `note` says why cases are left out."""

    text: str
    interval: str = ""
    note: str = ""


@dataclass(frozen=True)
class MetricRow:
    title: str
    native: Cell | None
    working: Cell | None
    official: Cell | None


@dataclass(frozen=True)
class MissingStudy:
    """A study that nobody has run."""

    what: str
    command: str


def metric_rows(run: ScoredRun) -> tuple[MetricRow, ...]:
    """One row per metric: native size, working size, and the official code's Dice beside Dice."""
    summary = run.summary
    native = summary.native.metrics if summary.native else {}
    working = summary.working.metrics if summary.working else {}
    return tuple(
        MetricRow(
            title=title(name),
            native=cell(name, native.get(name)),
            working=cell(name, working.get(name)),
            official=cell(name, summary.dice_official) if name == "dice" else None,
        )
        for name in dict.fromkeys((*native, *working))
    )


def structure_columns(run: ScoredRun) -> tuple[tuple[str, ...], dict[str, tuple[Cell, ...]]]:
    """Names of the metrics and, per structure, their cells at the size of the headline."""
    structures = run.summary.structures
    names = tuple(dict.fromkeys(name for scores in structures.values() for name in scores))
    rows = {
        structure: tuple(cell(name, scores.get(name)) or Cell(NOT_DEFINED) for name in names)
        for structure, scores in structures.items()
    }
    return tuple(title(name) for name in names), rows


def cell(metric: str, scored: MetricSummary | None) -> Cell | None:
    """None where nobody computed it."""
    if scored is None:
        return None
    if scored.mean is None:
        return Cell(NOT_DEFINED, note=scored.reason or "undefined")
    digits = METRICS[metric].digits if metric in METRICS else 3
    text = f"{scored.mean:.{digits}f}" + (f" ± {scored.sd:.{digits}f}" if scored.sd is not None else "")
    between = f"{scored.ci95[0]:.{digits}f} – {scored.ci95[1]:.{digits}f}" if scored.ci95 else ""
    return Cell(text, between, f"left out: {scored.reason}" if scored.undefined else "")


def title(metric: str) -> str:
    return METRICS[metric].title if metric in METRICS else MORE_TITLES.get(metric, metric)


def failures(run: ScoredRun) -> tuple[CaseRow, ...]:
    """The cases with the lowest Dice, lowest first; no more than half of all.

    What is undefined for every case (HD95 of images) is said beside the scores and left out here.
    """
    cases = sorted(run.cases or (), key=lambda case: case.dice)
    notes = [dict.fromkeys(filter(None, case.note.split("; "))) for case in cases]
    everywhere = set(notes[0]).intersection(*notes) if notes else set()
    return tuple(
        replace(case, note="; ".join(part for part in note if part not in everywhere))
        for case, note in list(zip(cases, notes, strict=True))[: max(1, min(FAILURES, len(cases) // 2))]
    )


def checks(run: ScoredRun) -> tuple[Check, ...]:
    """Every graph on every backend, then every engine; of an older export the one check there is."""
    all_checks: list[Check] = []
    if run.parity is not None:
        all_checks += run.parity.checks or (_check("model.onnx", run.parity),)
    for engine in run.engines:
        unknown = {"file": engine.file, "precision": engine.precision, "backend": "tensorrt"}
        engine_check = _check(engine.file, engine.parity) if engine.parity else Check.model_validate(unknown)
        all_checks.append(engine_check.model_copy(update={"backend": f"{engine_check.backend}, {engine.gpu}"}))
    if run.web_page is not None:
        page = run.web_page
        precision = page.precision or (run.graph.precision if run.graph else "fp32")  # earlier records do not tell
        unchecked = Check(file=page.file, precision=precision, backend=page.runtime, not_run=page.not_run)
        page_check = _check(page.file, page.parity) if page.parity else unchecked
        all_checks.append(page_check.model_copy(update={"backend": page.browser or page.runtime}))
    return tuple(all_checks)


def web_link(run: ScoredRun, page: Path) -> str | None:
    """Where the model in one HTML file lies, seen from the page of results; None where there is none."""
    if run.web_page is None or not (file := run.folder / "export" / run.web_page.file).is_file():
        return None
    return quote(Path(os.path.relpath(file, page.parent)).as_posix())


def _check(file: str, parity: Parity) -> Check:
    return Check.model_validate({**parity.model_dump(exclude={"checks"}), "file": file})


def missing_studies(run: ScoredRun) -> tuple[MissingStudy, ...]:
    """The studies that were not run, each with its command."""
    return tuple(
        MissingStudy(kind.shows, run.commands[name])
        for name, kind in STUDIES.items()
        if name not in run.studies.by_name
    )
