"""config/paper.yaml at its smallest, on phantoms: the paper's rows are trained, and its tables stand beside ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.loaded_python import python
from tests.helpers.projects import LAYOUT, ROOT, TRAINING, checkout

ROWS = ("ablation-cross-attention", "sdseg-paper")  # the first and the last row of the ablation


def smaller() -> dict[str, Any]:
    """The committed file with other sizes and a phantom of BTCV; the rest is left as it is."""
    paper: dict[str, Any] = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text("utf-8"))
    denoiser = {"block_out_channels": [8], "attention": [True], "layers_per_block": 1, "norm_num_groups": 4, "heads": 1}
    denoiser["context_channels"] = 8
    networks = {"codec": "kl-f8", "condition": {**LAYOUT, "dropout": 0.2}, "denoiser": denoiser}
    overrides = {"network": networks, "training": TRAINING, "optimiser": {"warmup_steps": 0}}
    return paper | {
        "raw": "raw data",
        "results": "results é",
        "device": "cpu",
        "threads": 1,
        "phantoms": {"seed": 1, "scale": 0.2},
        "codecs": {"kl-f8": {**LAYOUT, "training": {"steps": 4, "batch": 2, "size": 32}}},
        "recipes": {name: {**paper["recipes"][name], "seeds": [2], "overrides": overrides} for name in ROWS},
        "datasets": {"btcv": {**paper["datasets"]["btcv"], "origin": "phantom", "size": 32}},
        "studies": {**paper["studies"], "steps": [1, 10], "stability": 2, "latents": False, "limit": 1},
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Without graphs, in which no table looks: these networks are exported in test_every_recipe.py."""
    project = checkout(tmp_path_factory.mktemp("paper") / "sdseg é copy")
    shutil.copytree(ROOT / "resources" / "paper", project.root / "resources" / "paper")
    (project.root / "small.yaml").write_text(yaml.safe_dump(smaller(), allow_unicode=True), encoding="utf-8")
    project.snakemake("evaluate", "studies", config="small.yaml")
    command = [str(python()), "-m", "sdseg", "report", "--results", str(project.results)]
    subprocess.run(command, cwd=project.root, env=os.environ | {"PYTHONPATH": str(project.root)}, check=True)
    return (project.results / "report.html").read_text("utf-8")


@pytest.mark.xdist_group("workflow")  # takes long: not the last of a worker
def test_the_papers_tables_stand_beside_ours(page: str) -> None:
    tables = dict(re.findall(r"<h3 class=\"small\">Table (\d):.*?</h3>(.*?)</table>", page, re.DOTALL))
    assert set(tables) == {"1", "2", "3", "4", "5", "6"}
    for number in ("2", "4", "5", "6"):
        assert "btcv / sdseg-paper-seed2" in tables[number], number
    assert "btcv / ablation-cross-attention-seed2" in tables["6"]
    assert "btcv" not in tables["3"]  # the paper's Table 3 is about other datasets
    assert "phantoms, protocol paper" in tables["6"]


def test_every_run_of_the_paper_is_planned(tmp_path: Path) -> None:
    """All 33 trainings, from the committed file as it is."""
    project = checkout(tmp_path / "sdseg é copy")
    planned = project.snakemake("all", "--dry-run", config="config/paper.yaml")
    trained = set(re.findall(r": train (\S+)", planned))
    assert len(re.findall(r"^Job \d+: \w+: train ", planned, re.MULTILINE)) == 33
    assert trained == {
        f"{recipe}-seed{seed}"
        for recipe in ("ablation-cross-attention", "ablation-concatenation", "ablation-no-latent-loss", "sdseg-paper")
        for seed in (0, 1, 2)
    }
