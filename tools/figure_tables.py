"""The tables of docs/benchmarks.md that are made from the JSON files of benchmarks/figures, between their two marks.

<!-- figures: NAME --> and <!-- end --> stand around each; what is between them is written anew by tools/generate.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

__all__ = ["TABLES", "with_tables"]

MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
Figures = dict[str, Any]
BINS = 5  # of reliability: the fifteen of the file by threes


def with_tables(text: str, figures: Path) -> str:
    """The page with each marked table as the file of its name in the folder `figures` has it."""

    def table(match: re.Match[str]) -> str:
        values = json.loads((figures / f"{match[2]}.json").read_text("utf-8"))
        return f"{match[1]}{TABLES[match[2]](values)}\n{match[3]}"

    return MARKED.sub(table, text)


def _measured(values: Figures) -> str:
    """Where the figures come from, as a line."""
    date = f"{values['date']}, " if "date" in values else ""
    return f"{date}commit {values['commit']}, {values['machine']}: `{values['command']}`.\n"


def _bad_input(values: Figures) -> str:
    def row(name: str, outcomes: dict[str, int]) -> tuple[object, ...]:
        refused, noted, total = outcomes.get("refused", 0), outcomes.get("noted", 0), sum(outcomes.values())
        return name, total, refused, noted, total - refused - noted

    rows = [row(name, outcomes) for name, outcomes in values["families"].items()]
    defects = ", ".join(f"`{each['name']}` ({each['outcome']})" for each in values["defects"])
    said = f"{_measured(values)}{values['inputs']:,} inputs; tracebacks: {values['tracebacks']}, silent: "
    said += f"{values['silent']}, the slowest answer {values['slowest_seconds']:.0f} s."
    said += f" Not answered as it should be: {defects}.\n" if defects else "\n"
    return (
        f"{said}\n{_table(('family', 'inputs', 'refused', 'noted', 'other'), [*rows, row('all', values['outcomes'])])}"
    )


def _kills(values: Figures) -> str:
    rows = [
        (way, each["kills"], each["identical"], "not counted" if "main process" in way else each["lost_steps_max"])
        for way, each in sorted(values["by_signal"].items())
    ]
    said = f"{_measured(values)}{values['kills']} kills at random times in {values['pipelines']} runs of the mini "
    said += f"pipeline; a training keeps its state every {values['checkpoint_every']} steps.\n"
    return f"{said}\n{_table(('how', 'kills', 'results identical', 'most steps lost'), rows)}"


def _compare(values: Figures) -> str:
    rows = [
        (
            row["dataset"],
            f"`{row['recipe']}`",
            row["seeds"],
            row["steps"],
            f"{row['cpu_seconds']:.0f}",
            "n/a" if row["val_mean"] is None else f"{row['val_mean']:.3f}",
            _spread(row, "dice"),
        )
        for row in values["rows"]
    ]
    heads = ("dataset", "recipe", "seeds", "steps", "CPU s", "validation Dice", "test Dice")
    return f"{_measured(values)}\n{_table(heads, rows)}"


def _curves(values: Figures) -> str:
    rows = [
        (
            f"{row['dataset']}, {row['size']}",
            row["budget"],
            f"`{row['recipe']}`",
            row["kind"],
            _cpu_seconds(row),
            row["seeds"],
            "n/a" if row["val_mean"] is None else f"{row['val_mean']:.3f}",
            _spread(row, "dice"),
        )
        for row in values["rows"]
    ]
    heads = ("data", "budget", "recipe", "kind", "CPU s", "seeds", "validation Dice", "test Dice, native size")
    return f"{_measured(values)}\n{_table(heads, rows)}"


def _multiclass(values: Figures) -> str:
    def structure(each: Figures) -> str:
        return _spread(each, "dice") if "dice_mean" in each else "n/a"

    rows = [
        (
            row["dataset"],
            f"`{row['recipe']}`",
            row["seeds"],
            row["steps"],
            f"{row['training_cpu_seconds']:.0f}",
            _spread(row, "dice"),
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
    return f"{_measured(values)}\n{_table(heads, rows)}"


def _nodules(values: Figures) -> str:
    rows = [
        (
            f"`{row['recipe']}`",
            row["seeds"],
            row["steps"],
            f"{row['cpu_seconds']:.0f}",
            f"{row['codec_dice']:.3f}",
            f"{row['codec_recall']:.3f}",
            "n/a" if row["val_mean"] is None else f"{row['val_mean']:.3f}",
            _spread(row, "dice"),
            _spread(row, "recall"),
        )
        for row in values["rows"]
    ]
    parts = f"components below {values['small']} pixels"
    heads = (
        *("masks' codec learnt by", "seeds", "steps", "CPU s", "codec's own Dice", f"{parts} that the codec keeps"),
        *("validation Dice", "test Dice", f"{parts} found"),
    )
    said = f"{_measured(values)}{values['rows'][0]['slices']} slices with {values['rows'][0]['components']} {parts}.\n"
    return f"{said}\n{_table(heads, rows)}"


def _cpu_seconds(row: Figures) -> str:
    """Of a run on a GPU: what as many steps take on a CPU."""
    return f"{'' if (row.get('trained_on') or 'cpu') == 'cpu' else '≈ '}{row['cpu_seconds']:.0f}"


def _changes(values: Figures) -> str:
    def change(row: Figures) -> str:
        if not row["changes"]:
            return f"`{row['name']}`: what was started from"
        return ", ".join(f"`{'.'.join(key.split('.')[-2:])}: {value}`" for key, value in row["changes"].items())

    rows = [(row["kind"], change(row), row["steps"], _cpu_seconds(row), f"{row['val']:.3f}") for row in values["rows"]]
    return f"{_measured(values)}\n{_table(('kind', 'changed', 'steps', 'CPU s', 'validation Dice'), rows)}"


def _spread(row: Figures, name: str) -> str:
    """`name`_mean and, of several repetitions, `name`_sd."""
    return f"{row[f'{name}_mean']:.3f}" + ("" if row.get(f"{name}_sd") is None else f" ± {row[f'{name}_sd']:.3f}")


def _after_training(values: Figures) -> str:
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
            *(_spread(each[kind], "val") for kind in kinds),
            _spread(each["none"], "test"),
        )
        for (recipe, flips, models, passes), each in by_way.items()
    ]
    kinds = ["validation Dice" if kind == "none" else kind.replace("_", " ") for kind in kinds]
    heads = ("recipe", "flips", "models", "passes", *kinds, "test Dice")
    said = f"{_measured(values)}{values['dataset']}, {values['size']}×{values['size']}, at working size.\n"
    return f"{said}\n{_table(heads, lines)}"


def _robustness(values: Figures) -> str:
    models = list(dict.fromkeys(row["model"] for row in values["rows"]))
    levels = dict.fromkeys((row["kind"], row["unit"], row["strength"]) for row in values["rows"])
    dice = {(row["model"], row["kind"], row["strength"]): row["dice"] for row in values["rows"]}
    rows = [
        (f"{kind} ({unit})" if unit else kind, strength, *(f"{dice[model, kind, strength]:.3f}" for model in models))
        for kind, unit, strength in levels
    ]
    heads = ("images made worse by", "strength", *(f"`{model}`" for model in models))
    return f"{_measured(values)}\n{_table(heads, rows)}"


def _calibration(values: Figures) -> str:
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
    return f"{_measured(values)}{said}\n{_table(heads, lines)}"


def _pareto(values: Figures) -> str:
    runtimes = list(dict.fromkeys(name for row in values["rows"] for name in row["latency_ms"]))

    def dice(row: Figures) -> str:
        if row.get("dice_mean") is None:
            return "n/a"
        return _spread(row, "dice")

    ordered = sorted(values["rows"], key=lambda row: (row["scale"], -row["gflop"]))
    rows = [
        (
            row["scale"],
            f"`{row['name']}`",
            row["role"],
            dice(row),
            row["seeds"],
            f"{row['gflop']:.3g}",
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['bytes'] / 1e6:.1f}",
            *(f"{row['latency_ms'][name]:.3g}" if name in row["latency_ms"] else "n/a" for name in runtimes),
        )
        for row in ordered
    ]
    heads = ("data", "recipe", "role", "test Dice", "seeds", "GFLOP", "parameters", "MB")
    return f"{_measured(values)}\n{_table((*heads, *(f'{name}, ms' for name in runtimes)), rows)}"


def _demo(values: Figures) -> str:
    rows = [
        (
            row["dataset"],
            f"`{row['recipe']}`",
            row["cases"],
            f"{row['dice']:.3f}",
            f"{row['iou']:.3f}",
            "n/a" if row["onnx_dice_difference"] is None else f"{row['onnx_dice_difference']:g}",
            f"{row['training_cpu_seconds']:.0f}",
        )
        for row in values["rows"]
    ]
    heads = ("dataset", "recipe", "cases", "Dice", "IoU", "ONNX: Dice differs by", "CPU s of training")
    return f"{_measured(values)}\n{_table(heads, rows)}"


def _full_scale_memory(values: Figures) -> str:
    def gigabytes(count: int | None) -> str:
        return f"{count / 1e9:.2f} GB" if count else ""

    rows: list[tuple[object, ...]] = [
        (
            each["part"],
            f"{each['parameters'] / 1e6:.1f} M" if each["parameters"] else "",
            gigabytes(each["weights_bytes"] if each["parameters"] else None),
            gigabytes(each["kept_bytes"]),
            gigabytes(each["kept_bytes_checkpointed"]),
        )
        for each in values["parts"]
    ]
    rows.append(("the process on a GPU, a tenth to spare", "", "", *map(gigabytes, values["gpu_bytes"])))
    heads = ("part", "parameters", "weights, average, gradients, AdamW", "kept for the backward pass", "checkpointed")
    said = f"`{values['recipe']}`, {values['size']}×{values['size']}, batch {values['batch']}, {values['precision']}."
    return f"{_measured(values)}{said}\n\n{_table(heads, rows)}"


def _training_step(values: Figures) -> str:
    rows = [
        (
            f"`{row['recipe']}`{', checkpointed' if row['gradient_checkpointing'] else ''}",
            row["batch"],
            f"{row['seconds_per_step'] * 1000:.0f}",
            f"{row['images_per_second']:.0f}",
            f"{row['peak_allocated_gb']:.1f}",
            f"{row['peak_reserved_gb']:.1f}",
        )
        for row in values["rows"]
    ]
    heads = ("recipe", "batch", "ms per step", "images per second", "GB of tensors", "GB held by the allocator")
    return f"{_measured(values)}\n{_table(heads, rows)}"


def _training_speed(values: Figures) -> str:
    rows = [
        (
            row["scale"],
            f"`{row['recipe']}`",
            row["batch"],
            row["threads"],
            row["way"],
            f"{row['seconds_per_step'] * 1000:.0f}",
            f"{row['images_per_second']:.1f}",
            f"{row['times_before']:.2f}×",
            f"{row['loss_difference']:.1e}" if row["loss_difference"] else "0",
        )
        for row in values["rows"]
    ]
    first = ("scale", "recipe", "batch", "threads", "way", "ms per step", "images per second", "speed")
    heads = (*first, "largest Δ of the loss")
    busy = dict.fromkeys((row["commit"], row["busy"]) for row in values["rows"])
    said = f"Beside it the machine did: {'; '.join(f'{what} ({commit})' for commit, what in busy)}."
    return f"{_measured(values)}{said}\n\n{_table(heads, rows)}"


def _streams(values: Figures) -> str:
    rows = [
        (
            row["runtime"],
            row["streams"],
            row["threads"],
            row["inter"] if row["runtime"] == "onnxruntime" else "",
            row["batch"],
            f"{row['images_per_second']:.0f}",
            f"{row['median_images_per_second']:.0f}",
            f"{row['times_single']:.2f}×",
        )
        for row in values["rows"]
    ]
    heads = ("runtime", "streams", "threads of each", "inter-op threads", "batch")
    said = f"{values['size']}×{values['size']}. Beside it the machine did: {values['busy']}."
    return f"{_measured(values)}{said}\n\n{_table((*heads, 'images/s, fastest', 'median', 'against one thread'), rows)}"


def _eight_bits(values: Figures) -> str:
    runtimes = list(values["rows"][0]["latency_ms"])
    rows = [
        (
            row["graph"],
            f"{row['bytes'] / 1e6:.1f}",
            *(f"{row['mask_dice'][name]:.4f}" for name in runtimes),
            f"{row['dice']:.4f}",
            *(f"{row['latency_ms'][name]:.1f}" for name in runtimes),
        )
        for row in values["rows"]
    ]
    heads = ("graph", "MB", *(f"masks, {name}" for name in runtimes), "Dice", *(f"{name}, ms" for name in runtimes))
    said = f"{values['cases']} cases, {values['size']}×{values['size']}; PyTorch {values['torch_ms']:.1f} ms, "
    return f"{_measured(values)}{said}Dice {values['torch_dice']:.4f}.\n\n{_table(heads, rows)}"


def _eight_bits_blocks(values: Figures) -> str:
    rows = [
        (f"`{row['block']}`", f"{100 * row['share']:.1f} %", f"{row['mask_dice']:.4f}", _kept(row))
        for row in values["rows"]
    ]
    return f"{_measured(values)}\n{_table(('block', 'products', 'masks alone in int8', 'in `int8_mixed`'), rows)}"


def _kept(row: Figures) -> str:
    return "int8" if row["in_int8_mixed"] else "fp32"


def _eight_bits_full(values: Figures) -> str:
    rows = [
        (
            f"`{row['recipe']}`",
            f"{100 * row['decoder_share']:.0f} %",
            row["runtime"],
            f"{row['seconds']:.2f}",
            f"{row['times_eager']:.1f}",
        )
        for row in values["rows"]
    ]
    heads = ("recipe", "products in the decoder", "runtime", "one image, s", "× eager")
    return f"{_measured(values)}\n{_table(heads, rows)}"


def _eight_bits_masks(values: Figures) -> str:
    rows = [(row["runtime"], f"{row['mask_dice']:.4f}") for row in values["rows"]]
    said = f"`{values['recipe']}`, {values['size']}×{values['size']}, {values['cases']} test images."
    return f"{_measured(values)}{said}\n\n{_table(('runtime', 'masks'), rows)}"


def _students(values: Figures) -> str:
    rows = [
        (row["taught_by"], row["mask_loss"], f"{row['cpu_seconds']:.0f}", f"{row['val_dice']:.3f}")
        for row in values["rows"]
    ]
    heads = ("`sdseg-fast`, taught by", "loss on the mask itself", "CPU s", "validation Dice")
    return f"{_measured(values)}{values['steps']} steps each, one seed.\n\n{_table(heads, rows)}"


def _roofline(values: Figures) -> str:
    def milliseconds(seconds: float | None) -> str:
        return "" if seconds is None else f"{seconds * 1000:.0f}"

    rows = [
        (
            f"`{row['recipe']}`",
            row["batch"],
            row["gpu"],
            f"{row['gflop'] / 1000:.2f}",
            f"{row['gb']:.0f}",
            row["operators"],
            *map(milliseconds, (row["bound_seconds"], row["expected_seconds"], row["measured_seconds"])),
            f"{row['steps']:,}",
            f"{row['hours']:.1f}",
        )
        for row in values["rows"]
    ]
    heads = (
        *("recipe", "batch", "GPU", "TFLOP per step", "GB moved", "operators", "bound, ms", "expected, ms"),
        *("measured, ms", "steps", "hours expected"),
    )
    return f"{_measured(values)}\n{_table(heads, rows)}"


def _whole_volumes(values: Figures) -> str:
    parts = tuple(values["rows"][0]["cpu"])
    rows = [
        (
            row["input"],
            *(f"{row['cpu'][part]:.1f}" for part in parts),
            f"{row['sum_cpu']:.1f}",
            f"{row['command_cpu']:.1f}",
            f"{row['sum_seconds']:.0f}",
            f"{row['command_seconds']:.0f}",
            f"{row['sum_seconds'] / row['command_seconds']:.2f}×",
            f"{row['peak_mb']:.0f}",
            f"{row['open_mb']:.0f}",
        )
        for row in values["rows"]
    ]
    heads = (
        *("input", *(f"{part}, CPU s" for part in parts), "sum, CPU s", "command, CPU s"),
        *("sum, s", "command, s", "gain", "peak memory, MB", "with the model open, MB"),
    )
    return f"{_measured(values)}\n{_table(heads, rows)}"


def _web(values: Figures) -> str:
    def row(name: str, each: Figures) -> tuple[object, ...]:
        times = (f"{each[key]:.1f}" for key in ("median_ms", "fastest_ms", "p95_ms"))
        apart = f"{each['max_abs_difference']:.1e}" if "max_abs_difference" in each else "0"
        return name, each["threads"], *times, f"{each['ready_s']:.2f}", f"{each['megabytes']:.0f}", apart

    rows = [row(name, each) for name, each in values["rows"].items()]
    heads = ("runs in", "threads", "one image, ms", "fastest, ms", "p95, ms", "ready, s", "MB memory", "largest Δp")
    return f"{_measured(values)}\n{_table(heads, rows)}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


TABLES: dict[str, Callable[[Figures], str]] = {
    "bad_input": _bad_input,
    "kills": _kills,
    "curves": _curves,
    "changes": _changes,
    "after_training": _after_training,
    "calibration": _calibration,
    "demo": _demo,
    "pareto": _pareto,
    "robustness": _robustness,
    "robustness_systems": _robustness,
    "full_scale_memory": _full_scale_memory,
    "training_step": _training_step,
    "training_speed": _training_speed,
    "streams": _streams,
    "students": _students,
    "eight_bits": _eight_bits,
    "eight_bits_blocks": _eight_bits_blocks,
    "eight_bits_full": _eight_bits_full,
    "eight_bits_masks": _eight_bits_masks,
    "roofline": _roofline,
    "whole_volumes": _whole_volumes,
    "multiclass": _multiclass,
    "neighbours": _compare,
    "normalisation": _compare,
    "nodules": _nodules,
    "systems": _compare,
    "full_trained": _compare,
    "web": _web,
}
