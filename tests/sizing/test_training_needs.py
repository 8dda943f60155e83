"""Memory and arithmetic of trainings: near what was measured, and larger where more is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdseg.config.codec import Codec
from sdseg.config.recipe import Recipe, load_recipe
from sdseg.config.run import load_config
from sdseg.sizing.training_needs import Shape, TrainingNeeds, memory_by_part, training_needs

CONFIG = Path(__file__).resolve().parents[2] / "config"
KL_F8 = Codec(weights="somewhere")


def full_scale(*, cuda: bool = False, shape: Shape | None = None, **changes: Any) -> TrainingNeeds:
    training = {"batch": 1, "workers": 0, "precision": "no", **changes.pop("training", {})}
    recipe = load_recipe(CONFIG / "recipes" / "sdseg-paper.yaml", {"training": training, **changes})
    return training_needs(recipe, KL_F8, shape or Shape(256), cuda=cuda)


def test_full_scale_on_a_cpu_as_measured() -> None:
    """9.3 to 10 GB at batch 1, a state of 5.65 GB, a model folder of 1.51 GB (docs/benchmarks.md)."""
    needs = full_scale()
    assert 9.3e9 < needs.process_bytes < 1.25 * 9.3e9
    assert needs.state_bytes == pytest.approx(5.65e9, rel=0.01)
    assert needs.model_bytes == pytest.approx(1.51e9, rel=0.01)
    assert needs.gpu_bytes == 0


def test_the_demo_as_measured() -> None:
    """0.75 GB: nearly all of it the libraries."""
    config = load_config(CONFIG / "demo.yaml")
    needs = training_needs(
        config.resolve_recipe("cvc", "sdseg-multistep"), config.codecs["small"], Shape(64), cuda=False
    )
    assert 0.7e9 < needs.process_bytes < 1.0e9
    assert needs.parameters == pytest.approx(2.6e6, rel=0.02)


def test_more_of_anything_needs_more() -> None:
    one = full_scale(cuda=True)
    assert full_scale(cuda=True, training={"batch": 16}).gpu_bytes > one.gpu_bytes
    assert full_scale(cuda=True, training={"batch": 16, "accumulate": 16}).gpu_bytes == one.gpu_bytes
    batch = {"batch": 16}
    assert (
        full_scale(cuda=True, training={**batch, "precision": "bf16"}).gpu_bytes
        < full_scale(cuda=True, training=batch).gpu_bytes
    )
    assert full_scale(shape=Shape(512)).step_flops > 3.9 * full_scale().step_flops
    assert full_scale(training={"batch": 8}).step_flops == 8 * full_scale().step_flops
    assert full_scale(shape=Shape(256, structures=13)).image_flops > 9 * full_scale().image_flops
    assert full_scale(diffusion={"loss_mask": 1.0}).step_flops > full_scale().step_flops


def through_the_decoder(**training: Any) -> Recipe:
    training = {"batch": 4, "workers": 0, "precision": "no", **training}
    return load_recipe(CONFIG / "recipes" / "sdseg-e2e.yaml", {"training": training})


def test_gradient_checkpointing_takes_less_memory_and_more_arithmetic() -> None:
    """Batch 4 at full size with the gradient through KL-f8's decoder: 16 GB hold it so, and not without."""
    plain, again = (
        training_needs(through_the_decoder(precision="bf16", gradient_checkpointing=on), KL_F8, Shape(256), cuda=True)
        for on in (False, True)
    )
    assert again.gpu_bytes < 16e9 < plain.gpu_bytes
    assert 1.25 < again.step_flops / plain.step_flops < 1.5
    assert again.parameters == plain.parameters


def test_memory_is_accounted_for_by_part() -> None:
    parts = {
        each.part: each
        for each in memory_by_part(through_the_decoder(gradient_checkpointing=True), KL_F8, Shape(256), images=4)
    }
    assert set(parts) == {"condition encoder", "denoiser", "decoder", "one block, computed again"}
    assert parts["denoiser"].weights_bytes == 20 * 294_973_828
    assert parts["decoder"].weights_bytes == 8 * parts["decoder"].parameters  # frozen: weights and their average
    plain = {each.part: each for each in memory_by_part(through_the_decoder(), KL_F8, Shape(256), images=4)}
    assert all(each.kept_bytes > 2 * parts[name].kept_bytes for name, each in plain.items())
    needs = training_needs(through_the_decoder(), KL_F8, Shape(256), cuda=False)
    assert needs.process_bytes > sum(each.weights_bytes + each.kept_bytes for each in plain.values())


def test_a_second_stage_counts_for_its_share_of_the_steps() -> None:
    stages = {"train_timesteps": "last", "train_noise": "zero", "loss_mask": 1.0, "loss_noise": 0.0, "prediction": "x0"}
    whole = full_scale(diffusion={**stages, "inference_noise": "zero"}, training={"steps": 100})
    late = {**stages, "inference_noise": "zero", "loss_mask_from": 75}
    quarter = full_scale(diffusion=late, training={"steps": 100})
    never = full_scale(diffusion={**stages, "inference_noise": "zero", "loss_mask": 0.0}, training={"steps": 100})
    added = (quarter.step_flops - never.step_flops) / (whole.step_flops - never.step_flops)
    assert added == pytest.approx(0.25)
    assert quarter.process_bytes == whole.process_bytes


def test_a_frozen_encoder_is_not_learnt() -> None:
    needs, whole = full_scale(network={"condition": {"trainable": False}}), full_scale()
    assert needs.trainable == 294_973_828
    assert needs.parameters == whole.parameters
    assert needs.step_flops < whole.step_flops
    assert needs.process_bytes < whole.process_bytes


def test_hypotheses_of_whole_volumes_count_where_they_are_compared_with_annotators() -> None:
    recipe = load_recipe(CONFIG / "recipes" / "ldseg3d.yaml", {"inference": {"samples": 4}})
    mean, each = (training_needs(recipe, None, Shape(128, 2, annotators), cuda=False) for annotators in (1, 3))
    assert each.answer_bytes - mean.answer_bytes == (4 - 1) * 4 * 3 * 2 * 128**3  # three copies in single precision
    assert each.process_bytes == mean.process_bytes  # training looks at the mean
