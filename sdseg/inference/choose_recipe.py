"""Recipes of a results folder in the order to take them: the fastest whose Dice is as good as the best, by a table."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from sdseg.artifacts.manifests import ModelManifest, model_checksum
from sdseg.artifacts.results.pareto import Pareto, ParetoRow
from sdseg.core.errors import UserError
from sdseg.core.files import json_or_empty, read_json

__all__ = ["DICE_LOSS", "RankedRecipe", "RankedRecipes", "model_folders", "recipes_in_order", "weights_checksum"]

log = logging.getLogger("sdseg.inference.predict")
DICE_LOSS = 0.005  # that a faster model may have; Dice is the mean over cases and seeds
TABLE = "pareto.json"
DAY = re.compile(r"\d{4}-\d\d-\d\d")
SEEDED = re.compile(r"-seed\d+$")
# What the table calls the runtime of a graph on a device, and of a model folder; a GPU's latencies it does not have.
RUNTIMES = {
    "auto": ("onnxruntime", "torch"),
    "cpu": ("onnxruntime", "torch"),
    "openvino": ("openvino", None),
    "openvino-bf16": ("openvino bf16", None),
}


@dataclass(frozen=True)
class RankedRecipe:
    """The folder of a recipe's results, why it would be taken, and what to say where it was trained since."""

    name: str
    folder: Path
    reason: str
    newer: str = ""


@dataclass(frozen=True)
class RankedRecipes:
    """Recipes, the one to take first, and what the table does not tell of others that are there."""

    recipes: tuple[RankedRecipe, ...] = ()
    notes: tuple[str, ...] = ()


def model_folders(path: Path) -> list[Path]:
    """Folders of recipes' results in the results of a dataset, or of all datasets."""
    files = [f"{depth}/{file}" for depth in ("*", "*/*") for file in ("model/config.json", "export/model.onnx")]
    return sorted({model_file.parent.parent for file in files for model_file in path.glob(file)})


def weights_checksum(model: Path) -> str | None:
    """What names the weights of a model folder; None where there is no such folder, or it cannot be read."""
    try:
        return model_checksum(read_json(model / "config.json", ModelManifest))
    except UserError:
        return None


def recipes_in_order(path: Path, device: str) -> RankedRecipes:
    """The recipes of `path`, results of one dataset or results/<dataset>, best first; none where no table tells it.

    The table is `pareto.json` of the results (`snakemake pareto`). Of the models of one dataset that are there and were
    measured in the runtime of `device`, those within `DICE_LOSS` of the best Dice come first, by their speed, then the
    others by their Dice. Those that were not measured are noted.
    """
    name = path.resolve().name
    above = dict.fromkeys((path.parent, path.resolve().parent))  # of a link, or of '.', the parent is another one
    for table, folder in (*((each / TABLE, path) for each in above), (path / TABLE, None)):
        rows = [row for row in _rows(table) if folder is None or row.dataset == name]
        measured = {
            (row.dataset, row.name): (row, place, latency)
            for row in rows
            if row.dice_mean is not None
            and (place := _folder(folder or path / row.dataset, row.name)) is not None
            and (latency := _latency(row, place, device)) is not None
        }
        if measured and (folder or _datasets(path) == {dataset for dataset, _ in measured}):
            return RankedRecipes(_ranked(list(measured.values()), table), _unmeasured(path, folder, set(measured)))
    return RankedRecipes()


def _ranked(measured: list[tuple[ParetoRow, Path, float]], table: Path) -> tuple[RankedRecipe, ...]:
    measured = sorted(measured, key=lambda each: each[2])
    best = max(measured, key=lambda each: each[0].dice_mean or 0.0)[0]
    least = (best.dice_mean or 0.0) - DICE_LOSS
    good = [each for each in measured if (each[0].dice_mean or 0.0) >= least - 1e-9]
    worse = sorted((each for each in measured if each not in good), key=lambda each: -(each[0].dice_mean or 0.0))
    within = f"{DICE_LOSS:g} of the best Dice, {best.dice_mean:.4f} of {best.name}, by {table}"
    ranked = []
    for place, (row, folder, latency) in enumerate([*good, *worse]):
        rank = "the fastest" if place == 0 else "the next fastest" if place < len(good) else "the next best, not"
        others = ", ".join(
            f"{other.name} {other.dice_mean:.4f} in {taken:.3g} ms"
            for other, _, taken in measured
            if other.name != row.name
        )
        reason = (
            f"{row.name} (Dice {row.dice_mean:.4f}, {latency:.3g} ms an image on a CPU) is {rank} within {within}"
            + (f" (others: {others})" if others else "")
        )
        ranked.append(RankedRecipe(row.name, folder, reason, _newer(row, folder, table)))
    return tuple(ranked)


def _newer(row: ParetoRow, folder: Path, table: Path) -> str:
    """What to say of a model that is none of those of its row; of a row that does not name them, by the day.

    Nothing where the folder has no model, but a graph alone, or where either has no date.
    """
    config = folder / "model" / "config.json"
    own = weights_checksum(config.parent)
    if row.model_checksums is not None and own is not None:
        if own in row.model_checksums:
            return ""
        return (
            f"{row.name} has other weights than its row in {table} was measured with; the choice goes by the row "
            "('snakemake pareto' measures anew)"
        )
    provenance = json_or_empty(config).get("provenance")
    trained = DAY.match(str(provenance.get("time"))) if isinstance(provenance, dict) else None
    if trained is None or DAY.match(row.date) is None or trained[0] <= row.date[:10]:
        return ""
    return (
        f"{row.name} was trained on {trained[0]}, after its row in {table} ({row.date[:10]}) was measured; the choice "
        "goes by the row ('snakemake pareto' measures anew)"
    )


def _unmeasured(path: Path, dataset: Path | None, measured: set[tuple[str, str]]) -> tuple[str, ...]:
    """A note that names the recipes that are there and that the table does not rank."""
    ranked = {name if dataset else f"{folder}/{name}" for folder, name in measured}
    present = (each.relative_to(path).as_posix() for each in model_folders(path))
    others = [each for each in dict.fromkeys(present) if each not in ranked and SEEDED.sub("", each) not in ranked]
    return (f"not measured in this runtime, so not considered: {', '.join(others)}",) if others else ()


def _datasets(results: Path) -> set[str]:
    """Those that there are models of, measured or not."""
    return {each.relative_to(results).parts[0] for each in model_folders(results)}


def _rows(table: Path) -> tuple[ParetoRow, ...]:
    """Rows of a table; none where it is missing, or, which is said, where it cannot be read."""
    if not table.exists():
        return ()
    try:
        return read_json(table, Pareto).rows
    except UserError as error:
        log.warning("%s chooses no model: %s ('snakemake pareto' makes it anew)", table, error.what)
        return ()


def _folder(dataset: Path, name: str) -> Path | None:
    """Where a recipe's model lies: of one with seeds that of the first."""
    seeds = sorted(each for each in dataset.glob(f"{name}-seed*") if SEEDED.sub("", each.name) == name)
    for place in (dataset / name, *seeds):
        if (place / "model" / "config.json").is_file() or (place / "export" / "model.onnx").is_file():
            return place
    return None


def _latency(row: ParetoRow, folder: Path, device: str) -> float | None:
    of_graph, of_folder = RUNTIMES.get(device, (None, None))
    runtime = of_graph if (folder / "export" / "model.onnx").is_file() else of_folder
    return row.latency_ms.get(runtime) if runtime is not None else None
