"""The page and the table made from a results folder."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sdseg.cli.commands import main
from sdseg.core.errors import UserError
from sdseg.metrics import overlap
from sdseg.report.collect import collect_results
from sdseg.report.page import scoring_rules
from sdseg.report.report import print_table, report
from tests.core.test_locks import another
from tests.helpers.stage_results import StageResults, edit_json

ROOT = Path(__file__).resolve().parents[2]
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; raises where tags are not closed as they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())

    def values(self, tag: str, attribute: str) -> list[str]:
        return [value for name, held in self.tags if name == tag and (value := held.get(attribute)) is not None]


def page_of(folder: Path) -> Page:
    report(folder, folder / "report.html")
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_shows_every_run_with_its_figures(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc", "kseg", "refuge2", "btcv", "sts"))
    latent = tmp_path / "cvc" / "sdseg"
    edit_json(latent / "evaluation" / "summary.json", seconds_per_image=0.0123, codec_ceiling={"dice": 0.981})
    edit_json(latent / "export" / "parity.json", max_abs_difference=3.1e-6, checks=None)
    training = json.loads((latent / "model" / "config.json").read_text("utf-8"))["training"]
    more = {
        "seconds": 84.2,
        "teacher": {"recipe": "sdseg-large", "sha256": "0" * 64},
        "parameters": {"denoiser": 1_204_516, "codec": 88_301},
    }
    edit_json(latent / "model" / "config.json", training=training | more)
    page = page_of(tmp_path)
    runs = [held["id"] for tag, held in page.tags if tag == "article"]
    assert len(runs) == 10
    for expected in (
        "10 trained models on 5 datasets",
        "Phantoms. Every figure here was measured on synthetic images",
        "Kvasir-SEG, synthetic",
        "✓ passed 3.1e−6 · 0",
        "Codec ceiling 0.981",
        "no codec",
        "1.29 M",
        "1 min 24 s",
        "Teacher sdseg-large",
        "12 ms",
        "Recipe values",
        "learning_rate 0.001",
        "recipe hash",
        "Exported with",
        "3.1e−6 allowed 0.01",
        "12 test cases, phantom data, protocol clean; scored at native size, working size 32 × 32 pixels",
        "train 44 44 val 8 8 test 12 12",
        "onnxruntime-cpu against torch-cpu, fp32, on 12 cases (12 slices)",
    ):
        assert expected in page.text, expected
    assert "None" not in page.text
    assert "Not made" not in page.text
    assert len(page.values("svg", "aria-label")) == 85  # six charts per run, five per dataset
    pictures = sum(len(run.overlays) + sum(one.png is not None for one in run.studies.pictures)
                   for run in collect_results(tmp_path).runs)  # fmt: skip
    assert len([held for tag, held in page.tags if tag == "button" and held.get("class") == "enlarge"]) == pictures > 32


def test_figures_in_the_overview_are_those_of_the_summaries(stages: StageResults, tmp_path: Path) -> None:
    page = page_of(stages.results(tmp_path, ("refuge2",), ("sdseg",)))
    summary = json.loads((tmp_path / "refuge2" / "sdseg" / "evaluation" / "summary.json").read_text())
    dice = summary["dice"]
    assert f"{dice['mean']:.3f} ± {dice['sd']:.3f}" in page.text
    assert str(dice["mean"]) in page.values("td", "data-value")  # unrounded, to sort by
    for name, scores in summary["structures"].items():
        assert f"{name} {scores['dice']['mean']:.3f} ± {scores['dice']['sd']:.3f}" in page.text


def test_the_page_needs_nothing_but_itself(stages: StageResults, tmp_path: Path) -> None:
    page = page_of(stages.results(tmp_path))
    html = re.sub(r"data:image/png;base64,[\w+/=]+", "", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert re.search(r"https?:|[\"'(]//|@import|url\(", html) is None
    for tag, attribute in (("a", "href"), ("link", "href"), ("img", "src"), ("script", "src"), ("iframe", "src")):
        assert all(value.startswith(("#", "data:")) for value in page.values(tag, attribute))
    ids = [held["id"] for _, held in page.tags if "id" in held]
    assert len(ids) == len(set(ids))
    assert all(value == "data:," or value[1:] in ids for value in page.values("a", "href"))


def test_the_policy_admits_this_style_and_script_alone(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",))
    report(tmp_path, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy.startswith("default-src &#39;none&#39;; img-src data:;")
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy
    assert " style=" not in html
    assert re.search(r"\son[a-z]+=", html) is None


def test_both_themes_and_narrow_screens_are_provided_for(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",))
    report(tmp_path, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for needed in ("prefers-color-scheme: dark", "width=device-width", "max-width: 74rem", "tabular-nums", "<dialog"):
        assert needed in html


def test_the_scoring_rules_are_the_words_of_metrics(stages: StageResults, tmp_path: Path) -> None:
    rules = scoring_rules()
    assert len(rules) == len(overlap.RULES) > 8
    assert any(rule.startswith("Both masks empty") for rule in rules)
    page = page_of(stages.results(tmp_path, ("cvc",), ("sdseg",)))
    assert all(rule in page.text for rule in rules)


def test_the_page_says_whether_structures_exclude_each_other(stages: StageResults, tmp_path: Path) -> None:
    """Of several structures, and where the summary tells: those of earlier versions do not."""
    stages.results(tmp_path, ("refuge2", "cvc"), ("sdseg",))
    words = {True: "structures exclude each other: the likelier one has the pixel", False: "structures may overlap"}
    for told in (None, True, False):
        for dataset in ("refuge2", "cvc"):
            edit_json(tmp_path / dataset / "sdseg" / "evaluation" / "summary.json", exclusive=told)
        shown = page_of(tmp_path).text
        assert [shown.count(word) for word in words.values()] == [int(told is each) for each in words]


def test_oblong_images_of_ones_own(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",))
    edit_json(tmp_path / "cvc" / "sdseg" / "evaluation" / "summary.json", size=[80, 96])
    pages = {}
    for source in ("own", "cvc"):
        edit_json(tmp_path / "cvc" / "prepared" / "manifest.json", source=source)
        report(tmp_path, tmp_path / "page.html", ROOT / "resources" / "paper")
        pages[source] = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "80 × 96 pixels" in pages["own"]
    assert "(80, 96)" not in pages["own"]
    assert "A dataset of your own" in pages["own"]
    assert ["paper-title" in pages[source] for source in ("own", "cvc")] == [False, True]


def test_the_scoring_rules_need_no_docstrings(root: Path) -> None:
    code = "import sys; from sdseg.report.page import scoring_rules; sys.exit(len(scoring_rules()))"
    done = subprocess.run([sys.executable, "-OO", "-c", code], cwd=root, check=False)
    assert done.returncode == len(overlap.RULES)


def test_hostile_names_are_shown_and_never_run(stages: StageResults, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>&\"'`{{7*7}}"
    folder = tmp_path / "</script><b>"
    stages.results(folder, (name,), ("sdseg",))
    run = folder / name / "sdseg"
    edit_json(run / "evaluation" / "summary.json", protocol='"><svg onload=alert(2)>', backend="</style>{% raw %}")
    table = (run / "evaluation" / "cases.csv").read_text()
    (run / "evaluation" / "cases.csv").write_text(table.replace("case-000", "<i>0</i>"))
    log = run / "model" / "config.json"
    edit_json(log, recipe={"description": "<u>", "<key>": "</dl>"})
    page = page_of(folder)
    assert name in page.text
    assert '"><svg onload=alert(2)>' in page.text
    assert "{{7*7}}" in page.text
    assert not {"b", "i", "u"} & {tag for tag, _ in page.tags}
    assert all("onerror" not in held and "onload" not in held for _, held in page.tags)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", held["id"] or "") for _, held in page.tags if "id" in held)


def test_names_that_are_not_utf8_do_not_stop_the_page(stages: StageResults, tmp_path: Path) -> None:
    stages.run(tmp_path / "dataset" / "sdseg")
    try:
        (tmp_path / "dataset").rename(tmp_path / os.fsdecode(b"d\xe9j\xe0"))
    except OSError as error:
        pytest.skip(f"this file system refuses such names: {error}")
    assert "d?j?" in page_of(tmp_path).text


def test_what_was_not_made_is_named_with_its_command(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg", "unet"))
    shutil.rmtree(tmp_path / "cvc" / "sdseg" / "export")
    shutil.rmtree(tmp_path / "cvc" / "sdseg" / "model")
    shutil.rmtree(tmp_path / "cvc" / "sdseg" / "evaluation" / "overlays")
    (tmp_path / "cvc" / "sdseg" / "evaluation" / "cases.csv").unlink()
    shutil.rmtree(tmp_path / "cvc" / "prepared")
    shutil.rmtree(tmp_path / "cvc" / "unet" / "evaluation")
    text = page_of(tmp_path).text
    assert text.count("Not made:") == 6
    for expected in (
        f"python -m sdseg export --model {tmp_path}/cvc/sdseg/model",
        f"python -m sdseg evaluate --prepared {tmp_path}/cvc/prepared",
        "snakemake --cores all prepare",
        "snakemake --cores all train",
        f"Not scored: cvc / unet. Score it with python -m sdseg evaluate --prepared {tmp_path}/cvc/prepared",
    ):
        assert expected in text


def test_what_must_not_be_overlooked_is_said(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",))
    stages.run(tmp_path / "kseg" / "sdseg", origin="sample")
    summary = tmp_path / "cvc" / "unet" / "evaluation" / "summary.json"
    edit_json(summary, split="val", data_checksum="0" * 64, trained_on={"dataset": "sts"})
    edit_json(
        tmp_path / "cvc" / "sdseg" / "export" / "parity.json",
        passed=False,
        max_abs_difference=3.1e-6,
        dice_difference=0.031,
    )
    text = page_of(tmp_path).text
    for expected in (
        "2 of 3 results were measured on synthetic images",
        "1 of 3 results were measured on a few real images",
        "the split named beside each",
        "Do not compare: the recipes below differ in split, data_checksum",
        "The data were prepared anew after this was scored",
        "The model was trained on another dataset: sts",
        "✗ failed 3.1e−6 · 0.0310",
    ):
        assert expected in text, expected


def test_a_training_without_validation_or_usable_loss_is_told(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",))
    (tmp_path / "cvc" / "sdseg" / "model" / "training.jsonl").write_text('{"event": "step", "step": 1, "loss": null}\n')
    text = page_of(tmp_path).text
    assert "No loss above zero was logged." in text
    assert "No validation was logged." in text


def test_a_wrong_folder_leaves_an_earlier_page_as_it_was(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc", "kseg"), ("sdseg",))
    page = tmp_path / "report.html"
    page.write_text("earlier")
    summary = tmp_path / "kseg" / "sdseg" / "evaluation" / "summary.json"
    summary.write_text(summary.read_text()[:200])
    with pytest.raises(UserError, match=r"(?s)truncated.*kseg/sdseg/evaluation/summary\.json"):
        report(tmp_path, page)
    assert page.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_an_error(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path / "results", ("cvc",), ("sdseg",))
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write"):
        report(tmp_path / "results", tmp_path / "taken" / "report.html")


def test_the_table_is_aligned_and_fits_80_columns(
    stages: StageResults, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = stages.results(Path("results"), ("cvc", "a-dataset-with-a-very-long-name-indeed"), ("sdseg", "unet"))
    shutil.rmtree(results / "cvc" / "unet" / "export")
    report(results, results / "report.html")
    print_table(results, results / "report.html")
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    header, rule, *rows = lines[:6]
    assert header.split() == ["dataset", "recipe", "Dice", "ONNX", "differs", "IoU", "s/image"]
    assert {len(line) for line in (header, rule, *rows)} == {len(rule)}
    assert rows[0].startswith("a-dataset-with-a..  sdseg ")
    assert re.fullmatch(r"cvc +unet +0\.\d{4} +not made  0\.\d{4}   0\.\d{4}", rows[3])
    assert lines[-2:] == ["data: all figures on phantoms", "page: results/report.html"]


def test_the_table_says_what_its_figures_are_worth(
    stages: StageResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",))
    stages.run(tmp_path / "kseg" / "sdseg", origin="real")
    stages.run(tmp_path / "kseg\x1b[31m" / "unet", origin="real")
    edit_json(tmp_path / "cvc" / "sdseg" / "export" / "parity.json", passed=False)
    shutil.rmtree(tmp_path / "kseg\x1b[31m" / "unet" / "evaluation")
    print_table(tmp_path, tmp_path / "report.html")
    out = capsys.readouterr().out
    for expected in (
        "data: 1 of 2 rows (cvc) on phantoms",
        "data: 1 of 2 rows (kseg) on real data",
        " !  ",
        "the ONNX model does not agree with the trained one",
        "unscored: kseg?[31m / unet",
        f"page: not made yet; python -m sdseg report --results {tmp_path}",
    ):
        assert expected in out
    assert "\x1b" not in out


def test_real_figures_alone_need_no_remark(
    stages: StageResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",), origin="real")
    print_table(tmp_path, tmp_path / "report.html")
    assert "data:" not in capsys.readouterr().out


def test_the_command_writes_the_page_and_prints_the_table(
    stages: StageResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",))
    assert main(["report", "--results", str(tmp_path), "--table"]) == 0
    assert not (tmp_path / "report.html").exists()
    assert main(["report", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").exists()
    assert f"page: {tmp_path / 'report.html'}" in capsys.readouterr().out
    assert main(["report", "--results", str(tmp_path / "nowhere")]) == 2
    assert "no such folder of results" in capsys.readouterr().err


def test_a_page_that_another_process_writes_is_refused(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",))
    with another(tmp_path / "summary.csv"), pytest.raises(UserError, match="another run is writing here"):
        report(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
    report(tmp_path, tmp_path / "report.html")


def test_no_heavy_library_is_loaded() -> None:
    code = "import sys, sdseg.report.report; print(sorted({'torch', 'matplotlib', 'cv2', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"
