"""The verb `evaluate`: scores of a model or of masks, or the studies of a model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from sdseg.config.study_options import STUDY_OPTIONS
from sdseg.core.collector import loading
from sdseg.core.errors import UserError

if TYPE_CHECKING:
    from sdseg.config.studies import Studies

__all__ = ["evaluate_command"]

OF_STUDY = {option: name for name, study in STUDY_OPTIONS.items() for option in study.needed_by}
OF_SCORES = ("folds", "raw", "settings", "choose_threshold", "nsd_tolerance")


def evaluate_command(arguments: argparse.Namespace) -> int:
    if arguments.folds is not None and (arguments.model is None or arguments.name is None):
        raise UserError(
            "'--folds' needs the models that were trained on them, and a name for their scores",
            where="--folds",
            remedy="add --model for every fold, and --name, for example unet-cross-validated",
        )
    if arguments.folds is None and (arguments.predictions is None) != (arguments.name is None):
        raise UserError(
            "'--predictions' and '--name' belong together",
            where="--name",
            remedy="give masks made elsewhere the name of their method; a model has its recipe's",
        )
    if arguments.studies is not None or any(getattr(arguments, name) for name in STUDY_OPTIONS):
        if arguments.model is None:
            raise UserError("studies are of a model", where="--predictions", remedy="name a --model instead")
        if len(arguments.model) > 1 and arguments.folds is None:
            raise UserError(
                "studies are of one model",
                where="--model",
                remedy="make one of them first: sdseg ensemble --model A --model B --output FOLDER",
            )
        return _study(arguments)
    return _score(arguments)


def _score(arguments: argparse.Namespace) -> int:
    for name in (*STUDY_OPTIONS, "limit", *OF_STUDY):
        if getattr(arguments, name) is not None:
            study = OF_STUDY.get(name)
            remedy = f"add --{study}" if study else "add a study, such as --sweep, or --studies FILE"
            raise UserError("it means nothing without a study", where=f"--{name.replace('_', '-')}", remedy=remedy)
    with loading():
        from sdseg.config.dataset import load_dataset
        from sdseg.evaluation.evaluate import EvaluationOptions, cross_validate, evaluate, evaluate_masks

    tolerance = {} if arguments.nsd_tolerance is None else {"nsd_tolerance": arguments.nsd_tolerance}
    options = EvaluationOptions(
        split=arguments.split,
        device=arguments.device,
        batch=arguments.batch,
        raw=arguments.raw,
        settings=load_dataset(arguments.settings) if arguments.settings else None,
        choose_threshold=bool(arguments.choose_threshold),
        **tolerance,
    )
    paths = {"prepared": arguments.prepared, "output": arguments.output}
    if arguments.predictions is not None:
        evaluate_masks(predictions=arguments.predictions, name=arguments.name, **paths, options=options)
    elif arguments.folds is not None:
        cross_validate(models=arguments.model, folds=arguments.folds, name=arguments.name, **paths, options=options)
    else:
        evaluate(model=arguments.model, **paths, options=options)
    return 0


def _study(arguments: argparse.Namespace) -> int:
    for option in OF_SCORES:
        if getattr(arguments, option) is not None:
            remedy = "leave it out: studies score nothing anew; or ask for the scores by themselves"
            raise UserError("it means nothing with a study", where=f"--{option.replace('_', '-')}", remedy=remedy)
    studies = _studies(arguments)
    for option, needed in OF_STUDY.items():
        if getattr(arguments, option) is not None and not getattr(studies, needed):
            what, remedy = f"it means nothing without --{needed}", f"leave it out, or add --{needed}"
            raise UserError(what, where=f"--{option.replace('_', '-')}", remedy=remedy)
    if not studies.names:
        raise UserError("no study is left", where="--studies and --no-…", remedy="ask for one, such as --sweep")
    with loading():
        from sdseg.evaluation.studies.run import Origins, Scope, study

    scope = Scope(arguments.split, arguments.device, arguments.batch, studies.limit)
    origins = Origins(arguments.codec, arguments.start_from)
    study(arguments.prepared, arguments.model[0], arguments.output, studies, scope, origins)
    return 0


def _studies(arguments: argparse.Namespace) -> Studies:
    """The section `studies` of --studies under the options; without a file what is not asked for is left out."""
    from sdseg.config.studies import Studies, load_studies
    from sdseg.core.settings import parse

    base: dict[str, Any] = {name: None if option.counts else False for name, option in STUDY_OPTIONS.items()}
    if arguments.studies is not None:
        base = load_studies(arguments.studies).model_dump()
    names = (*STUDY_OPTIONS, "steps", "samples", "lpips", "limit")
    options = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    return parse(Studies, base | options, where="the options of studies")
