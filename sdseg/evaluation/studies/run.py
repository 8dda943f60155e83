"""The studies that were asked for, one after the other, each into its own files of an evaluation folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdseg.artifacts.results.studies import Study
from sdseg.core.files import make_folder, write_json
from sdseg.core.locks import writes
from sdseg.evaluation.studies.efficiency import efficiency
from sdseg.evaluation.studies.figures import draw_robustness, draw_sweep
from sdseg.evaluation.studies.latents import Origins, latents
from sdseg.evaluation.studies.robustness import robustness
from sdseg.evaluation.studies.stability import stability
from sdseg.evaluation.studies.studied_model import Scope, Subject, open_subject
from sdseg.evaluation.studies.sweep import Grid, sweep

__all__ = ["STUDIES", "Grid", "Origins", "Scope", "StudyEntry", "StudyOptions", "study"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyOptions:
    """Which studies, with what each of them needs to know; None and False leave one out."""

    efficiency: bool = False
    stability: int | None = None  # number of runs
    lpips: str | None = None  # file of AlexNet's weights, or "fetch"
    robustness: bool = False
    sweep: Grid | None = None
    latents: Origins | None = None

    def __bool__(self) -> bool:
        return any(entry.requested(self) for entry in STUDIES.values())


@dataclass(frozen=True)
class StudyEntry:
    """One study: whether it is asked for, how it is made, and the picture of it, where it has one."""

    requested: Callable[[StudyOptions], bool]
    make: Callable[
        [Subject, StudyOptions, Path], Study
    ]  # the content of its file; the folder is for pictures of its own
    draw: Callable[[Path, Any, str], None] | None = None  # into `<study>.png`, what was made, under a heading


# In the order in which they are made. Efficiency is first: its peak memory is the process's.
STUDIES: dict[str, StudyEntry] = {
    "efficiency": StudyEntry(lambda options: options.efficiency, lambda subject, _, __: efficiency(subject)),
    "sweep": StudyEntry(
        lambda options: options.sweep is not None,
        lambda subject, options, _: sweep(subject, options.sweep or Grid()),
        draw_sweep,
    ),
    "stability": StudyEntry(
        lambda options: options.stability is not None,
        lambda subject, options, _: stability(subject, options.stability or 0, options.lpips),
    ),
    "robustness": StudyEntry(
        lambda options: options.robustness, lambda subject, _, __: robustness(subject), draw_robustness
    ),
    "latents": StudyEntry(
        lambda options: options.latents is not None,
        lambda subject, options, output: latents(subject, options.latents or Origins(), output),
    ),
}


@writes("output")
def study(prepared: Path, model: Path, output: Path, options: StudyOptions, scope: Scope) -> None:
    """Write `output`/<study>.json for every study asked for, and its pictures; other files there are left alone.

    Raises UserError where store and model do not fit each other, or a value makes no sense.
    """
    subject = open_subject(prepared, model, scope)
    make_folder(output)
    for name, entry in STUDIES.items():
        if not entry.requested(options):
            continue
        record = entry.make(subject, options, output)
        if entry.draw is not None:
            entry.draw(output / f"{name}.png", record, f"{record.dataset} ({record.origin} data), {record.recipe}")
        write_json(output / f"{name}.json", record.content())
        log.info("%s: %s of %s", record.dataset, name, record.recipe)
