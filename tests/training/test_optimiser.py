"""Learning rate and weight averaging against hand-computed values."""

from __future__ import annotations

import pytest
import torch

from sdseg.config.training import Optimiser
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.latent_segmenter import LatentSegmenter
from sdseg.training.optimiser import average_of, build_optimiser, learning_rate, update_average
from tests.helpers.networks import CODEC, recipe
from tests.helpers.tiny import RGB


@pytest.mark.parametrize(("step", "expected"), [(0, 0.25), (3, 1.0), (4, 1.0), (8, 0.5), (12, 0.0)])
def test_warm_up_then_cosine(step: int, expected: float) -> None:
    settings = Optimiser(learning_rate=1.0, warmup_steps=4, schedule="cosine")
    assert learning_rate(step, settings, 12) == pytest.approx(expected)


def test_warm_up_then_constant() -> None:
    settings = Optimiser(learning_rate=1.0, warmup_steps=2)
    assert [learning_rate(step, settings, 5) for step in range(5)] == [0.5, 1, 1, 1, 1]


def test_the_rate_is_multiplied_by_the_batch_where_the_recipe_says_so() -> None:
    for wanted, expected in ((True, 4e-5), (False, 1e-5)):
        settings = Optimiser(learning_rate=1e-5, times_batch=wanted, warmup_steps=2)
        assert learning_rate(5, settings, 10, batch=4) == pytest.approx(expected)
        assert learning_rate(0, settings, 10, batch=4) == pytest.approx(expected / 2)


def test_a_second_stage_has_a_warm_up_and_a_schedule_of_its_own() -> None:
    settings = Optimiser(learning_rate=1.0, mask_learning_rate=0.5, warmup_steps=2, schedule="cosine")
    first = Optimiser(learning_rate=1.0, warmup_steps=2, schedule="cosine")
    second = Optimiser(learning_rate=0.5, warmup_steps=2, schedule="cosine")
    rates = [learning_rate(step, settings, 10, switch=6) for step in range(10)]
    expected = [learning_rate(step, first, 6) for step in range(6)] + [
        learning_rate(step, second, 4) for step in range(4)
    ]
    assert rates == pytest.approx(expected)
    assert rates[6:] == pytest.approx([0.25, 0.5, 0.5, 0.25])


@pytest.mark.parametrize("scope", ["all", "denoiser"])
def test_average_follows_its_rule(scope: str) -> None:
    chosen = recipe(training={"ema_decay": 0.5, "ema_scope": scope})
    segmenter = build_segmenter(chosen, RGB, 1, CODEC, 1.0)
    assert isinstance(segmenter, LatentSegmenter)
    weight = segmenter.denoiser.unet.conv_in.weight
    bias = segmenter.condition_encoder.projection.bias
    assert bias is not None
    average = average_of(segmenter, chosen.training)
    expected = 0.0
    for number, value in enumerate((1.0, 2.0, 4.0)):
        with torch.no_grad():
            weight.fill_(value)
            bias.fill_(value)
        update_average(average, segmenter, chosen.training)
        # The first update copies; later ones keep min(decay, (1 + n) / (10 + n)) of the average after n updates.
        kept = min(0.5, (1 + number) / (10 + number)) if number else 0.0
        expected = kept * expected + (1 - kept) * value
    averaged = average.module
    assert isinstance(averaged, LatentSegmenter)
    assert averaged.denoiser.unet.conv_in.weight[0, 0, 0, 0].item() == pytest.approx(expected)
    assert averaged.condition_encoder.projection.bias is not None
    last = 4.0 if scope == "denoiser" else expected
    assert averaged.condition_encoder.projection.bias[0].item() == pytest.approx(last)


def test_the_frozen_decoder_is_not_optimised() -> None:
    segmenter = build_segmenter(recipe(), RGB, 1, CODEC, 1.0)
    assert isinstance(segmenter, LatentSegmenter)
    optimised = {id(p) for group in build_optimiser(segmenter, Optimiser()).param_groups for p in group["params"]}
    assert not optimised & {id(parameter) for parameter in segmenter.decoder.parameters()}
    assert {id(parameter) for parameter in segmenter.denoiser.parameters()} <= optimised


@pytest.mark.parametrize("kind", ["trained", "skips"])
def test_beside_an_averaged_denoiser_the_decoder_keeps_its_last_value(kind: str) -> None:
    ends = {"train_timesteps": "last", "train_noise": "zero", "loss_mask": 1.0}
    chosen = recipe(network={"decoder": kind}, diffusion=ends, training={"ema_decay": 0.9, "ema_scope": "denoiser"})
    segmenter = build_segmenter(chosen, RGB, 1, CODEC, 1.0)
    part = "decoder" if kind == "trained" else "refinement"
    average = average_of(segmenter, chosen.training)
    for value in (1.0, 2.0):
        with torch.no_grad():
            for parameter in segmenter.parameters():
                parameter.fill_(value)
        update_average(average, segmenter, chosen.training)
    averaged = average.module
    assert isinstance(averaged, LatentSegmenter)
    assert all(bool((each == 2.0).all()) for each in averaged.get_submodule(part).parameters())
    assert not bool((averaged.denoiser.unet.conv_in.weight == 2.0).any())
