"""Exported graphs and engines to a model repository for NVIDIA's Triton Inference Server."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sdseg.backends.graph_file import weights_beside
from sdseg.backends.graph_precision import read_graph
from sdseg.backends.tensorrt_engine import read_engine_manifest
from sdseg.core.errors import UserError
from sdseg.core.files import make_folder, write_text
from sdseg.core.leftovers import remove_leftovers
from sdseg.core.locks import locked
from sdseg.export.triton_config import Platform, Variant, config_text, model_name

__all__ = ["export_triton"]


log = logging.getLogger(__name__)


def export_triton(exported: Path, output: Path, max_batch: int = 8, *, gpu: bool = True) -> list[Path]:
    """Every graph and engine of an export folder as models of a Triton repository; return the version folders.

    `exported` may also be the results folder whose export/ it is.
    A model that the repository holds already gets a new version, one number higher, if it takes and gives the same.
    `max_batch` is for graphs; an engine's is its own largest. Raises UserError where there is nothing to serve, an
    engine cannot take single images, or the repository holds another model of the same name.
    """
    if max_batch < 1:
        raise UserError(f"a batch of {max_batch} images", where="--max-batch", remedy="give 1 or more")
    folders = (exported, exported / "export")
    variants = next((of_folder for each in folders if (of_folder := list(_variants(each, max_batch, gpu=gpu)))), [])
    if not variants:
        raise UserError("no graph and no engine in this folder", where=exported, remedy="run 'sdseg export' first")
    make_folder(output)
    versions = []
    with locked(output, inside=True):
        for variant, file in variants:
            versions.append(_add_version(output / variant.name, variant, file))
            log.info("%s: %s, up to %d images at a time, in %s", variant.name, file, variant.max_batch, versions[-1])
    return versions


def _variants(exported: Path, max_batch: int, *, gpu: bool) -> Iterator[tuple[Variant, Path]]:
    for path in sorted(exported.glob("*.onnx")):
        graph, precision = read_graph(path)
        platform: Platform = "onnxruntime_onnx"
        yield Variant(model_name(graph, precision, platform), platform, graph, max_batch, gpu), path
    for path in sorted(exported.glob("*.engine")):
        engine = read_engine_manifest(path)
        batches = engine.options.batches
        if batches.min > 1:
            raise UserError(
                f"the engine takes no batch below {batches.min}, and Triton's requests may hold one image",
                where=path,
                remedy="build it with --batches 1,…",
            )
        name = model_name(engine.graph, engine.precision, "tensorrt_plan")
        yield Variant(name, "tensorrt_plan", engine.graph, batches.max, True), path


def _add_version(folder: Path, variant: Variant, file: Path) -> Path:
    """Write config.pbtxt and the next version folder; a server that polls sees a version complete or not at all."""
    config, text = folder / "config.pbtxt", config_text(variant)
    versions = [int(each.name) for each in folder.iterdir() if each.name.isdigit()] if folder.is_dir() else []
    if config.is_file() and _ports_of(config.read_text(encoding="utf-8")) != _ports_of(text):
        raise UserError(
            "the repository holds a model of this name with other inputs or outputs: its clients would break",
            where=config,
            remedy="name another --output, or remove that model first",
        )
    make_folder(folder)
    version = folder / str(max(versions, default=0) + 1)
    remove_leftovers(version)
    with tempfile.TemporaryDirectory(prefix=f".{version.name}.", suffix=".part", dir=folder) as place:
        ready = Path(place) / version.name
        ready.mkdir()
        shutil.copyfile(file, ready / variant.file)
        weights = weights_beside(file)
        if weights.is_file():  # its name is written in the graph
            shutil.copyfile(weights, ready / weights.name)
        write_text(config, text)
        os.replace(ready, version)
    return version


def _ports_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if "data_type:" in line]
