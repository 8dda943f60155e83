"""The verbs of results: predict, report; and of what is needed for them: configure, estimate, doctor."""

from __future__ import annotations

import argparse

from sdseg.core.collector import loading
from sdseg.core.errors import UserError
from sdseg.core.shipped_files import shipped

__all__ = ["configure_command", "doctor_command", "estimate_command", "predict_command", "report_command"]


def predict_command(arguments: argparse.Namespace) -> int:
    with loading():
        from sdseg.inference.predict import PredictOptions, predict
        from sdseg.io.limits import asked_limits

    if not arguments.inputs and not arguments.channel:
        raise UserError("nothing to segment", where="INPUT", remedy="name files, patterns or folders")
    limits = asked_limits(arguments.max_pixels, arguments.max_voxels)
    return predict(
        model=arguments.model,
        inputs=arguments.inputs,
        output=arguments.output,
        device=arguments.device,
        options=PredictOptions(
            probability=arguments.probability,
            hypotheses=arguments.hypotheses,
            samples=arguments.samples,
            naming=arguments.names,
            overlay=arguments.overlay,
            preview=arguments.preview,
            exclusive=arguments.exclusive,
            keep_largest=arguments.keep_largest,
            fill_holes=arguments.fill_holes,
            tiles=arguments.tiles,
            overlap=arguments.overlap,
            batch=arguments.batch,
            overwrite=arguments.overwrite,
            limits=limits,
            channels=tuple(arguments.channel or ()),
        ),
    )


def report_command(arguments: argparse.Namespace) -> int:
    from sdseg.report.report import compare, print_table, report

    if arguments.compare is not None:
        first, second = arguments.compare
        compare(first, second, arguments.output or first / "comparison.html")
        return 0
    if not arguments.table:
        committed = shipped("resources/paper")
        published = arguments.published or (committed if committed.is_dir() else None)
        report(arguments.results, arguments.output or arguments.results / "report.html", published)
    print_table(arguments.results, arguments.output or arguments.results / "report.html")
    return 0


def estimate_command(arguments: argparse.Namespace) -> int:
    from sdseg.cli.estimate import estimate

    return estimate(
        shipped(arguments.config), probed=not arguments.no_probe, as_json=arguments.json, device=arguments.device
    )


def doctor_command(arguments: argparse.Namespace) -> int:
    from sdseg.cli.doctor import doctor

    return doctor(config=None if arguments.config is None else shipped(arguments.config))


def configure_command(arguments: argparse.Namespace) -> int:
    from sdseg.cli.configure import write_configuration

    return write_configuration(
        arguments.data,
        arguments.output,
        preset=arguments.preset,
        modality=arguments.modality,
        images=arguments.images,
        masks=arguments.masks,
        annotators=arguments.annotators,
        name=arguments.name,
        probed=not arguments.no_probe,
    )
