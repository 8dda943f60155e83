"""Published figures beside ours, each of ours with a mark of what it was measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sdseg.artifacts.results.evaluation import MetricSummary
from sdseg.artifacts.results.studies import Efficiency, Stability, Sweep, SweepRow
from sdseg.metrics.metric_table import METRICS
from sdseg.report.collect import CollectedResults, DatasetResults, ScoredRun
from sdseg.report.published import Figure, Published
from sdseg.report.recipe_comparison import recipe_of

__all__ = ["OurFigure", "PaperDice", "PaperTable", "TableLine", "paper_dice", "sources_of", "tables"]

METHOD = "SDSeg"
DICE_TABLES = ("2", "3")  # of its own five datasets; one of them stands in both, with the same figure
Read = Callable[[DatasetResults, ScoredRun], str | None]  # a figure of ours as text; None where it was not measured


@dataclass(frozen=True)
class OurFigure:
    """A figure of ours and everything that must be known before it is compared with a published one."""

    run: ScoredRun
    text: str

    @property
    def mark(self) -> str:
        """What it was measured on: never left out."""
        summary = self.run.summary
        data = {"real": "real data", "sample": "sample images", "phantom": "phantoms"}[summary.origin]
        return f"{data}, protocol {summary.protocol}" + (f", {summary.split} split" if summary.split != "test" else "")

    @property
    def comparable(self) -> bool:
        """Measured on the data and by the protocol of the paper."""
        summary = self.run.summary
        return summary.origin == "real" and summary.protocol == "paper" and summary.split == "test"


@dataclass(frozen=True)
class PaperDice:
    """The paper's figure for the overview; `mark` says why ours does not compare with it."""

    text: str
    share: float | None
    mark: str


@dataclass(frozen=True)
class TableLine:
    """A line of a published table, with ours."""

    label: str
    metric: str
    published: str
    source: str
    ours: tuple[OurFigure, ...]


@dataclass(frozen=True)
class PaperTable:
    """A published table."""

    number: str
    caption: str
    lines: tuple[TableLine, ...]


def tables(results: CollectedResults, published: Published) -> tuple[PaperTable, ...]:
    """Every published table, ours set beside the lines that this project measures."""
    paper_tables = []
    for number, figures in sorted(published.tables.items(), key=lambda item: (not item[0][0].isdecimal(), item[0])):
        lines = [_line(figure, results, number) for figure in figures]
        paper_tables.append(PaperTable(number, published.captions[number], tuple(lines)))
    return tuple(paper_tables)


def paper_dice(run: ScoredRun, source: str | None, published: Published | None) -> PaperDice:
    """The paper's Dice for the dataset of a run, and what keeps ours from being compared with it."""
    row = {"method": METHOD, "metric": "dice", "dataset": source or run.dataset}
    figures = [figure for number in DICE_TABLES for figure in published.find(number, **row)] if published else []
    if not figures:
        return PaperDice("–", None, "")
    ours = OurFigure(run, "")
    return PaperDice(figures[0].text, figures[0].share, "" if ours.comparable else f"ours: {ours.mark}")


def sources_of(paper_tables: Sequence[PaperTable]) -> tuple[str, ...]:
    """The sources that the lines name, each once, in their order."""
    return tuple(dict.fromkeys(line.source for paper_table in paper_tables for line in paper_table.lines))


def _line(figure: Figure, results: CollectedResults, number: str) -> TableLine:
    approximate = figure.condition == "about"
    label = [figure.method, figure.dataset, "" if approximate else figure.condition]
    ours = _ours(figure, results, number) if figure.method == METHOD else ()
    return TableLine(
        " · ".join(word for word in label if word),
        _spoken(figure.metric),
        f"{'about ' if approximate else ''}{figure.text}",
        figure.source,
        ours,
    )


def _spoken(metric: str) -> str:
    similarities = {"psnr": "PSNR", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "lpips": "LPIPS"}
    names = similarities | {name: metric.title for name, metric in METRICS.items()}
    return names.get(metric, metric.replace("_", " "))


def _ours(figure: Figure, results: CollectedResults, number: str) -> tuple[OurFigure, ...]:
    measure = (_MEASURED | _MEASURED_IF.get(figure.condition, {})).get(figure.metric)
    if measure is None:
        return ()
    figures = []
    for dataset in results.datasets:
        source = dataset.prepared.source if dataset.prepared else dataset.name
        for run in dataset.runs:
            if figure.dataset not in (None, source) or figure.recipe not in (None, recipe_of(run)):
                continue
            if number == "6" and figure.recipe is None:
                continue
            text = measure(dataset, run)
            if text is not None:
                figures.append(OurFigure(run, text))
    return tuple(figures)


def _percent(scored: MetricSummary | None) -> str | None:
    return f"{100 * scored.mean:.1f} %" if scored and scored.mean is not None else None


def _dice(_: DatasetResults, run: ScoredRun) -> str | None:
    return _percent(run.summary.dice_official)


def _iou(_: DatasetResults, run: ScoredRun) -> str | None:
    return _percent(run.summary.working.metrics.get("iou")) if run.summary.working else None


def _cases(part: str) -> Read:
    return lambda dataset, _: str(dataset.prepared.n_cases[part]) if dataset.prepared else None


def _stability(metric: str, compared: str) -> Read:
    def read(_: DatasetResults, run: ScoredRun) -> str | None:
        study = run.studies.of(Stability)
        if study is None:
            return None
        level = study.dataset_level if metric == "lpips" else study.instance_level
        measurement = level.get(compared, {}).get(metric)
        if measurement is None or measurement.value is None:
            return None
        unit = " dB" if metric == "psnr" else ""
        return "∞" if measurement.value == "inf" else f"{measurement.value:.4g}{unit}"

    return read


def _speed(_: DatasetResults, run: ScoredRun) -> str | None:
    """One step only, as the published figure; with the device, since speeds of two devices do not compare."""
    study = run.studies.of(Efficiency)
    if study is None or not study.latency or (study.inference or {}).get("steps") not in (None, 1):
        return None
    return f"{max(latency.images_per_second for latency in study.latency):.3g} slices/s on {study.device}"


def _swept(run: ScoredRun, steps: int) -> SweepRow | None:
    """The row of the sweep with these steps and one sample."""
    study = run.studies.of(Sweep)
    return next((row for row in (study.rows if study else ()) if (row.steps, row.samples) == (steps, 1)), None)


def _speed_of(steps: int) -> Read:
    """Of the sweep: at the batch size that the sweep was made with."""

    def read(_: DatasetResults, run: ScoredRun) -> str | None:
        row = _swept(run, steps)
        seconds = row.seconds_per_image if row else None
        return f"{1 / seconds:.3g} slices/s by {run.summary.backend}" if seconds else None

    return read


def _dice_of(steps: int) -> Read:
    """Of the sweep, by our own rule for empty labels: it keeps no other."""

    def read(_: DatasetResults, run: ScoredRun) -> str | None:
        row = _swept(run, steps)
        return f"{100 * row.dice:.1f} % (mean of all cases)" if row and row.dice is not None else None

    return read


def _trained(key: str, unit: str) -> Read:
    return lambda _, run: f"{getattr(run.training, key)} {unit}" if run.training else None


def _trained_memory(_: DatasetResults, run: ScoredRun) -> str | None:
    memory = run.training.memory if run.training else None
    return None if memory is None or memory.bytes is None else f"{memory.bytes / 1e9:.2g} GB: {memory.of}"


def _agreement(compared: str) -> dict[str, Read]:
    return {metric: _stability(metric, compared) for metric in ("lpips", "psnr", "ssim", "ms_ssim")}


_MEASURED: dict[str, Read] = {
    "dice": _dice,
    "iou": _iou,
    **_agreement("masks"),
    "images_per_second": _speed,
    "training_cases": _cases("train"),
    "test_cases": _cases("test"),
    "training_steps": _trained("steps", "steps"),
    "batch": _trained("batch", "images"),
    "training_memory": _trained_memory,
}
_MEASURED_IF: dict[str, dict[str, Read]] = {  # condition of a published figure -> what of ours it holds for
    "10 steps of DDIM": {"images_per_second": _speed_of(10), "dice": _dice_of(10)},
    "probabilities": _agreement("probabilities"),
}
