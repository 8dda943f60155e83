"""The verb `export`: options over settings files, and to the kind of file that is wanted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdseg.cli.unused_options import refuse_unused
from sdseg.core.collector import loading
from sdseg.core.errors import UserError

if TYPE_CHECKING:
    from sdseg.config.export import Engines, Export

__all__ = ["export_command"]

GRAPH = ("opset", "precisions", "providers", "unchecked", "calibration_images", "hypotheses")
CHECK = ("parity_cases", "max_abs_difference", "max_dice_difference", "min_mask_dice")  # and `tolerance`
ENGINE = ("workspace_gb", "level", "hardware", "tf32")  # and `batches`
USED = {
    **dict.fromkeys(GRAPH, ("onnx",)),
    "unchecked": ("onnx", "web"),
    **dict.fromkeys(("prepared", "settings", *CHECK, "tolerance"), ("onnx", "tensorrt", "web")),
    **dict.fromkeys(("graph", "engine_settings", "batches", *ENGINE, "timing_cache"), ("tensorrt",)),
    **dict.fromkeys(("max_batch", "cpu"), ("triton",)),
    **dict.fromkeys(("sample", "most_megabytes", "webgpu", "web_settings"), ("web",)),
}


def export_command(arguments: argparse.Namespace) -> int:
    refuse_unused(arguments, "--to", arguments.to, USED)
    if arguments.to == "triton":
        from sdseg.export.triton import export_triton

        largest = {} if arguments.max_batch is None else {"max_batch": arguments.max_batch}
        export_triton(arguments.model, arguments.output, **largest, gpu=not arguments.cpu)
        return 0
    if arguments.to == "web":
        return _export_web(arguments)
    if arguments.prepared is None:
        raise UserError("no cases to compare on", where="--prepared", remedy="name a folder made by 'sdseg prepare'")
    settings = _export_settings(arguments)
    if arguments.to == "tensorrt":
        with loading():
            from sdseg.export.tensorrt import EngineSource, export_engine

        engines = _engine_settings(arguments)
        timing_cache = arguments.timing_cache or (Path(engines.timing_cache) if engines.timing_cache else None)
        graph = arguments.graph or arguments.output / "model.onnx"
        source = EngineSource(arguments.model, graph, arguments.prepared)
        export_engine(source, arguments.output, engines, settings, timing_cache)
        return 0
    with loading():
        from sdseg.export.onnx import export

    # A settings file may be that of several recipes, with and without noise; the option is meant for this very model.
    export(arguments.model, arguments.prepared, arguments.output, settings, shared_settings=not arguments.hypotheses)
    return 0


def _export_web(arguments: argparse.Namespace) -> int:
    from sdseg.config.web_pages import WebPages, load_web_pages
    from sdseg.core.settings import merge, parse

    with loading():
        from sdseg.export.web.html_file import export_web

    base = load_web_pages(arguments.web_settings) if arguments.web_settings else WebPages()
    options = _given(arguments, ("unchecked", "parity_cases", "most_megabytes", "webgpu"))
    arguments.unchecked = None  # of the page, not of a graph that is made for it
    export_web(
        arguments.model,
        arguments.output,
        parse(WebPages, merge(base.model_dump(), options), where="the options of --to web"),
        _export_settings(arguments),
        prepared=arguments.prepared,
        sample=arguments.sample,
    )
    return 0


def _export_settings(arguments: argparse.Namespace) -> Export:
    """The section `export` of --settings, or the defaults, under the options."""
    from sdseg.config.export import Export, load_export
    from sdseg.core.settings import merge, parse

    base = load_export(arguments.settings) if arguments.settings else Export()
    options = _given(arguments, (*GRAPH, *CHECK))
    for name in ("precisions", "providers"):
        if name in options:
            options[name] = options[name].split(",")
    options["tolerances"] = _tolerances(arguments.tolerance or [], base.tolerances.model_dump())
    return parse(Export, merge(base.model_dump(), options), where="the options of export")


def _tolerances(words: list[str], tolerances: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """`int8.min_mask_dice=0.98` and the like, laid over others."""
    laid = {precision: dict(limits) for precision, limits in tolerances.items()}
    for word in words:
        name, _, value = word.partition("=")
        precision, _, key = name.partition(".")
        try:
            if key not in laid[precision]:
                raise KeyError(key)
            laid[precision][key] = float(value)
        except (KeyError, ValueError):
            remedy = "write for example int8.min_mask_dice=0.98, for fp16, bf16, int8, int8_mixed or int8_weights"
            raise UserError(f"'{word}' is no tolerance", where="--tolerance", remedy=remedy) from None
    return laid


def _engine_settings(arguments: argparse.Namespace) -> Engines:
    """The section `engines` of --engine-settings, or the defaults, under the options."""
    from sdseg.config.export import Engines, load_engines
    from sdseg.core.settings import merge, parse

    base = load_engines(arguments.engine_settings) if arguments.engine_settings else Engines()
    options = _given(arguments, ENGINE)
    if arguments.batches is not None:
        sizes = arguments.batches.split(",")
        if len(sizes) != 3:
            raise UserError("three sizes are expected", where="--batches", remedy="smallest, usual, largest: 1,8,16")
        options["batches"] = dict(zip(("min", "opt", "max"), sizes, strict=True))
    return parse(Engines, merge(base.model_dump(), options), where="the options of --to tensorrt")


def _given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}
