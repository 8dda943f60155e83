"""A slice store and any backend, or masks made elsewhere -> scores per case, their summary, and cases to look at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sdseg.artifacts.results.evaluation import ChosenThreshold, EvaluationSummary, TrainedOn
from sdseg.backends.averaged_models import common_rule, open_models
from sdseg.backends.base import batch_for, why_mean_alone
from sdseg.backends.open_model import Served, open_model
from sdseg.backends.probability import TimedBackend, check_finite
from sdseg.core.array_types import MaskArray
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import atomic_folder, sha256_text
from sdseg.core.locks import writes
from sdseg.data.batches import check_store, may_have_seen
from sdseg.data.folds import CROSS_VALIDATION, Folds, fold_of_store, read_folds
from sdseg.data.mask_rule import MaskRule
from sdseg.data.store import Case, SliceStore
from sdseg.evaluation.annotator_scores import AnnotatorScorer
from sdseg.evaluation.evaluator import Evaluator, ScoredCase, ScoringRules, dice_by_threshold, score_given_masks
from sdseg.evaluation.predicted_masks import find_predictions
from sdseg.evaluation.write_evaluation import (
    DEFAULTS,
    OWNED,
    EvaluationOptions,
    collect_scores,
    native_labels,
    summary_of,
    write_evaluation,
)
from sdseg.metrics.calibration import THRESHOLDS, Calibration

__all__ = ["MASKS", "EvaluationOptions", "cross_validate", "evaluate", "evaluate_masks"]

log = logging.getLogger(__name__)
MASKS = "masks of files"  # what stands in the place of a backend
NO_WORKING = "masks were given at the native size of the files, and none at the working size"
NO_PROBABILITY = "masks were given, not probabilities"


@writes("output")
def evaluate(prepared: Path, model: Path | Sequence[Path], output: Path, options: EvaluationOptions = DEFAULTS) -> None:
    """Write `output`/cases.csv, summary.json and overlays/{best,median,worst}_<case>.png; all of them, or none.

    Of volumes also volumes/{best,median,worst}.webp and .json, to be scrolled in the page.

    Parameters
    ----------
    prepared: a slice store.
    model: a model folder or an .onnx file; of several the probabilities are averaged.
    output: folder to write; one of an earlier evaluation is replaced.

    Raises UserError when store, model and raw files do not fit each other, or the model gives NaN.
    """
    # 1. Open everything, and make sure that it belongs together.
    store = SliceStore.open(prepared, verify=True)
    served = open_models([model] if isinstance(model, Path) else model, options.device)
    store = store.seen_by(served.image)
    cases = check_store(store, served.path, served.image, served.structures, options.split)
    if note := may_have_seen(store.manifest, options.split, served.dataset, served.training.get("data_checksum")):
        log.warning("%s: %s", served.path, note)
    native = None if options.raw is None else native_labels(store, options.raw, options.settings)
    if native is None:
        log.warning("no raw folder was given (--raw): scores are at the working size alone")
    with atomic_folder(output, owned=OWNED) as folder:
        timed = TimedBackend(served.backend, served.path)
        at_once = min(batch_for(timed, options.batch) or options.batch, len(store.images))
        timed.warm_up(store.images[cases[0].start : cases[0].start + at_once])

        # 2. How masks are made: the model's own rule, or with the threshold that is best on the validation split.
        choice = _chosen_threshold(store, served, options) if options.choose_threshold else None
        rule = served.rule if choice is None else replace(served.rule, threshold=choice.threshold)

        # 3. Score every case.
        calibration = Calibration()
        rules = ScoringRules(rule, options.nsd_tolerance)
        annotators = _annotator_scorer(timed, store, rule)
        evaluator = Evaluator(timed.probability, store, rules, native, calibration, annotators)
        scores = collect_scores(evaluator.run(cases, batch_for(timed, options.batch)), cases, options.split)

        # 4. Write the scores, and pictures of three cases.
        summary = {
            **summary_of(scores, store, options, native is not None),
            **_about(served),
            "threshold": rule.threshold,
            "exclusive": rule.exclusive,
            "postprocessing": {"largest_component": rule.largest_component, "fill_holes": rule.fill_holes},
            "threshold_chosen": choice,
            "calibration": {"size": "working size", **calibration.record()},
            "seconds_per_image": timed.seconds_per_image,
        }

        record = write_evaluation(
            folder,
            scores,
            summary,
            store,
            lambda case: _masks_of(case, store, timed, rule, options.batch),
            (annotators,) if annotators else (),
            why_mean_alone(served.backend),
        )
    _log_scores(record)


@writes("output")
def evaluate_masks(
    prepared: Path, predictions: Path, name: str, output: Path, options: EvaluationOptions = DEFAULTS
) -> None:
    """Write what `evaluate` writes, of masks in files at their native size, made by whatever method `name` is.

    There is no working size, no probability, no calibration and no time: these are null, with the reason beside them.

    Parameters
    ----------
    prepared: a slice store.
    predictions: a folder with a mask per case of the split (evaluation/predicted_masks.py says how they are named).
    name: the method's name in the results, in the place of a recipe's.
    output: folder to write; `<results>/<dataset>/<name>/evaluation` is where the page looks.

    Raises ListedError for files that are of no case of the split, for cases without a file, and for masks of another
    size, grid or with other values than the labels; UserError without raw files.
    """
    store = SliceStore.open(prepared, verify=True).whole()
    cases = store.cases_of(options.split)
    if not cases:
        raise UserError(f"no case in the split '{options.split}'", where=prepared, remedy="choose another --split")
    if options.raw is None:
        raise UserError(
            "masks are scored at the native size of the files, and their labels are not at hand",
            where="--raw",
            remedy="name the folder the store was prepared from",
        )
    if options.choose_threshold:
        raise UserError("masks have no threshold", where="--choose-threshold", remedy="leave it out")
    native = native_labels(store, options.raw, options.settings)
    predicted = find_predictions(predictions, store, options.split, options.raw)
    predicted.check(cases)
    with atomic_folder(output, owned=OWNED) as folder:
        scored = score_given_masks(predicted.masks, cases, native, options.nsd_tolerance, NO_WORKING)
        scores = collect_scores(scored, cases, options.split)
        absent = (
            *("threshold", "exclusive", "postprocessing", "threshold_chosen", "calibration"),
            *("seconds_per_image", "codec_ceiling", "trained_on"),
        )
        summary = {
            **summary_of(scores, store, options, native=True),
            **dict.fromkeys(absent),
            "recipe": name,
            "backend": MASKS,
            "calibration_missing": NO_PROBABILITY,
            "predictions": str(predictions),
            "model_checksum": predicted.checksum,
        }
        record = write_evaluation(
            folder, scores, summary, store, lambda case: predicted.at_working_size(case).__getitem__
        )
    _log_scores(record)


@writes("output")
def cross_validate(
    prepared: Path, models: Sequence[Path], folds: Path, name: str, output: Path, options: EvaluationOptions = DEFAULTS
) -> None:
    """Write what `evaluate` writes, of the training split: each case scored by the model that had held it out.

    Parameters
    ----------
    models: one per fold, in any order: each says which it held out.
    folds: the file of folds they were trained with.
    name: of the row in the results, in the place of a recipe's.

    Raises UserError where a fold has no model, or a model was trained otherwise; ListedError where they do not go
    together. `split` of the options means nothing.
    """
    store, drawn = SliceStore.open(prepared, verify=True), read_folds(folds)
    if options.choose_threshold:
        raise UserError("each model has its own validation cases", where="--choose-threshold", remedy="leave it out")
    served_of = _by_fold(models, drawn, options.device)
    rule = common_rule([(one.path, one.image, one.structures, one.rule) for one in served_of.values()])
    store = store.seen_by(next(iter(served_of.values())).image)
    native = None if options.raw is None else native_labels(store, options.raw, options.settings)
    with atomic_folder(output, owned=OWNED) as folder:
        calibration, scores, timed_of = Calibration(), dict[str, ScoredCase](), dict[int, TimedBackend]()
        means, seconds, scorers = [], 0.0, list[AnnotatorScorer]()
        for number, served in served_of.items():
            view = fold_of_store(store, drawn, number)
            cases = check_store(view, served.path, served.image, served.structures, "val")
            timed_of[number] = timed = TimedBackend(served.backend, served.path)
            timed.warm_up(store.images[cases[0].start : cases[0].start + 1])
            annotators = _annotator_scorer(timed, view, served.rule)
            rules = ScoringRules(served.rule, options.nsd_tolerance)
            evaluator = Evaluator(timed.probability, view, rules, native, calibration, annotators)
            scored = collect_scores(evaluator.run(cases, batch_for(timed, options.batch)), cases, f"fold {number}")
            means.append(float(np.mean([one.headline.whole["dice"].value for one in scored])))
            seconds += timed.seconds_per_image * sum(case.slices for case in cases)
            scores |= {one.case.case: one for one in scored}
            scorers += [annotators] if annotators else []
        ordered = [replace(scores[case.case], case=case) for case in store.cases_of("train")]
        slices = sum(one.case.slices for one in ordered)
        first = next(iter(served_of.values()))
        summary = {
            **summary_of(ordered, store, replace(options, split=CROSS_VALIDATION), native is not None),
            **_about(first),
            "recipe": name,
            "codec_ceiling": None,
            "model_checksum": sha256_text("\n".join(one.checksum for one in served_of.values())),
            "threshold": rule.threshold,
            "exclusive": rule.exclusive,
            "postprocessing": {"largest_component": rule.largest_component, "fill_holes": rule.fill_holes},
            "cross_validation": {
                "folds": drawn.count,
                "sha256": drawn.checksum,
                "recipes": [one.recipe for one in served_of.values()],
                "dice": means,
            },
            "calibration": {"size": "working size", **calibration.record()},
            "seconds_per_image": seconds / slices,
        }

        def slice_masks(case: Case) -> Callable[[int], MaskArray]:
            number = drawn.fold_of[case.case]
            return _masks_of(case, store, timed_of[number], served_of[number].rule, options.batch)

        record = write_evaluation(folder, ordered, summary, store, slice_masks, scorers, why_mean_alone(first.backend))
    _log_scores(record)


def _annotator_scorer(timed: TimedBackend, store: SliceStore, rule: MaskRule) -> AnnotatorScorer | None:
    """Scores hypotheses where there are several annotators, and hypotheses."""
    hypotheses = timed.hypotheses
    if not store.manifest.annotators or hypotheses is None:
        return None
    return AnnotatorScorer(hypotheses, store, rule, whole_cases=batch_for(timed, 1) is None)


def _by_fold(models: Sequence[Path], folds: Folds, device: str) -> dict[int, Served]:
    """The open models by the fold they held out. Raises ListedError unless there is one for each."""
    by_number, problems = dict[int, Served](), list[str]()
    for path in models:
        served = open_model(path, device)
        fold = served.training.get("fold") or {}
        number = fold.get("number")
        if number is None:
            problems.append(f"{path}: was not trained on folds (a graph does not tell: name the model folder)")
        elif fold.get("sha256") != folds.checksum:
            problems.append(f"{path}: was trained on other folds")
        elif number in by_number:
            problems.append(f"{path}: held out fold {number}, as {by_number[number].path} did")
        else:
            by_number[number] = served
    problems += [f"fold {each} has no model" for each in range(1, folds.count + 1) if each not in by_number]
    if problems:
        raise ListedError(
            f"these models do not make a cross-validation of {folds.count} folds:",
            problems,
            where=folds.path,
            remedy="name the model folder of every fold: sdseg train --folds FILE --fold K",
        )
    return dict(sorted(by_number.items()))


def _masks_of(
    case: Case, store: SliceStore, timed: TimedBackend, rule: MaskRule, batch: int
) -> Callable[[int], MaskArray]:
    """The masks [K,S,S] of each slice of a case, made when they are asked for."""

    def masks(start: int, stop: int) -> MaskArray:
        return rule.masks(timed.probability(store.images[start:stop]))

    at_once = batch_for(timed, batch)
    if not rule.postprocesses and at_once is not None:
        return lambda index: masks(case.start + index, case.start + index + 1)[0]
    end, step = case.rows.stop, at_once or case.slices
    parts = [masks(start, min(start + step, end)) for start in range(case.start, end, step)]
    return rule.finish(np.concatenate(parts)).__getitem__


def _chosen_threshold(store: SliceStore, served: Served, options: EvaluationOptions) -> ChosenThreshold:
    """The threshold with the best mean Dice on the validation split, at the working size."""
    cases = check_store(store, served.path, served.image, served.structures, "val")
    dice = dice_by_threshold(
        lambda images: check_finite(served.backend.probability(images), served.path),
        store,
        cases,
        batch_for(served.backend, options.batch),
        exclusive=served.rule.exclusive,
    )
    best = np.flatnonzero(dice == dice.max())
    index = int(best[np.abs(THRESHOLDS[best] - 0.5).argmin()])  # among equals the one nearest to 0.5
    return ChosenThreshold(
        threshold=float(THRESHOLDS[index]),
        split="val",
        n_cases=len(cases),
        dice=float(dice[index]),
        curve=tuple((float(one), float(mean)) for one, mean in zip(THRESHOLDS, dice, strict=True)),
    )


def _about(served: Served) -> dict[str, Any]:
    """With what was scored."""
    return {
        "recipe": served.recipe,
        "backend": served.backend.name,
        "codec_ceiling": served.training.get("codec_ceiling"),
        "model_checksum": served.checksum,
        "trained_on": TrainedOn(
            dataset=served.dataset, origin=served.origin, data_checksum=served.training.get("data_checksum")
        ),
    }


def _log_scores(summary: EvaluationSummary) -> None:
    dice = summary.dice
    log.info(
        "%s: Dice %.4f ± %.4f over %d cases of '%s', at the %s",
        *(summary.recipe, dice.mean, dice.sd, summary.n_cases, summary.split, summary.scored_at),
    )
