"""What a model card shows beside its tables: charts of its studies, pictures to enlarge, volumes to scroll."""

from __future__ import annotations

import base64
import json
import re
import struct
from dataclasses import dataclass

from markupsafe import Markup

from sdseg.artifacts.results.evaluation import Overlay
from sdseg.artifacts.results.studies import Measurement, Stability
from sdseg.report import study_charts
from sdseg.report.collect import DatasetResults, ScoredRun
from sdseg.report.formats import NOT_DEFINED
from sdseg.report.latency_comparison import dice_by_latency
from sdseg.report.model_card import Cell
from sdseg.report.robustness_comparison import robustness_by_recipe
from sdseg.report.training_cost import dice_by_cpu_seconds

__all__ = [
    "PagePicture",
    "TitledChart",
    "agreement",
    "latency_charts",
    "latent_pictures",
    "overlay_pictures",
    "robustness",
    "titled_charts",
    "training_cost",
    "volume_data",
]


@dataclass(frozen=True)
class PagePicture:
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
class TitledChart:
    """A chart with its heading and what must be said below it."""

    title: str
    note: str
    chart: study_charts.Chart
    remarks: tuple[str, ...] = ()


def overlay_pictures(run: ScoredRun) -> list[PagePicture]:
    """Best, median and worst case."""
    cases = {case.case: case for case in run.cases or ()}
    by_file_name = {
        re.sub(r'[\\/:*?"<>|]+', "_", name): name for name in cases
    }  # as files are, where the summary is silent

    def picture(overlay: Overlay) -> PagePicture:
        name = run.summary.exhibits.get(overlay.rank, by_file_name.get(overlay.case, overlay.case))
        case = cases.get(name)
        return PagePicture(
            title=name,
            source=_url("png", overlay.png),
            width=overlay.width,
            height=overlay.height,
            rank=overlay.rank,
            dice=case.dice if case else None,
        )

    return [picture(overlay) for overlay in run.overlays]


def latent_pictures(run: ScoredRun) -> list[PagePicture]:
    """Figures 2 and 6 of the paper, of this model."""
    pictures = []
    for picture in run.studies.pictures:
        if picture.png is None:
            pictures.append(PagePicture(picture.title, reason=picture.reason))
        else:
            width, height = struct.unpack(">II", picture.png[16:24])
            pictures.append(PagePicture(picture.title, _url("png", picture.png), width, height))
    return pictures


def titled_charts(run: ScoredRun) -> list[TitledChart]:
    """Calibration and the studies that are drawn, as far as they were made."""
    titled: list[TitledChart] = []
    summary = run.summary
    if summary.calibration and (chart := study_charts.reliability(summary.calibration)):
        chosen = summary.threshold_chosen
        remark = (
            f"Threshold {chosen.threshold:g}, chosen on {chosen.n_cases} cases of the {chosen.split} split "
            f"(Dice {chosen.dice:.3f} there), never on test cases."
            if chosen
            else f"Threshold {summary.threshold or 0:g}, the model's own."
        )
        titled.append(TitledChart("Calibration", f"ECE {summary.calibration.ece:.4f}", chart, (remark,)))
    for study in run.studies.by_name.values():
        if study.chart is not None:
            drawing = study_charts.line_chart(study.chart)
            titled.append(TitledChart(study.chart.title, f"{study.n_cases} cases", drawing, study.chart.remarks))
    return titled


def training_cost(dataset: DatasetResults) -> TitledChart | None:
    """Dice by CPU seconds of training, where recipes were trained for several lengths."""
    chart = dice_by_cpu_seconds(dataset)
    if chart is None:
        return None
    return TitledChart(chart.title, "a point per recipe, the mean over its seeds", study_charts.line_chart(chart))


def latency_charts(dataset: DatasetResults) -> list[TitledChart]:
    """Dice by latency, a plot per runtime with a line per role."""
    note = "a point per recipe, the mean over its seeds"
    return [
        TitledChart(chart.title, note, study_charts.line_chart(chart)) for chart in dice_by_latency(dataset.latency)
    ]


def robustness(dataset: DatasetResults) -> list[TitledChart]:
    """Dice when images get worse, a plot per kind of harm with a line per recipe."""
    titled = []
    for chart in robustness_by_recipe(dataset):
        drawing = study_charts.line_chart(chart)
        titled.append(TitledChart(chart.title, "a line per recipe, the mean over its seeds", drawing, chart.remarks))
    return titled


def agreement(stability: Stability, compared: str) -> list[Cell]:
    """PSNR, SSIM, MS-SSIM and LPIPS of masks or probabilities; n/a with its reason."""
    level = stability.instance_level.get(compared, {})
    measurements = [(name, level.get(name)) for name in ("psnr", "ssim", "ms_ssim")]
    measurements.append(("lpips", stability.dataset_level.get(compared, {}).get("lpips")))
    return [_agreement(name, measurement) for name, measurement in measurements]


def volume_data(run: ScoredRun) -> Markup:
    """The volumes of a run as JSON for the script; no text in it can end the element that holds it."""
    records = [
        {**volume.model_dump(exclude={"webp", "dice", "rank"}), "source": _url("webp", volume.webp)}
        for volume in run.volumes
    ]
    text = json.dumps(records, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def _agreement(name: str, measurement: Measurement | None) -> Cell:
    if measurement is None or measurement.value is None:
        return Cell(NOT_DEFINED, note=measurement.reason or "" if measurement else "")
    if measurement.value == "inf":
        return Cell("∞", note="identical")
    return Cell(f"{measurement.value:.2f} dB" if name == "psnr" else f"{measurement.value:.4f}")


def _url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
