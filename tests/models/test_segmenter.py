"""The one forward: it is the composition of its parts, for every prediction target, noise and number of structures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from monai.losses import DiceCELoss
from torch import nn

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.errors import UserError
from sdseg.models import diffusion
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.codec import MaskCodec, mask_logits
from sdseg.models.direct_segmenter import DirectSegmenter
from sdseg.models.label_classes import LabelClasses
from sdseg.models.latent_segmenter import LatentSegmenter, start_from_codec
from sdseg.models.normaliser import Normaliser
from sdseg.models.segmenter import Batch, Segmenter
from tests.helpers.networks import CODEC, codec, direct_recipe, recipe
from tests.helpers.tiny import CT, DISC_CUP, RGB


def build(structures: int = 1, image: ImageContract = RGB, **process: object) -> LatentSegmenter:
    torch.manual_seed(0)
    chosen = recipe(diffusion=process)
    segmenter = build_segmenter(chosen, image, structures, CODEC, 0.7)
    assert isinstance(segmenter, LatentSegmenter)
    start_from_codec(segmenter, codec())
    return segmenter.eval()


def images(contract: ImageContract = RGB, count: int = 2) -> torch.Tensor:
    low, high = contract.window
    values = np.random.default_rng(0).uniform(low, high, (count, 32, 32, contract.channels))
    return torch.from_numpy(values.astype(contract.dtype))


def batch(segmenter: LatentSegmenter) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (2, *segmenter.latent_shape)
    return Batch(
        image=images(),
        mask=torch.zeros(2, 1, 32, 32),
        structure=torch.zeros(2, dtype=torch.int64),
        latent=torch.randn(shape, generator=generator),
        noise=torch.randn(shape, generator=generator),
        uniform=torch.tensor([0.1, 0.9]),
    )


def test_window_maps_to_minus_one_and_one_and_clips() -> None:
    raw = torch.tensor([-2000, -175, 37.5, 250, 3000]).view(1, 1, 5, 1)
    found = Normaliser(CT)(raw)
    assert found.shape == (1, 3, 1, 5)
    torch.testing.assert_close(found[0, 1, 0], torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0]))


@pytest.mark.parametrize("prediction", ["x0", "epsilon"])
@pytest.mark.parametrize("noise", ["zero", "fixed", "gaussian"])
def test_forward_is_the_composition_of_its_parts(prediction: str, noise: str) -> None:
    segmenter = build(prediction=prediction, inference_noise=noise)
    given = torch.randn(2, *segmenter.latent_shape) if noise == "gaussian" else None
    start = {"zero": torch.zeros(2, 4, 16, 16), "fixed": segmenter.fixed_noise.expand(2, -1, -1, -1), "gaussian": given}
    with torch.inference_mode():
        found = segmenter(images(), given)
        condition, _ = segmenter.condition_encoder(segmenter.normaliser(images()))
        z_t = start[noise]
        assert z_t is not None
        output = segmenter.denoiser(z_t, condition, torch.tensor([999, 999]), None)
        alpha_bar = diffusion.alphas_cumprod(segmenter.process)[999].float()
        if prediction == "epsilon":
            output = (z_t - (1 - alpha_bar).sqrt() * output) / alpha_bar.sqrt()
        torch.testing.assert_close(found, codec().decode(output), rtol=1e-4, atol=1e-5)
    assert found.shape == (2, 1, 32, 32)
    assert found.min() >= 0
    assert found.max() <= 1


def several(inference: dict[str, int], **process: object) -> LatentSegmenter:
    torch.manual_seed(0)
    chosen = recipe(diffusion=process, inference=inference)
    segmenter = build_segmenter(chosen, RGB, 1, CODEC, 0.7)
    assert isinstance(segmenter, LatentSegmenter)
    start_from_codec(segmenter, codec())
    return segmenter.eval()


@pytest.mark.parametrize("prediction", ["x0", "epsilon", "v"])
def test_several_steps_are_those_of_diffusers(prediction: str) -> None:
    segmenter = several({"steps": 4}, prediction=prediction, inference_noise="fixed")
    kinds = {"x0": "sample", "epsilon": "epsilon", "v": "v_prediction"}
    scheduler = DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0155,
        beta_schedule="scaled_linear",
        prediction_type=kinds[prediction],
        clip_sample=False,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(4)
    with torch.inference_mode():
        condition, _ = segmenter.condition_encoder(segmenter.normaliser(images()))
        latent = segmenter.fixed_noise.expand(2, -1, -1, -1)
        for timestep in scheduler.timesteps:
            output = segmenter.denoiser(latent, condition, timestep.expand(2), None)
            latent = scheduler.step(output, int(timestep), latent).prev_sample
        torch.testing.assert_close(segmenter(images()), codec().decode(latent), rtol=1e-3, atol=1e-4)


def test_samples_are_averaged_and_the_image_is_encoded_once() -> None:
    one = several({"samples": 1, "steps": 2}, inference_noise="gaussian")
    three = several({"samples": 3, "steps": 2}, inference_noise="gaussian")
    three.load_state_dict(one.state_dict())
    assert one.noise_shape == (4, 16, 16)
    assert three.noise_shape == (12, 16, 16)
    noise = torch.randn(2, 12, 16, 16)
    encoded: list[int] = []
    hook = three.condition_encoder.register_forward_hook(
        lambda _module, inputs, _output: encoded.append(len(inputs[0]))
    )
    with torch.inference_mode():
        found = three(images(), noise)
        expected = torch.stack([one(images(), part) for part in noise.chunk(3, dim=1)]).mean(dim=0)
    hook.remove()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert encoded == [2]


def test_each_structure_has_a_channel_of_its_own() -> None:
    with torch.inference_mode():
        found = build(structures=3, image=CT)(images(CT))
    assert found.shape == (2, 3, 32, 32)
    assert not torch.allclose(found[:, 0], found[:, 1])


@pytest.mark.parametrize("decoder", ["frozen", "skips"])
def test_all_structures_in_one_pass(decoder: str) -> None:
    """One call of denoiser and decoder, whatever the number of structures; the cup never leaves its disc."""
    labels = CODEC.model_copy(update={"encodes": "labels"})
    chosen = recipe(network={"classes": "joint", "decoder": decoder}, diffusion={"loss_mask": 1.0})
    classes = LabelClasses.of(DISC_CUP)
    segmenter = build_segmenter(chosen, RGB, 2, labels, 0.7, classes)
    assert isinstance(segmenter, LatentSegmenter)
    whole = MaskCodec(labels, 0.7, classes).eval()
    start_from_codec(segmenter, whole)
    calls: list[nn.Module] = []
    for part in (segmenter.denoiser, segmenter.decoder):
        part.register_forward_hook(lambda module, _inputs, _output: calls.append(module))
    with torch.inference_mode():
        disc, cup = segmenter.eval()(images()).unbind(dim=1)
        condition, coarser = segmenter.condition_encoder(segmenter.normaliser(images()))
        start = torch.zeros(2, 4, 16, 16)
        latent = segmenter.denoiser(start, condition, torch.tensor([999, 999]), None, coarser)
        torch.testing.assert_close(torch.stack([disc, cup], dim=1), whole.decode(latent), rtol=1e-4, atol=1e-5)
    assert calls[:2] == [segmenter.denoiser, segmenter.decoder]
    assert len(calls) == 3  # the third is this test's own
    assert bool((cup <= disc).all())
    given = replace(batch(segmenter), mask=torch.ones(2, 2, 32, 32))
    losses = segmenter.train().losses(given)
    torch.stack(list(losses.values())).sum().backward()
    assert set(losses) == {"latent", "mask"}
    assert all(parameter.grad is not None for parameter in segmenter.denoiser.parameters())


def test_a_result_does_not_depend_on_the_rest_of_the_batch() -> None:
    segmenter = build(inference_noise="fixed")
    with torch.inference_mode():
        torch.testing.assert_close(segmenter(images())[1:], segmenter(images()[1:]), rtol=1e-4, atol=1e-5)


def test_losses_are_weighted_and_reach_every_trained_part() -> None:
    plain, weighted = build(loss_noise=1.0, loss_latent=1.0), build(loss_noise=2.0, loss_latent=0.5)
    ours, theirs = plain.losses(batch(plain)), weighted.losses(batch(weighted))
    torch.testing.assert_close(theirs["noise"], 2.0 * ours["noise"])
    torch.testing.assert_close(theirs["latent"], 0.5 * ours["latent"])
    torch.stack(list(ours.values())).sum().backward()
    trained = [name for name, parameter in plain.named_parameters() if parameter.grad is not None]
    assert any(name.startswith("condition_encoder") for name in trained)
    assert any(name.startswith("denoiser") for name in trained)
    assert not any(name.startswith("decoder") for name in trained)


def test_training_where_inference_starts_sees_no_trace_of_the_mask() -> None:
    segmenter = build(train_timesteps="last", train_noise="zero")
    made = batch(segmenter)
    assert made.latent is not None
    with torch.inference_mode():
        loss = segmenter.losses(made)["latent"]
        condition, _ = segmenter.condition_encoder(segmenter.normaliser(made.image))
        prediction = segmenter.denoiser(torch.zeros_like(made.latent), condition, torch.tensor([999, 999]), None)
        torch.testing.assert_close(loss, (prediction - made.latent).abs().mean())


def test_the_mask_loss_is_that_of_the_decoded_mask_and_reaches_the_trained_parts_alone() -> None:
    segmenter = build(train_timesteps="last", train_noise="zero", loss_mask=2.0, loss_latent=0.0)
    made = replace(batch(segmenter), mask=torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1)).round())
    terms = segmenter.losses(made)
    assert set(terms) == {"mask"}
    condition, _ = segmenter.condition_encoder(segmenter.normaliser(made.image))
    latent = segmenter.denoiser(torch.zeros(2, 4, 16, 16), condition, torch.tensor([999, 999]), None)
    decoded = segmenter.decoder.decoder(segmenter.decoder.post_quant_conv(latent / 0.7)).mean(dim=1, keepdim=True)
    torch.testing.assert_close(terms["mask"], 2.0 * DiceCELoss(sigmoid=True, batch=True)(6.0 * decoded, made.mask))
    terms["mask"].backward()
    reached = {name.split(".")[0] for name, value in segmenter.named_parameters() if value.grad is not None}
    assert reached == {"condition_encoder", "denoiser"}


def test_a_saturated_pixel_on_the_wrong_side_still_has_a_gradient() -> None:
    decoder = build().decoder
    latent = (50.0 * torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))).requires_grad_()
    logits = mask_logits(decoder(latent))
    wrong = (logits.detach() < 0).float()  # every pixel is to be the other way round
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wrong)
    loss.backward()
    assert torch.isfinite(loss)
    assert latent.grad is not None
    assert float(latent.grad.abs().min()) > 0


def test_a_frozen_encoder_keeps_its_projection_trainable() -> None:
    chosen = recipe(network={"condition": {"trainable": False}})
    segmenter = build_segmenter(chosen, RGB, 1, CODEC, 0.7)
    trained = {name for name, parameter in segmenter.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith("condition_encoder.encoder") for name in trained)
    assert any(name.startswith("condition_encoder.projection") for name in trained)


def test_gaussian_noise_must_be_given() -> None:
    with pytest.raises(UserError, match="starts from Gaussian noise"):
        build(inference_noise="gaussian")(images())


def test_a_latent_recipe_without_a_codec_is_refused() -> None:
    with pytest.raises(UserError, match="needs a mask codec"):
        build_segmenter(recipe(), RGB, 1)


def test_the_baseline_is_monais_unet_with_dice_and_cross_entropy_of_each_structure() -> None:
    torch.manual_seed(0)
    segmenter: Segmenter = build_segmenter(direct_recipe(), RGB, 2)
    assert isinstance(segmenter, DirectSegmenter)
    mask = torch.rand(2, 2, 32, 32).round()
    made = Batch(images(), mask, torch.zeros(2), None, None, None)
    logits = segmenter.unet(images().permute(0, 3, 1, 2).float() / 127.5 - 1.0)
    # MONAI's DiceCELoss of one channel is Dice + binary cross entropy.
    monai = DiceCELoss(sigmoid=True, batch=True)
    expected = torch.stack([monai(logits[:, k : k + 1], mask[:, k : k + 1]) for k in range(2)]).mean()
    torch.testing.assert_close(segmenter.losses(made)["dice_ce"], expected)
    torch.testing.assert_close(segmenter(images()), torch.sigmoid(logits))
