"""The verb `phantoms`: whole folders, and messages for bad input."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sdseg.cli.commands import main
from sdseg.core.errors import UserError
from sdseg.datasets.phantoms.write import phantoms


def test_writes_to_any_path_and_takes_the_place_of_an_older_phantom(tmp_path):
    output = tmp_path / "rohe Daten – Übung" / "cvc"
    phantoms(source="cvc", output=output, seed=0, scale=0.5)
    more = len(list(output.rglob("*.png")))
    phantoms(source="cvc", output=output, seed=0, scale=0.01)
    names = sorted(path.name for path in output.iterdir() if not path.name.startswith("."))
    assert names == ["PNG", "metadata.csv", "phantom.json", "split.csv"]
    assert (output / "PNG" / "Original" / "1.png").is_file()
    assert len(list(output.rglob("*.png"))) < more
    assert [path.name for path in output.parent.iterdir()] == ["cvc"]  # nothing half-written beside it


@pytest.mark.parametrize("listed", [True, False], ids=["as written now", "of an earlier version"])
@pytest.mark.parametrize("name", ["cases.csv", "PNG/Original/notes.txt"])
def test_a_file_laid_among_phantoms_is_kept(tmp_path, name, listed):
    phantoms(source="cvc", output=tmp_path / "cvc", seed=0, scale=0.01)
    if not listed:
        (tmp_path / "cvc" / ".phantom").write_bytes(b"")
    phantoms(source="cvc", output=tmp_path / "cvc", seed=1, scale=0.02)
    if not listed:
        (tmp_path / "cvc" / ".phantom").write_bytes(b"")
    (tmp_path / "cvc" / name).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=f"holds '{name}', which this command did not write"):
        phantoms(source="cvc", output=tmp_path / "cvc", seed=0, scale=0.01)
    assert (tmp_path / "cvc" / name).read_text("utf-8") == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["cvc"]


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "cvc").mkdir()
    phantoms(source="cvc", output=tmp_path / "cvc", seed=0, scale=0.01)
    assert (tmp_path / "cvc" / "split.csv").is_file()


def test_somebodys_files_are_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "only copy.png").write_bytes(b"data")
    with pytest.raises(UserError, match="files that are there already and are no phantoms"):
        phantoms(source="cvc", output=tmp_path / "mine", seed=0, scale=0.01)
    assert [path.read_bytes() for path in (tmp_path / "mine").iterdir()] == [b"data"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"source": "kvasir"}, "unknown dataset source 'kvasir'"),
        ({"source": "isic2018"}, "there are no phantoms of .isic2018."),
        ({"seed": -1}, "the seed is -1, expected 0 or more"),
        ({"scale": 0.0}, "the scale is 0.0, expected a number above 0"),
        ({"scale": float("nan")}, "the scale is nan, expected a number above 0"),
        ({"scale": float("inf")}, "the scale is inf, expected a number above 0"),
    ],
)
def test_bad_input_leaves_nothing(tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        phantoms(**({"source": "cvc", "output": tmp_path / "out", "seed": 0, "scale": 0.01} | words))
    assert not list(tmp_path.iterdir())


def test_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write"):
        phantoms(source="cvc", output=tmp_path / "file" / "out", seed=0, scale=0.01)


def test_command_line(tmp_path, capsys):
    assert main(["phantoms", "--source", "cvc", "--scale", "0.01", "--output", str(tmp_path / "cvc")]) == 0
    assert (tmp_path / "cvc" / "split.csv").is_file()
    assert main(["phantoms", "--source", "cvcc", "--output", str(tmp_path / "no")]) == 2
    assert "did you mean 'cvc'" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_needs_no_torch():
    code = "import sys, sdseg.datasets.phantoms.write; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
