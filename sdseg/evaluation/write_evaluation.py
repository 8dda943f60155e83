"""What its folder holds, whatever was scored, and the labels that the files of a dataset hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sdseg.artifacts.results.evaluation import EvaluationSummary
from sdseg.artifacts.results.record import FORMAT
from sdseg.artifacts.results.studies import STUDIES
from sdseg.config.dataset import Dataset
from sdseg.core.errors import UserError
from sdseg.core.files import write_json, write_text
from sdseg.core.provenance import provenance
from sdseg.data.native_labels import NativeLabels
from sdseg.data.store import Case, SliceStore
from sdseg.datasets.raw_cases import open_raw
from sdseg.datasets.sources import SOURCES
from sdseg.evaluation.annotator_picture import draw_annotators, usual_case
from sdseg.evaluation.annotator_scores import AnnotatorScorer
from sdseg.evaluation.evaluator import ScoredCase
from sdseg.evaluation.hard_cases import FILES as HARD_CASES
from sdseg.evaluation.hard_cases import write_hard_cases
from sdseg.evaluation.pictures import SliceMasks, ranked, write_overlay, write_pictures
from sdseg.evaluation.score_tables import annotator_figures, annotator_table, figures, table
from sdseg.metrics.intervals import INTERVAL

__all__ = [
    "DEFAULTS",
    "OWNED",
    "EvaluationOptions",
    "collect_scores",
    "native_labels",
    "summary_of",
    "write_evaluation",
]

# What an evaluation folder may hold: studies of a model (evaluation/studies) are out of date once it is scored anew.
STUDY_FILES = tuple(file for kind in STUDIES.values() for file in kind.files)
ANNOTATORS = "annotators.csv"  # where there are several
PICTURES = ("overlays/*.png", "volumes/*.webp", "volumes/*.json")
OWNED = ("cases.csv", "summary.json", ANNOTATORS, *HARD_CASES, *PICTURES, *STUDY_FILES)
NO_RAW = "no raw folder was given (--raw), so labels at the native size of the files are not at hand"


@dataclass(frozen=True)
class EvaluationOptions:
    """What an evaluation may be asked for beyond its input and output."""

    split: str = "test"  # every case of it is scored, volumes over all their slices together
    device: str = "cpu"
    batch: int = 8  # slices computed at a time; batches run over the borders of cases
    raw: Path | None = None  # the raw files the store was made from; without them nothing is scored at native size
    settings: Dataset | None = None  # of the dataset; needed to read the raw files of a user's own dataset
    choose_threshold: bool = False  # on the validation split, instead of the model's own
    nsd_tolerance: float = 2.0  # mm

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"a batch of {self.batch} slices", where="--batch", remedy="give 1 or more")
        if not self.nsd_tolerance > 0:
            raise UserError(
                f"a tolerance of {self.nsd_tolerance:g} mm", where="--nsd-tolerance", remedy="give more than 0"
            )
        if self.choose_threshold and self.split == "val":
            raise UserError(
                "the threshold would be chosen on the very cases that are scored",
                where="--choose-threshold",
                remedy="score another --split, or keep the model's threshold",
            )


DEFAULTS = EvaluationOptions()


def native_labels(store: SliceStore, raw: Path, settings: Dataset | None) -> NativeLabels:
    """The labels under `raw`. Raises UserError where there is no such folder or nothing says what its values mean."""
    if not raw.is_dir():
        raise UserError(
            "no raw files here: the folder is missing",
            where=raw,
            remedy="name the folder the store was prepared from",
        )
    source = SOURCES.get(store.manifest.source)
    if source is not None:
        return NativeLabels(store, raw, source.coding)
    if settings is None:
        raise UserError(
            "the raw files are a dataset of your own, and only its settings say what the values of a mask mean",
            where="--settings",
            remedy="name the YAML file that 'sdseg prepare' was given",
        )
    return NativeLabels(store, raw, open_raw(settings, raw)[0].coding)


def collect_scores(scored: Iterable[ScoredCase], cases: Sequence[Case], split: str) -> list[ScoredCase]:
    """Every score, with a bar that counts slices."""
    scores = []
    total = sum(case.slices for case in cases)
    with tqdm(total=total, desc=f"evaluate {split}", unit="slice", disable=None) as bar:
        for score in scored:
            scores.append(score)
            bar.update(score.case.slices)
    return scores


def summary_of(
    scores: Sequence[ScoredCase], store: SliceStore, options: EvaluationOptions, native: bool
) -> dict[str, Any]:
    """The part of summary.json that is the same for every method: the data, and the scores."""
    manifest = store.manifest
    return {
        "format": FORMAT,
        "dataset": manifest.dataset,
        "source": manifest.source,
        "origin": manifest.origin,
        "protocol": manifest.protocol,
        "split": options.split,
        "target": manifest.target,
        "n_cases": len(scores),
        "n_slices": sum(score.case.slices for score in scores),
        "interval": INTERVAL,
        "nsd_tolerance_mm": options.nsd_tolerance,
        "size": manifest.image.size,
        "data_checksum": manifest.data_checksum,
        **figures(scores, None if native else NO_RAW),
        "provenance": provenance(
            ("torch", "onnxruntime", "openvino", "diffusers", "monai", "scipy"), stage="evaluation.evaluate"
        ),
    }


def write_evaluation(
    folder: Path,
    scores: Sequence[ScoredCase],
    summary: dict[str, Any],
    store: SliceStore,
    slice_masks: SliceMasks,
    annotators: Sequence[AnnotatorScorer] = (),
    no_hypotheses: str = "masks were given",
) -> EvaluationSummary:
    """Write cases.csv, summary.json (which is given), the groups of hard cases, and pictures of three cases.

    `annotators` have scored the same cases against several of them: also annotators.csv, and a picture of one case.
    `no_hypotheses` says why none have where several annotators are.
    """
    exhibits = {rank: score.case.case for rank, score in ranked(scores).items()}  # names of files do not tell exactly
    scorer_of = {one.case.case: scorer for scorer in annotators for one in scorer.cases}
    if annotated := [one for scorer in annotators for one in scorer.cases]:
        names, shown = store.manifest.annotators, usual_case(annotated)
        write_text(folder / ANNOTATORS, annotator_table(annotated, names))
        summary = {**summary, "annotators": annotator_figures(annotated, names)}
        exhibits["annotators"] = shown.case
        write_overlay(folder, "annotators", shown.case, draw_annotators(scorer_of[shown.case], store, shown))
    elif store.manifest.annotators:
        summary = {**summary, "annotators_missing": f"no hypotheses to compare: {no_hypotheses}"}
    write_text(folder / "cases.csv", table(scores))
    record = EvaluationSummary.checked(**summary, exhibits=exhibits)
    write_json(folder / "summary.json", record.content())
    write_hard_cases(folder, scores, store)
    write_pictures(folder, scores, store, slice_masks)
    return record
