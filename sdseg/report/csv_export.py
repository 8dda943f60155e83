"""The figures of the page without the page, for those who plot themselves: a line per run, and one over its seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from sdseg.artifacts.results.evaluation import MetricSummary, ScoresAtSize
from sdseg.core.bounded_types import in_pixels
from sdseg.metrics.intervals import over_seeds
from sdseg.metrics.metric_table import METRICS
from sdseg.report.collect import CollectedResults, ScoredRun
from sdseg.report.recipe_comparison import ComparedRecipe, recipes_with_seeds

__all__ = ["COLUMNS", "records_of", "records_over_seeds", "table_of"]

_WHAT = ("dataset", "recipe", "seeds", "origin", "protocol", "split", "target", "backend", "scored_at", "size")
_MEANS = tuple(f"{metric}_{place}" for place in ("native", "working") for metric in METRICS)
_SCORES = tuple(f"{mean}{part}" for mean in _MEANS for part in ("", "_sd", "_low", "_high", "_n"))
_ALONE = ("ece", "threshold", "codec_ceiling", "seconds_per_image", "training_seconds", "training_cpu_seconds")
_REST = (
    *("dice_official", *_ALONE, "parameters", "exclusive"),
    *("parity_passed", "parity_max_abs_difference", "parity_dice_difference"),
    *("data_checksum", "model_checksum", "scored", "commit"),
)
COLUMNS = (*_WHAT, "n_cases", *_SCORES, *_REST)


def records_of(results: CollectedResults) -> list[dict[str, Any]]:
    """Every column of every run; None where there is no figure."""
    return [_record(run) for run in results.runs]


def records_over_seeds(results: CollectedResults) -> list[dict[str, Any]]:
    """The same columns of every recipe that was trained with several seeds.

    A figure is the mean over seeds, `_sd` the sample standard deviation over seeds and `_n` their number; what cannot
    be averaged is None.
    """
    return [_over_seeds(dataset.name, one) for dataset in results.datasets for one in recipes_with_seeds(dataset)]


def table_of(results: CollectedResults) -> str:
    """Both as CSV; n/a, which pandas and R read as missing, where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in (*records_of(results), *records_over_seeds(results)):
        writer.writerow({key: "n/a" if value is None else value for key, value in record.items()})
    return text.getvalue()


def _record(run: ScoredRun) -> dict[str, Any]:
    summary, parity, training = run.summary, run.parity, run.training
    values: dict[str, Any] = {key: getattr(summary, key, None) for key in (*_WHAT, "n_cases")}
    size = summary.size if isinstance(summary.size, int) else in_pixels(summary.size)
    values |= {"dataset": run.dataset, "recipe": run.recipe, "size": size}
    values |= _scores("native", summary.native) | _scores("working", summary.working)
    official = summary.dice_official
    values |= {
        "dice_official": official.mean if official else None,
        "ece": summary.calibration.ece if summary.calibration else None,
        "threshold": summary.threshold,
        "exclusive": summary.exclusive,
        "codec_ceiling": run.ceiling,
        "seconds_per_image": summary.seconds_per_image,
        "parameters": training.n_parameters if training else None,
        "training_seconds": training.seconds if training else None,
        "training_cpu_seconds": training.cpu_seconds if training else None,
        "parity_passed": parity.passed if parity else None,
        "parity_max_abs_difference": parity.max_abs_difference if parity else None,
        "parity_dice_difference": parity.dice_difference if parity else None,
        "data_checksum": summary.data_checksum,
        "model_checksum": summary.model_checksum,
        "scored": summary.provenance.get("time"),
        "commit": summary.provenance.get("commit"),
    }
    return {key: values[key] for key in COLUMNS}


def _scores(size: str, scores: ScoresAtSize | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for metric in METRICS:
        summary: MetricSummary | None = scores.metrics.get(metric) if scores else None
        low, high = summary.ci95 if summary and summary.ci95 else (None, None)
        name = f"{metric}_{size}"
        values |= {name: summary.mean if summary else None, f"{name}_sd": summary.sd if summary else None}
        values |= {f"{name}_low": low, f"{name}_high": high, f"{name}_n": summary.n if summary else None}
    return values


def _over_seeds(dataset: str, recipe: ComparedRecipe) -> dict[str, Any]:
    records = [_record(run) for run in recipe.runs]
    values = {key: _common(records, key) for key in COLUMNS}
    values |= {"dataset": dataset, "recipe": recipe.recipe, "seeds": " ".join(recipe.seeds)}
    values |= {"scored": None, "commit": None, "model_checksum": None, "parity_passed": None}
    for key in (*_MEANS, "dice_official", *_ALONE):
        defined = [record[key] for record in records if record[key] is not None]
        averaged = over_seeds(defined) if len(defined) == len(records) else None  # never a mean over some of the seeds
        values[key] = averaged.mean if averaged else None
        if key in _MEANS:
            spread = {"_sd": averaged.sd, "_n": averaged.n} if averaged else {"_sd": None, "_n": None}
            values |= {f"{key}{part}": value for part, value in {**spread, "_low": None, "_high": None}.items()}
    return values


def _common(records: Sequence[Mapping[str, Any]], key: str) -> Any:
    """What all have in common, or None."""
    first = records[0][key]
    return first if all(record[key] == first for record in records) else None
