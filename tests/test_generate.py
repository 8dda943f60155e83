"""Generated files are up to date, and every way of installing gives the same versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.figure_tables import with_tables
from tools.generate import CPU_INDEX, GPU_LOCK, LOCK, generated, read_lock, requirements

ROOT = Path(__file__).resolve().parent.parent


def pins(lock: Path) -> dict[str, str]:
    return {name: version for section in read_lock(lock).values() for name, version in section.items()}


def environment(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / f"workflow/envs/{name}.yaml").read_text("utf-8"))
    return content


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path: Path) -> None:
    assert path.read_text("utf-8") == generated()[path], "run `make generate`"


@pytest.mark.parametrize(
    ("lock", "extras"), [(LOCK, ("cpu", "openvino", "dev")), (GPU_LOCK, ("gpu", "openvino", "dev"))], ids=["cpu", "gpu"]
)
def test_locked_versions_lie_in_the_ranges(lock: Path, extras: tuple[str, ...]) -> None:
    locked = pins(lock)
    for requirement in map(Requirement, requirements("", "all", *extras)):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is locked at {version}"


def test_torch_is_this_very_version() -> None:
    assert "torch==2.13.0" in requirements("train")
    assert pins(LOCK)["torch"] == pins(GPU_LOCK)["torch"] == "2.13.0"


def test_the_two_onnxruntimes_never_meet() -> None:
    assert {"onnxruntime", "onnxruntime-gpu"} & pins(LOCK).keys() == {"onnxruntime"}
    assert {"onnxruntime", "onnxruntime-gpu"} & pins(GPU_LOCK).keys() == {"onnxruntime-gpu"}
    assert not any("onnxruntime" in line for line in requirements("", "all"))


def test_gpu_and_cpu_agree_on_all_they_share() -> None:
    cpu, gpu = pins(LOCK), pins(GPU_LOCK)
    assert {name for name in cpu if gpu.get(name) != cpu[name]} == {"onnxruntime"}


@pytest.mark.parametrize(("name", "lock"), [("cpu", LOCK), ("gpu", GPU_LOCK)])
def test_conda_installs_what_the_lock_says(name: str, lock: Path) -> None:
    content = environment(name)
    assert content["channels"] == ["conda-forge", "nodefaults"]
    python, pip, packages = content["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    indexes = [line for line in packages["pip"] if line.startswith("--")]
    assert dict(line.split("==") for line in packages["pip"] if line not in indexes) == read_lock(lock)["runtime"]
    assert indexes == ([f"--extra-index-url {CPU_INDEX[0]}"] if name == "cpu" else [])
    assert "snakemake" not in str(packages)


def test_nothing_replaces_an_environment() -> None:
    """Snakemake installs from a `.pin.txt` instead of the YAML beside it, without its pip packages."""
    assert {path.suffix for path in (ROOT / "workflow/envs").iterdir()} == {".yaml"}


def test_tables_of_figures_are_written_between_their_marks(tmp_path: Path) -> None:
    row = {"dataset": "d", "size": 64, "recipe": "r", "kind": "unet", "budget": 200, "cpu_seconds": 198.6, "seeds": 2}
    rows = [row | {"dice_mean": 0.5, "dice_sd": 0.01, "val_mean": 0.61}, row | {"dice_mean": 0.25, "dice_sd": None}]
    rows[1]["val_mean"] = None
    figures = {"date": "today", "commit": "abc", "machine": "m", "command": "c", "rows": rows}
    (tmp_path / "curves.json").write_text(json.dumps(figures), "utf-8")
    page = with_tables("before\n<!-- figures: curves -->\nold\n<!-- end -->\nafter\n", tmp_path)
    assert page.startswith("before\n<!-- figures: curves -->\ntoday, commit abc, m: `c`.\n\n| data | budget |")
    assert page.endswith(
        "| d, 64 | 200 | `r` | unet | 199 | 2 | 0.610 | 0.500 ± 0.010 |\n"
        "| d, 64 | 200 | `r` | unet | 199 | 2 | n/a | 0.250 |\n<!-- end -->\nafter\n"
    )
    assert with_tables(page, tmp_path) == page
