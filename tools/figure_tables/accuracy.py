"""Scores of methods and recipes beside each other."""

from __future__ import annotations

from statistics import fmean, stdev

from tools.figure_tables.markdown import Figures, measured, spread, table

__all__ = [
    "after_training",
    "calibration",
    "changes",
    "compare",
    "curves",
    "multiclass",
    "nodules",
    "robustness",
    "students",
]

BINS = 5  # of reliability: the fifteen of the file by threes


def compare(values: Figures) -> str:
    rows = [
        (
            row["dataset"],
            f"`{row['recipe']}`",
            row["seeds"],
            row["steps"],
            f"{row['cpu_seconds']:.0f}",
            "n/a" if row["val_mean"] is None else f"{row['val_mean']:.3f}",
            spread(row, "dice"),
        )
        for row in values["rows"]
    ]
    heads = ("dataset", "recipe", "seeds", "steps", "CPU s", "validation Dice", "test Dice")
    return f"{measured(values)}\n{table(heads, rows)}"


def curves(values: Figures) -> str:
    rows = [
        (
            f"{row['dataset']}, {row['size']}",
            row["budget"],
            f"`{row['recipe']}`",
            row["kind"],
            _cpu_seconds(row),
            row["seeds"],
            "n/a" if row["val_mean"] is None else f"{row['val_mean']:.3f}",
            spread(row, "dice"),
        )
        for row in values["rows"]
    ]
    heads = ("data", "budget", "recipe", "kind", "CPU s", "seeds", "validation Dice", "test Dice, native size")
    return f"{measured(values)}\n{table(heads, rows)}"


def multiclass(values: Figures) -> str:
    def structure(each: Figures) -> str:
        return spread(each, "dice") if "dice_mean" in each else "n/a"

    rows = [
        (
            row["dataset"],
            f"`{row['recipe']}`",
            row["seeds"],
            row["steps"],
            f"{row['training_cpu_seconds']:.0f}",
            spread(row, "dice"),
            ", ".join(f"{name} {structure(each)}" for name, each in row["structures"].items()),
            "" if row["codec_ceiling"] is None else f"{row['codec_ceiling']:.3f}",
            f"{row['seconds_per_slice'] * 1000:.0f}",
        )
        for row in values["rows"]
    ]
    heads = (
        "dataset",
        "recipe",
        "seeds",
        "steps",
        "CPU s",
        "test Dice",
        "per structure",
        "codec's own Dice",
        "ms per slice",
    )
    return f"{measured(values)}\n{table(heads, rows)}"


def nodules(values: Figures) -> str:
    rows = [
        (
            f"`{row['recipe']}`",
            row["seeds"],
            row["steps"],
            f"{row['cpu_seconds']:.0f}",
            f"{row['codec_dice']:.3f}",
            f"{row['codec_recall']:.3f}",
            "n/a" if row["val_mean"] is None else f"{row['val_mean']:.3f}",
            spread(row, "dice"),
            spread(row, "recall"),
        )
        for row in values["rows"]
    ]
    parts = f"components below {values['small']} pixels"
    heads = (
        *("masks' codec learnt by", "seeds", "steps", "CPU s", "codec's own Dice", f"{parts} that the codec keeps"),
        *("validation Dice", "test Dice", f"{parts} found"),
    )
    said = f"{measured(values)}{values['rows'][0]['slices']} slices with {values['rows'][0]['components']} {parts}.\n"
    return f"{said}\n{table(heads, rows)}"


def _cpu_seconds(row: Figures) -> str:
    """Of a run on a GPU: what as many steps take on a CPU."""
    return f"{'' if (row.get('trained_on') or 'cpu') == 'cpu' else '≈ '}{row['cpu_seconds']:.0f}"


def changes(values: Figures) -> str:
    def change(row: Figures) -> str:
        if not row["changes"]:
            return f"`{row['name']}`: what was started from"
        return ", ".join(f"`{'.'.join(key.split('.')[-2:])}: {value}`" for key, value in row["changes"].items())

    rows = [(row["kind"], change(row), row["steps"], _cpu_seconds(row), f"{row['val']:.3f}") for row in values["rows"]]
    return f"{measured(values)}\n{table(('kind', 'changed', 'steps', 'CPU s', 'validation Dice'), rows)}"


def after_training(values: Figures) -> str:
    """Flips and models as rows, kinds of post-processing as columns: the validation split decides."""
    kinds = list(dict.fromkeys(row["postprocessing"] for row in values["rows"]))
    by_way: dict[tuple[str, str, int, int], dict[str, Figures]] = {}
    for row in values["rows"]:
        way = row["recipe"], row["flips"], row["models"], row["passes"]
        by_way.setdefault(way, {})[row["postprocessing"]] = row
    lines = [
        (
            f"`{recipe}`",
            flips,
            models,
            passes,
            *(spread(each[kind], "val") for kind in kinds),
            spread(each["none"], "test"),
        )
        for (recipe, flips, models, passes), each in by_way.items()
    ]
    kinds = ["validation Dice" if kind == "none" else kind.replace("_", " ") for kind in kinds]
    heads = ("recipe", "flips", "models", "passes", *kinds, "test Dice")
    said = f"{measured(values)}{values['dataset']}, {values['size']}×{values['size']}, at working size.\n"
    return f"{said}\n{table(heads, lines)}"


def robustness(values: Figures) -> str:
    models = list(dict.fromkeys(row["model"] for row in values["rows"]))
    levels = dict.fromkeys((row["kind"], row["unit"], row["strength"]) for row in values["rows"])
    dice = {(row["model"], row["kind"], row["strength"]): row["dice"] for row in values["rows"]}
    rows = [
        (f"{kind} ({unit})" if unit else kind, strength, *(f"{dice[model, kind, strength]:.3f}" for model in models))
        for kind, unit, strength in levels
    ]
    heads = ("images made worse by", "strength", *(f"`{model}`" for model in models))
    return f"{measured(values)}\n{table(heads, rows)}"


def calibration(values: Figures) -> str:
    """One row per way, the mean over its repetitions; reliability in five bins, their pixels put together."""
    ways: dict[str, list[Figures]] = {}
    for row in values["rows"]:
        ways.setdefault(row["way"], []).append(row)

    def spread(rows: list[Figures], key: str) -> str:
        each = [row[key] for row in rows]
        return f"{fmean(each):.4f}" + (f" ± {stdev(each):.4f}" if len(each) > 1 else "")

    def positives(rows: list[Figures], part: int) -> str:
        width = len(rows[0]["bins"]) // BINS
        bins = [one for row in rows for one in row["bins"][part * width : (part + 1) * width] if one["pixels"]]
        pixels = sum(one["pixels"] for one in bins)
        return f"{sum(one['pixels'] * one['positives'] for one in bins) / pixels:.2f}" if pixels else "n/a"

    lines = [
        (
            name,
            len(rows[0]["models"]),
            *("n/a" if rows[0][key] is None else rows[0][key] for key in ("steps", "samples")),
            len(rows),
            *(spread(rows, key) for key in ("ece", "brier", "dice")),
            *(positives(rows, part) for part in range(BINS)),
            f"{fmean(row['seconds_per_slice'] for row in rows):.3f}",
        )
        for name, rows in ways.items()
    ]
    shares = [f"{part / BINS:g}–{(part + 1) / BINS:g}" for part in range(BINS)]
    heads = ("way", "models", "steps", "samples", "repetitions", "ECE", "Brier score", "Dice", *shares, "s per slice")
    said = f"{values['dataset']}, {values['split']} split, {values['size']}×{values['size']}, "
    said += (
        f"{values['rows'][0]['cases']} cases. The columns of numbers: the share of pixels in a structure among those "
    )
    said += "whose probability lies there.\n"
    return f"{measured(values)}{said}\n{table(heads, lines)}"


def students(values: Figures) -> str:
    rows = [
        (row["taught_by"], row["mask_loss"], f"{row['cpu_seconds']:.0f}", f"{row['val_dice']:.3f}")
        for row in values["rows"]
    ]
    heads = ("`sdseg-fast`, taught by", "loss on the mask itself", "CPU s", "validation Dice")
    return f"{measured(values)}{values['steps']} steps each, one seed.\n\n{table(heads, rows)}"
