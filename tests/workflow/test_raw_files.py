"""A raw folder with other files is no reason to run again, and is told of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdseg.datasets.check_configuration import configure
from workflow.raw_files import look_at_raw_files


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A raw folder and the record that the results keep of it."""
    (tmp_path / "raw/kseg").mkdir(parents=True)
    (tmp_path / "raw/kseg/a.png").write_bytes(b"four")
    (tmp_path / "results/kseg").mkdir(parents=True)
    record = {"files": [{"path": "a.png", "size": 4, "sha256": "0"}]}
    (tmp_path / "results/kseg/raw.json").write_text(json.dumps(record), "utf-8")
    return tmp_path


def told(folder: Path, raw: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Warnings at planning with another raw folder."""
    recipe = {"unet": {"file": str(Path(__file__).parents[2] / "config/recipes/unet.yaml")}}
    dataset = {"kseg": {"source": "kseg", "size": 64}}
    places = {"raw": str(folder / raw), "results": str(folder / "results")}
    run = configure({**places, "recipes": recipe, "datasets": dataset}, where="a test")
    look_at_raw_files(run)
    return [record.getMessage() for record in caplog.records]


def test_the_same_files_elsewhere_are_not_told_of(prepared: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert told(prepared, "raw", caplog) == []
    (prepared / "raw").rename(prepared / "moved")
    assert told(prepared, "moved", caplog) == []
    assert told(prepared, "gone", caplog) == []


def test_other_files_are(prepared: Path, caplog: pytest.LogCaptureFixture) -> None:
    (prepared / "raw/kseg/a.png").write_bytes(b"other")
    (warning,) = told(prepared, "raw", caplog)
    assert "does not hold the files that the results were made from ('a.png', 1 of 1 looked at)" in warning
    assert "--forcerun raw_record" in warning
