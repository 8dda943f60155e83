"""docs/your-own-data.md, run as it is written: its files are saved, its commands executed, in their order."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdseg.config.run import load_config
from sdseg.datasets.split_files import read_split
from tests.helpers.loaded_python import python
from tests.helpers.snakemake_runs import run_snakemake

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "your-own-data.md"
SAVED, ADDED = "# ", "# add to "


def blocks() -> Iterator[tuple[str, str]]:
    """Language and text of every fenced block."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def run(commands: str, folder: Path) -> str:
    """Run a shell block as a reader would, with this project's Python first on the path."""
    scripts = folder / "bin"  # what installing the project writes
    scripts.mkdir(exist_ok=True)
    for name in ("sdseg", "snakemake"):
        (scripts / name).write_text(f'#!/bin/sh\nexec {python()} -m {name} "$@"\n', encoding="utf-8")
        (scripts / name).chmod(0o755)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(scripts), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the project after the walk, and what the last command printed."""
    folder = tmp_path_factory.mktemp("walk") / "sdseg é copy"
    for part in ("sdseg", "workflow", "config", "resources"):
        without = shutil.ignore_patterns("*.pyc.*", "*.json.*", "raw", "weights")
        shutil.copytree(ROOT / part, folder / part, ignore=without)
    shown = ""
    for language, text in blocks():
        first, _, rest = text.partition("\n")
        if language == "yaml" and first.startswith(ADDED):
            with (folder / first.removeprefix(ADDED)).open("a", encoding="utf-8") as stream:
                stream.write("\n" + rest)
        elif language == "yaml":
            (folder / first.removeprefix(SAVED)).write_text(rest, encoding="utf-8")
        else:
            shown = run(text, folder)
    return folder, shown


group = pytest.mark.xdist_group("own data")


@group
def test_the_walk_ends_with_a_scored_and_exported_model(walked: tuple[Path, str]) -> None:
    folder, shown = walked
    run_folder = folder / "results-mine" / "heads" / "sdseg"
    summary = json.loads((run_folder / "evaluation" / "summary.json").read_text("utf-8"))
    assert (summary["dataset"], summary["origin"]) == ("heads", "sample")
    assert json.loads((run_folder / "export" / "parity.json").read_text("utf-8"))["passed"]
    assert "heads" in shown
    image = json.loads((run_folder / "export" / "io.json").read_text("utf-8"))["image"]
    assert (image["channel_names"], image["modality"]) == (["T1", "T2"], "mr")
    assert len([*(folder / "masks" / "heads").glob("head_*.nii.gz")]) == 6


@group
@pytest.mark.parametrize(
    ("dataset", "modality", "channels", "augmentation"),
    [("polyps", "rgb", 3, "flips"), ("bellies", "ct", 1, "flips"), ("heads", "mr", 2, "none")],
)
def test_every_kind_of_data_trains_the_default_recipe(
    walked: tuple[Path, str], dataset: str, modality: str, channels: int, augmentation: str
) -> None:
    folder, _ = walked
    model = json.loads((folder / "results-mine" / dataset / "sdseg" / "model" / "config.json").read_text("utf-8"))
    assert (model["image"]["modality"], model["image"]["channels"]) == (modality, channels)
    assert model["recipe"]["network"]["kind"] == "latent-diffusion"
    assert model["recipe"]["training"]["augmentation"] == augmentation  # of the heads alone another one


@group
def test_what_configure_wrote_is_what_the_page_describes_by_hand(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    written, by_hand = (
        load_config(folder / "config" / f"{name}.yaml").datasets["polyps"] for name in ("polyps", "mine")
    )
    assert written.own is not None
    assert by_hand.own is not None
    named = {"title", "labels"}
    assert written.own.model_dump(exclude=named) == by_hand.own.model_dump(exclude=named)
    assert written.size == by_hand.size


@group
def test_what_was_prepared_is_what_the_page_says(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    manifests = {
        name: json.loads((folder / "results-mine" / name / "prepared" / "manifest.json").read_text("utf-8"))
        for name in ("polyps", "frames", "bellies")
    }
    assert {manifest["source"] for manifest in manifests.values()} == {"own"}
    assert [one["name"] for one in manifests["bellies"]["structures"]] == ["liver", "kidneys"]
    assert manifests["bellies"]["image"]["window"] == [-175, 250]
    assert manifests["polyps"]["labels"] == {"1": "polyp"}
    assert sum(manifests["bellies"]["n_cases"].values()) == 6


@group
def test_splits_are_those_the_page_speaks_of(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    committed = folder / "resources" / "splits" / "polyps"
    assert read_split(committed / "mine.csv") == read_split(folder / "results-mine" / "polyps" / "split.csv")
    assert read_split(committed / "mine.csv") != read_split(committed / "seed-1.csv")
    with (folder / "my-data" / "frames" / "metadata.csv").open(encoding="utf-8") as stream:
        sequence = {line["frame_id"]: line["sequence_id"] for line in csv.DictReader(stream)}
    rows = read_split(folder / "results-mine" / "frames" / "split.csv")
    assert {row.id: row.group for row in rows} == sequence
    assert len({(row.group, row.split) for row in rows}) == len(set(sequence.values()))


@group
def test_a_new_case_stops_the_run_and_names_itself(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    images = folder / "my-data" / "polyps" / "Kvasir-SEG"
    split = folder / "results-mine" / "polyps" / "split.csv"
    before = split.read_bytes()
    for kind in ("images", "masks"):
        source = sorted((images / kind).iterdir())[0]
        shutil.copy(source, images / kind / "new é.jpg")
    words = ["polyps", "--cores", "1", "--configfile", "config/mine.yaml", "--forcerun", "raw_record"]
    assert f"snakemake {words[0]} --cores 2 {' '.join(words[3:])}" in PAGE.read_text("utf-8")
    done = run_snakemake(folder, *words)
    assert done.returncode != 0
    assert "case without a line: new é" in done.stdout
    assert split.read_bytes() == before


@group
def test_the_configuration_of_the_page_is_valid(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    assert set(load_config(folder / "config" / "mine.yaml").datasets) == {"polyps", "frames", "bellies", "heads"}


def anchors_of(page: Path) -> set[str]:
    headings = (line for line in page.read_text("utf-8").splitlines() if line.startswith("#"))
    return {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in headings}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        page = PAGE.parent / name if name else PAGE
        assert page.is_file(), target
        assert not anchor or anchor in anchors_of(page), target
