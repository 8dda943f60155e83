"""Where a run is started from, and how its configuration is given: another folder, a module, the command line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import StorageSettings

from sdseg.core.shipped_files import shipped
from tests.helpers.projects import MINI, Project, checkout
from tests.helpers.snakemake_runs import run_snakemake
from workflow.launch import checked_config, refuse_other_folders

ROOT = Path(__file__).resolve().parents[2]
NESTED = "datasets={kseg: {size: 48, target: null, allow_missing: true, overrides: {training: {steps: 6}}}}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return checkout(tmp_path / "sdseg é copy")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "else where"
    folder.mkdir()
    return folder


def snakemake(folder: Path, *words: str, status: int = 0) -> str:
    done = run_snakemake(folder, "--cores", "1", *words)
    assert done.returncode == status, done.stdout
    return done.stdout


def test_a_run_in_another_folder_leaves_the_checkout_alone(project: Project, elsewhere: Path) -> None:
    """Recipes, splits and registry are the checkout's; data and results lie in the working directory."""
    before = sorted(path for path in project.root.rglob("*") if "__pycache__" not in path.parts)
    config = {**MINI, "datasets": {"kseg": MINI["datasets"]["kseg"]}, "phantoms": {"seed": 1, "scale": 0.05}}
    (elsewhere / "my.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    snakefile = ["-s", str(project.root / "workflow/Snakefile"), "--configfile", "my.yaml", "--config", NESTED]
    snakemake(elsewhere, "prepare", *snakefile)
    settings = yaml.safe_load((elsewhere / "results é/kseg/dataset.yaml").read_text("utf-8"))
    assert (settings["size"], settings["target"]) == (48, None)  # jobs of a run read the same nested values
    assert np.load(elsewhere / "results é/kseg/prepared/images.npy", mmap_mode="r").shape[1:3] == (48, 48)
    assert (elsewhere / "raw data/kseg/phantom.json").is_file()
    assert sorted(path for path in project.root.rglob("*") if "__pycache__" not in path.parts) == before
    planned = snakemake(elsewhere, "--dry-run", *snakefile)
    assert "kseg: train sdseg" in planned
    assert "kseg: prepare" not in planned


def test_a_directory_may_be_named(project: Project, elsewhere: Path) -> None:
    """`--directory`: the configuration file is seen from where the command was given, all else from there."""
    real = {"kseg": {"source": "kseg", "recipes": ["unet"], "size": 32}, "cvc": {"source": "cvc", "recipes": ["unet"]}}
    project.configure(datasets=real)
    (elsewhere / "resources/splits/cvc").mkdir(parents=True)
    (elsewhere / "resources/splits/cvc/clean.csv").write_text("id,group,split\n", encoding="utf-8")
    words = ["--dry-run", "--directory", str(elsewhere), "--configfile", "mini.yaml", "--printshellcmds"]
    planned = snakemake(project.root, *words)
    assert str(project.root / "resources/splits/kseg/clean.csv") in planned
    assert str(project.root / "resources/datasets.yaml") in planned
    assert "--split resources/splits/cvc/clean.csv" in planned  # a file of the user's goes first


def test_the_configuration_that_ships_is_taken_aloud(project: Project, elsewhere: Path) -> None:
    words = ["--dry-run", "-s", str(project.root / "workflow/Snakefile")]
    planned = snakemake(elsewhere, *words)
    assert f"no config/config.yaml in the working directory: {project.root / 'config/config.yaml'} is taken" in planned
    (elsewhere / "config").mkdir()
    (elsewhere / "config/config.yaml").write_bytes("raw: café\n".encode("latin-1"))
    refused = snakemake(elsewhere, *words, status=1)
    assert "the file is not UTF-8 text (byte 0xe9, line 1)" in refused
    assert "Traceback" not in refused


def test_what_snakemake_lost_in_a_file_is_an_error(project: Project) -> None:
    (project.root / "mini.yaml").write_text("results: a\nraw: b\nresults: c\n", encoding="utf-8")
    refused = snakemake(project.root, "--dry-run", "--configfile", "mini.yaml", status=1)
    assert "'results' in line 1 and again in line 3" in refused
    assert "Traceback" not in refused


MODULE = """
configfile: {config!r}
module sdseg:
    snakefile: {snakefile!r}
    config: config
    {more}
use rule * from sdseg as sdseg_*
rule mine:
    default_target: True
    input: rules.sdseg_all.input
"""


def test_as_a_module(project: Project, elsewhere: Path) -> None:
    def written(more: str = "") -> None:
        paths = {"config": str(project.root / "mini.yaml"), "snakefile": str(project.root / "workflow/Snakefile")}
        (elsewhere / "Snakefile").write_text(MODULE.format(**paths, more=more), encoding="utf-8")

    written()
    planned = snakemake(elsewhere, "--dry-run")
    assert "btcv: evaluate unet" in planned
    assert "page of all results" in planned
    for more in ('prefix: "sub"', 'replace_prefix: {"raw data": "sub"}'):
        written(more)
        refused = snakemake(elsewhere, "--dry-run", status=1)
        assert "a module's 'prefix' and 'replace_prefix' cannot be used here" in refused
        assert "set 'results' and 'raw' in the 'config' of the module" in refused


def test_storage_elsewhere_is_refused() -> None:
    modifier = SimpleNamespace(path_modifier=None)
    refuse_other_folders(SimpleNamespace(storage_settings=StorageSettings(), modifier=modifier))
    storage = StorageSettings(default_storage_provider="s3")
    with pytest.raises(WorkflowError, match="--default-storage-provider cannot be used"):
        refuse_other_folders(SimpleNamespace(storage_settings=storage, modifier=modifier))


@pytest.mark.parametrize(
    ("config", "given", "expected"),
    [
        ({"a": "null", "b": "null"}, {"a": "null"}, {"a": None, "b": "null"}),
        ({"d": {"k": {"x": "~", "y": "~"}}}, {"d": {"k": {"x": "~"}}}, {"d": {"k": {"x": None, "y": "~"}}}),
        ({"a": ["1", "null"]}, {"a": ["1", "null"]}, {"a": ["1", None]}),
        ({"a": "file"}, {"a": "null"}, {"a": "file"}),  # a module with a configuration of its own
        ({"a": {"b": 1}}, {}, {"a": {"b": 1}}),
    ],
)
def test_words_for_nothing_on_the_command_line(config: Any, given: Any, expected: Any) -> None:
    assert checked_config(config, [], given) == expected


def test_what_ships_is_found_after_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = "config/recipes/unet.yaml"
    assert shipped(recipe) == ROOT / recipe
    assert shipped("resources/splits/kseg/clean.csv") == ROOT / "resources/splits/kseg/clean.csv"
    for stays in ("config/../pyproject.toml", "pyproject.toml", "config/none.yaml", "resources/raw", "/config"):
        assert shipped(stays) == Path(stays)
    os.makedirs("config/recipes")
    Path(recipe).write_text("mine", encoding="utf-8")
    assert shipped(recipe) == Path(recipe)


def test_the_catalog_and_the_readme_know_the_configurations() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text("utf-8"))["usage"]
    assert usage["software-stack-deployment"]["conda"] is True
    assert (ROOT / "workflow/envs/cpu.yaml").is_file()
    assert usage["report"] is True
    readme = (ROOT / "config/README.md").read_text("utf-8")
    assert {path.name for path in (ROOT / "config").glob("*.yaml")} == set(
        re.findall(r"^\| `([\w-]+\.yaml)` ", readme, re.M)
    )
