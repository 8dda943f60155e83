"""The figures of the page without the page: one line per run, for those who plot themselves."""

from __future__ import annotations

import csv
import io
from typing import Any

from sdseg.page.gather import Gathered, Run
from sdseg.page.records import Scored, Sized

__all__ = ["COLUMNS", "records_of", "table_of"]

METRICS = ("dice", "iou", "precision", "recall", "hd95", "nsd")
_WHAT = ("dataset", "recipe", "origin", "protocol", "split", "target", "backend", "scored_at", "size", "n_cases")
_SCORES = tuple(
    column
    for place in ("native", "working")
    for metric in METRICS
    for column in (f"{metric}_{place}", f"{metric}_{place}_low", f"{metric}_{place}_high", f"{metric}_{place}_n")
)
_REST = (
    *("dice_official", "ece", "threshold", "codec_ceiling", "seconds_per_image", "parameters", "training_seconds"),
    *("parity_passed", "parity_max_abs_difference", "parity_dice_difference"),
    *("data_checksum", "model_checksum", "scored", "commit"),
)
COLUMNS = (*_WHAT, *_SCORES, *_REST)


def records_of(gathered: Gathered) -> list[dict[str, Any]]:
    """Every column of every run; None where there is no figure."""
    return [_record(run) for run in gathered.runs]


def table_of(gathered: Gathered) -> str:
    """The same as CSV; n/a, which pandas and R read as missing, where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in records_of(gathered):
        writer.writerow({key: "n/a" if value is None else value for key, value in record.items()})
    return text.getvalue()


def _record(run: Run) -> dict[str, Any]:
    summary, parity, training = run.summary, run.parity, run.training
    values: dict[str, Any] = {key: getattr(summary, key) for key in _WHAT if key not in ("dataset", "recipe")}
    values |= {"dataset": run.dataset, "recipe": run.recipe}
    values |= _scores("native", summary.native) | _scores("working", summary.working)
    official = summary.dice_official
    values |= {
        "dice_official": official.mean if official else None,
        "ece": summary.calibration.ece if summary.calibration else None,
        "threshold": summary.threshold,
        "codec_ceiling": run.ceiling,
        "seconds_per_image": summary.seconds_per_image,
        "parameters": training.n_parameters if training else None,
        "training_seconds": training.seconds if training else None,
        "parity_passed": parity.passed if parity else None,
        "parity_max_abs_difference": parity.max_abs_difference if parity else None,
        "parity_dice_difference": parity.dice_difference if parity else None,
        "data_checksum": summary.data_checksum,
        "model_checksum": summary.model_checksum,
        "scored": summary.provenance.get("time"),
        "commit": summary.provenance.get("commit"),
    }
    return {key: values[key] for key in COLUMNS}


def _scores(place: str, sized: Sized | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric in METRICS:
        scored: Scored | None = sized.metrics.get(metric) if sized else None
        low, high = scored.ci95 if scored and scored.ci95 else (None, None)
        name = f"{metric}_{place}"
        found |= {name: scored.mean if scored else None, f"{name}_low": low, f"{name}_high": high}
        found[f"{name}_n"] = scored.n if scored else None
    return found
