"""What a configuration needs, told before it runs: figures, everything that is missing, and a probe that is kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdseg.cli.commands import main
from sdseg.cli.estimate import estimated
from sdseg.config.run import load_config
from sdseg.sizing.gpus import GPUS
from sdseg.sizing.run_needs import needs_of, one_line
from tests.helpers.projects import MINI

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the checkout, with a cache and a home of the test's own."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "SYNAPSE_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def configuration(folder: Path, **changes: Any) -> Path:
    places = {"raw": str(folder / "raw"), "results": str(folder / "results"), "manual": str(folder / "manual")}
    path = folder / "mini.yaml"
    path.write_text(yaml.safe_dump({**MINI, **places, **changes}, allow_unicode=True), encoding="utf-8")
    return path


def subjects(found: dict[str, Any]) -> list[str]:
    return [f"{each['subject']}: {each['what']}" for each in found["missing"]]


def test_a_probe_is_made_once_and_kept(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    first = {each["recipe"]: each for each in estimated(path)["trainings"]}
    assert set(first) == {"sdseg", "unet"}
    for each in first.values():
        assert each["probe"]["seconds_per_step"] > 0
        assert not each["probe"]["kept"]
        assert each["hours_here"] >= each["steps"] * each["probe"]["seconds_per_step"] / 3600
    second = {each["recipe"]: each for each in estimated(path)["trainings"]}
    for name, each in second.items():
        assert each["probe"]["kept"]
        assert each["hours_here"] == first[name]["hours_here"]


def test_damaged_measurements_are_made_again(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    estimated(path)
    for file in (tmp_path / "cache/probes").iterdir():
        file.write_text('{"format": 1, "seconds_per_step": "x"', encoding="utf-8")
    assert not any(each["probe"]["kept"] for each in estimated(path)["trainings"])


def test_what_a_step_does_not_depend_on_needs_no_new_probe(tmp_path: Path) -> None:
    estimated(configuration(tmp_path))
    recipes = json.loads(json.dumps(MINI["recipes"]))
    for recipe in recipes.values():
        recipe["overrides"]["training"]["steps"] = 10
    longer = estimated(configuration(tmp_path, recipes=recipes))["trainings"]
    assert all(each["probe"]["kept"] and each["steps"] == 10 for each in longer)
    for recipe in recipes.values():
        recipe["overrides"]["training"]["batch"] = 4
    assert not any(each["probe"]["kept"] for each in estimated(configuration(tmp_path, recipes=recipes))["trainings"])


def test_without_a_probe_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", str(configuration(tmp_path)), "--no-probe", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["hours_here"] for each in found["trainings"]} == {None}
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "results").exists()
    assert set(found["trainings"][0]["hours_on"]) == {gpu.name for gpu in GPUS}


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", str(configuration(tmp_path)), "--no-probe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 datasets (")
    assert any(line.startswith("btcv/unet ") for line in lines)
    assert "- Time here is not known: no steps were made (--no-probe)." in lines
    assert lines[-1] == "nothing is missing"


def test_everything_missing_is_named_at_once(tmp_path: Path) -> None:
    """Raw files by access, terms, tokens, splits, weights, the model to start from, the GPU."""
    real = {"size": 32, "recipes": ["unet"]}
    codec = {key: value for key, value in MINI["codecs"]["tiny"].items() if key != "training"}
    unet = json.loads(json.dumps(MINI["recipes"]["unet"]))
    unet["overrides"]["start_from"] = {"model": str(tmp_path / "no model")}
    found = estimated(
        configuration(
            tmp_path,
            device="cuda",
            codecs={"tiny": {**codec, "weights": str(tmp_path / "no weights")}},
            recipes={"unet": unet},
            datasets={
                "cvc": {"source": "cvc", **real},
                "btcv": {"source": "btcv", "accept_terms": True, **real},
                "kseg": {"source": "kseg", "protocol": "mine", **real},
                "sts": {"source": "sts", **real},
            },
        ),
        probed=False,
    )
    shown = "\n".join(subjects(found))
    for expected in (
        "cvc: its owner's terms are not accepted",
        "cvc: no Kaggle token",
        "btcv: no Synapse token",
        "kseg: no split file",
        "and they are fetched by hand only",
        "codec tiny: no weights in",
        "no model folder",
        "fetching is not allowed",
    ):
        assert expected in shown, expected
    assert "btcv: its owner's terms" not in shown
    assert found["datasets"]["kseg"]["download"] == {"files": ["kvasir-seg.zip"], "bytes": 46227172, "access": "open"}
    assert all(each["remedy"] for each in found["missing"])


def test_what_is_here_is_not_missing(tmp_path: Path) -> None:
    archive = tmp_path / "manual/kseg/kvasir-seg.zip"
    (tmp_path / "raw/cvc/PNG").mkdir(parents=True)
    archive.parent.mkdir(parents=True)
    archive.touch()
    real = {"size": 32, "recipes": ["unet"]}
    path = configuration(tmp_path, datasets={name: {"source": name, **real} for name in ("cvc", "kseg")})
    found = estimated(path, probed=False)
    assert subjects(found) == []
    assert found["datasets"]["cvc"]["download"] is None
    assert found["datasets"]["kseg"]["download"]["files"] == []


def test_a_probe_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    recipes = json.loads(json.dumps(MINI["recipes"]))
    recipes["unet"]["overrides"]["training"]["precision"] = "fp16"
    found = estimated(configuration(tmp_path, recipes=recipes))
    told = {each["recipe"]: each["no_probe"] for each in found["trainings"]}
    assert told == {"sdseg": None, "unet": "fp16 needs a GPU"}


def test_a_wrong_configuration_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", str(configuration(tmp_path, devise="cpu"))]) == 2
    assert "unknown key 'devise'" in capsys.readouterr().err


def test_memory_decides_which_gpu_is_large_enough() -> None:
    found = estimated(ROOT / "config/paper.yaml", probed=False)
    one = found["trainings"][0]
    assert one["fits_on"] == [gpu.name for gpu in GPUS]
    assert one["hours_on"]["T4"] > one["hours_on"]["V100"] > one["hours_on"]["A100"] > one["hours_on"]["H100"]
    # 3.8e12 operations a step, 100,000 steps, an A100 at a fifth of its 312e12 per second.
    steps = 100_000 * one["flops_per_step"] / (0.2 * 312e12) / 3600
    assert steps < one["hours_on"]["A100"] < 1.3 * steps


def test_small_networks_do_not_fill_a_gpu() -> None:
    """However few the operations: starting them takes its time."""
    demo = {each["recipe"]: each for each in estimated(ROOT / "config/demo.yaml", probed=False)["trainings"]}
    demo = demo["sdseg-multistep"]
    assert demo["hours_on"]["H100"] == demo["hours_on"]["T4"] == pytest.approx(120 * 0.03 / 3600)


def test_the_line_of_a_run_loads_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom sdseg.config.run import load_config\n"
        "from sdseg.sizing.missing_inputs import missing_inputs\n"
        "from sdseg.sizing.run_needs import needs_of, one_line\n"
        f"config = load_config(Path({str(ROOT / 'config/config.yaml')!r}))\nprint(one_line(needs_of(config)))\n"
        "missing_inputs(config, {})\nprint(sorted({'torch', 'numpy', 'cv2', 'requests'} & set(sys.modules)))"
    )
    # Not in this checkout, which may hold results: of those the cases are counted.
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    line, loaded = done.stdout.splitlines()
    assert line.startswith("5 datasets (2,854 cases, 9,695 slices), 5 trainings of up to 94.2 M parameters and 5.9 GB")
    assert loaded == "[]"


def test_unknown_numbers_are_said_to_be_unknown(tmp_path: Path) -> None:
    own = {"layout": "nnunet", "modality": "ct", "windows": {"soft": [-100, 200]}}
    mine = {"source": "own", "raw": str(tmp_path), "own": own, "size": 32, "recipes": ["unet"]}
    config = load_config(configuration(tmp_path, datasets={**MINI["datasets"], "mine": mine}))
    line = one_line(needs_of(config))
    assert re.match(r"3 datasets \(at least \d+ cases, at least \d+ slices\), ", line)
    assert re.search(r"at least \d+\.\d MB of results$", line)


def test_the_gpu_that_is_named_goes_before_that_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SDSEG_GPU"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    path = configuration(tmp_path, device="cuda:1")
    assert main(["estimate", str(path), "--no-probe", "--json", "--device", "cuda:0"]) == 0
    assert json.loads(capsys.readouterr().out)["device"] == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_tiles_are_not_counted_before_they_are_there(tmp_path: Path) -> None:
    name = next(iter(MINI["datasets"]))
    path = configuration(tmp_path, datasets={name: {**MINI["datasets"][name], "tiles": {}}})
    record = estimated(path, probed=False)
    assert record["datasets"][name]["cases"] is not None
    assert record["datasets"][name]["slices"] is None
    assert record["datasets"][name]["store_bytes"] is None
    assert all(each["disk_bytes"] for each in record["trainings"])  # models and states: no latents are kept
    assert any(note.startswith(f"{name}: how many tiles its images make") for note in record["notes"])
