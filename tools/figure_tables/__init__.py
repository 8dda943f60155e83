"""The tables of docs/benchmarks.md that are made from the JSON files of benchmarks/figures, between their two marks.

<!-- figures: NAME --> and <!-- end --> stand around each; what is between them is written anew by tools/generate.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from tools.figure_tables import accuracy, eight_bits, latency, reliability, training
from tools.figure_tables.markdown import Figures

__all__ = ["TABLES", "with_tables"]

MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

TABLES: dict[str, Callable[[Figures], str]] = {
    "bad_input": reliability.bad_input,
    "kills": reliability.kills,
    "curves": accuracy.curves,
    "changes": accuracy.changes,
    "after_training": accuracy.after_training,
    "calibration": accuracy.calibration,
    "demo": latency.demo,
    "pareto": latency.pareto,
    "robustness": accuracy.robustness,
    "robustness_systems": accuracy.robustness,
    "full_scale_memory": training.full_scale_memory,
    "training_step": training.training_step,
    "training_speed": training.training_speed,
    "training_speed_without_bf16": training.training_speed,
    "loaded_python": latency.loaded_python,
    "streams": latency.streams,
    "students": accuracy.students,
    "eight_bits": eight_bits.eight_bits,
    "eight_bits_without_vnni": eight_bits.eight_bits,
    "eight_bits_blocks": eight_bits.eight_bits_blocks,
    "eight_bits_full": eight_bits.eight_bits_full,
    "eight_bits_masks": eight_bits.eight_bits_masks,
    "roofline": training.roofline,
    "whole_volumes": latency.whole_volumes,
    "multiclass": accuracy.multiclass,
    "neighbours": accuracy.compare,
    "normalisation": accuracy.compare,
    "nodules": accuracy.nodules,
    "systems": accuracy.compare,
    "full_trained": accuracy.compare,
    "full_student": accuracy.compare,
    "openvino_graph": latency.openvino_graph,
    "web": latency.web,
}


def with_tables(text: str, figures: Path) -> str:
    """The page with each marked table as the file of its name in the folder `figures` has it."""

    def table(match: re.Match[str]) -> str:
        values = json.loads((figures / f"{match[2]}.json").read_text("utf-8"))
        return f"{match[1]}{TABLES[match[2]](values)}\n{match[3]}"

    return MARKED.sub(table, text)
