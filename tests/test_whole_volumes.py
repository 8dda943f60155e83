"""benchmarks/whole_volumes.py: its parts are those of `predict`, none counted twice, and its table shows them."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.whole_volumes import PARTS, Clock, as_command, in_parts, write_dicom, write_nifti
from tools.figure_tables import TABLES


def test_a_volume_part_by_part_and_as_a_whole(bright_ct: Path, tmp_path: Path) -> None:
    write_nifti(tmp_path, 40, 3)
    write_dicom(tmp_path, 40, 3)
    started = time.perf_counter()
    parts = in_parts(bright_ct, tmp_path)
    assert set(parts["seconds"]) == set(PARTS)
    assert 0 < sum(parts["seconds"].values()) < time.perf_counter() - started
    whole = as_command(bright_ct, tmp_path)
    assert whole["peak_mb"] >= whole["open_mb"] > 0
    assert not (tmp_path / "out").exists()
    row = {"input": "CT", **whole, "seconds": parts["seconds"], "cpu": dict.fromkeys(PARTS, 1.0), "sum_cpu": 5.0}
    row |= {"sum_seconds": 3.0, "command_seconds": 2.0, "command_cpu": 5.5}
    values = {"date": "today", "commit": "abc", "machine": "m", "command": "c", "rows": [row]}
    line = TABLES["whole_volumes"](values).splitlines()[-1]
    assert line.startswith("| CT | 1.0 | 1.0 | 1.0 | 1.0 | 1.0 | 5.0 | 5.5 | 3 | 2 | 1.50× |")


def test_a_part_within_another_is_not_counted_twice() -> None:
    clock = Clock()
    with clock.of("outer"):
        clock.clocked("inner", time.sleep)(0.05)
    assert 0.05 <= clock.seconds["inner"] < 0.5
    assert clock.seconds["outer"] < clock.seconds["inner"]
