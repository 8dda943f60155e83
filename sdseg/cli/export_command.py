"""The verb `export`: options to settings, and to the kind of file that is wanted."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sdseg.core.errors import UserError

if TYPE_CHECKING:
    from sdseg.config.export import Export

__all__ = ["export_command"]


def export_command(arguments: argparse.Namespace) -> int:
    if arguments.to == "triton":
        from sdseg.export.triton import export_triton

        export_triton(arguments.model, arguments.output, arguments.max_batch, gpu=not arguments.cpu)
        return 0
    if arguments.prepared is None:
        raise UserError("no cases to compare on", where="--prepared", remedy="name a folder made by 'sdseg prepare'")
    from sdseg.config.export import Export
    from sdseg.core.settings import parse

    settings = {
        "opset": arguments.opset,
        "parity_cases": arguments.parity_cases,
        "max_abs_difference": arguments.max_abs_difference,
        "max_dice_difference": arguments.max_dice_difference,
        "min_mask_dice": arguments.min_mask_dice,
        "precisions": arguments.precisions and arguments.precisions.split(","),
        "providers": arguments.providers and arguments.providers.split(","),
        "unchecked": arguments.unchecked,
        "calibration_images": arguments.calibration_images,
        "tolerances": _tolerances(arguments.tolerance),
    }
    given = {key: value for key, value in settings.items() if value is not None}
    chosen = parse(Export, given, where="the options of export")
    if arguments.to == "tensorrt":
        return _export_engine(arguments, chosen)
    from sdseg.export.onnx import export

    export(model=arguments.model, prepared=arguments.prepared, output=arguments.output, settings=chosen)
    return 0


def _tolerances(words: list[str]) -> dict[str, dict[str, float]]:
    """`int8.min_mask_dice=0.98` and the like, laid over the defaults."""
    from sdseg.config.export import Tolerances

    found: dict[str, dict[str, float]] = Tolerances().model_dump()
    for word in words:
        name, _, value = word.partition("=")
        precision, _, key = name.partition(".")
        try:
            found[precision][key] = float(value)
        except (KeyError, ValueError):
            remedy = "write for example int8.min_mask_dice=0.98, for fp16, bf16 or int8"
            raise UserError(f"'{word}' is no tolerance", where="--tolerance", remedy=remedy) from None
    return found


def _export_engine(arguments: argparse.Namespace, settings: Export) -> int:
    from sdseg.config.export import EngineOptions
    from sdseg.core.settings import parse
    from sdseg.export.tensorrt import EngineSource, export_engine

    names = ("workspace_gb", "level", "hardware")
    options = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.batches is not None:
        sizes = arguments.batches.split(",")
        if len(sizes) != 3:
            raise UserError("three sizes are expected", where="--batches", remedy="smallest, usual, largest: 1,8,16")
        options["batches"] = dict(zip(("min", "opt", "max"), sizes, strict=True))
    if arguments.tf32:
        options["tf32"] = True
    export_engine(
        EngineSource(arguments.model, arguments.graph or arguments.output / "model.onnx", arguments.prepared),
        arguments.output,
        parse(EngineOptions, options, where="the options of --to tensorrt"),
        settings,
        arguments.timing_cache,
    )
    return 0
