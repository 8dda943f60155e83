"""What a training costs: seconds, memory, images per second."""

from __future__ import annotations

from tools.figure_tables.markdown import Figures, measured, table

__all__ = ["full_scale_memory", "roofline", "training_speed", "training_step"]


def full_scale_memory(values: Figures) -> str:
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
    return f"{measured(values)}{said}\n\n{table(heads, rows)}"


def training_step(values: Figures) -> str:
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
    return f"{measured(values)}\n{table(heads, rows)}"


def training_speed(values: Figures) -> str:
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
    return f"{measured(values)}{said}\n\n{table(heads, rows)}"


def roofline(values: Figures) -> str:
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
    return f"{measured(values)}\n{table(heads, rows)}"
