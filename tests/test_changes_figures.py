"""benchmarks/changes.py: rows that were measured before stay in their place, with the commit they were made at."""

from __future__ import annotations

from typing import Any

from benchmarks.changes import joined


def figures(commit: str, date: str, *rows: tuple[str, str, str | None, float]) -> dict[str, Any]:
    return {
        "command": f"changes of {commit}",
        "commit": commit,
        "date": date,
        "machine": "x",
        "rows": [
            {"name": name, "kind": kind, "against": start, "changes": {"a": 1} if start else {}, "val": val}
            for name, kind, start, val in rows
        ],
    }


def test_rows_of_other_runs_stay() -> None:
    new = figures("b", "2026-02-02", ("late", "latent", None, 0.8), ("strong", "latent", "late", 0.9))
    assert joined(new, None) == new
    before = figures("a", "2026-01-01", ("early", "latent", None, 0.5), ("plain", "unet", None, 0.6))
    before["rows"] += figures("a", "", ("late", "latent", None, 0.7), ("wide", "latent", "early", 0.4))["rows"]
    both = joined(new, before)
    assert {key: both[key] for key in ("command", "commit", "date")} == {
        "command": "changes of a; changes of b",
        "commit": "a, b",
        "date": "2026-01-01 to 2026-02-02",
    }
    found = [(row["name"], row["val"]) for row in both["rows"]]
    assert found == [("early", 0.5), ("wide", 0.4), ("late", 0.8), ("strong", 0.9), ("plain", 0.6)]
