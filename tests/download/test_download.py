from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdseg.config.dataset import Own
from sdseg.core.errors import ListedError, UserError
from sdseg.core.settings import parse
from sdseg.download.download import download
from tests.helpers.raw_files import encode, picture, save, write_kseg, write_series


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_kseg(tmp_path / "rohe däten", ["a", "b"])


def test_the_record_names_every_file(raw: Path, tmp_path: Path) -> None:
    (raw / "readme.txt").write_text("no part of the data")
    fingerprint = download(source="kseg", raw=raw, output=tmp_path / "ä" / "raw.json")
    record = json.loads((tmp_path / "ä" / "raw.json").read_text(encoding="utf-8"))
    names = [f"Kvasir-SEG/{kind}/{case}.jpg" for kind in ("images", "masks") for case in "ab"]
    assert [file["path"] for file in record["files"]] == names
    for file in record["files"]:
        content = (raw / file["path"]).read_bytes()
        assert file["size"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert (record["source"], record["n_cases"], record["n_files"]) == ("kseg", 2, 4)
    assert record["bytes"] == sum(file["size"] for file in record["files"])
    assert record["fingerprint"] == fingerprint
    assert str(tmp_path) not in (tmp_path / "ä" / "raw.json").read_text(encoding="utf-8")


def test_a_copy_has_the_same_record_and_an_edited_file_another(raw: Path, tmp_path: Path) -> None:
    download(source="kseg", raw=raw, output=tmp_path / "a.json")
    copy = tmp_path / "copy"
    shutil.copytree(raw, copy)
    for path in copy.rglob("*.jpg"):
        os.utime(path, (0, 0))
    download(source="kseg", raw=copy, output=tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    encode(copy / "Kvasir-SEG" / "masks" / "a.jpg", picture(7, 40, 56)[1])
    download(source="kseg", raw=copy, output=tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() != (tmp_path / "b.json").read_bytes()


def test_a_raw_folder_that_will_not_do_leaves_no_record(raw: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "raw.json"
    with pytest.raises(UserError, match=r"(?s)raw folder of CVC-ClinicDB is missing.*remedy: get the dataset from"):
        download(source="cvc", raw=tmp_path / "none", output=output)
    with pytest.raises(UserError, match="unknown dataset source 'ksge', did you mean 'kseg'"):
        download(source="ksge", raw=raw, output=output)
    (raw / "Kvasir-SEG" / "masks" / "a.jpg").unlink()
    with pytest.raises(ListedError, match=r"image without mask: Kvasir-SEG/images/a\.jpg"):
        download(source="kseg", raw=raw, output=output)
    assert not output.parent.exists()


def test_an_unwritable_place_is_named(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"(?s)cannot write.*file"):
        download(source="kseg", raw=raw, output=tmp_path / "file" / "raw.json")


def test_the_command_tells_what_is_wrong(tmp_path: Path, root: Path) -> None:
    words = ["download", "--source", "kseg", "--raw", str(tmp_path / "none"), "--output", str(tmp_path / "raw.json")]
    done = subprocess.run(
        [sys.executable, "-m", "sdseg", *words], cwd=root, capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("sdseg download: error: the raw folder of Kvasir-SEG is missing")


def test_real_samples_are_recorded(samples: Path, tmp_path: Path) -> None:
    fingerprints = {
        download(source=source, raw=samples / source, output=tmp_path / f"{source}.json")
        for source in ("kseg", "cvc", "refuge2", "btcv")
    }
    assert len(fingerprints) == 4


def test_own_files_are_recorded_with_every_slice_of_a_series(tmp_path: Path) -> None:
    voxels = np.zeros((4, 4, 3), np.int16)
    write_series(tmp_path / "raw" / "ct" / "a é", voxels)
    save(tmp_path / "raw" / "labels" / "a é.nii.gz", voxels.astype(np.uint8))
    folders = {"layout": "folders", "modality": "ct", "images": "ct", "masks": "labels"}
    own = parse(Own, folders | {"labels": {1: "organ"}, "windows": {"soft": [0, 9]}}, where="x")
    download(source="own", raw=tmp_path / "raw", output=tmp_path / "raw.json", own=own)
    record = json.loads((tmp_path / "raw.json").read_text(encoding="utf-8"))
    assert [file["path"] for file in record["files"]] == [
        *(f"ct/a é/00{number}.dcm" for number in range(3)),
        "labels/a é.nii.gz",
    ]
    assert (record["source"], record["n_cases"]) == ("own", 1)
    with pytest.raises(UserError, match="nothing says how the files of a dataset of your own lie"):
        download(source="own", raw=tmp_path / "raw", output=tmp_path / "no.json")
