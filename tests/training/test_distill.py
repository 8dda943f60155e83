"""A student's training: the teacher is heard in every step, recorded, and left as it was; it resumes to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sdseg.__main__ import main
from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.core.files import sha256_file
from sdseg.core.yaml_json import read_yaml
from sdseg.models.model_folder import load_model, read_tensors
from sdseg.training.make_ensemble import make_ensemble
from tests.helpers.networks import direct_recipe, quick_recipe
from tests.helpers.tiny import write_model
from tests.helpers.training import events, rewind, run, write_inputs

ONE_STEP = {"train_timesteps": "last", "train_noise": "zero"}
SHORT = {"steps": 4, "validate_every": 4, "checkpoint_every": 2, "augmentation": "dihedral"}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slice store, a codec and a teacher."""
    folder = write_inputs(tmp_path_factory.mktemp("élève 1"))
    run(folder, folder / "teacher", quick_recipe(diffusion=ONE_STEP, training={"steps": 1}))
    return folder


def student(**distillation: Any) -> Recipe:
    head = {"decoder": "head", "mask_head": {"channels": [4]}}
    process = {**ONE_STEP, "loss_mask": 1.0, "loss_head": 1.0}
    return quick_recipe(
        network=head, diffusion=process, training=SHORT, distillation={"condition": 0.5, **distillation}
    )


def test_learns_from_its_teacher_and_resumes_to_the_bit(ready: Path, tmp_path: Path) -> None:
    teacher = ready / "teacher" / "model"
    before = sha256_file(teacher / "weights.safetensors")
    model = run(ready, tmp_path, student(head=1.0), teacher=teacher)
    taught = {f"taught_{name}" for name in ("condition", "latent", "probability", "head")}
    assert set(events(model, "step")[-1]["losses"]) == {"latent", "mask", "head", *taught}
    segmenter, manifest = load_model(model)
    assert manifest.training["teacher"] == {"recipe": "tiny", "sha256": before}
    assert set(segmenter.parts()) == {"normaliser", "condition_encoder", "denoiser", "decoder"}
    assert sha256_file(teacher / "weights.safetensors") == before

    whole = read_tensors(tmp_path / "last" / "weights.safetensors")
    rewind(tmp_path)
    run(ready, tmp_path, student(head=1.0), teacher=teacher)
    again = read_tensors(tmp_path / "last" / "weights.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in whole.items())

    rewind(tmp_path)
    other = run(ready, tmp_path / "other", quick_recipe(diffusion=ONE_STEP, training={"steps": 1, "seed": 1}))
    with pytest.raises(UserError, match=r"(?s)settings or the code of this unfinished run were changed.*teacher: "):
        run(ready, tmp_path, student(head=1.0), teacher=other)


def test_a_unet_may_learn_from_an_ensemble(ready: Path, tmp_path: Path) -> None:
    members = [write_model(tmp_path / "a"), ready / "teacher" / "model"]
    make_ensemble(members, tmp_path / "both", "both")
    chosen = direct_recipe(training={"steps": 1}, distillation={"latent": 0.0})
    model = run(ready, tmp_path, chosen, teacher=tmp_path / "both")
    assert set(events(model, "step")[-1]["losses"]) == {"dice_ce", "taught_probability"}
    assert load_model(model)[1].training["teacher"]["recipe"] == "both"


def test_the_verb_gives_a_recipe_the_section_that_it_lacks(ready: Path, tmp_path: Path) -> None:
    plain = quick_recipe(diffusion=ONE_STEP, training={**SHORT, "steps": 1})
    settings = tmp_path / "small one.yaml"
    settings.write_text(yaml.safe_dump(plain.model_dump(mode="json")), encoding="utf-8")
    words = ["distill", "--teacher", ready / "teacher" / "model", "--student", settings, "--codec", ready / "codec"]
    words += ["--prepared", ready / "prepared", "--output", tmp_path / "model", "--set", "distillation.latent=0.5"]
    assert main([*map(str, words), "--quiet"]) == 0
    manifest = load_model(tmp_path / "model")[1]
    assert manifest.recipe_name == "small one"
    expected = {"teacher": None, "condition": 0.0, "latent": 0.5, "probability": 1.0, "head": 0.0}
    assert manifest.recipe["distillation"] == expected
    assert read_yaml(settings)["distillation"] is None


def test_the_verb_without_the_section_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "unet.yaml"
    settings.write_text(yaml.safe_dump(direct_recipe().model_dump(mode="json")), encoding="utf-8")
    words = ["distill", "--teacher", tmp_path / "teacher", "--student", settings, "--prepared", tmp_path / "prepared"]
    words += ["--output", tmp_path / "model", "--set"]
    assert main([*map(str, words), "distillation=null"]) == 2
    told = capsys.readouterr().err
    assert "the recipe has no 'distillation': it learns from no teacher" in told
    assert "start it by 'sdseg distill'" not in told
    assert main([*map(str, words), "distillation.probability=1"]) == 2
    assert "or give '--set distillation.latent=0'" in capsys.readouterr().err
