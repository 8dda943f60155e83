"""The profile for SLURM, the page about it, and the script that tries it, as far as no SLURM is needed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from sdseg.datasets.check_configuration import configure

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "workflow/profiles/slurm/profile.yaml"
RULES = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "workflow/rules").glob("*.smk")))


def rule_names() -> set[str]:
    return set(re.findall(r"^ *rule (\w+):", RULES, re.MULTILINE))


def profile(*, uncommented: bool = False) -> dict[str, Any]:
    """The profile's values, with everything that is offered in a comment where that is asked for."""
    text = PROFILE.read_text("utf-8")
    if uncommented:
        text = re.sub(r"^( *)# (?=[ \w-]+:( |$))", r"\1", text, flags=re.MULTILINE)
        text = re.sub(r"^snakemake .*\n", "", text, flags=re.MULTILINE)
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def test_the_profile_is_as_it_was_tried() -> None:
    values = profile()
    assert values["executor"] == "slurm"
    assert values["retries"] == 1
    assert values["rerun-triggers"] == ["mtime", "params", "input", "code"]
    assert values["latency-wait"] >= 30
    assert "use-conda" not in values, "with it even a dry run fails where there is no conda"
    assert values["default-resources"] == {"nodes": 1, "mem": "8GB", "runtime": "1h"}


def test_what_the_profile_offers_in_comments_fits_in() -> None:
    values = profile(uncommented=True)
    assert values["slurm-status-command"] == "squeue"
    assert {"slurm_account", "slurm_partition", "nodes", "mem", "runtime"} == set(values["default-resources"])
    assert set(values["set-resources"]) <= rule_names()
    assert values["set-resources"]["model"]["slurm_partition"] == "'gpu'"  # quoted for Snakemake, which evaluates it


def test_every_job_that_is_sent_says_what_it_needs() -> None:
    """Rules with a command of their own: local ones, or such that ask for memory and time."""
    blocks = re.split(r"(?=^ *rule(?: \w+)?:$)", RULES, flags=re.MULTILINE)
    sent = [block for block in blocks if "shell:" in block and "localrule: True" not in block]
    assert len(sent) >= 10
    for block in sent:
        name = re.search(r"rule (\w+):", block)
        assert name is not None
        assert re.search(r"^ +mem=", block, re.MULTILINE), name[1]
        assert re.search(r"^ +runtime=", block, re.MULTILINE), name[1]


def test_downloads_stay_on_the_login_node() -> None:
    assert re.search(r"rule raw_record:(?:(?!\nrule ).)*\n +localrule: True", RULES, re.DOTALL)


def test_the_page_names_rules_that_exist() -> None:
    text = (ROOT / "docs/cluster.md").read_text("utf-8")
    listed = re.search(r"The rules are (.*?)\.\n", text, re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"`(\w+)`", listed[1])) == rule_names() - {
        "raw_record",  # local
        *("studies", "ablation", "engines", "web"),  # targets
    }
    assert "docs/cluster.md" in (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slurm_benchmark", ROOT / "benchmarks/slurm.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_tries_a_configuration_that_is_one(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run = configure(script.CONFIG, where="benchmarks/slurm.py")
    assert tuple(script.CANCELLED.split("/")) in run.pairs
    settings = script._settings(Path("/somewhere"), Path("/somewhere/munge.socket"))
    for expected in ("SelectType=select/cons_tres", "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none"):
        assert expected in settings
    assert "/etc" not in settings, "nothing outside its folder is used"


def test_the_script_says_what_is_not_installed(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["slurm.py"])
    monkeypatch.setattr(script, "_program", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert "not installed: munged, slurmctld, slurmd, sbatch, scancel, srun" in capsys.readouterr().err
