"""What a configuration is going to need, before anything is run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Recipe
from sdseg.config.run import Config
from sdseg.core.bounded_types import in_pixels
from sdseg.core.errors import UserError, first_line
from sdseg.core.gpu_choice import choose_gpu
from sdseg.datasets.check_configuration import configure_file
from sdseg.datasets.source_lookup import known_source
from sdseg.io.limits import available_memory
from sdseg.sizing.gpus import GPUS
from sdseg.sizing.missing_inputs import Missing, downloads_of, missing_inputs, room
from sdseg.sizing.planned_size import planned_size
from sdseg.sizing.run_needs import (
    RunNeeds,
    TrainingEstimate,
    millions,
    needs_of,
    one_line,
    shape_of,
    size_in_words,
)

if TYPE_CHECKING:
    from sdseg.training.probe import Probe

__all__ = ["estimate", "estimated"]

log = logging.getLogger(__name__)

Pair = tuple[str, str]  # dataset and recipe
COUNTED = "Parameters and operations are counted from the layouts; memory and disk are estimates (docs/cluster.md)."
TIMED = "Time here is that of a few steps that were made, times their number, and of validation by its operations."
UNTIMED = "Time here is not known: no steps were made (--no-probe)."
ON_GPU = "Time on a named GPU is operations by a share of its peak: right within a factor of two at best, not measured."
TILES = (
    "{name}: how many tiles its images make is known once they are prepared; its store and the time of its validation "
    "are not counted before"
)
FOLDER = "What a teacher needs that is a model folder ('distillation.teacher.model') is not counted."


def estimate(config: Path, *, probed: bool = True, as_json: bool = False, device: str | None = None) -> int:
    """Print what `config` needs and what is missing; 0. Raises UserError for a configuration that is none."""
    record = estimated(config, probed=probed, device=device)
    print(json.dumps(record, indent=2, ensure_ascii=False) if as_json else "\n".join(_shown(record)))
    return 0


def estimated(path: Path, *, probed: bool = True, device: str | None = None) -> dict[str, Any]:
    """Everything that is known, as `--json` prints it. Bytes are bytes, hours are hours, null is not known.

    `probed` makes a few training steps of each kind of training on this machine, on `device` (default: that of the
    configuration; a GPU is chosen already); what was measured is kept in the cache folder and not measured again.
    """
    run = configure_file(path)
    recipes, planned = run.recipes, run.settings.device
    # A process chooses one GPU: where `device` is one, the number in the configuration means none of this process's.
    on_gpu = device is not None and device.startswith("cuda")
    chosen = planned.partition(":")[0] if on_gpu else choose_gpu(planned)
    config = run.settings.model_copy(update={"device": chosen})
    needs = needs_of(config, recipes)
    absent = missing_inputs(config, recipes)
    timed, reasons = _probes(config, needs, recipes, device or config.device) if probed else ({}, {})
    absent += [each for each in (_no_gpu(config), room(Path(config.results), needs.disk_bytes)) if each is not None]
    return {
        "config": str(path),
        "device": config.device,
        "summary": one_line(needs),
        "datasets": {name: _dataset(config, needs, name) for name in needs.datasets},
        "trainings": [
            _training(each, timed.get((each.dataset, each.recipe)), reasons.get((each.dataset, each.recipe)))
            for each in needs.trainings
        ],
        "disk_bytes": needs.disk_bytes,
        "missing": [asdict(each) for each in absent],
        "notes": [
            *_notes(config, needs, probed=probed),
            *([FOLDER] if any(_learns_from_folder(each) for each in recipes.values()) else []),
        ],
    }


def _notes(config: Config, needs: RunNeeds, *, probed: bool) -> list[str]:
    sizes = (planned_size(config, name)[1] for name in needs.datasets)
    tiled = [name for name, each in needs.datasets.items() if each.count.tiles_unknown]
    tiles = (TILES.format(name=name) for name in tiled)
    return [*(note for note in sizes if note), *tiles, COUNTED, TIMED if probed else UNTIMED, ON_GPU]


def _learns_from_folder(recipe: Recipe) -> bool:
    teacher = recipe.builds_on.get("distillation.teacher")
    return teacher is not None and teacher.model is not None


def _dataset(config: Config, needs: RunNeeds, name: str) -> dict[str, Any]:
    each, download = needs.datasets[name], downloads_of(config, name)
    return {
        "source": each.source,
        "origin": each.origin,
        "size": each.size,
        "structures": each.structures,
        "cases": each.count.cases,
        "slices": each.count.slices,
        "counted_by": each.count.by,
        "store_bytes": each.store_bytes,
        "download": None if download is None else {**asdict(download), "files": list(download.files)},
    }


def _training(each: TrainingEstimate, timed: Probe | None, reason: str | None) -> dict[str, Any]:
    needs = each.needs
    here = None
    if timed is not None:
        rate = needs.step_flops / timed.seconds_per_step
        here = (each.steps * timed.seconds_per_step + each.validation_flops / rate) / 3600
    return {
        "dataset": each.dataset,
        "recipe": each.recipe,
        "parameters": needs.parameters,
        "trained_parameters": needs.trainable,
        "steps": each.steps,
        "batch": each.batch,
        "precision": each.precision,
        "memory_bytes": needs.process_bytes,
        "gpu_memory_bytes": needs.gpu_bytes or None,
        "disk_bytes": each.disk_bytes,
        "flops_per_step": needs.step_flops,
        "flops_per_image": needs.image_flops,
        "hours_here": here,
        "probe": asdict(timed) if timed is not None else None,
        "no_probe": reason,
        "hours_on": {gpu.name: gpu.hours(each.flops, each.steps, each.precision) for gpu in GPUS},
        "fits_on": [gpu.name for gpu in GPUS if needs.gpu_bytes <= gpu.memory * 1e9],
    }


def _probes(
    config: Config, needs: RunNeeds, recipes: Mapping[Pair, Recipe], device: str
) -> tuple[dict[Pair, Probe], dict[Pair, str]]:
    """What was measured, and why something was not. Equal trainings are measured once."""
    from sdseg.training.probe import probe

    timed: dict[Pair, Probe] = {}
    reasons: dict[Pair, str] = {}
    for each in needs.trainings:
        pair = (each.dataset, each.recipe)
        network, source = recipes[pair].network, known_source(config.datasets[each.dataset])
        codec = config.codecs[network.codec] if isinstance(network, LatentNetwork) else None
        free, needed = available_memory(), each.needs.process_bytes
        if device == "cpu" and free is not None and needed > free:
            reasons[pair] = f"{needed / 1e9:.1f} GB of memory are needed, {free / 1e9:.1f} are free"
            continue
        log.info("%s, %s: a few steps", *pair)
        grey = 1 if source is not None and source.modality != "rgb" else 3
        channels = len(source.channels) or grey if source is not None else grey
        try:
            timed[pair] = probe(recipes[pair], codec, shape_of(config, each.dataset), channels, device)
        except UserError as error:
            reasons[pair] = error.what
        except RuntimeError as error:  # PyTorch: out of memory, in the words of the device
            reasons[pair] = first_line(error)
    return timed, reasons


def _no_gpu(config: Config) -> Missing | None:
    if config.device != "cuda":
        return None
    from sdseg.backends.device import torch_device

    try:
        torch_device("cuda")
    except UserError as error:
        return Missing("device", error.what, "run where there is a GPU (docs/cluster.md), or set 'device: cpu'")
    return None


def _shown(record: dict[str, Any]) -> Iterator[str]:
    yield record["summary"]
    yield ""
    rows: list[tuple[str, ...]] = [("dataset", "size", "train", "val", "test", "slices", "store", "to fetch")]
    for name, each in record["datasets"].items():
        cases, slices = each["cases"] or {}, each["slices"]
        counts = [str(cases.get(part, "?")) for part in ("train", "val", "test")]
        total = str(sum(slices.values())) if slices else "?"
        rows.append(
            (name, in_pixels(each["size"]), *counts, total, _size(each["store_bytes"]), _to_fetch(each["download"]))
        )
    yield from _table(rows)
    yield ""
    gpus = tuple(gpu.name for gpu in GPUS)
    rows = [("training", "parameters", "steps", "memory", "GPU memory", "disk", "here", *gpus)]
    for each in record["trainings"]:
        hours = [_time(each["hours_on"][gpu]) if gpu in each["fits_on"] else "too small" for gpu in gpus]
        sizes = (_size(each["memory_bytes"]), _size(each["gpu_memory_bytes"], "none"), _size(each["disk_bytes"]))
        name, parameters = f"{each['dataset']}/{each['recipe']}", millions(each["parameters"])
        rows.append((name, parameters, str(each["steps"]), *sizes, _time(each["hours_here"]), *hours))
    yield from _table(rows)
    yield from _account_of_probes(record)
    yield ""
    yield from (f"- {note}" for note in record["notes"])
    yield ""
    yield "missing:" if record["missing"] else "nothing is missing"
    for each in record["missing"]:
        yield f"  {each['subject']}: {each['what']}"
        yield f"  {'':{len(each['subject'])}}  fix: {each['remedy']}"


def _account_of_probes(record: dict[str, Any]) -> Iterator[str]:
    """On what the hours of this machine were measured, and why some were not."""
    probes = [each["probe"] for each in record["trainings"] if each["probe"] is not None]
    for line in dict.fromkeys(f"{each['device']}, {each['threads']} threads" for each in probes):
        yield f"here: {line}"
    for line in dict.fromkeys(each["no_probe"] for each in record["trainings"] if each["no_probe"]):
        yield f"not measured here: {line}"


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join((row[0].ljust(len(first)), *others)).rstrip()


def _size(size: int | None, absent: str = "?") -> str:
    return absent if size is None else size_in_words(size)


def _time(hours: float | None) -> str:
    if hours is None:
        return "?"
    if hours >= 48:
        return f"{hours / 24:.0f} days"
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min" if hours >= 1 / 60 else "< 1 min"


def _to_fetch(download: dict[str, Any] | None) -> str:
    if download is None or not download["files"]:
        return "nothing"
    size = "size not known" if download["bytes"] is None else _size(download["bytes"])
    return f"{len(download['files'])} file(s), {size}, {download['access']}"
