"""Graphs in 8 bits."""

from __future__ import annotations

from tools.figure_tables.markdown import Figures, measured, table

__all__ = ["eight_bits", "eight_bits_blocks", "eight_bits_full", "eight_bits_masks"]


def eight_bits(values: Figures) -> str:
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
    return f"{measured(values)}{said}Dice {values['torch_dice']:.4f}.\n\n{table(heads, rows)}"


def eight_bits_blocks(values: Figures) -> str:
    rows = [
        (f"`{row['block']}`", f"{100 * row['share']:.1f} %", f"{row['mask_dice']:.4f}", _kept(row))
        for row in values["rows"]
    ]
    return f"{measured(values)}\n{table(('block', 'products', 'masks alone in int8', 'in `int8_mixed`'), rows)}"


def _kept(row: Figures) -> str:
    return "int8" if row["in_int8_mixed"] else "fp32"


def eight_bits_full(values: Figures) -> str:
    rows = [
        (
            f"`{row['recipe']}`",
            row["processor"],
            f"{100 * row['decoder_share']:.0f} %",
            row["runtime"],
            f"{row['seconds']:.2f}",
            f"{row['times_eager']:.1f}",
        )
        for row in values["rows"]
    ]
    heads = ("recipe", "processor", "products in the decoder", "runtime", "one image, s", "× eager")
    return f"{measured(values)}\n{table(heads, rows)}"


def eight_bits_masks(values: Figures) -> str:
    rows = [(row["runtime"], f"{row['mask_dice']:.4f}") for row in values["rows"]]
    said = f"`{values['recipe']}`, {values['size']}×{values['size']}, {values['cases']} test images."
    return f"{measured(values)}{said}\n\n{table(('runtime', 'masks'), rows)}"
