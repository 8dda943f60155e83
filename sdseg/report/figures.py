"""What a model card shows beside its tables: charts of its studies, pictures to enlarge, volumes to scroll."""

from __future__ import annotations

import base64
import json
import re
import struct
from dataclasses import dataclass

from markupsafe import Markup

from sdseg.artifacts.results.evaluation import Overlay
from sdseg.artifacts.results.studies import Measured, Stability
from sdseg.report import study_charts
from sdseg.report.collect import Run
from sdseg.report.formats import NOT_DEFINED
from sdseg.report.tables import Cell

__all__ = ["Drawn", "Shown", "agreement", "drawn_studies", "latent_pictures", "overlay_pictures", "volume_data"]


@dataclass(frozen=True)
class Shown:
    """A picture ready to be embedded; without a source there is a reason."""

    title: str
    source: str = ""  # data URL
    width: int = 0
    height: int = 0
    rank: str = ""
    dice: float | None = None
    reason: str = ""

    @property
    def small(self) -> bool:
        """Few pixels, which are to be seen as such when enlarged."""
        return self.height < 160


@dataclass(frozen=True)
class Drawn:
    """A chart with its heading and what must be said below it."""

    title: str
    note: str
    chart: study_charts.Chart
    remarks: tuple[str, ...] = ()


def overlay_pictures(run: Run) -> list[Shown]:
    """Best, median and worst case."""
    cases = {case.case: case for case in run.cases or ()}
    named = {re.sub(r'[\\/:*?"<>|]+', "_", name): name for name in cases}  # as files are, where the summary is silent

    def picture(overlay: Overlay) -> Shown:
        name = run.summary.exhibits.get(overlay.rank, named.get(overlay.case, overlay.case))
        case = cases.get(name)
        return Shown(
            title=name,
            source=_url("png", overlay.png),
            width=overlay.width,
            height=overlay.height,
            rank=overlay.rank,
            dice=case.dice if case else None,
        )

    return [picture(overlay) for overlay in run.overlays]


def latent_pictures(run: Run) -> list[Shown]:
    """Figures 2 and 6 of the paper, of this model."""
    found = []
    for one in run.findings.pictures:
        if one.png is None:
            found.append(Shown(one.title, reason=one.reason))
        else:
            width, height = struct.unpack(">II", one.png[16:24])
            found.append(Shown(one.title, _url("png", one.png), width, height))
    return found


def drawn_studies(run: Run) -> list[Drawn]:
    """Calibration, sweep and robustness, as far as they were made."""
    found: list[Drawn] = []
    summary, studies = run.summary, run.findings
    if summary.calibration and (chart := study_charts.reliability(summary.calibration)):
        chosen = summary.threshold_chosen
        said = (
            f"Threshold {chosen.threshold:g}, chosen on {chosen.n_cases} cases of the {chosen.split} split "
            f"(Dice {chosen.dice:.3f} there), never on test cases."
            if chosen
            else f"Threshold {summary.threshold or 0:g}, the model's own."
        )
        found.append(Drawn("Calibration", f"ECE {summary.calibration.ece:.4f}", chart, (said,)))
    if studies.sweep:
        missing = sorted({row.reason for row in studies.sweep.rows if row.reason})
        chart = study_charts.sweep(studies.sweep)
        if chart:
            remarks = tuple(f"Left out: {reason}." for reason in missing)
            found.append(Drawn("Dice by reverse steps", f"{studies.sweep.n_cases} cases", chart, remarks))
    if studies.robustness and (chart := study_charts.robustness(studies.robustness)):
        found.append(Drawn("Dice when images get worse", f"{studies.robustness.n_cases} cases", chart))
    return found


def agreement(stability: Stability, compared: str) -> list[Cell]:
    """PSNR, SSIM, MS-SSIM and LPIPS of masks or probabilities; n/a with its reason."""
    level = stability.instance_level.get(compared, {})
    measured = [(name, level.get(name)) for name in ("psnr", "ssim", "ms_ssim")]
    measured.append(("lpips", stability.dataset_level.get(compared, {}).get("lpips")))
    return [_agreement(name, one) for name, one in measured]


def volume_data(run: Run) -> Markup:
    """The volumes of a run as JSON for the script; no text in it can end the element that holds it."""
    records = [
        {**volume.model_dump(exclude={"webp", "dice", "rank"}), "source": _url("webp", volume.webp)}
        for volume in run.volumes
    ]
    text = json.dumps(records, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def _agreement(name: str, one: Measured | None) -> Cell:
    if one is None or one.value is None:
        return Cell(NOT_DEFINED, note=one.reason or "" if one else "")
    if one.value == "inf":
        return Cell("∞", note="identical")
    return Cell(f"{one.value:.2f} dB" if name == "psnr" else f"{one.value:.4f}")


def _url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
