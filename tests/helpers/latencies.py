"""What benchmarks/pareto.py measures of one model, its graph and its scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pareto import main

__all__ = ["measured"]


def measured(results: Path, prepared: Path, **folders: Path) -> dict[str, Any]:
    """The row of the folders `model`, `export` and `evaluation`, which a new results folder refers to."""
    (results / "scans" / "one").mkdir(parents=True)
    (results / "scans" / "prepared").symlink_to(prepared)
    for name, folder in folders.items():
        (results / "scans" / "one" / name).symlink_to(folder)
    output = results / "pareto.json"
    assert main(["--results", str(results), "--output", str(output), "--rounds", "1"]) == 0
    figures = json.loads(output.read_text("utf-8"))
    assert figures["command"].endswith(f"--results {results.as_posix()}")
    row: dict[str, Any]
    (row,) = figures["rows"]
    assert {"torch", "onnxruntime"} <= row["latency_ms"].keys()
    return row
