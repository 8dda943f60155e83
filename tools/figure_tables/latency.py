"""What an answer costs, in each runtime, and whole runs."""

from __future__ import annotations

from tools.figure_tables.markdown import Figures, measured, spread, table

__all__ = ["demo", "loaded_python", "openvino_graph", "pareto", "streams", "web", "whole_volumes"]


def pareto(values: Figures) -> str:
    runtimes = list(dict.fromkeys(name for row in values["rows"] for name in row["latency_ms"]))

    def dice(row: Figures) -> str:
        if row.get("dice_mean") is None:
            return "n/a"
        return spread(row, "dice")

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
    return f"{measured(values)}\n{table((*heads, *(f'{name}, ms' for name in runtimes)), rows)}"


def demo(values: Figures) -> str:
    rows = [
        (
            row["dataset"],
            f"`{row['recipe']}`",
            row["cases"],
            f"{row['dice']:.3f}",
            f"{row['iou']:.3f}",
            "n/a" if row["onnx_dice_difference"] is None else f"{row['onnx_dice_difference']:g}",
            "n/a" if row["training_cpu_seconds"] is None else f"{row['training_cpu_seconds']:.0f}",
        )
        for row in values["rows"]
    ]
    heads = ("dataset", "recipe", "cases", "Dice", "IoU", "ONNX: Dice differs by", "CPU s of training")
    return f"{measured(values)}\n{table(heads, rows)}"


def streams(values: Figures) -> str:
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
    return f"{measured(values)}{said}\n\n{table((*heads, 'images/s, fastest', 'median', 'against one thread'), rows)}"


def openvino_graph(values: Figures) -> str:
    rows = [
        (
            row["subject"],
            row["processor"],
            f"{row['graph']}{'' if row['arithmetic'] == 'f32' else ', ' + row['arithmetic']}",
            *(f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" for ms in (row["before_ms"], row["after_ms"])),
            f"{row['before_ms'] / row['after_ms']:.2f}×",
            *(f"{row[f'masks_{way}']:.4f}" if f"masks_{way}" in row else "" for way in ("before", "after")),
        )
        for row in values["rows"]
    ]
    heads = ("weights", "processor", "graph", "as it is, ms", "changed, ms", "gain")
    return f"{measured(values)}\n{table((*heads, 'masks, as it is', 'changed'), rows)}"


def loaded_python(values: Figures) -> str:
    rows = [
        (
            f"`{row['commit']}`",
            "a fork of one that has loaded the libraries" if row["python"] == "loaded" else row["python"],
            f"{row['cpu_seconds']:.2f}",
            f"{row['least']:.2f} to {row['most']:.2f}",
            f"{row['of_the_first']:.2f}×",
        )
        for row in values["rows"]
    ]
    return measured(values) + "\n" + table(("commit", "Python", "CPU s", "range", "of the first"), rows)


def whole_volumes(values: Figures) -> str:
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
    return f"{measured(values)}\n{table(heads, rows)}"


def web(values: Figures) -> str:
    def row(name: str, each: Figures) -> tuple[object, ...]:
        times = (f"{each[key]:.1f}" for key in ("median_ms", "fastest_ms", "p95_ms"))
        apart = f"{each['max_abs_difference']:.1e}" if "max_abs_difference" in each else "0"
        return name, each["threads"], *times, f"{each['ready_s']:.2f}", f"{each['megabytes']:.0f}", apart

    rows = [row(name, each) for name, each in values["rows"].items()]
    heads = ("runs in", "threads", "one image, ms", "fastest, ms", "p95, ms", "ready, s", "MB memory", "largest Δp")
    return f"{measured(values)}\n{table(heads, rows)}"
