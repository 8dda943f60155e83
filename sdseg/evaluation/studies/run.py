"""The studies that were asked for, one after the other, each into its own files of an evaluation folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sdseg.artifacts.results.studies import Robustness, Study, Sweep
from sdseg.core.files import make_folder, write_json
from sdseg.core.locks import writes
from sdseg.evaluation.studies.efficiency import efficiency
from sdseg.evaluation.studies.figures import draw_robustness, draw_sweep
from sdseg.evaluation.studies.latents import Origins, latents
from sdseg.evaluation.studies.robustness import robustness
from sdseg.evaluation.studies.stability import stability
from sdseg.evaluation.studies.studied_model import Scope, Subject, open_subject
from sdseg.evaluation.studies.sweep import Grid, sweep

__all__ = ["Asked", "Grid", "Origins", "Scope", "study"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """Which studies, with what each of them needs to know; None and False leave one out."""

    efficiency: bool = False
    stability: int | None = None  # number of runs
    lpips: str | None = None  # file of AlexNet's weights, or "fetch"
    robustness: bool = False
    sweep: Grid | None = None
    latents: Origins | None = None

    def __bool__(self) -> bool:
        wanted = (self.efficiency, self.robustness, self.stability is not None, self.sweep, self.latents)
        return any(bool(each) for each in wanted)


@writes("output")
def study(prepared: Path, model: Path, output: Path, asked: Asked, scope: Scope) -> None:
    """Write `output`/<study>.json for every study asked for, and its pictures; other files there are left alone.

    Raises UserError where store and model do not fit each other, or a value makes no sense.
    """
    subject = open_subject(prepared, model, scope)
    make_folder(output)
    for name, run in _chosen(subject, asked, output).items():  # efficiency first: its peak memory is the process's
        record = run()
        heading = f"{record.dataset} ({record.origin} data), {record.recipe}"
        if isinstance(record, Sweep):
            draw_sweep(output / "sweep.png", record, heading)
        if isinstance(record, Robustness):
            draw_robustness(output / "robustness.png", record, heading)
        write_json(output / f"{name}.json", record.content())
        log.info("%s: %s of %s", record.dataset, name, record.recipe)


def _chosen(subject: Subject, asked: Asked, output: Path) -> dict[str, Callable[[], Study]]:
    chosen: dict[str, Callable[[], Study]] = {}
    if asked.efficiency:
        chosen["efficiency"] = lambda: efficiency(subject)
    if asked.sweep is not None:
        grid = asked.sweep
        chosen["sweep"] = lambda: sweep(subject, grid)
    if asked.stability is not None:
        runs = asked.stability
        chosen["stability"] = lambda: stability(subject, runs, asked.lpips)
    if asked.robustness:
        chosen["robustness"] = lambda: robustness(subject)
    if asked.latents is not None:
        origins = asked.latents
        chosen["latents"] = lambda: latents(subject, origins, output)
    return chosen
