"""LDSeg: networks in two and three dimensions, the loss put together by hand, and what inference is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.models import diffusion
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.end_to_end_networks import ImageCondition, LabelDecoder, LabelEncoder
from sdseg.models.end_to_end_segmenter import EndToEndSegmenter
from sdseg.models.segmenter import Batch
from sdseg.models.spatial_unet import SpatialUnet
from tests.helpers.end_to_end import NETWORK, ldseg
from tests.helpers.tiny import RGB


def build(name: str = "ldseg", structures: int = 2, **overrides: Any) -> EndToEndSegmenter:
    torch.manual_seed(0)
    segmenter = build_segmenter(ldseg(name, **overrides), RGB, structures)
    assert isinstance(segmenter, EndToEndSegmenter)
    return segmenter.eval()


def batch(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    label = torch.randint(0, 3, (count, 32, 32), generator=generator)
    return Batch(
        image=torch.randint(0, 256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8),
        mask=torch.stack([label == 1, label == 2], dim=1).to(torch.uint8),
        structure=torch.zeros(count, dtype=torch.int64),
        latent=None,
        noise=torch.randn(count, 1, 8, 8, generator=generator),
        uniform=torch.tensor([0.1, 0.5, 0.9])[:count],
    )


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("sides", [(16, 24), (8, 16, 24)], ids=["2-D", "3-D"])
def test_networks_fit_together_in_every_dimension(sides: tuple[int, ...], norm: str) -> None:
    chosen = {"kind": "end-to-end-diffusion", "dimensions": len(sides), "latent_channels": 2, "norm": norm, **NETWORK}
    network = EndToEndNetwork.model_validate(chosen)
    small = network.latent_shape(sides)
    assert small == (2, *(side // 4 for side in sides))
    latent = LabelEncoder(network, 3)(torch.rand(2, 3, *sides))
    assert latent.shape == (2, *small)
    torch.testing.assert_close(latent.flatten(1).mean(dim=1), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(latent.flatten(1).square().mean(dim=1), torch.ones(2), rtol=1e-3, atol=0)
    condition = ImageCondition(network)(torch.rand(2, 3, *sides))
    unet = SpatialUnet(network.denoiser, network.dimensions, 3, 2)
    prediction = unet(torch.cat([latent, condition], dim=1), torch.tensor([0, 999]))
    assert prediction.shape == latent.shape
    logits = LabelDecoder(network, 3)(prediction)
    assert logits.shape == (2, 3, *sides)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in unet.parameters())


def class_terms(logits: torch.Tensor, given: Batch) -> torch.Tensor:
    """Cross entropy + 2·(1 − Dice), written out: every class, the background included."""
    truth = given.mask[:, 0] + 2 * given.mask[:, 1].long()  # [N,H,W]
    share, one_hot = logits.softmax(dim=1), functional.one_hot(truth, 3).permute(0, 3, 1, 2).float()
    both, sums = (share * one_hot).sum(dim=(0, 2, 3)), (share + one_hot).sum(dim=(0, 2, 3))
    return functional.nll_loss(share.log(), truth) + 2 * (1 - 2 * both / sums).mean()


def test_the_loss_is_noise_and_classes_of_the_estimate() -> None:
    segmenter, given = build(network={"label_encoder": {"dropout": 0.0}}), batch()
    assert given.noise is not None
    terms = segmenter.losses(given)
    one_hot = torch.cat([1 - given.mask.sum(dim=1, keepdim=True), given.mask], dim=1).float()
    latent = segmenter.label_encoder(one_hot)
    timesteps = torch.tensor([100, 500, 900])
    alpha_bar = diffusion.alphas_cumprod(segmenter.process).float()[timesteps].view(3, 1, 1, 1)
    noisy = alpha_bar.sqrt() * latent + (1 - alpha_bar).sqrt() * given.noise
    condition = segmenter.condition_encoder(segmenter.normaliser(given.image))
    velocity = segmenter.denoiser(torch.cat([noisy, condition], dim=1), timesteps)
    noise = alpha_bar.sqrt() * velocity + (1 - alpha_bar).sqrt() * noisy
    estimate = alpha_bar.sqrt() * noisy - (1 - alpha_bar).sqrt() * velocity
    assert set(terms) == {"noise", "mask"}
    torch.testing.assert_close(terms["noise"], (noise - given.noise).square().mean(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(terms["mask"], class_terms(segmenter.decoder(estimate), given), rtol=1e-3, atol=1e-4)
    torch.stack(list(terms.values())).sum().backward()
    for name, part in segmenter.parts().items():  # one loss teaches all four
        assert all(parameter.grad is not None for parameter in part.parameters()), name


def test_the_official_quirks_of_training() -> None:
    """One noise for the batch, class numbers as one channel, and the decoder is fed z_t − ñ."""
    segmenter, given = build("ldseg-official"), batch()
    assert given.noise is not None
    terms = segmenter.losses(given)
    latent = segmenter.label_encoder.latent(
        segmenter.label_encoder.levels((given.mask[:, :1] + 2 * given.mask[:, 1:]).float())
    )
    latent = (latent - latent.mean(dim=(1, 2, 3), keepdim=True)) / latent.std(dim=(1, 2, 3), keepdim=True, correction=0)
    timesteps, noise = torch.tensor([100, 500, 900]), given.noise[:1]
    alpha_bar = diffusion.alphas_cumprod(segmenter.process).float()[timesteps].view(3, 1, 1, 1)
    noisy = alpha_bar.sqrt() * latent + (1 - alpha_bar).sqrt() * noise
    condition = segmenter.condition_encoder(segmenter.normaliser(given.image))
    predicted = segmenter.denoiser(torch.cat([noisy, condition], dim=1), timesteps)
    torch.testing.assert_close(terms["noise"], (predicted - noise).square().mean(), rtol=1e-3, atol=1e-5)
    expected = class_terms(segmenter.decoder(noisy - predicted), given)
    torch.testing.assert_close(terms["mask"], expected, rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def test_answers_depend_on_the_batch_in_the_official_code_alone() -> None:
    given = batch()
    for name, alike in (("ldseg", True), ("ldseg-official", False)):
        segmenter = build(name)
        assert segmenter.noise_shape == ((1, 8, 8) if alike else (2, 8, 8))  # and one for the noise at the end
        noise = torch.randn(3, *segmenter.noise_shape, generator=torch.Generator().manual_seed(2))
        whole, alone = segmenter(given.image, noise), segmenter(given.image[:1], noise[:1])
        assert whole.shape == (3, 2, 32, 32)
        assert whole.sum(dim=1).max() <= 1 + 1e-6  # classes exclude each other
        assert torch.allclose(whole[:1], alone, atol=1e-5) == alike


@torch.inference_mode()
def test_noise_is_taken_in_turn_and_each_hypothesis_has_its_own() -> None:
    segmenter = build(inference={"sampler": "ddpm", "steps": 3, "samples": 2})
    assert segmenter.noise_shape == (2 * 3, 8, 8)  # z_T and two on the way
    given, noise = batch().image, torch.randn(3, 6, 8, 8, generator=torch.Generator().manual_seed(2))
    both = segmenter.hypotheses(given, noise)
    one = build(inference={"sampler": "ddpm", "steps": 3})
    torch.testing.assert_close(both[:, 1], one(given, noise[:, 3:]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(segmenter(given, noise), both.mean(dim=1))
