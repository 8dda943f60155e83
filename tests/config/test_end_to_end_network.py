"""Values of recipes that denoise: what cannot go together is refused with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from sdseg.config.image_size import check_size
from sdseg.config.recipe import Recipe
from sdseg.config.training_checks import check_training
from sdseg.core.errors import UserError
from tests.helpers.end_to_end import ldseg
from tests.helpers.networks import direct_recipe, recipe

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"diffusion": {"loss_mask": 0.0}}, r"decoder from the first step on.*'diffusion.loss_mask' a weight"),
    ({"diffusion": {"loss_mask_from": 1}}, r"leave out 'loss_mask_from'"),
    ({"diffusion": {"prediction": "x0"}}, r"predicts none .*predict v or epsilon"),
    (
        {
            "diffusion": {
                "prediction": "x0",
                "loss_noise": 0.0,
                "train_noise": "zero",
                "train_timesteps": "last",
                "inference_noise": "zero",
            },
            "inference": {"steps": 1},
        },
        r"has nothing to learn by; give 'loss_latent' a weight",
    ),
    ({"diffusion": {"sample_latents": True}}, r"has no codec; leave it out"),
    ({"network": {"decoder_input": "difference"}}, r"'prediction: v' predicts none; set 'prediction: epsilon'"),
    ({"network": {"label_decoder": {"channels": [8]}}}, r"doubles 1 times: give the encoders one entry more"),
    ({"network": {"image_encoder": {"heads": 3}}}, r"8 channels cannot be shared among 3 attention heads"),
    ({"network": {"denoiser": {"attention": [False]}}}, r"one value per entry of 'block_out_channels'"),
    ({"network": {"denoiser": {"attention": [False, False], "heads": 3}}}, r"shared among 3 attention heads"),
    ({"network": {"norm_num_groups": 3}}, r"4 channels cannot be normalised in 3 groups"),
    (
        {"network": {"image_encoder": {"channels": [6, 8, 8], "attention": [True, False, False]}}},
        r"6 channels cannot be normalised in 4 groups",
    ),
    ({"distillation": {}}, r"not from a teacher; leave out 'distillation'"),
    ({"training": {"structures": "present"}}, r"'end-to-end-diffusion' trains all; leave it out"),
    ({"network": {"dimensions": 3}, "patches": {"size": [4, 16, 16]}}, r"'patches.size' a multiple of 8"),
    ({"network": {"dimensions": 3}}, r"give 'patches' with 'size: "),
    ({"diffusion": {"timesteps": 10}, "inference": {"steps": 11}}, r"11' is more than the 10 timesteps.*take fewer"),
    ({"diffusion": {"inference_noise": "zero"}, "inference": {"sampler": "ddpm"}}, r"set diffusion.inference_noise: g"),
    ({"diffusion": {"inference_noise": "fixed"}, "inference": {"last_noise": True}}, r"adds Gaussian noise"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "message"), WRONG)
def test_what_cannot_go_together_is_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"(?s){message}"):
        ldseg(**overrides)


@pytest.mark.parametrize(
    ("make", "overrides", "message"),
    [
        (recipe, {"inference": {"standardise": "case"}}, "with a frozen codec"),
        (recipe, {"training": {"mask_loss": "ce_2dice"}, "diffusion": {"loss_mask": 1.0}}, "'network.classes: joint'"),
        (direct_recipe, {"training": {"mask_loss": "ce_2dice"}}, "take 'dice_ce'"),
        (direct_recipe, {"inference": {"sampler": "ddpm"}}, "denoises nothing; leave out inference.sampler"),
    ],
)
def test_values_of_other_methods_are_refused(make: Any, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**overrides)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (direct_recipe(training={"structures": "present"}), "'training.structures: present' chooses the structure"),
        (direct_recipe(training={"ema_scope": "denoiser"}), "a direct network has none"),
        (
            direct_recipe(network={"norm": "batch"}, training={"gradient_checkpointing": True}),
            r"(?s)count every batch twice.*training.gradient_checkpointing of recipe 'one'.*'network.norm: instance'",
        ),
        (ldseg(network={"norm": "batch"}, training={"gradient_checkpointing": True}), "'network.norm: group'"),
    ],
)
def test_what_training_cannot_follow_is_refused(chosen: Recipe, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_training(chosen, " of recipe 'one'")


def test_what_training_can_follow_is_not() -> None:
    check_training(recipe(training={"structures": "present", "ema_scope": "denoiser", "gradient_checkpointing": True}))
    check_training(direct_recipe(training={"gradient_checkpointing": True}))
    check_training(ldseg("ldseg-official"))


def test_a_size_that_cannot_be_halved_often_enough_is_refused() -> None:
    with pytest.raises(UserError, match="a multiple of 8 is needed"):
        check_size((36, 36), ldseg().network, None, "here")
    check_size((40, 40), ldseg().network, None, "here")


def test_a_resolved_recipe_reads_back_as_it_was() -> None:
    """As model folders hold it."""
    chosen = ldseg("ldseg-official")
    assert Recipe.model_validate(chosen.model_dump(mode="json")) == chosen
    assert chosen.joint
