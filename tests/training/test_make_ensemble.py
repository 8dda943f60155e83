"""Ensembles: the mean of several models, opened side by side, in one folder, and in one graph; and which do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from sdseg.artifacts.manifests import ModelManifest
from sdseg.artifacts.results.training import TrainingRecord
from sdseg.backends.averaged_models import open_models
from sdseg.backends.base import Reseedable
from sdseg.backends.open_model import open_model
from sdseg.backends.torch import TorchBackend
from sdseg.cli.commands import main
from sdseg.config.export import Export
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.core.files import read_json, write_json
from sdseg.evaluation.evaluate import evaluate
from sdseg.evaluation.studies.efficiency import flops_of
from sdseg.export.onnx import export
from sdseg.export.precision import in_precision
from sdseg.inference.predict import PredictOptions, predict
from sdseg.models.model_folder import load_model
from sdseg.training.make_ensemble import make_ensemble
from tests.helpers.models import GAUSSIAN, write_latent_model
from tests.helpers.own_files import report
from tests.helpers.tiny import CT, DISC_CUP, RGB, picture, write_model, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store é") / "prepared")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two plain networks and one latent one: they need not be of one recipe."""
    folder = tmp_path_factory.mktemp("members é")
    plain = [write_model(folder / f"unet{seed}", seed=seed) for seed in (0, 1)]
    return [*plain, write_latent_model(folder / "latent")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, members: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("ensemble") / "model"
    assert main(["ensemble", *(w for each in members for w in ("--model", str(each))), "--output", str(folder)]) == 0
    return folder


def images() -> AnyArray:
    return np.stack([picture(RGB, seed)[0] for seed in range(3)])


def expected(members: list[Path]) -> AnyArray:
    return np.mean([open_model(each).backend.probability(images()) for each in members], axis=0)


def edited(folder: Path, **values: Any) -> Path:
    manifest = read_json(folder / "config.json", ModelManifest)
    write_json(folder / "config.json", ModelManifest.model_validate(manifest.model_dump() | values))
    return folder


def test_the_mean_side_by_side_and_in_one_folder(members: list[Path], whole: Path) -> None:
    mean = expected(members)
    together, one = open_models(members), open_model(whole)
    np.testing.assert_allclose(together.backend.probability(images()), mean, atol=1e-5)
    np.testing.assert_allclose(one.backend.probability(images()), mean, atol=1e-5)
    assert together.recipe == one.recipe == "unet+latent"
    assert together.backend.name == one.backend.name == "torch-cpu"
    assert len({one.checksum, together.checksum, *(open_model(each).checksum for each in members)}) == 5
    manifest = read_json(whole / "config.json", ModelManifest)
    assert [each.recipe_name for each in manifest.members] == ["unet", "unet", "latent"]
    record = TrainingRecord.model_validate(manifest.training)
    assert record.n_parameters == sum(p.numel() for each in members for p in load_model(each)[0].parameters())


def test_its_flops_are_those_of_its_members(members: list[Path], whole: Path) -> None:
    blank = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    total, parts = flops_of(load_model(whole)[0], blank)
    assert list(parts.values()) == [flops_of(load_model(each)[0], blank)[0] for each in members]
    assert total == sum(parts.values())


def test_each_member_is_lowered(whole: Path) -> None:
    """In half precision every network computes in it, and what is between them in single, as of one model."""
    exact, lowered = load_model(whole)[0], in_precision(load_model(whole)[0], "bf16")
    found = [TorchBackend(each, RGB).probability(images()) for each in (exact, lowered)]
    assert 0 < np.abs(found[0] - found[1]).max() < 0.05


def test_one_graph_holds_the_mean(store: Path, members: list[Path], whole: Path, tmp_path: Path) -> None:
    export(whole, store, tmp_path / "export", Export())
    found = open_model(tmp_path / "export" / "model.onnx").backend.probability(images())
    np.testing.assert_allclose(found, expected(members), atol=1e-4)


def test_evaluate_and_predict_take_several(store: Path, members: list[Path], whole: Path, tmp_path: Path) -> None:
    several = [word for each in members for word in ("--model", str(each))]
    prepared = ["--prepared", str(store), "--output"]
    assert main(["evaluate", *several, *prepared, str(tmp_path / "several")]) == 0
    evaluate(store, whole, tmp_path / "one")
    told = [json.loads((tmp_path / name / "summary.json").read_text("utf-8")) for name in ("several", "one")]
    assert told[0]["dice"] == told[1]["dice"]
    assert told[0]["calibration"]["ece"] == pytest.approx(told[1]["calibration"]["ece"], abs=1e-5)
    cv2.imwrite(str(tmp_path / "a.png"), images()[0][..., ::-1])
    words = ["predict", str(tmp_path / "a.png"), *several, "--output", str(tmp_path / "masks"), "--probability"]
    assert main(words) == 0
    assert predict(whole, [tmp_path / "a.png"], tmp_path / "masks2", options=PredictOptions(probability=True)) == 0
    names = [report(tmp_path / name)["inputs"][0]["outputs"]["probability"] for name in ("masks", "masks2")]
    read = [
        cv2.imread(str(tmp_path / f / n), cv2.IMREAD_UNCHANGED) for f, n in zip(("masks", "masks2"), names, strict=True)
    ]
    assert np.abs(read[0].astype(int) - read[1].astype(int)).max() <= 1
    assert " and " in report(tmp_path / "masks")["model"]["path"]


def test_members_that_sample_take_the_same_noise(tmp_path: Path) -> None:
    torch.manual_seed(0)
    folders = [write_latent_model(tmp_path / "one", **GAUSSIAN), write_model(tmp_path / "two")]
    make_ensemble(folders, tmp_path / "both")
    one, together = open_model(tmp_path / "both"), open_models(folders)
    np.testing.assert_allclose(one.backend.probability(images()), expected(folders), atol=1e-5)
    assert isinstance(one.backend, Reseedable)
    other = one.backend.with_seed(3).probability(images())
    assert np.abs(other - expected(folders)).max() > 1e-4
    with pytest.raises(UserError, match="noise of different shapes"):
        samples = write_latent_model(tmp_path / "samples", **GAUSSIAN, inference={"samples": 2})
        make_ensemble([folders[0], samples], tmp_path / "unequal")
    assert not (tmp_path / "unequal").exists()
    assert together.path.name.endswith("two")


def test_what_does_not_go_together_is_named(members: list[Path], whole: Path, tmp_path: Path) -> None:
    others = {
        "structures: disc \\(1\\+2\\), cup \\(2\\) in": write_model(tmp_path / "a", structures=DISC_CUP),
        "modality: ct in": write_model(tmp_path / "b", CT),
        "threshold: 0.4 in": edited(write_model(tmp_path / "c"), threshold=0.4),
        "exclusive: True in": edited(write_model(tmp_path / "d"), exclusive=True),
        "the same model is named twice": members[0],
    }
    for message, other in others.items():
        with pytest.raises(UserError, match=f"(?s)these 2 models cannot be averaged.*{message}"):
            open_models([members[0], other])
        with pytest.raises(UserError, match=f"(?s)these 2 models cannot be averaged.*{message}"):
            make_ensemble([members[0], other], tmp_path / "out")
    with pytest.raises(UserError, match="1 model cannot be averaged"):
        make_ensemble(members[:1], tmp_path / "out")
    with pytest.raises(UserError, match="this is an ensemble already"):
        make_ensemble([members[0], whole], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["a", "b", "link", "a/both", "."])
def test_a_member_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str) -> None:
    folders = [write_model(tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b"))]
    (tmp_path / "link").symlink_to("b")
    before = [(folder / "config.json").read_bytes() for folder in folders]
    several = [word for folder in folders for word in ("--model", str(folder))]
    assert main(["ensemble", *several, "--output", str(tmp_path / output)]) == 2
    assert "the member" in capsys.readouterr().err
    assert [(folder / "config.json").read_bytes() for folder in folders] == before


def test_studies_want_one_model(store: Path, members: list[Path], tmp_path: Path, capsys: Any) -> None:
    several = [word for each in members for word in ("--model", str(each))]
    words = ["evaluate", "--prepared", str(store), *several, "--output", str(tmp_path), "--sweep"]
    assert main(words) == 2
    assert "studies are of one model" in capsys.readouterr().err


def test_it_mends_as_most_members_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    on, off = ({"largest_component": True, "fill_holes": one} for one in (True, False))
    from sdseg.config.inference import Postprocessing

    folders = [
        edited(write_model(tmp_path / str(n), seed=n), postprocessing=Postprocessing(**each))
        for n, each in enumerate((on, off, off))
    ]
    rule = open_models(folders).rule
    assert (rule.largest_component, rule.fill_holes) == (True, False)
    assert "largest_component on, fill_holes off" in caplog.text
    make_ensemble(folders, tmp_path / "whole")
    assert open_model(tmp_path / "whole").rule == rule
