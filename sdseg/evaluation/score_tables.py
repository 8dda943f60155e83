"""The scores of all cases as a table (cases.csv) and as figures over cases (summary.json).

docs/results.md explains both, column by column and key by key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from math import nan
from typing import Any

import numpy as np

from sdseg.artifacts.results import evaluation as results
from sdseg.core.files import csv_text
from sdseg.evaluation.annotator_scores import AnnotatedCase
from sdseg.evaluation.case_scores import SizeScores
from sdseg.evaluation.evaluator import ScoredCase
from sdseg.metrics.annotators import ANNOTATOR_METRICS
from sdseg.metrics.intervals import interval
from sdseg.metrics.metric_table import METRICS
from sdseg.metrics.overlap import Score, summarise

__all__ = ["NATIVE", "WORKING", "annotator_figures", "annotator_table", "figures", "table"]

NATIVE, WORKING = "native size", "working size"
UNDEFINED = "n/a"  # pandas and R read it as missing


def table(scores: Sequence[ScoredCase]) -> str:
    """cases.csv: one line per case, scores at the headline size first."""
    first = scores[0].headline
    names = tuple(first.whole)  # the metrics, with the cup-to-disc error where there is one
    structures = tuple(first.structures) if len(first.structures) > 1 else ()
    header = [
        *("case", *names, "scored_at", *(f"{name}_working" for name in names), "dice_official"),
        *("group", "split", "slices", "height", "width", "pixels_predicted", "pixels_labelled", "undefined"),
        *(f"{metric}_{structure}" for metric in METRICS for structure in structures),
    ]
    return csv_text(header, (_line(score, names, structures) for score in scores))


def _line(score: ScoredCase, names: Sequence[str], structures: Sequence[str]) -> list[object]:
    case, headline = score.case, score.headline
    return [
        case.case,
        *(_shown(headline.whole[name]) for name in names),
        NATIVE if score.native else WORKING,
        *(_shown(score.working.whole[name]) for name in names),
        _shown(score.dice_official),
        *(case.group, case.split, case.slices, case.height, case.width),
        int(headline.pixels.predicted.sum()),
        int(headline.pixels.labelled.sum()),
        "; ".join(f"{name}: {figure.reason}" for name, figure in headline.whole.items() if not figure.defined),
        *(_shown(headline.structures[structure][metric]) for metric in METRICS for structure in structures),
    ]


def figures(scores: Sequence[ScoredCase], why_not_native: str | None) -> dict[str, Any]:
    """The part of summary.json that is made of scores; `why_not_native` where there are none at native size."""
    headline = [score.headline for score in scores]
    native = [score.native for score in scores if score.native]
    at_headline = _sized(headline)
    return {
        "scored_at": NATIVE if native else WORKING,
        "dice": at_headline.metrics["dice"].content(),
        "iou": at_headline.metrics["iou"].content(),
        "structures": at_headline.structures,
        "native": _sized(native) if native else None,
        "native_missing": why_not_native,
        "working": _sized([score.working for score in scores]),
        "dice_official": _over_cases([score.dice_official for score in scores]),
    }


def annotator_table(cases: Sequence[AnnotatedCase], names: Sequence[str]) -> str:
    """annotators.csv: one line per case."""
    header = ["case", "group", "hypotheses", *ANNOTATOR_METRICS, *(f"dice_{name}" for name in names)]
    lines = (
        [
            *(one.case.case, one.case.group, one.hypotheses),
            *(_shown(one.scores[metric]) for metric in ANNOTATOR_METRICS),
            *(f"{one.dice_by_annotator[name]:.6f}" if name in one.dice_by_annotator else UNDEFINED for name in names),
        ]
        for one in cases
    )
    return csv_text(header, lines)


def annotator_figures(cases: Sequence[AnnotatedCase], names: Sequence[str]) -> results.AnnotatorSummary:
    """What summary.json says of `annotators.csv`."""
    return results.AnnotatorSummary(
        names=tuple(names),
        hypotheses=cases[0].hypotheses,
        size=WORKING,
        metrics={metric: _over_cases([one.scores[metric] for one in cases]) for metric in ANNOTATOR_METRICS},
        dice_by_annotator={
            name: _over_cases([Score(one.dice_by_annotator.get(name, nan), _absent(one, name)) for one in cases])
            for name in names
        },
    )


def _absent(one: AnnotatedCase, name: str) -> str:
    return "" if name in one.dice_by_annotator else "not drawn by this annotator"


def _sized(scores: Sequence[SizeScores]) -> results.ScoresAtSize:
    structures = tuple(scores[0].structures)
    return results.ScoresAtSize(
        metrics={name: _over_cases([score.whole[name] for score in scores]) for name in scores[0].whole},
        structures={
            structure: {
                metric: _over_cases([score.structures[structure][metric] for score in scores]) for metric in METRICS
            }
            for structure in structures
        },
    )


def _over_cases(scores: Sequence[Score]) -> results.MetricSummary:
    """Statistics over the cases in which the score is defined; None where there is no such case."""
    values = np.array([score.value for score in scores if score.defined])
    nothing = dict.fromkeys(("mean", "sd", "minimum", "median", "maximum"))
    between = interval(values)
    return results.MetricSummary.checked(
        **(asdict(summarise(values)) if len(values) else nothing),
        ci95=(between.low, between.high) if between else None,
        n=len(values),
        undefined=dict(Counter(score.reason for score in scores if not score.defined)),
    )


def _shown(score: Score) -> str:
    return f"{score.value:.6f}" if score.defined else UNDEFINED
