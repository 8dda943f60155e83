"""The workflow on mini phantoms from end to end: what it makes, what it makes again, and what it refuses."""

from __future__ import annotations

import copy
import csv
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.projects import LAYOUT, MINI, Project, checkout
from tests.helpers.raw_files import write_kseg
from tests.helpers.snakemake_runs import run_snakemake

ROOT = Path(__file__).resolve().parents[2]
EXPORTS = {
    f"{each}: {job} {recipe}"
    for each, recipe in (("kseg", "sdseg"), ("btcv", "unet"))
    for job in ("export settings of", "export")
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after one complete run on an RGB dataset with the default method and a CT dataset with the U-Net."""
    project = checkout(tmp_path_factory.mktemp("run") / "sdseg é copy", to_edit=True)
    project.snakemake()
    return project


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    return checkout(tmp_path / "sdseg é copy")


# Tests of the finished run share one worker, so that it is made once.
group = pytest.mark.xdist_group("workflow")


@group
@pytest.mark.parametrize(("dataset", "recipe"), [("kseg", "sdseg"), ("btcv", "unet")])
def test_a_run_makes_what_others_rely_on(finished: Project, dataset: str, recipe: str) -> None:
    folder = f"{dataset}/{recipe}"
    summary = finished.read(f"{folder}/evaluation/summary.json")
    with (finished.results / folder / "evaluation/cases.csv").open(encoding="utf-8", newline="") as stream:
        cases = list(csv.DictReader(stream))
    parity = finished.read(f"{folder}/export/parity.json")
    assert len(cases) == summary["n_cases"] > 0
    assert {"case", "dice", "iou"} <= set(cases[0])
    mean = sum(float(case["dice"]) for case in cases) / len(cases)
    assert summary["dice"]["mean"] == pytest.approx(mean, abs=1e-3)
    assert 0 <= summary["iou"]["mean"] <= summary["dice"]["mean"] <= 1
    assert summary["origin"] == "phantom"
    assert summary["protocol"] == "clean"
    assert summary["backend"]
    assert parity["max_abs_difference"] < 0.01
    assert {"dice_difference", "n_cases"} <= set(parity)
    assert finished.read(f"{folder}/export/io.json")["recipe"] == recipe
    assert (finished.results / folder / "export/model.onnx").stat().st_size > 1000


@group
def test_a_run_ends_with_a_page_and_a_table(finished: Project) -> None:
    page = (finished.results / "report.html").read_text("utf-8")
    assert "kseg" in page
    assert "btcv" in page
    words = ["-m", "sdseg", "report", "--table", "--results", "results é"]
    done = subprocess.run(
        [sys.executable, *words], cwd=finished.root, capture_output=True, encoding="utf-8", check=True
    )
    assert "unet" in done.stdout
    assert "report.html" in done.stdout


@group
def test_snakemakes_own_report_has_labels_and_captions(finished: Project) -> None:
    finished.snakemake("--report", "own report.html")
    text = (finished.root / "own report.html").read_text("utf-8")
    for expected in (
        "Scores of every test case of kseg by sdseg",
        "Scores of every test case of btcv by unet",
        "One line per dataset and recipe",
        '"shows": "all results"',
    ):
        assert expected in text, expected


@group
def test_a_direct_recipe_needs_no_codec(finished: Project) -> None:
    assert finished.read("btcv/unet/model/config.json")["codec"] is None
    assert finished.read("kseg/sdseg/model/config.json")["codec"] is not None


@group
def test_a_second_run_has_nothing_to_do(finished: Project) -> None:
    assert finished.planned() == set()


@contextmanager
def edited(project: Project, **changes: Any) -> Iterator[None]:
    project.configure(**changes)
    try:
        yield
    finally:
        project.configure()


def with_dataset(name: str, **changes: Any) -> dict[str, Any]:
    return {**MINI["datasets"], name: {**MINI["datasets"][name], **changes}}


@group
def test_allowing_downloads_changes_nothing_that_is_there(finished: Project) -> None:
    accepted = {name: {**values, "accept_terms": True} for name, values in MINI["datasets"].items()}
    with edited(finished, fetch=True, datasets=accepted):
        assert finished.planned() == set()


@group
def test_settings_that_change_no_result_run_nothing(finished: Project) -> None:
    recipes = copy.deepcopy(MINI["recipes"])
    recipes["sdseg"]["overrides"] |= {"inference": {"batch": 3}}
    recipes["unet"]["overrides"]["training"] |= {"workers": 1, "log_every": 7, "checkpoint_every": 3, "loss_limit": 1e9}
    other = {"on_edit": "restart", "device": "cuda", "processes": 2, "threads": 2, "recipes": recipes}
    other |= {
        "preload": True,
        "fetch": True,
        "manual": "by hand",
        "downloads": "elsewhere",
        "registry": "resources/datasets.yaml",
    }
    with edited(finished, **other, raw="another folder", engines={"timing_cache": "cache"}):
        assert finished.planned() == set()


@group
def test_phantoms_that_moved_run_nothing_and_are_made_again_where_needed(finished: Project) -> None:
    links = {path: (path.readlink(), path.lstat().st_mtime_ns) for path in finished.results.glob("*/phantoms.*")}
    assert len(links) == 4
    (finished.root / "raw data").rename(finished.root / "moved")
    try:
        with edited(finished, raw="moved"):
            assert finished.planned() == set()
            assert {"kseg: phantoms", "kseg: prepare"} <= finished.planned("--forcerun", "slice_store")
    finally:
        (finished.root / "moved").rename(finished.root / "raw data")
        for link, (target, changed) in links.items():  # planning took them away; other tests go on from here
            link.unlink(missing_ok=True)
            link.symlink_to(target)
            os.utime(link, ns=(changed, changed), follow_symlinks=False)


CONDA = """#!/bin/sh
case "$*" in
*info*) echo '{"conda_prefix": "/nowhere", "conda_version": "25.1.0", "platform": "linux-64", "channels": []}' ;;
*config*) echo '{"get": {"channel_priority": "strict"}}' ;;
*) echo "conda 25.1.0" ;;
esac
"""


def write_conda(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a conda on the path that answers what planning asks."""
    (folder / "conda").write_text(CONDA, encoding="utf-8")
    (folder / "conda").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@group
def test_conda_and_the_pins_of_its_environments_run_nothing(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning asks conda for its version and no more; without our choice of triggers every job would run."""
    write_conda(tmp_path, monkeypatch)
    assert finished.planned("--use-conda") == set()
    assert finished.planned("--use-conda", "--rerun-triggers", "software-env") != set()
    for profile in (ROOT / "workflow/profiles").iterdir():
        triggers = yaml.safe_load((profile / "profile.yaml").read_text("utf-8"))["rerun-triggers"]
        assert triggers == ["mtime", "params", "input", "code"]


@group
def test_editing_one_dataset_runs_that_dataset_and_the_page(finished: Project) -> None:
    with edited(finished, datasets=with_dataset("btcv", window="transunet")):
        assert finished.planned() == {
            "btcv: settings",
            "btcv: prepare",
            "btcv: train unet",
            "btcv: evaluate unet",
            "btcv: export unet",
            "page of all results",
        }


@group
def test_editing_the_training_of_one_dataset_prepares_nothing(finished: Project) -> None:
    with edited(finished, datasets=with_dataset("kseg", overrides={"training": {"steps": 5}})):
        assert finished.planned() == {
            "kseg: settings of sdseg",
            "kseg: train sdseg",
            "kseg: evaluate sdseg",
            "kseg: export sdseg",
            "page of all results",
        }


@group
def test_editing_a_tolerance_exports_again(finished: Project) -> None:
    with edited(finished, export={**MINI["export"], "max_abs_difference": 0.02}):
        assert finished.planned() == {*EXPORTS, "page of all results"}


@group
def test_editing_what_changes_no_graph_exports_nothing(finished: Project) -> None:
    with edited(finished, engines={"level": 5}, studies={"limit": 1}):
        assert finished.planned() == set()


@group
def test_editing_the_codec_trains_again_what_is_built_on_it(finished: Project) -> None:
    codec = {**MINI["codecs"]["tiny"], "latent_scale": 0.5}
    with edited(finished, codecs={"tiny": codec}):
        jobs = finished.planned()
    assert {"codec tiny: settings", "codec tiny", "kseg: train sdseg"} <= jobs
    assert not any("btcv" in job or "prepare" in job for job in jobs)


@group
def test_adding_a_dataset_leaves_the_others(finished: Project) -> None:
    with edited(finished, datasets={**MINI["datasets"], "again": {**MINI["datasets"]["kseg"]}}):
        jobs = finished.planned()
    assert {job.partition(":")[0] for job in jobs} == {"again", "page of all results"}


def planned_after(project: Project, module: str, edit: Callable[[str], str]) -> set[str]:
    """The jobs that are planned while a file of the package is edited; it is as new afterwards in any case."""
    path = project.root / "sdseg" / module
    before = path.read_text("utf-8")
    path.write_text(edit(before), encoding="utf-8")
    try:
        return project.planned()
    finally:
        path.write_text(before, encoding="utf-8")


@group
def test_a_comment_or_a_docstring_runs_nothing(finished: Project) -> None:
    def edit(text: str) -> str:
        return text.replace('"""', '"""Other words: ', 1) + "# another word\n"

    assert planned_after(finished, "data/read_case.py", edit) == set()


@group
def test_a_changed_line_runs_the_stages_that_run_it(finished: Project) -> None:
    jobs = planned_after(finished, "data/read_case.py", lambda text: text + "ANOTHER = 1\n")
    assert {"kseg: prepare", "btcv: prepare"} <= jobs
    assert "codec tiny" not in jobs
    loss = "functional.l1_loss"
    jobs = planned_after(finished, "models/diffusion.py", lambda text: text.replace(loss, "functional.smooth_l1_loss"))
    assert {"kseg: train sdseg", "btcv: train unet", "kseg: export sdseg"} <= jobs
    assert not any("prepare" in job or "phantoms" in job or "raw" in job for job in jobs)
    assert planned_after(finished, "report/charts.py", lambda text: text + "ANOTHER = 1\n") == {"page of all results"}


@group
def test_real_results_are_not_overwritten_with_phantoms(finished: Project) -> None:
    path = finished.results / "kseg/prepared/manifest.json"
    before = path.read_text("utf-8")
    path.write_text(before.replace('"origin": "phantom"', '"origin": "real"'), encoding="utf-8")
    try:
        shown = finished.snakemake("--dry-run", check=False)
    finally:
        path.write_text(before, encoding="utf-8")
    assert "these results come from real data, and those of phantoms would overwrite them" in shown
    assert "results é/kseg" in shown
    assert "Traceback" not in shown


# Planned runs


def test_named_targets(fresh: Project) -> None:
    raw = {f"{name}: {job}" for name in ("kseg", "btcv") for job in ("phantoms", "raw files", "settings", "prepare")}
    codec = {"codec tiny: settings", "codec tiny"}
    trained = {*codec, "kseg: settings of sdseg", "kseg: train sdseg", "btcv: settings of unet", "btcv: train unet"}
    scored = {"kseg: evaluate sdseg", "btcv: evaluate unet"}
    exported = EXPORTS
    assert fresh.planned("prepare") == raw
    assert fresh.planned("train") == raw | trained
    assert fresh.planned("evaluate") == raw | trained | scored
    assert fresh.planned("export") == raw | trained | exported
    everything = raw | trained | scored | exported
    assert fresh.planned("all") == everything | {"page of all results"}
    assert fresh.planned("report") == everything | {"page of all results"}
    assert fresh.planned("btcv") == {job for job in everything if job.startswith("btcv")}
    assert fresh.planned("kseg") == {job for job in everything if job.startswith("kseg")} | codec


def test_the_ablation_is_made_by_its_own_target_alone(fresh: Project) -> None:
    rows = {"datasets": ["kseg"], "recipes": {"less": MINI["recipes"]["sdseg"]}}
    fresh.configure(ablation=rows)
    planned = fresh.planned("ablation")
    assert {"kseg: settings of less", "kseg: train less", "kseg: evaluate less"} <= planned
    assert not {job for job in planned if job.startswith("btcv") or job.endswith("sdseg")}
    assert not {job for job in fresh.planned("all") if job.endswith("less")}
    fresh.configure()
    assert "the configuration has no section 'ablation'" in fresh.snakemake("ablation", "--dry-run", check=False)


def test_a_recipe_with_seeds_is_planned_once_per_seed(fresh: Project) -> None:
    sdseg = {**MINI["recipes"]["sdseg"], "seeds": [0, 7]}
    later = {**sdseg, "overrides": {**sdseg["overrides"], "start_from": {"recipe": "sdseg"}}}
    datasets = {"kseg": {**MINI["datasets"]["kseg"], "recipes": ["sdseg", "later"]}}
    fresh.configure(recipes={"sdseg": sdseg, "later": later}, datasets=datasets)
    planned = fresh.planned("all")
    for name in ("sdseg-seed0", "sdseg-seed7", "later-seed0", "later-seed7"):
        assert {f"kseg: {job} {name}" for job in ("settings of", "train", "evaluate", "export")} <= planned
    assert not {job for job in planned if re.search(r"(sdseg|later)$", job)}
    fresh.snakemake("results é/kseg/later-seed7/recipe.yaml")
    written = yaml.safe_load((fresh.results / "kseg" / "later-seed7" / "recipe.yaml").read_text("utf-8"))
    assert (written["training"]["seed"], written["start_from"]["recipe"]) == (7, "sdseg-seed7")


def test_default_configuration_is_planned_without_data(fresh: Project) -> None:
    shown = fresh.snakemake("--dry-run", config="config/config.yaml")
    assert len(re.findall(r"^Job \d+: \w+: train sdseg", shown, re.MULTILINE)) == 5
    assert not re.search(r"^Job \d+: \w+: phantoms", shown, re.MULTILINE)


def test_default_configuration_is_read_when_none_is_given(fresh: Project) -> None:
    done = run_snakemake(fresh.root, "--dry-run", "--cores", "8", "--config", "raw=/data é/medical")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^Job \d+: sts: train sdseg", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("config", ["config.yaml", "demo.yaml", "samples.yaml"])
def test_lint(fresh: Project, config: str) -> None:
    assert "good condition" in fresh.snakemake("--lint", config=f"config/{config}")


def test_gpu_jobs_ask_for_the_gpu_and_its_environment(fresh: Project) -> None:
    fresh.configure(device="cuda")
    shown = fresh.snakemake("--dry-run", "train", "--printshellcmds", "--verbose")
    assert "--device cuda" in shown
    assert "--device cpu" not in shown


# What is refused

WRONG = [
    ({"devise": "cpu"}, "unknown key 'devise': did you mean 'device'?"),
    ({"datasets": with_dataset("kseg", sise=64)}, "unknown key 'datasets.kseg.sise': did you mean 'size'?"),
    ({"datasets": with_dataset("kseg", recipes=["sdsegg"])}, "unknown recipe 'sdsegg', did you mean 'sdseg'?"),
    (
        {"datasets": with_dataset("kseg", overrides={"training": {"stepps": 1}})},
        "unknown key 'training.stepps': did you mean 'steps'?",
    ),
    ({"recipes": {**MINI["recipes"], "sdseg": {"file": "config/recipes/sdsec.yaml"}}}, "the file is missing"),
    ({"datasets": with_dataset("kseg", source="ksegg")}, "unknown dataset source 'ksegg', did you mean 'kseg'?"),
    ({"datasets": with_dataset("btcv", target="organs")}, "btcv has no target 'organs', did you mean 'organs8'?"),
    ({"datasets": with_dataset("btcv", window="abdomen")}, "btcv has no window 'abdomen', known here: corrected"),
    ({"datasets": {**MINI["datasets"], "codecs": {"source": "kseg"}}}, "the results hold a folder 'codecs' already"),
    ({"datasets": with_dataset("kseg", raw="mine")}, "'raw' names a folder of your own"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_wrong_configuration_is_one_message(fresh: Project, changes: dict[str, Any], message: str) -> None:
    fresh.configure(**changes)
    shown = fresh.snakemake("--dry-run", check=False)
    assert message in shown
    assert "remedy: " in shown
    assert "Traceback" not in shown
    assert not fresh.results.exists()


def test_phantoms_are_not_written_over_files_of_the_users(fresh: Project) -> None:
    photo = fresh.root / "raw data/kseg/holiday.jpg"
    photo.parent.mkdir(parents=True)
    photo.touch()
    shown = fresh.snakemake("--dry-run", check=False)
    assert "phantoms would replace files that are there already" in shown
    assert "raw data/kseg" in shown
    assert "Traceback" not in shown
    assert photo.exists()


def test_what_is_missing_is_told_before_an_environment_is_made(
    fresh: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_conda(tmp_path, monkeypatch)
    codec = {**LAYOUT, "weights": "no such folder"}
    fresh.configure(datasets={"kseg": {"source": "kseg", "size": 32}}, codecs={"tiny": codec}, device="cuda")
    shown = fresh.snakemake("--use-conda", "--dry-run")
    assert "an environment is made first (3.3 GB to fetch), and then jobs would stop at what is missing" in shown
    assert "- kseg: no raw files in" in shown
    assert "- codec tiny: no weights in no such folder" in shown


@group
def test_jobs_of_a_preloaded_python_make_the_same(finished: Project, fresh: Project) -> None:
    """Where they cannot be forks, the run says so and goes on."""
    fresh.configure(preload=True, raw=str(finished.root / "raw data"))
    weights = "codecs/tiny/codec/codec.safetensors"
    shown = fresh.snakemake(f"results é/{weights}")
    said = "jobs are forks of the Python" if sys.platform == "linux" else "every job loads its libraries itself"
    assert f"preload: {'libraries are loaded once, and ' if sys.platform == 'linux' else ''}{said}" in shown
    assert (fresh.results / weights).read_bytes() == (finished.results / weights).read_bytes()


def test_a_job_that_fails_says_why(fresh: Project) -> None:
    fresh.configure(datasets={"kseg": {"source": "kseg", "size": 32, "recipes": ["unet"]}})
    shown = fresh.snakemake("kseg", check=False)
    assert "sdseg download: error: " in shown
    assert "remedy: " in shown
    assert "Traceback" not in shown
    assert not (fresh.results / "kseg/raw.json").exists()
    assert shown.count("sdseg download: error: ") == 1
    # Last, after everything that Snakemake says of the job itself.
    assert shown.index("Exiting because a job execution failed") < shown.index("sdseg download: error: ")


def test_a_dataset_that_cannot_be_had_leaves_the_others(fresh: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """One lies in the manual folder as an archive, of one the terms are not accepted, and for one no token is here."""
    monkeypatch.setenv("HOME", str(fresh.root / "home"))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "SYNAPSE_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    manual = fresh.root / "by hand é/kseg"
    manual.mkdir(parents=True)
    shutil.make_archive(str(manual / "kvasir-seg"), "zip", write_kseg(fresh.root / "made"))
    registry = yaml.safe_load((fresh.root / "resources/datasets.yaml").read_text("utf-8"))
    registry["kseg"]["files"] = [{"name": "kvasir-seg.zip", "url": "http://127.0.0.1:9/kvasir-seg.zip"}]
    (fresh.root / "registry.yaml").write_text(yaml.safe_dump(registry), encoding="utf-8")
    real = {"size": 32, "recipes": ["unet"]}
    fresh.configure(
        fetch=True,
        manual="by hand é",
        registry="registry.yaml",
        datasets={
            "btcv": {"source": "btcv", **real},
            "cvc": {"source": "cvc", "accept_terms": True, **real},
            "kseg": {"source": "kseg", **real},
        },
    )
    shown = fresh.snakemake("download", "--keep-going", check=False)
    assert "the raw folder of BTCV abdomen is missing" in shown
    assert "its owner's terms are not accepted" in shown
    assert "RawData.zip: md5:e8e3fc9604eadc34c47067e2332f8ea1" in shown
    assert "no Kaggle token is here, neither in KAGGLE_API_TOKEN" in shown
    assert "Traceback" not in shown
    record = fresh.read("kseg/raw.json")
    assert record["archives"][0]["came_from"] == "by hand"
    assert (fresh.root / "raw data/kseg/Kvasir-SEG/images").is_dir()
    assert not (fresh.results / "btcv/raw.json").exists()
    assert not (fresh.results / "cvc/raw.json").exists()


def test_only_real_datasets_are_looked_for_in_archives(fresh: Project) -> None:
    real = {"size": 32, "recipes": ["unet"]}
    fresh.configure(
        fetch=True,
        datasets={
            "btcv": {"source": "btcv", "accept_terms": True, **real},
            "cvc": {"source": "cvc", **real},
            "kseg": {"source": "kseg", "origin": "phantom", **real},
            "sts": {"source": "sts", "origin": "sample", **real},
        },
    )
    shown = fresh.snakemake("download", "--dry-run", "--printshellcmds")
    found = dict(re.findall(r"sdseg download --source (\w+) .*?raw\.json'?(.*?) >> ", shown))
    assert found["btcv"].split("downloads resources/downloads")[1].split() == ["--fetch", "--accept-terms"]
    assert found["cvc"].split("downloads resources/downloads")[1].split() == ["--fetch"]
    assert found["kseg"].split() == found["sts"].split() == []


# The commands around it


def test_makefile_plans_the_demo_and_the_tests() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "demo", "test", "VENV=somewhere"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    assert "-m venv" in shown
    assert "config/demo.yaml" in shown
    assert "sdseg report --table" in shown
    assert "-m pytest" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["PYTHON=no-such-python", "VENV=no-such-folder"], "Python 3.11 or newer is needed"),
        (["VENV=docs"], "is no virtual"),
    ],
)
def test_makefile_refuses_what_it_cannot_use(words: list[str], message: str) -> None:
    done = subprocess.run(["make", "venv", *words], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode != 0
    assert message in done.stderr


def test_ci_runs_every_check() -> None:
    path = ROOT / ".ci/run"
    assert os.access(path, os.X_OK)
    text = path.read_text("utf-8")
    for word in ("make test", "ruff", "format --check", "mypy", "--strict", "--lint", "snakefmt"):
        assert word in text
    subprocess.run(["bash", "-n", path], check=True)


def test_types_are_checked_wherever_python_is() -> None:
    """`mypy --strict` without folders, which would take the place of the list in pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        checked = tomllib.load(stream)["tool"]["mypy"]["files"]
    (line,) = [line for line in (ROOT / ".ci/run").read_text("utf-8").splitlines() if '"$bin/mypy"' in line]
    assert line.split("#")[0].split()[2:] == ['"$bin/mypy"', "--strict"]
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    without = {"tests", "setup.py"}  # the last: what it derives from has no types
    assert {name.split("/")[0] for name in tracked.stdout.splitlines()} - set(checked) == without
