"""Projects that share the files of their code: what a test writes into them is noticed, and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.projects import ROOT, checkout


def test_a_file_that_projects_share_and_a_test_wrote_into_is_named(tmp_path: Path) -> None:
    own = checkout(tmp_path / "own" / "copy", to_edit=True)
    shared = checkout(tmp_path / "shared" / "copy")
    name = "sdseg/core/huge_pages.py"
    text = (ROOT / name).read_text("utf-8")
    (own.root / name).write_text("# of its own", encoding="utf-8")
    again = checkout(tmp_path / "again" / "copy")
    assert (again.root / name).read_text("utf-8") == text
    (shared.root / name).write_text("# of all", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"to_edit=True.*huge_pages\.py"):
        checkout(tmp_path / "after" / "copy")
    assert (ROOT / name).read_text("utf-8") == text
