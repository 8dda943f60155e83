"""The results folder that the page's tests copy, written by the stages once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.stage_results import StageResults, run_stages


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> StageResults:
    folder: Path = tmp_path_factory.mktemp("stages é")
    run_stages(folder)
    return StageResults(folder)
