"""Golden parity: converted official weights compute what the official modules computed."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.codec import Codec
from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Recipe
from sdseg.models import diffusion
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.codec import MaskCodec, load_strictly
from sdseg.models.latent_segmenter import LatentSegmenter, start_from_codec
from sdseg.models.pretrained.ldm import autoencoder_from_ldm, ema_names, encoder_from_ldm, unet_from_ldm

Arrays = dict[str, Tensor]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def arrays(golden: Path) -> Arrays:
    with np.load(golden / "official_io.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.fixture(scope="module")
def layout(golden: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((golden / "official_mini.json").read_text())
    return read


@pytest.fixture(scope="module")
def weights(golden: Path) -> Arrays:
    stored = torch.load(golden / "official_mini.ckpt", weights_only=True, map_location="cpu")["state_dict"]
    return {name: value.float() for name, value in stored.items()}


def part(weights: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def codec(weights: Arrays, layout: dict[str, Any]) -> MaskCodec:
    described = layout["autoencoder"]
    settings = Codec.model_validate(
        {
            "block_out_channels": [described["ch"] * factor for factor in described["ch_mult"]],
            "layers_per_block": described["num_res_blocks"],
            "norm_num_groups": 32,
            "latent_channels": layout["embed_dim"],
            "weights": "official",
        }
    )
    made = MaskCodec(settings, layout["scale_factor"]).eval()
    load_strictly(made.autoencoder, autoencoder_from_ldm(part(weights, "first_stage_model."), settings), Path("golden"))
    return made


def segmenter(weights: Arrays, layout: dict[str, Any], codec: MaskCodec, ema: bool, noise: Tensor) -> LatentSegmenter:
    unet = layout["unet"]
    recipe = Recipe.model_validate(
        {
            "description": "official, reduced",
            "network": {
                "kind": "latent-diffusion",
                "condition": {**codec.settings.model_dump(include={"block_out_channels", "layers_per_block"})},
                "denoiser": {
                    "block_out_channels": [unet["model_channels"] * factor for factor in unet["channel_mult"]],
                    "attention": [2**level in unet["attention_resolutions"] for level in range(5)],
                    "layers_per_block": unet["num_res_blocks"],
                    "heads": unet["num_heads"],
                },
            },
            "diffusion": {"prediction": "epsilon", "loss_noise": 1.0, "inference_noise": "fixed"},
        }
    )
    contract = ImageContract(modality="rgb", size=128, channels=3, window=(-1.0, 1.0))
    made = build_segmenter(recipe, contract, 1, codec.settings, codec.scale)
    assert isinstance(made, LatentSegmenter)
    assert isinstance(recipe.network, LatentNetwork)
    start_from_codec(made, codec)
    raw = part(weights, "model.diffusion_model.")
    chosen = ema_names(part(weights, "model_ema."), raw) if ema else raw
    load_strictly(made.denoiser.unet, unet_from_ldm(chosen, recipe.network.denoiser), Path("golden"))
    condition = encoder_from_ldm(part(weights, "cond_stage_model."), recipe.network.condition)
    load_strictly(made.condition_encoder, condition, Path("golden"))
    made.fixed_noise.copy_(noise[0])
    return made.eval()


def in_double_precision(made: LatentSegmenter) -> LatentSegmenter:
    """The same network behind the same normaliser, which gives single precision."""
    exact = copy.deepcopy(made).double()
    exact.normaliser.register_forward_hook(lambda module, inputs, image: image.double())
    return exact


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """Relative error of the whole array, in the largest value."""
    worst = float((found - expected).abs().max() / expected.abs().max())
    assert worst < tolerance, worst


def test_mask_codec(arrays: Arrays, codec: MaskCodec) -> None:
    with torch.inference_mode():
        posterior = codec.autoencoder.encode(arrays["mask"]).latent_dist
        close(posterior.parameters, arrays["mask_moments"])
        mask = (arrays["mask"][:, :1] + 1) / 2
        mean, _ = codec.moments(mask)
        close(mean, arrays["mask_latent_scaled"])
        close(codec.autoencoder.decode(mean / codec.scale).sample, arrays["mask_reconstruction"])


@pytest.mark.parametrize("ema", [False, True], ids=["raw", "ema"])
def test_one_step_inference(
    arrays: Arrays, weights: Arrays, layout: dict[str, Any], codec: MaskCodec, ema: bool
) -> None:
    made = segmenter(weights, layout, codec, ema, arrays["noise"])
    prefix = "ema_" if ema else ""
    image = arrays["image"].permute(0, 2, 3, 1)
    with torch.inference_mode():
        condition, _ = made.condition_encoder(made.normaliser(image))
        close(condition, arrays["cond_latent"])
        start = arrays["noise"].expand_as(condition)
        last = torch.full((len(image),), 999)
        noise = made.denoiser(start, condition, last, None)
        close(noise, arrays[f"{prefix}onestep_eps"])
        latent = diffusion.clean_latent(noise, start, made.alphas_cumprod[999], "epsilon")
        close(latent, arrays[f"{prefix}onestep_latent"])
        decoded = made.decoder.decoder(made.decoder.post_quant_conv(latent / codec.scale))
        close(decoded, arrays[f"{prefix}onestep_decoded"])
        probability = made(image)
        exact = in_double_precision(made)(image)
    expected = arrays[f"{prefix}onestep_probability"].reshape(probability.shape)
    # In z_0 every rounding is 38.7 times as large, and processors sum in different orders: in single precision a few
    # pixels of two machines are 5e-5 apart. In double precision all agree, and what is left is the rounding of the
    # official network's own run, 6e-6 and 1.4e-5.
    differences = (exact - expected).abs().flatten()
    assert float(differences.quantile(0.99)) < 1e-5
    assert float(differences.max()) < 2e-5
    assert float((probability - exact).abs().max()) < 1e-4


def test_training_forward_and_losses(arrays: Arrays, weights: Arrays, layout: dict[str, Any], codec: MaskCodec) -> None:
    made = segmenter(weights, layout, codec, False, arrays["noise"])
    timesteps = arrays["train_t"].long()
    clean, noise = arrays["mask_latent_scaled"], arrays["train_noise"]
    alpha_bar = made.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    with torch.inference_mode():
        noisy = diffusion.add_noise(clean, noise, alpha_bar)
        close(noisy, arrays["train_z_t"])
        condition, _ = made.condition_encoder(made.normaliser(arrays["image"].permute(0, 2, 3, 1)))
        predicted = made.denoiser(noisy, condition, timesteps, None)
        close(predicted, arrays["train_eps"])
        terms = diffusion.losses(predicted, clean, noise, noisy, alpha_bar, made.process)
    assert float(terms["noise"]) == pytest.approx(float(arrays["loss_noise"]), abs=1e-6)
    assert float(terms["latent"]) == pytest.approx(float(arrays["loss_latent"]), rel=1e-6, abs=1e-6)
