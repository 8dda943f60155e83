"""Two folders of results side by side, or an error that says what keeps them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdseg.cli.commands import main
from sdseg.core.errors import ListedError, UserError
from sdseg.report.collect import collect_results
from sdseg.report.folder_comparison import compare_folders
from tests.helpers.stage_results import StageResults, edit_json


def test_two_folders_stand_side_by_side(
    stages: StageResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = stages.results(tmp_path / "a", ("cvc",)), stages.results(tmp_path / "b", ("cvc",), ("sdseg",))
    assert main(["report", "--compare", str(a), str(b)]) == 0
    out = capsys.readouterr().out
    assert "+0.0000  1.0000" in out
    assert "only in A: cvc / unet" in out
    assert "Only in A:" in (a / "comparison.html").read_text(encoding="utf-8")
    edit_json(b / "cvc" / "sdseg" / "evaluation" / "summary.json", protocol="paper", data_checksum="0" * 64)
    with pytest.raises(
        ListedError, match=r"(?s)must not be compared.*protocol is clean in one and paper.*data_checksum"
    ):
        compare_folders(collect_results(a), collect_results(b))
    with pytest.raises(UserError, match="no dataset and recipe is in both"):
        compare_folders(collect_results(a), collect_results(stages.results(tmp_path / "c", ("kseg",))))
