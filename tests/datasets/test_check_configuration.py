"""The configuration as a whole: names that are taken, folders that lie in one another; the doctor says the same."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.exceptions import WorkflowError

from sdseg.cli import doctor
from sdseg.core.errors import UserError
from sdseg.core.yaml_json import read_yaml
from sdseg.datasets.check_configuration import FOLDERS, FOLDERS_OF_DATASETS, TARGETS, check_machine, configure
from workflow.plan import plan_run

ROOT = Path(__file__).resolve().parents[2]
Values = dict[str, Any]


def values(**changes: Any) -> Values:
    recipe = {"file": str(ROOT / "config/recipes/unet.yaml")}
    kseg = {"source": "kseg", "size": 64}
    return {"recipes": {"unet": recipe}, "datasets": {"kseg": kseg}, "splits": "my splits", **changes}


def check(config: Values) -> None:
    check_machine(configure(config, where="my.yaml"))


def test_targets_are_the_workflows(tmp_path: Path) -> None:
    """Every rule that there is, or that a section of the configuration adds."""
    command = [sys.executable, "-m", "snakemake", "--list-rules", "--configfile", "config/demo.yaml", "-s"]
    path = [str(ROOT / "workflow/Snakefile"), "--directory", str(tmp_path)]
    done = subprocess.run([*command, *path], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    datasets = set(yaml.safe_load((ROOT / "config/demo.yaml").read_text("utf-8"))["datasets"])
    assert set(done.stdout.split()) - datasets == set(TARGETS)


@pytest.mark.parametrize("name", [*TARGETS, *FOLDERS])
def test_a_dataset_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(UserError, match=rf"a (target|folder) '{name}' already") as caught:
        check(values(datasets={name: {"source": "kseg", "size": 64}}))
    assert f"datasets.{name}" in str(caught.value)


@pytest.mark.parametrize("name", FOLDERS_OF_DATASETS)
def test_a_recipe_has_a_name_of_its_own(name: str) -> None:
    recipe = {"file": str(ROOT / "config/recipes/unet.yaml")}
    message = f"the results of every dataset hold a folder '{name}' already"
    with pytest.raises(UserError, match=message):
        check(values(recipes={name: recipe}))
    ablation = {"recipes": {name: recipe}}
    with pytest.raises(UserError, match=message):
        check(values(ablation=ablation))


MINE: Values = {"source": "kseg", "size": 64}
CODEC: Values = {"block_out_channels": [8, 8], "norm_num_groups": 4}
INSIDE: list[tuple[str, Values, str]] = [
    ("results are raw", {"raw": "data", "results": "data"}, "results would be written into data, which is only read"),
    ("with a slash", {"raw": "data", "results": "./data/"}, "results would be written into data"),
    ("in raw", {"raw": "data", "results": "data/kseg/out"}, "results would be written into data, .*'raw'"),
    ("beside datasets", {"raw": "data", "results": "data/out"}, "results would be written into data, .*'raw'"),
    ("by a link", {"raw": "data", "results": "link/out"}, "results would be written into data"),
    ("a dataset's own", {"results": "own/x", "datasets": {"kseg": {**MINE, "raw": "own"}}}, r"'datasets\.kseg\.raw'"),
    ("manual", {"results": "my/m", "manual": "my"}, "results would be written into my, .*'manual'"),
    ("splits", {"results": "my splits"}, "results would be written into my splits, .*'splits'"),
    (
        "weights",
        {"results": "w/out", "codecs": {"kl": {**CODEC, "weights": "w"}}},
        r"results would be written into w, .*'codecs\.kl\.weights'",
    ),
    ("raw in results", {"raw": "out", "results": "out"}, "results would be written into out"),
    ("raw of a dataset", {"results": "out", "datasets": {"kseg": {**MINE, "raw": "out/kseg/raw"}}}, "raw files would"),
    ("raw in codecs", {"raw": "out/codecs", "results": "out"}, "raw files would lie in out/codecs"),
    ("raw in logs", {"raw": "out/logs/x", "results": "out"}, "raw files would lie in out/logs"),
    ("archives", {"raw": "data", "downloads": "data"}, "archives would be kept in data/kseg, among the raw files"),
]


@pytest.mark.parametrize(("changes", "message"), [each[1:] for each in INSIDE], ids=[each[0] for each in INSIDE])
def test_folders_that_lie_in_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Values, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(UserError, match=rf"(?s){message}.*remedy: ") as caught:
        check(values(**changes))
    assert "where: " in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "link"]


@pytest.mark.parametrize(
    "changes",
    [
        {"raw": "data", "results": "data-out"},
        {"raw": "out/raw", "results": "out"},
        {"raw": "data", "downloads": "archives", "results": "out"},
        {"datasets": {"kseg": {**MINE, "raw": "data/a"}, "twin": {**MINE, "raw": "data/a"}}, "results": "data/out"},
    ],
)
def test_folders_that_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Values) -> None:
    monkeypatch.chdir(tmp_path)
    check(values(**changes))


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    for key in ("results", "raw", "manual", "downloads", "splits"):
        with pytest.raises(UserError, match="file is a file, and a folder is expected") as caught:
            check(values(**{"results": str(tmp_path / "out"), key: str(file)}))
        assert f"where:  {key}: {file}" in str(caught.value)
    with pytest.raises(UserError, match="is a file, and a folder is expected"):
        check(values(results="/etc/passwd/sub"))
    assert file.read_text(encoding="utf-8") == "mine"


def test_results_where_nothing_can_be_written() -> None:
    code = (
        "import os, sys, yaml\n"
        "from sdseg.datasets.check_configuration import check_machine, configure\n"
        "run = configure(yaml.safe_load(sys.argv[1]), where='my.yaml')\n"
        "if os.getuid() == 0:\n    os.setuid(65534)\n"  # root may write anywhere
        "check_machine(run)\n"
    )
    words = [sys.executable, "-c", code, yaml.safe_dump(values(results="/usr/results é"))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert "UserError: nothing can be written to /usr\n  where:  results: /usr/results é" in done.stderr


SAME: list[Values] = [
    *(changes for _, changes, _ in INSIDE if changes.get("results") != "link/out"),
    {"results": "/etc/passwd"},
    {"results": "/x/{dataset}"},
    {"datasets": {"train": MINE}},
    {"datasets": {"x" * 300: MINE}},
    {"datasets": {"kseg": {**MINE, "target": "no"}}},
    {"datasets": {"kseg": {**MINE, "split": {"seed": 1}}}},
    {"recipes": {"prepared": {"file": str(ROOT / "config/recipes/unet.yaml")}}},
    {"recipes": {"unet": {"file": "missing.yaml"}}},
    {"recipes": {"a": {"file": str(ROOT / "config/recipes/unet.yaml"), "overrides": {"start_from": {"recipe": "a"}}}}},
    {"recipes": {"a": {"file": str(ROOT / "config/recipes/unet.yaml"), "overrides": {"start_from": {"model": "m"}}}}},
    {"recipes": {"a": {"file": str(ROOT / "config/recipes/unet.yaml"), "overrides": {"training": {"seed": -1}}}}},
    {"ablation": {"recipes": {"a": {"file": "missing.yaml"}}}},
    {"threads": True},
    {},
]


@pytest.mark.parametrize("changes", SAME, ids=lambda changes: "-".join(changes) or "nothing wrong")
def test_the_doctor_refuses_what_snakemake_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Values
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(values(**changes)), encoding="utf-8")
    try:
        plan_run(yaml.safe_load(file.read_text("utf-8")), [file], main_process=True)
        refused = None
    except WorkflowError as error:
        refused = str(error)
    findings = [each for each in doctor._configuration(file, 0) if each.subject == "configuration"]
    assert len(findings) == 1
    if refused is None:
        assert not changes
        assert findings[0].state == "ok"
    else:
        assert findings[0].state == "problem"
        assert refused == f"{findings[0].description}\n  remedy: {findings[0].fix}"
        assert re.search(r"\n  where:  ", refused)


JUNK: list[Any] = [
    *(None, [], {}, "", " ", "x", "x" * 3000, -1, 0, 2**70, float("nan"), float("inf"), True, [None], {"a": 1}),
    *(
        {1: 2},
        [[]],
        "{x}",
        "~/a",
        "null",
        b"ab",
        1e-320,
        "\x00",
        "../..",
        [1, "a", None],
        {None: None},
        date(2020, 1, 1),
    ),
]


def places(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and index of a tree."""
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield (*above, key)
        yield from places(node[key], (*above, key))


def test_whatever_stands_in_a_configuration_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of wrong value in every place of the demo's configuration and of one with data of one's own."""
    monkeypatch.chdir(ROOT)
    demo = read_yaml(Path("config/demo.yaml"))
    own = {"layout": "folders", "modality": "ct", "images": "i", "masks": "m", "labels": {1: "a", 2: "b"}}
    own |= {"mask_values": {5: 1, 6: 2}, "targets": {"x": {"y": [1, "b"]}}, "windows": {"w": [0, 1]}}
    mine = {"source": "own", "size": 64, "split": {"seed": 0, "fractions": [0.8, 0.1, 0.1]}, "own": own}
    export = {"precisions": ["fp32", "fp16"], "providers": ["cpu"], "max_abs_difference": 0.1}
    config = {key: demo[key] for key in ("raw", "phantoms", "codecs", "studies")} | {"export": export}
    config["recipes"] = {"sdseg": demo["recipes"]["sdseg"]}
    config["datasets"] = {"cvc": {"source": "cvc", "origin": "phantom", "size": 64}, "mine": mine}
    configure(config, where="my.yaml")
    refused = 0
    for number, place in enumerate(places(config)):
        for junk in JUNK[number % 9 :: 9]:
            changed = copy.deepcopy(config)
            section: Any = changed
            for key in place[:-1]:
                section = section[key]
            section[place[-1]] = junk
            try:
                configure(changed, where="my.yaml")
            except UserError:  # and nothing else
                refused += 1
    assert refused > 200
