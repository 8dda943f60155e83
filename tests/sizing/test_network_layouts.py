"""Sums over layers against the networks: their parameters, PyTorch's count of operations, what autograd keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.codec import Codec
from sdseg.config.direct_network import DirectNetwork
from sdseg.config.network import ConditionEncoder, Denoiser, UnetConditionEncoder
from sdseg.config.recipe import Recipe, load_recipe
from sdseg.evaluation.studies.efficiency import flops_of
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.codec import MaskCodec
from sdseg.models.gradient_checkpointing import recompute_blocks
from sdseg.models.image_encoder import ImageEncoder
from sdseg.models.label_classes import LabelClasses
from sdseg.models.model_folder import count_parameters
from sdseg.models.segmenter import Batch, Segmenter
from sdseg.sizing import network_layouts
from sdseg.sizing.layer_costs import LayerCosts
from sdseg.sizing.training_needs import Shape, training_needs

RECIPES = Path(__file__).resolve().parents[2] / "config" / "recipes"
SIZE = 64
LAYOUT = {"block_out_channels": [16, 32, 32], "layers_per_block": 1, "norm_num_groups": 8, "mid_block_attention": True}
CODEC = Codec.model_validate({**LAYOUT, "latent_channels": 4, "weights": "somewhere"})
UNET = {"block_out_channels": [32, 64, 64], "attention": [True, True, False], "norm_num_groups": 8, "heads": 4}
LATENT = {"codec": "c", "condition": {**LAYOUT, "latent_channels": 6, "init": "random"}, "denoiser": UNET}
PLAIN = {**LAYOUT, "layers_per_block": 2, "mid_block_attention": False, "latent_channels": 3, "init": "random"}
CLASSIC = {"architecture": "unet", "block_out_channels": [8, 16, 24], "latent_channels": 6}
DENOISER = {"architecture": "unet", "block_out_channels": [16, 24, 32]}
NETWORKS: list[tuple[str, dict[str, Any], int]] = [
    ("sdseg-onestep", LATENT, 1),
    ("sdseg-onestep", {**LATENT, "condition": PLAIN}, 3),
    ("sdseg-e2e", LATENT, 1),
    ("ablation-cross-attention", LATENT, 3),
    *(("unet", {"architecture": "unet", "channels": [8, 16, 32], "residual_units": units, "norm": norm}, structures)
      for units, norm, structures in ((0, "instance", 1), (0, "batch", 3), (2, "instance", 3), (1, "batch", 1))),
    ("sdseg-onestep", {"codec": "c", "condition": CLASSIC, "denoiser": UNET}, 1),
    ("sdseg-onestep", {"codec": "c", "condition": {**CLASSIC, "coarser_channels": [40]}, "denoiser": DENOISER}, 3),
    ("sdseg-onestep", {"codec": "c", "condition": {**CLASSIC, "coarser_channels": [40, 48]}, "denoiser": UNET}, 3),
    ("sdseg-e2e", {"codec": "c", "condition": CLASSIC, "denoiser": UNET, "decoder": "skips"}, 3),
    ("sdseg-e2e", {**LATENT, "decoder": "trained"}, 1),
    ("unet", {"architecture": "basic-unet", "channels": [8, 16, 16, 32, 32]}, 3),
    ("unet", {"architecture": "dynunet", "channels": [8, 16, 32, 32]}, 1),
]  # fmt: skip


def built(name: str, network: dict[str, Any], structures: int) -> tuple[Recipe, Segmenter, dict[str, LayerCosts]]:
    """Recipe, network, and the sums over each of its parts for one structure."""
    recipe = load_recipe(RECIPES / f"{name}.yaml", {"network": network})
    image = ImageContract(modality="rgb", size=SIZE, channels=3, window=(0.0, 255.0))
    segmenter = build_segmenter(recipe, image, structures, CODEC, 1.0)
    if isinstance(recipe.network, DirectNetwork):
        return recipe, segmenter, {"unet": network_layouts.direct(recipe.network, structures, SIZE)}
    condition, side = recipe.network.condition, SIZE // recipe.network.condition.factor
    sums = {
        "condition_encoder": network_layouts.condition_encoder(condition, SIZE),
        "denoiser": network_layouts.denoiser(
            recipe.network.denoiser, 4, condition.latent_channels, structures, side, recipe.network.coarser_channels
        ),
        "decoder": network_layouts.decoder(CODEC, 4, SIZE),
    }
    if recipe.network.decoder == "skips":
        sums["refinement"] = network_layouts.refinement(condition.block_out_channels[:-1], SIZE)
    return recipe, segmenter, sums


@pytest.mark.parametrize(("name", "network", "structures"), NETWORKS)
def test_parameters_and_operations_are_those_of_the_network(
    name: str, network: dict[str, Any], structures: int
) -> None:
    _, segmenter, sums = built(name, network, structures)
    _, counted = flops_of(segmenter, torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8))
    for part, one in sums.items():
        calls = structures if part in ("denoiser", "decoder", "refinement") else 1
        assert one.parameters == count_parameters(segmenter.parts()[part]), part
        assert one.flops * calls == counted[part], part


@pytest.mark.parametrize(("name", "network", "structures"), NETWORKS)
def test_what_is_kept_for_the_backward_pass_is_about_what_autograd_keeps(
    name: str, network: dict[str, Any], structures: int
) -> None:
    recipe, segmenter, sums = built(name, network, structures)
    counted = sum(one.kept for one in passed_back(recipe, sums))
    assert 0.7 < 2 * 4 * counted / kept_by_autograd(segmenter, structures) < 1.1
    recompute_blocks(segmenter)
    fewer = sum(one.kept_by_checkpoints for one in passed_back(recipe, sums))
    # What the loss itself keeps, at full size, is no longer little beside so small a network.
    assert 0.45 < 2 * 4 * fewer / kept_by_autograd(segmenter, structures) < 1.2
    assert fewer < 0.7 * counted


def passed_back(recipe: Recipe, sums: dict[str, LayerCosts]) -> list[LayerCosts]:
    """The parts that a gradient goes through."""
    frozen = set()
    if not isinstance(recipe.network, DirectNetwork):
        frozen |= {"condition_encoder"} - ({"condition_encoder"} if recipe.network.condition.trainable else set())
        frozen |= {"decoder"} - ({"decoder"} if recipe.diffusion is not None and recipe.diffusion.loss_mask else set())
    return [one for part, one in sums.items() if part not in frozen]


def kept_by_autograd(segmenter: Segmenter, structures: int) -> int:
    """Bytes that PyTorch keeps of two images for the backward pass, weights apart."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in segmenter.parameters()}
    alive: list[torch.Tensor] = []  # so that no address is used twice
    batch = Batch(
        image=torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8),
        mask=torch.zeros(2, structures, SIZE, SIZE),
        structure=torch.zeros(2, dtype=torch.int64),
        latent=torch.zeros(2, 4, SIZE // 4, SIZE // 4),
        noise=torch.randn(2, 4, SIZE // 4, SIZE // 4),
        uniform=torch.rand(2),
    )
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: alive.append(tensor) or tensor, lambda kept: kept):
        sum(segmenter.train().losses(batch).values())
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in alive}
    return sum(size for address, size in storages.items() if address not in weights)


def test_patches_of_volumes_are_counted_as_they_are() -> None:
    network = {"channels": [4, 6, 8, 8], "spacing": [3.0, 1.0, 1.0]}
    recipe = load_recipe(RECIPES / "unet3d.yaml", {"network": network, "patches": {"size": [8, 32, 32]}})
    image = ImageContract(modality="ct", size=SIZE, channels=1, window=(-175.0, 250.0))
    segmenter = build_segmenter(recipe, image, 3)
    _, counted = flops_of(segmenter, torch.zeros(1, 8, 32, 32, 1))
    needs = training_needs(recipe, None, Shape(SIZE, 3), cuda=False)
    assert needs.parameters == count_parameters(segmenter)
    assert needs.image_flops == pytest.approx(counted["unet"] * 9 / 4)  # three patches each way, one every four slices


def test_a_codec_counts_its_encoder_too() -> None:
    assert network_layouts.autoencoder(CODEC, 4, SIZE).parameters == count_parameters(MaskCodec(CODEC))


def test_an_encoder_of_several_slices_has_a_wider_first_convolution() -> None:
    for settings in (
        ConditionEncoder.model_validate({**PLAIN, "neighbours": 2}),
        UnetConditionEncoder.model_validate({**CLASSIC, "neighbours": 1}),
    ):
        counted = count_parameters(ImageEncoder(settings))
        assert network_layouts.condition_encoder(settings, SIZE).parameters == counted


def test_one_pass_for_all_structures_is_counted_once() -> None:
    labels = Codec.model_validate({**CODEC.model_dump(), "encodes": "labels"})
    recipe = load_recipe(RECIPES / "sdseg-multiclass.yaml", {"network": LATENT})
    image = ImageContract(modality="rgb", size=SIZE, channels=3, window=(0.0, 255.0))
    segmenter = build_segmenter(recipe, image, 5, labels, 1.0)
    needs = training_needs(recipe, labels, Shape(SIZE, 5), cuda=False)
    assert needs.parameters == count_parameters(segmenter)
    _, counted = flops_of(segmenter, torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8))
    assert needs.image_flops == sum(counted.values())
    codec = MaskCodec(labels, classes=LabelClasses.separate(5))
    assert network_layouts.autoencoder(labels, 4, SIZE, 6).parameters == count_parameters(codec)


def test_the_papers_networks_have_their_published_sizes() -> None:
    """Millions of parameters as in docs/benchmarks.md, measured on the networks at full size."""
    kl_f8 = Codec(weights="somewhere")
    assert network_layouts.denoiser(Denoiser(), 4, 4, 1, 32).parameters == 294_973_828
    assert network_layouts.condition_encoder(ConditionEncoder(), 256).parameters == pytest.approx(34.2e6, abs=5e4)
    assert network_layouts.decoder(kl_f8, 4, 256).parameters == pytest.approx(49.5e6, abs=5e4)
    assert network_layouts.autoencoder(kl_f8, 4, 256).parameters == pytest.approx(83.7e6, abs=5e4)
