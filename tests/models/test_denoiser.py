"""The UNet and the condition encoder: layout, size, what they depend on."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from sdseg.config.network import ConditionEncoder, Denoiser
from sdseg.core.errors import UserError
from sdseg.models.denoiser import ConditionalDenoiser
from sdseg.models.image_encoder import ImageEncoder
from tests.helpers.networks import codec, recipe


def test_full_width_is_the_published_network() -> None:
    with torch.device("meta"):
        denoiser = ConditionalDenoiser(Denoiser(), latent_channels=4, condition_channels=4, structures=1)
    assert sum(parameter.numel() for parameter in denoiser.parameters()) == 294_973_828
    heads = {module.heads for module in denoiser.modules() if isinstance(module, Attention)}
    assert heads == {8}


def test_output_depends_on_every_input() -> None:
    settings = recipe().network.denoiser  # type: ignore[union-attr]
    torch.manual_seed(0)
    denoiser = ConditionalDenoiser(settings, 4, 4, structures=3).eval()
    noisy, condition = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    timesteps, structure = torch.tensor([999, 999]), torch.tensor([0, 0])
    with torch.inference_mode():
        base = denoiser(noisy, condition, timesteps, structure)
        assert base.shape == (2, 4, 8, 8)
        for changed in (
            (noisy + 1, condition, timesteps, structure),
            (noisy, condition + 1, timesteps, structure),
            (noisy, condition, timesteps - 500, structure),
            (noisy, condition, timesteps, structure + 2),
        ):
            assert not torch.allclose(base, denoiser(*changed), atol=1e-6)


def stable_diffusion(**more: object) -> Denoiser:
    base = {"block_out_channels": [8, 16], "attention": [True, False], "layers_per_block": 1, "norm_num_groups": 4}
    sizes = {"heads": 2, "context_tokens": 3, "context_channels": 6}
    return Denoiser.model_validate({**base, **sizes, "architecture": "stable-diffusion", "context": "constant", **more})


def test_stable_diffusion_layout_is_that_of_its_published_unet() -> None:
    """Keys and shapes of diffusers' defaults with Stable Diffusion 1.x's config.json laid over them."""
    settings = Denoiser.model_validate(
        {
            "architecture": "stable-diffusion",
            "block_out_channels": [320, 640, 1280, 1280],
            "attention": [True, True, True, False],
            "context": "constant",
        }
    )
    with torch.device("meta"):
        ours = ConditionalDenoiser(settings, latent_channels=4, condition_channels=4, structures=1)
        theirs = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
    shapes = {name: value.shape for name, value in ours.unet.state_dict().items()}
    expected = {name: value.shape for name, value in theirs.state_dict().items()}
    assert sum(value.numel() for value in theirs.parameters()) == 859_520_964
    assert shapes.pop("conv_in.weight") == (320, 8, 3, 3)
    assert expected.pop("conv_in.weight") == (320, 4, 3, 3)
    assert shapes == expected
    heads = {name: module.heads for name, module in ours.named_modules() if isinstance(module, Attention)}
    assert set(heads.values()) == {8}
    assert ours.context is not None
    assert ours.context.shape == (77, 768)


@pytest.mark.parametrize(
    "more",
    [{}, {"context": "image"}, {"context": "image", "concatenate": False}],
    ids=["constant", "image", "image alone"],
)
def test_cross_attention_reads_its_context(more: dict[str, object]) -> None:
    torch.manual_seed(0)
    denoiser = ConditionalDenoiser(stable_diffusion(**more), 4, 4, structures=3).eval()
    noisy, condition = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    timesteps, structure = torch.tensor([999, 999]), torch.tensor([0, 0])
    with torch.inference_mode():
        base = denoiser(noisy, condition, timesteps, structure)
        assert base.shape == (2, 4, 8, 8)
        assert not torch.allclose(base, denoiser(noisy, condition + 1, timesteps, structure), atol=1e-6)
        assert not torch.allclose(base, denoiser(noisy, condition, timesteps, structure + 2), atol=1e-6)
        context = denoiser.context if denoiser.context is not None else denoiser.context_projection.weight  # type: ignore[union-attr]
        context.mul_(-3.0)
        assert not torch.allclose(base, denoiser(noisy, condition, timesteps, structure), atol=1e-6)


def test_the_projection_can_be_the_codecs() -> None:
    settings = recipe(network={"condition": {"projection": "quant_conv"}}).network.condition  # type: ignore[union-attr]
    encoder, source = ImageEncoder(settings), codec()
    encoder.start_from(source)
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(image)[0], source.autoencoder.encode(image).latent_dist.mean)


def test_condition_encoder_starts_from_the_codec() -> None:
    encoder = ImageEncoder(recipe().network.condition)  # type: ignore[union-attr]
    source = codec()
    encoder.start_from(source)
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(encoder.encoder(image), source.autoencoder.encoder(image))


def test_a_condition_encoder_of_another_layout_cannot_start_from_the_codec() -> None:
    encoder = ImageEncoder(ConditionEncoder(block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1))
    with pytest.raises(UserError, match="layout differs from the codec's"):
        encoder.start_from(codec())


def test_dropout_reaches_the_encoder() -> None:
    settings = ConditionEncoder(block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, dropout=0.2)
    rates = {layer.p for layer in ImageEncoder(settings).modules() if isinstance(layer, torch.nn.Dropout)}
    assert rates == {0.2}
