"""Memory and arithmetic of trainings: near what was measured, and larger where more is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdseg.config.network import Codec
from sdseg.config.recipe import load_recipe
from sdseg.config.run import load_config
from sdseg.sizing.training_needs import Shape, TrainingNeeds, training_needs

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
    needs = training_needs(config.resolve_recipe("cvc", "sdseg-onestep"), config.codecs["small"], Shape(64), cuda=False)
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


def test_a_frozen_encoder_is_not_learnt() -> None:
    needs, whole = full_scale(network={"condition": {"trainable": False}}), full_scale()
    assert needs.trainable == 294_973_828
    assert needs.parameters == whole.parameters
    assert needs.step_flops < whole.step_flops
    assert needs.process_bytes < whole.process_bytes
