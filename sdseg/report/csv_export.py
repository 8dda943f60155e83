"""The figures of the page without the page, for those who plot themselves: a line per run, and one over its seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from sdseg.artifacts.results.evaluation import Scored, Sized
from sdseg.metrics.intervals import over_seeds
from sdseg.report.collect import Gathered, Run
from sdseg.report.comparisons import Rival, seeded

__all__ = ["COLUMNS", "records_of", "records_over_seeds", "table_of"]

METRICS = ("dice", "iou", "precision", "recall", "hd95", "nsd")
_WHAT = ("dataset", "recipe", "seeds", "origin", "protocol", "split", "target", "backend", "scored_at", "size")
_MEANS = tuple(f"{metric}_{place}" for place in ("native", "working") for metric in METRICS)
_SCORES = tuple(f"{mean}{part}" for mean in _MEANS for part in ("", "_sd", "_low", "_high", "_n"))
_ALONE = ("ece", "threshold", "codec_ceiling", "seconds_per_image", "training_seconds")
_REST = (
    *("dice_official", *_ALONE, "parameters", "exclusive"),
    *("parity_passed", "parity_max_abs_difference", "parity_dice_difference"),
    *("data_checksum", "model_checksum", "scored", "commit"),
)
COLUMNS = (*_WHAT, "n_cases", *_SCORES, *_REST)


def records_of(gathered: Gathered) -> list[dict[str, Any]]:
    """Every column of every run; None where there is no figure."""
    return [_record(run) for run in gathered.runs]


def records_over_seeds(gathered: Gathered) -> list[dict[str, Any]]:
    """The same columns of every recipe that was trained with several seeds.

    A figure is the mean over seeds, `_sd` the sample standard deviation over seeds and `_n` their number; what cannot
    be averaged is None.
    """
    return [_over_seeds(dataset.name, one) for dataset in gathered.datasets for one in seeded(dataset)]


def table_of(gathered: Gathered) -> str:
    """Both as CSV; n/a, which pandas and R read as missing, where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in (*records_of(gathered), *records_over_seeds(gathered)):
        writer.writerow({key: "n/a" if value is None else value for key, value in record.items()})
    return text.getvalue()


def _record(run: Run) -> dict[str, Any]:
    summary, parity, training = run.summary, run.parity, run.training
    values: dict[str, Any] = {key: getattr(summary, key, None) for key in (*_WHAT, "n_cases")}
    values |= {"dataset": run.dataset, "recipe": run.recipe}
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
        found |= {name: scored.mean if scored else None, f"{name}_sd": scored.sd if scored else None}
        found |= {f"{name}_low": low, f"{name}_high": high, f"{name}_n": scored.n if scored else None}
    return found


def _over_seeds(dataset: str, one: Rival) -> dict[str, Any]:
    records = [_record(run) for run in one.runs]
    values = {key: _common(records, key) for key in COLUMNS}
    values |= {"dataset": dataset, "recipe": one.recipe, "seeds": " ".join(one.seeds)}
    values |= {"scored": None, "commit": None, "model_checksum": None, "parity_passed": None}
    for key in (*_MEANS, "dice_official", *_ALONE):
        known = [record[key] for record in records if record[key] is not None]
        found = over_seeds(known) if len(known) == len(records) else None  # never a mean over some of the seeds
        values[key] = found.mean if found else None
        if key in _MEANS:
            spread = {"_sd": found.sd, "_n": found.n} if found else {"_sd": None, "_n": None}
            values |= {f"{key}{part}": value for part, value in {**spread, "_low": None, "_high": None}.items()}
    return values


def _common(records: Sequence[Mapping[str, Any]], key: str) -> Any:
    """What all have in common, or None."""
    first = records[0][key]
    return first if all(record[key] == first for record in records) else None
