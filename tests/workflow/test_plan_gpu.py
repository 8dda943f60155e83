"""One GPU of several, as a plan sees it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from snakemake.exceptions import WorkflowError

from workflow.plan import Plan, plan_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SDSEG_GPU"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def planned(processes: int) -> Plan:
    config = {
        "device": "cuda:1",
        "processes": processes,
        "recipes": {"unet": {"file": str(ROOT / "config/recipes/unet.yaml")}},
        "datasets": {"kseg": {"source": "kseg", "size": 64}},
    }
    return plan_run(config, ["my.yaml"], main_process=False)


def test_jobs_see_one_gpu() -> None:
    assert planned(1).settings.device == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_one_gpu_is_not_for_two_processes() -> None:
    with pytest.raises(WorkflowError, match="'device: cuda:1' is one GPU, and 'processes: 2' want one each"):
        planned(2)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
