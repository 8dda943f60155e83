"""The teacher of a student: what it answers, and which models cannot be one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sdseg.artifacts.manifests import ModelManifest
from sdseg.artifacts.results.training import FoldRecord
from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.core.files import write_json
from sdseg.data.store import SliceStore
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.frozen_codec import FrozenCodec
from sdseg.models.latent_segmenter import LatentSegmenter, start_from_codec
from sdseg.models.matching import TeacherAnswer, taught_losses
from sdseg.models.model_folder import load_codec_folder, load_model, save_codec_folder, save_model
from sdseg.models.segmenter import Batch
from sdseg.models.start_from import Inputs
from sdseg.models.teacher import Teacher, open_teacher
from sdseg.training.make_ensemble import make_ensemble
from tests.helpers.networks import CODEC, codec, direct_recipe, recipe
from tests.helpers.tiny import DISC_CUP, MR, POLYP, RGB, write_model, write_store

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 255, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ONE_STEP = {"train_timesteps": "last", "train_noise": "zero"}


def latent_model(folder: Path, chosen: Recipe, structures: Any = POLYP, codec_seed: int = 0) -> Path:
    """The folder of an untrained latent model."""
    torch.manual_seed(1)
    segmenter = build_segmenter(chosen, RGB, len(structures), CODEC, 0.7)
    assert isinstance(segmenter, LatentSegmenter)
    start_from_codec(segmenter, codec(codec_seed))
    manifest = ModelManifest(
        dataset="tiny",
        origin="phantom",
        protocol="clean",
        recipe_name="teacher",
        recipe=chosen.model_dump(mode="json"),
        codec=CODEC.model_dump(mode="json"),
        latent_scale=0.7,
        image=RGB,
        structures=structures,
        training={},
        files={},
        provenance={},
    )
    folder.mkdir(parents=True)
    save_model(folder, segmenter, manifest)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A slice store of one structure and the codec of the teachers."""
    place = tmp_path_factory.mktemp("données")
    write_store(place / "prepared")
    (place / "codec").mkdir()
    save_codec_folder(place / "codec", codec(), 0.9, {})
    return Inputs(SliceStore.open(place / "prepared"), FrozenCodec(*load_codec_folder(place / "codec")), None)


def student(**distillation: Any) -> Recipe:
    return recipe(diffusion=ONE_STEP, distillation=distillation)


def opened(chosen: Recipe, folder: Path, inputs: Inputs) -> Teacher:
    teacher = open_teacher(chosen, folder, inputs, CPU)
    assert teacher is not None
    return teacher


def test_it_answers_as_the_model_does(tmp_path: Path, inputs: Inputs) -> None:
    folder = latent_model(tmp_path / "m", recipe(diffusion=ONE_STEP))
    answer = opened(student(condition=1.0), folder, inputs).answer(IMAGES, torch.zeros(3, dtype=torch.int64))
    segmenter, _ = load_model(folder)
    assert isinstance(segmenter, LatentSegmenter)
    assert torch.allclose(answer.probability, segmenter(IMAGES), atol=1e-5)
    assert answer.latent is not None
    decoded = segmenter.decoder.probability(segmenter.decoder(answer.latent))
    assert torch.allclose(decoded, answer.probability, atol=1e-5)
    condition, _ = segmenter.condition_encoder(segmenter.normaliser(IMAGES))
    assert answer.condition is not None
    assert torch.allclose(answer.condition, condition, atol=1e-5)
    assert not answer.latent.requires_grad


def test_of_several_structures_it_answers_for_that_of_each_sample(tmp_path: Path, inputs: Inputs) -> None:
    folder = latent_model(tmp_path / "m", recipe(diffusion=ONE_STEP), DISC_CUP)
    store = SliceStore.open(write_store(tmp_path / "eyes", structures=DISC_CUP))
    both, chosen = replace(inputs, store=store), torch.tensor([1, 0, 1])
    teacher = opened(student(), folder, both)
    whole = load_model(folder)[0](IMAGES)  # [3,2,H,W]
    assert torch.allclose(teacher.answer(IMAGES, chosen).probability[:, 0], whole[[0, 1, 2], chosen], atol=1e-5)
    every = opened(direct_recipe(distillation={"latent": 0.0}), folder, both).answer(IMAGES, chosen)
    assert torch.allclose(every.probability, whole, atol=1e-5)


def test_an_ensemble_flips_nothing_to_answer(tmp_path: Path, inputs: Inputs) -> None:
    """Neither itself nor its members, whatever they do at inference."""
    flipping = recipe(diffusion=ONE_STEP, inference={"flips": "both"})
    folders = [latent_model(tmp_path / name, flipping) for name in "ab"]
    make_ensemble(folders, tmp_path / "both")
    teacher = opened(student(latent=0.0), tmp_path / "both", inputs)
    plain, _ = load_model(folders[0], {"flips": "none"})
    answer = teacher.answer(IMAGES, torch.zeros(3, dtype=torch.int64)).probability
    assert answer is not None
    assert torch.allclose(answer, plain(IMAGES), atol=1e-5)
    assert not torch.allclose(answer, load_model(folders[0])[0](IMAGES), atol=1e-6)


def test_it_computes_what_the_student_learns_from_alone(tmp_path: Path, inputs: Inputs) -> None:
    folder, structure = latent_model(tmp_path / "m", recipe(diffusion=ONE_STEP)), torch.zeros(3, dtype=torch.int64)

    def answered(**weights: float) -> tuple[set[str], set[str]]:
        """Networks that ran, and what came of them."""
        teacher, ran = opened(student(**weights), folder, inputs), set()
        for name, part in teacher.segmenter.named_children():
            part.register_forward_hook(lambda *_, name=name: ran.add(name))
        answer = teacher.answer(IMAGES, structure)
        return ran, {name for name, value in vars(answer).items() if value is not None}

    encoder = {"normaliser", "condition_encoder"}
    assert answered(condition=1, latent=0, probability=0) == (encoder, {"condition"})
    assert answered(latent=1, probability=0) == (encoder | {"denoiser"}, {"condition", "latent"})
    everything = {"condition", "latent", "probability"}
    assert answered(latent=0, probability=1) == (encoder | {"denoiser", "decoder"}, everything)


def test_each_weight_is_a_loss_of_its_own() -> None:
    values = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    answer = TeacherAnswer(values[:, :1], values, values + 1)
    given = {"condition": values + 0.5, "latent": values, "logits": torch.zeros(2, 1, 8, 8)}
    terms = taught_losses(student(condition=2.0, latent=3.0, probability=0.0).distillation, answer, **given)  # type: ignore[arg-type]
    assert set(terms) == {"taught_condition", "taught_latent"}
    assert float(terms["taught_condition"]) == pytest.approx(2.0 * 0.25 / float(values.var()), rel=1e-5)
    assert float(terms["taught_latent"]) == pytest.approx(3.0, rel=1e-5)
    terms = taught_losses(student(latent=0.0).distillation, answer, **given)  # type: ignore[arg-type]
    assert float(terms["taught_probability"]) == pytest.approx(float(torch.tensor(2.0).log()), rel=1e-5)


def test_a_head_is_taught_on_the_teachers_latents() -> None:
    head = {"decoder": "head", "mask_head": {"channels": [4]}}
    chosen = recipe(network=head, diffusion=ONE_STEP, distillation={"latent": 0, "probability": 0, "head": 1.0})
    segmenter = build_segmenter(chosen, RGB, 1, CODEC, 0.7)
    assert isinstance(segmenter, LatentSegmenter)
    z = torch.randn(3, *segmenter.latent_shape)
    answer = TeacherAnswer(torch.rand(3, 1, 32, 32), None, z)
    batch = Batch(IMAGES, torch.ones(3, 1, 32, 32), torch.zeros(3, dtype=torch.int64), z, z, torch.rand(3), 1, answer)
    assert set(segmenter.losses(batch)) == {"latent", "taught_head"}


def test_a_model_that_cannot_teach_is_refused(tmp_path: Path, inputs: Inputs) -> None:
    plain = latent_model(tmp_path / "plain", recipe(diffusion=ONE_STEP))
    unet = write_model(tmp_path / "unet")

    def refused(chosen: Recipe, folder: Path | None, message: str, given: Inputs = inputs) -> None:
        with pytest.raises(UserError, match=message):
            open_teacher(chosen, folder, given, CPU)

    refused(recipe(), plain, r"(?s)learns from no teacher.*sdseg distill")
    refused(student(), None, r"(?s)nobody names one.*--teacher FOLDER")
    refused(student(teacher={"recipe": "big"}), None, r"(?s)learns from the recipe 'big'.*--teacher FOLDER")
    per_volume = replace(inputs, store=SliceStore.open(write_store(tmp_path / "mr", MR)))
    refused(
        student(),
        write_model(tmp_path / "ct", MR.model_copy(update={"normalisation": None})),
        "normalisation: the data have",
        per_volume,
    )
    refused(student(), unet, r"(?s)'distillation.latent' match latents, and the teacher has none.*needs no latent")
    drawn = latent_model(tmp_path / "drawn", recipe(diffusion={"inference_noise": "gaussian"}))
    refused(student(), drawn, "starts from Gaussian noise")
    other = latent_model(tmp_path / "other", recipe(diffusion=ONE_STEP), codec_seed=5)
    refused(student(), other, "the teacher's are another codec's")
    assert opened(student(latent=0.0), other, inputs)  # its probability says the same in any codec
    wide = recipe(diffusion=ONE_STEP, network={"condition": {"latent_channels": 6, "init": "random"}})
    refused(student(condition=1.0), latent_model(tmp_path / "wide", wide), r"has 6 channels of 16×16.*student's 4")
    eyes = SliceStore.open(write_store(tmp_path / "eyes", structures=DISC_CUP))
    refused(student(), plain, "segments other structures", replace(inputs, store=eyes))
    larger = load_model(plain)[1].model_copy(update={"image": RGB.model_copy(update={"size": 64})})
    shutil.copytree(plain, tmp_path / "larger")
    write_json(tmp_path / "larger" / "config.json", larger)
    refused(student(), tmp_path / "larger", "made for other images: size: the data have 32, the model wants 64")
    for key, value, remedy in (("stretch", True, "trained on these data"), ("neighbours", 1, "condition.neighbours")):
        write_json(
            tmp_path / "larger" / "config.json",
            larger.model_copy(update={"image": RGB.model_copy(update={key: value})}),
        )
        refused(student(), tmp_path / "larger", rf"(?s){key}: the data have.*{remedy}")


def test_a_teacher_of_the_same_data_prepared_otherwise_is_warned_of(
    tmp_path: Path, inputs: Inputs, caplog: pytest.LogCaptureFixture
) -> None:
    folder = latent_model(tmp_path / "m", recipe(diffusion=ONE_STEP))
    _, manifest = load_model(folder)
    write_json(folder / "config.json", manifest.model_copy(update={"training": {"data_checksum": "0" * 64}}))
    assert opened(student(), folder, inputs)
    assert "cases of the split 'test' may have been among its training cases" in caplog.text


def test_a_teacher_that_saw_the_cases_held_out_is_refused(tmp_path: Path, inputs: Inputs) -> None:
    """Each score of a fold would be of cases that the student knows through its teacher."""
    folder = latent_model(tmp_path / "m", recipe(diffusion=ONE_STEP))
    _, manifest = load_model(folder)
    fold = FoldRecord(number=2, of=3, sha256="0")
    held_out = replace(inputs, fold=fold)
    for seen, allowed in ((None, False), (fold.model_copy(update={"number": 1}), False), (fold, True)):
        training = {"data_checksum": inputs.store.manifest.data_checksum} | ({"fold": seen.content()} if seen else {})
        write_json(folder / "config.json", manifest.model_copy(update={"training": training}))
        assert opened(student(), folder, inputs)  # nothing is held out
        if allowed:
            assert opened(student(), folder, held_out)
            continue
        with pytest.raises(UserError, match="was trained on cases that fold 2 of 3 holds out"):
            open_teacher(student(), folder, held_out, CPU)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"distillation": {"latent": 0, "probability": 0}}, "are all 0: nothing is learnt from the teacher"),
        ({"distillation": {"head": 1.0}}, "'distillation.head' teaches a mask head"),
        ({"distillation": {"teacher": {"recipe": "a", "model": "b"}}}, "give either 'recipe'"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**values)
    with pytest.raises(ValueError, match=r"a direct network has no latents; set 'distillation.latent: 0'"):
        direct_recipe(distillation={})
