"""What a page is made of and what it lies beside: licences, line ends, files that are not replaced."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from sdseg.config.export import Export
from sdseg.config.web_pages import WebPages
from sdseg.core.errors import UserError
from sdseg.export.web.html_file import export_web
from sdseg.export.web.one_file import ASSETS

ROOT = Path(__file__).resolve().parents[2]
LARGE = WebPages(most_megabytes=0)  # the model lies beside the page


@pytest.fixture(scope="module")
def licences() -> dict[str, str]:
    """The text of each package's part by its name."""
    parts = gzip.decompress((ASSETS / "licences.txt.gz").read_bytes()).decode("utf-8").split("\n----\n\n")
    return {part.split(maxsplit=1)[0]: part for part in parts}


def test_every_licence_is_there_in_full(licences: dict[str, str]) -> None:
    assert licences["sdseg"].strip().endswith((ROOT / "LICENSE").read_text("utf-8").strip())
    assert all("http" not in part or len(part) > 600 for part in licences.values())  # no address for a text
    codec = licences["@cornerstonejs/codec-openjpeg"]
    assert "Permission is hereby granted, free of charge" in codec  # MIT
    assert "Redistributions in binary form must reproduce" in codec  # OpenJPEG


@pytest.mark.parametrize(
    ("component", "text"),
    [
        ("abseil-cpp", "Apache License"),
        ("Eigen", "Mozilla Public License Version 2.0"),
        ("google/flatbuffers", "Apache License"),
        ("Open Neural Network Exchange", "Licensed under the Apache License"),
        ("protocolbuffers/protobuf", "Redistributions in binary form must reproduce"),
        ("google/XNNPACK", "Redistributions in binary form must reproduce"),
        ("nlohmann/json", "Permission is hereby granted"),
        ("emsdk", "Permission is hereby granted"),
    ],
)
def test_what_the_runtime_holds_has_its_notice(licences: dict[str, str], component: str, text: str) -> None:
    sections = licences["onnxruntime-web"].split("\n_____\n")
    (own,) = [section for section in sections if component in section.strip().splitlines()[:2]]
    assert text in own


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_line_ends_stay_where_git_writes_those_of_windows(tmp_path: Path) -> None:
    """The page names its script by a hash, and a browser reads CRLF as LF."""
    for name in (".gitattributes", "LICENSE", *(f"sdseg/export/web/assets/{each}" for each in ("app.js", "page.html"))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    for command in (("init", "-q"), ("config", "core.autocrlf", "true"), ("add", "."), ("checkout-index", "-af")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    for name in ("LICENSE", "sdseg/export/web/assets/app.js", "sdseg/export/web/assets/page.html"):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name


@pytest.mark.parametrize("content", ['{"format": 1, "inputs": []}', "no JSON"])
def test_a_file_by_the_name_of_the_record_is_not_replaced(bright_rgb: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "io.json").write_text(content)
    with pytest.raises(UserError, match="record of the page would replace this file"):
        export_web(bright_rgb, tmp_path / "io.html", WebPages(), Export())
    assert (tmp_path / "io.json").read_text() == content
    assert not (tmp_path / "io.html").exists()


def test_a_file_by_the_name_of_the_model_is_not_replaced(bright_rgb: Path, tmp_path: Path) -> None:
    page, beside = tmp_path / "a.html", tmp_path / "a.onnx"
    beside.write_text("another model")
    with pytest.raises(UserError, match="model beside the page would replace this file"):
        export_web(bright_rgb, page, LARGE, Export())
    assert beside.read_text() == "another model"
    assert not page.exists()
    beside.unlink()
    export_web(bright_rgb, page, LARGE, Export())
    assert json.loads((tmp_path / "a.json").read_text())["precision"] == "fp32"
    beside.write_text("what an earlier page left")
    export_web(bright_rgb, page, LARGE, Export())  # page, record and model are one
    assert beside.read_bytes() == bright_rgb.read_bytes()
