"""What the studies left: read as it is, refused where a file is cut off, lacks a key or holds no number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdseg.artifacts.results.studies import STUDIES, Stability, Sweep
from sdseg.core.errors import UserError
from sdseg.report.read_results import read_studies, read_volumes
from tests.helpers.stage_results import StageResults, edit_json

PLAIN = "a direct network has one pass and one answer"


@pytest.fixture
def folder(stages: StageResults, tmp_path: Path) -> Path:
    """An evaluation folder with every study, and the volumes of another."""
    stages.run(tmp_path / "cvc" / "sdseg")
    stages.run(tmp_path / "btcv" / "unet")
    folder = tmp_path / "cvc" / "sdseg" / "evaluation"
    (tmp_path / "btcv" / "unet" / "evaluation" / "volumes").rename(folder / "volumes")
    return folder


def test_every_study_is_read(folder: Path) -> None:
    edit_json(folder / "stability.json", instance_level={"masks": {"psnr": {"value": "inf"}}})
    found = read_studies(folder)
    rows = json.loads((folder / "sweep.json").read_text("utf-8"))["rows"]
    sweep, stability = found.of(Sweep), found.of(Stability)
    assert sweep is not None
    assert [row.dice for row in sweep.rows] == [row["dice"] for row in rows]
    assert stability is not None
    assert stability.instance_level["masks"]["psnr"].value == "inf"
    assert [picture.title for picture in found.pictures] == [
        "Masks, their latents and reconstructions",
        "Condition before and after training",
    ]
    drawn = [(folder / "latents" / f"{name}.png").read_bytes() for name in ("masks", "conditions")]
    assert [picture.png for picture in found.pictures] == drawn
    checksum = json.loads((folder / "summary.json").read_text("utf-8"))["model_checksum"]
    assert found.stale(checksum) == ()
    assert found.stale("0" * 64) == tuple(STUDIES)


def test_what_a_study_did_not_measure_has_its_reason(folder: Path) -> None:
    found = read_studies(folder.parents[2] / "btcv" / "unet" / "evaluation")
    sweep = found.of(Sweep)
    assert sweep is not None
    assert [(row.dice, row.reason) for row in sweep.rows if row.steps > 1] == [(None, PLAIN)] * 2
    assert [picture.png for picture in found.pictures] == [None, None]
    assert "no codec" in found.pictures[0].reason


def test_what_was_not_run_is_none(tmp_path: Path) -> None:
    found = read_studies(tmp_path)
    assert found.by_name == {}
    assert (found.pictures, read_volumes(tmp_path / "volumes")) == ((), ())


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_truncated_study_is_named(folder: Path, name: str, share: float) -> None:
    path = folder / f"{name}.json"
    text = path.read_text("utf-8")
    path.write_text(text[: int(len(text) * share)], "utf-8")
    with pytest.raises(UserError, match=rf"(?s)truncated.*{name}\.json"):
        read_studies(folder)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sweep", {"rows": None}, "'rows' field required"),
        ("sweep", {"model_checksum": None}, "'model_checksum' field required"),
        ("robustness", {"clean": {"dice": float("nan")}}, r"'clean\.dice' input should be a finite number"),
        ("stability", {"dice": [0.5, "many"]}, r"'dice\.1' input should be a valid number"),
        ("efficiency", {"memory": {"bytes": 1}}, r"'memory\.of' field required"),
    ],
)
def test_a_study_without_its_keys_is_named(folder: Path, name: str, changes: dict[str, object], message: str) -> None:
    edit_json(folder / f"{name}.json", **changes)
    with pytest.raises(UserError, match=rf"(?s){message}.*{name}\.json"):
        read_studies(folder)


@pytest.mark.parametrize("content", [None, b"", b"GIF89a", b"half"])
def test_a_picture_that_is_missing_or_cut_off_is_named(folder: Path, content: bytes | None) -> None:
    path = folder / "latents" / "masks.png"
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
    with pytest.raises(UserError, match=r"(?s)not a whole PNG picture.*latents/masks\.png.*run the study again"):
        read_studies(folder)


def test_a_path_in_a_study_leads_nowhere_else(folder: Path) -> None:
    (folder / "secret.png").write_bytes((folder / "latents" / "masks.png").read_bytes())
    edit_json(folder / "latents.json", masks={"file": "../secret.png"})
    with pytest.raises(UserError, match=r"(?s)not a whole PNG picture.*latents/secret\.png"):
        read_studies(folder)


def test_volumes_come_best_first(folder: Path) -> None:
    best, worst = read_volumes(folder / "volumes")
    assert (best.rank, worst.rank) == ("best", "worst")
    assert (best.slices, worst.slices) == (len(best.label), len(worst.label)) == (22, 28)
    assert best.dice > worst.dice
    assert best.webp.startswith(b"RIFF")


@pytest.mark.parametrize("content", [None, b"", b"RIFF1234WEBP", b"half"])
def test_a_volume_without_its_whole_picture_is_named(folder: Path, content: bytes | None) -> None:
    path = folder / "volumes" / "worst.webp"
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
    with pytest.raises(UserError, match=r"(?s)not a whole WebP picture.*worst\.webp.*evaluate again"):
        read_volumes(folder / "volumes")


def test_outlines_that_do_not_fit_the_slices_are_named(folder: Path) -> None:
    edit_json(folder / "volumes" / "best.json", label=["M0 0"])
    with pytest.raises(UserError, match=r"(?s)the outlines are not one per slice.*best\.json"):
        read_volumes(folder / "volumes")
