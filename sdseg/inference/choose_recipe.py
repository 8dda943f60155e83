"""Of several recipes in a results folder the fastest whose Dice is as good as the best, by the table of both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sdseg.artifacts.results.pareto import Pareto, ParetoRow
from sdseg.core.files import json_or_empty

__all__ = ["DICE_LOSS", "ChosenRecipe", "choose_recipe"]

DICE_LOSS = 0.005  # that a faster model may have; Dice is the mean over cases and seeds
TABLE = "pareto.json"
SEEDED = re.compile(r"-seed\d+$")
# What the table calls the runtime of a graph on a device, and of a model folder; a GPU's latencies it does not have.
RUNTIMES = {
    "auto": ("onnxruntime", "torch"),
    "cpu": ("onnxruntime", "torch"),
    "openvino": ("openvino", None),
    "openvino-bf16": ("openvino bf16", None),
}


@dataclass(frozen=True)
class ChosenRecipe:
    """The folder of a recipe's results, and why it was taken."""

    folder: Path
    reason: str


def choose_recipe(path: Path, device: str) -> ChosenRecipe | None:
    """The recipe to take of `path`, results or results/<dataset>; None where no table tells it.

    The table is `pareto.json` of the results (`snakemake pareto`). Of the models of one dataset that are there and were
    measured in the runtime of `device`, those within `DICE_LOSS` of the best Dice count, and the fastest is taken.
    """
    for table, folder in ((path.parent / TABLE, path), (path / TABLE, None)):
        rows = [row for row in _rows(table) if folder is None or row.dataset == path.resolve().name]
        measured = {
            (row.dataset, row.name): (row, place, latency)
            for row in rows
            if row.dice_mean is not None
            and (place := _folder(folder or path / row.dataset, row.name)) is not None
            and (latency := _latency(row, place, device)) is not None
        }
        if measured and len({dataset for dataset, _ in measured}) == 1:
            return _fastest(list(measured.values()), table)
    return None


def _fastest(measured: list[tuple[ParetoRow, Path, float]], table: Path) -> ChosenRecipe:
    best = max(measured, key=lambda each: each[0].dice_mean or 0.0)[0]
    least = (best.dice_mean or 0.0) - DICE_LOSS
    good = [each for each in measured if (each[0].dice_mean or 0.0) >= least - 1e-9]
    row, folder, latency = min(good, key=lambda each: each[2])
    others = ", ".join(
        f"{other.name} {other.dice_mean:.4f} in {taken:.3g} ms"
        for other, _, taken in measured
        if other.name != row.name
    )
    return ChosenRecipe(
        folder,
        f"{row.name} (Dice {row.dice_mean:.4f}, {latency:.3g} ms an image on a CPU) is the fastest within "
        f"{DICE_LOSS:g} of the best Dice, {best.dice_mean:.4f} of {best.name}, by {table}"
        + (f" (others: {others})" if others else ""),
    )


def _rows(table: Path) -> tuple[ParetoRow, ...]:
    """None where there is no table, or one of another version."""
    try:
        return Pareto.model_validate(json_or_empty(table)).rows
    except ValidationError:
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
