"""Checkouts of this project with a mini configuration, for runs of the workflow."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.snakemake_runs import run_snakemake

__all__ = ["LAYOUT", "MINI", "ROOT", "TRAINING", "Project", "checkout"]

ROOT = Path(__file__).resolve().parents[2]
CODE, SETTINGS = ("sdseg", "workflow"), ("config", "resources/splits")
LAYOUT = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4, "mid_block_attention": False}
TRAINING = {"steps": 4, "batch": 2, "precision": "no", "validate_every": 2, "checkpoint_every": 2, "workers": 0}
MINI: dict[str, Any] = {
    "raw": "raw data",
    "results": "results é",
    "threads": 1,
    "phantoms": {"seed": 1, "scale": 0.1},
    "codecs": {"tiny": {**LAYOUT, "training": {"steps": 4, "batch": 2, "size": 32}}},
    "recipes": {
        "sdseg": {
            "file": "config/recipes/sdseg.yaml",
            "overrides": {
                "network": {
                    "codec": "tiny",
                    "condition": {"block_out_channels": [4, 6]},
                    "denoiser": {"block_out_channels": [6, 8]},
                },
                "training": TRAINING,
            },
        },
        "unet": {
            "file": "config/recipes/unet.yaml",
            "overrides": {
                "network": {"architecture": "unet", "channels": [4, 8], "residual_units": 0},
                "training": TRAINING,
            },
        },
    },
    "datasets": {
        "kseg": {"source": "kseg", "origin": "phantom", "size": 32, "recipes": ["sdseg"]},
        "btcv": {"source": "btcv", "origin": "phantom", "size": 32, "recipes": ["unet"]},
    },
    "export": {"max_abs_difference": 0.01, "max_dice_difference": 0.05, "parity_cases": 2},
}


@dataclass(frozen=True)
class Project:
    """A checkout of its own, in a folder with a space and a letter beyond ASCII in its name."""

    root: Path

    def configure(self, **changes: Any) -> None:
        """Write the mini configuration, with other values for some of its keys."""
        (self.root / "mini.yaml").write_text(yaml.safe_dump({**MINI, **changes}, allow_unicode=True), encoding="utf-8")

    def snakemake(self, *words: str, config: str = "mini.yaml", check: bool = True) -> str:
        """Everything a run prints; `check` makes a failed run a failed test."""
        done = run_snakemake(self.root, *words, "--cores", "2", "--configfile", config)
        assert not check or done.returncode == 0, done.stdout
        assert check or done.returncode != 0, done.stdout
        return done.stdout

    def planned(self, *words: str) -> set[str]:
        """The jobs a run would execute, each by its message without the log file; targets have none."""
        return set(re.findall(r"^Job \d+: (.*?)(?: \(log: .*\))?$", self.snakemake(*words, "--dry-run"), re.MULTILINE))

    @property
    def results(self) -> Path:
        return self.root / "results é"

    def read(self, path: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.results / path).read_text("utf-8"))
        return content


def checkout(folder: Path, *, to_edit: bool = False) -> Project:
    """A copy of what runs need, in a folder of a folder of this session. Code is changed in those `to_edit` alone.

    The code of the others is hard links to a first copy: with seventy of a thousand files, 19 MB, writing and deleting
    took as long as many a test.
    """
    code = ROOT if to_edit else first_copy(folder.parents[1])
    for part in CODE:
        copy_part(code, folder, part, shutil.copy2 if to_edit else os.link)
    for part in SETTINGS:
        copy_part(ROOT, folder, part)
    shutil.copy(ROOT / "resources/datasets.yaml", folder / "resources")
    project = Project(folder)
    project.configure()
    return project


def first_copy(session: Path) -> Path:
    """Made by the first call of a process; every one makes sure that no test wrote into a file that projects share."""
    folder, files = _made(session)
    changed = {path for path, _ in _state(folder).items() ^ files.items()}
    assert not changed, f"a test changed the code of every project, checkout(..., to_edit=True): {changed}"
    return folder


def copy_part(source: Path, folder: Path, part: str, copy: Callable[[str, str], object] = shutil.copy2) -> None:
    """With what is compiled, so that a run need not do it again; `*.pyc.*` and `*.json.*` are being written."""
    ignored = shutil.ignore_patterns("*.pyc.*", "*.json.*")
    shutil.copytree(source / part, folder / part, ignore=ignored, copy_function=copy)


@cache
def _made(session: Path) -> tuple[Path, dict[str, tuple[int, int]]]:
    folder = session / "first copy é"
    for part in CODE:
        copy_part(ROOT, folder, part)
    return folder, _state(folder)


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of each file."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            status = os.stat(os.path.join(place, name))
            found[f"{place}/{name}"] = (status.st_size, status.st_mtime_ns)
    return found
