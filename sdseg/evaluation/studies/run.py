"""The studies that were asked for, one after the other, each into its own files of an evaluation folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from sdseg.artifacts.results.studies import Study
from sdseg.config.studies import Studies
from sdseg.core.files import make_folder, write_json
from sdseg.core.locks import writes
from sdseg.evaluation.studies.efficiency import efficiency
from sdseg.evaluation.studies.figures import draw_chart
from sdseg.evaluation.studies.latents import Origins, latents
from sdseg.evaluation.studies.robustness import robustness
from sdseg.evaluation.studies.stability import stability
from sdseg.evaluation.studies.studied_model import Scope, Subject, open_subject
from sdseg.evaluation.studies.sweep import Grid, sweep

__all__ = ["STUDIES", "Make", "Origins", "Scope", "study"]

log = logging.getLogger(__name__)


# Makes the content of a study's file; the folder is for pictures of its own.
Make = Callable[[Subject, Studies, Origins, Path], Study]

# In the order in which they are made. Efficiency is first: its peak memory is the process's.
STUDIES: dict[str, Make] = {
    "efficiency": lambda subject, *_: efficiency(subject),
    "sweep": lambda subject, settings, *_: sweep(subject, Grid(settings.steps, settings.samples)),
    "stability": lambda subject, settings, *_: stability(subject, settings.stability or 0, settings.lpips),
    "robustness": lambda subject, *_: robustness(subject),
    "latents": lambda subject, _, origins, output: latents(subject, origins, output),
}


@writes("output")
def study(prepared: Path, model: Path, output: Path, studies: Studies, scope: Scope, origins: Origins) -> None:
    """Write `output`/<study>.json for every study asked for, and its pictures; other files there are left alone.

    `origins` is what the study of latents compares with. Raises UserError where store and model do not fit each other,
    or a value makes no sense.
    """
    subject = open_subject(prepared, model, scope)
    make_folder(output)
    for name, make in STUDIES.items():
        if not getattr(studies, name, None):
            continue
        record = make(subject, studies, origins, output)
        if record.chart is not None:
            heading = f"{record.dataset} ({record.origin} data), {record.recipe}"
            draw_chart(output / f"{name}.png", record.chart, heading)
        write_json(output / f"{name}.json", record.content())
        log.info("%s: %s of %s", record.dataset, name, record.recipe)
