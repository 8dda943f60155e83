"""Every architecture of condition encoder and direct network: what it computes, trains and stores; its graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import onnxruntime
import pytest
import torch
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.dynunet import DynUNet
from torch import nn
from torch.nn import functional

from sdseg.artifacts.manifests import ModelManifest
from sdseg.config.direct_network import BasicUnet, DynUnet
from sdseg.config.network import UnetConditionEncoder, UnetDenoiser
from sdseg.config.recipe import Recipe
from sdseg.export.tracing import export_graph
from sdseg.models.build_segmenter import attach_training_parts, build_segmenter
from sdseg.models.denoiser import ConditionalDenoiser
from sdseg.models.direct_segmenter import DirectSegmenter
from sdseg.models.image_encoder import ImageEncoder
from sdseg.models.latent_segmenter import LatentSegmenter
from sdseg.models.losses import mask_loss
from sdseg.models.model_folder import load_model, read_tensors, save_model
from sdseg.models.segmenter import Batch, Segmenter
from sdseg.models.unet_denoiser import ClassicUnet
from sdseg.models.unets import NnUnet, build_unet
from tests.helpers.exported_graphs import EXPORTED, MULTISCALE, NETWORKS, decoding
from tests.helpers.networks import CLASSIC, CODEC, recipe
from tests.helpers.tiny import POLYP, RGB, describe

RECIPES = {name: network.recipe for name, network in NETWORKS.items() if not name.startswith("latent")}


def build(chosen: Recipe, *, training: bool = False) -> Segmenter:
    torch.manual_seed(0)
    made = build_segmenter(chosen, RGB, 1, CODEC, 0.7)
    if training:
        attach_training_parts(made, chosen.network, 1)
    return made.train(training)


def batch(count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        image=torch.randint(0, 255, (count, 32, 32, 3), dtype=torch.uint8, generator=generator),
        mask=(torch.rand(count, 1, 32, 32, generator=generator) > 0.7).float(),
        structure=torch.zeros(count, dtype=torch.int64),
        latent=torch.randn(count, 4, 16, 16, generator=generator),
        noise=torch.randn(count, 4, 16, 16, generator=generator),
        uniform=torch.rand(count, generator=generator),
    )


@pytest.mark.parametrize("name", RECIPES)
def test_the_gradient_reaches_every_weight_that_is_trained(name: str) -> None:
    made = build(RECIPES[name], training=True)
    torch.stack(list(made.losses(batch()).values())).sum().backward()
    without = {key for key, parameter in made.named_parameters() if parameter.grad is None}
    assert {key.partition(".")[0] for key in without} <= ({"decoder"} if name != "trained decoder" else set())
    assert any(key.startswith(("condition_encoder", "unet")) for key, _ in made.named_parameters())


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_folder_gives_the_same_probability(tmp_path: Path, name: str) -> None:
    made, chosen = build(RECIPES[name], training=True).eval(), RECIPES[name]
    latent = chosen.network.kind == "latent-diffusion"
    manifest = ModelManifest(
        dataset="tiny",
        origin="phantom",
        protocol="clean",
        recipe_name="tiny",
        recipe=chosen.model_dump(mode="json"),
        codec=CODEC.model_dump(mode="json") if latent else None,
        latent_scale=0.7 if latent else None,
        image=RGB,
        structures=POLYP,
        training={},
        files={},
        provenance={},
    )
    save_model(tmp_path, made, manifest)
    loaded, _ = load_model(tmp_path)
    with torch.inference_mode():
        probability = made(batch().image)
        assert probability.shape == (2, 1, 32, 32)
        # Kernels choose their order of adding by where in memory the weights lie.
        torch.testing.assert_close(loaded(batch().image), probability, rtol=0, atol=1e-5)
    weights = made.state_dict()
    assert all(torch.equal(loaded_weights, weights[key]) for key, loaded_weights in loaded.state_dict().items())
    stored = read_tensors(tmp_path / "weights.safetensors")
    assert not [key for key in stored if key.startswith("deep_supervision")]  # for training alone


def check_graph(segmenter: Segmenter, graph: Path) -> None:
    """The graph gives the same probability."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    image = batch(3).image
    with torch.inference_mode():
        expected = segmenter(image)
    (probability,) = session.run(None, {"image": image.numpy()})
    torch.testing.assert_close(torch.from_numpy(probability), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in RECIPES if name in EXPORTED and name != "unet"])
def test_the_graph_computes_the_same(graph_of: Callable[[str], Path], name: str) -> None:
    check_graph(build(RECIPES[name]), graph_of(name))


def test_the_classic_condition_encoder_is_the_way_down_of_monais() -> None:
    """Same weights in `BasicUNet`'s encoder, same features."""
    settings = UnetConditionEncoder(architecture="unet", block_out_channels=(4, 6, 8, 8, 10), latent_channels=3)
    encoder = ImageEncoder(settings).eval()
    theirs = BasicUNet(spatial_dims=2, in_channels=3, features=(*settings.block_out_channels, 4)).eval()
    blocks = (theirs.conv_0, theirs.down_1, theirs.down_2, theirs.down_3, theirs.down_4)
    for level, block in zip(encoder.encoder, blocks, strict=True):  # type: ignore[call-overload]
        block.load_state_dict(level.state_dict())
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        features = image
        for block in blocks:
            features = block(features)
        expected = functional.conv2d(features, encoder.projection.weight, encoder.projection.bias)
        latent, coarser = encoder(image)
        torch.testing.assert_close(latent, expected)
    assert latent.shape == (2, 3, 4, 4)
    assert not coarser
    norms = [layer for layer in encoder.modules() if isinstance(layer, nn.InstanceNorm2d)]
    slopes = {layer.negative_slope for layer in encoder.modules() if isinstance(layer, nn.LeakyReLU)}
    assert len(norms) == 10
    assert slopes == {0.1}


def test_levels_below_the_latent_are_a_longer_way_down_and_join_the_denoiser() -> None:
    """The encoder gives what one of more levels would; the UNet adds it where its second block begins."""
    made = build(RECIPES["condition at every size"])
    assert isinstance(made, LatentSegmenter)
    encoder, denoiser = made.condition_encoder, made.denoiser
    image = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        latent, (coarser,) = encoder(image)
        longer = ImageEncoder(
            UnetConditionEncoder(architecture="unet", block_out_channels=(4, 6, 7), latent_channels=5)
        )
        levels = [*encoder.encoder.children(), *encoder.coarser]
        for level, own in zip(longer.encoder.children(), levels, strict=True):
            level.load_state_dict(own.state_dict())
        assert coarser.shape == (2, 7, 8, 8)
        torch.testing.assert_close(coarser, longer.encoder(image))

        entered: list[torch.Tensor] = []
        first = cast("nn.ModuleList", denoiser.unet.down_blocks[1].resnets)[0]
        first.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
        arguments = (torch.zeros(2, 4, 16, 16), latent, torch.zeros(2, dtype=torch.int64), None)
        denoiser(*arguments, [coarser])
        denoiser(*arguments)  # nothing stays behind
        torch.testing.assert_close(entered[0] - entered[1], denoiser.coarser[0](coarser))


def test_the_classic_denoiser_is_monais_dynunet_on_joined_latents() -> None:
    """With shifts of zero it is `DynUNet` with the same weights; with others, timestep and structure count."""
    settings = UnetDenoiser(architecture="unet", block_out_channels=(6, 8, 10))
    denoiser = ConditionalDenoiser(settings, 4, 5, structures=3).eval()
    unet = denoiser.unet
    assert isinstance(unet, ClassicUnet)
    theirs = DynUNet(2, 9, 4, [3] * 3, [1, 2, 2], [2, 2], filters=(6, 8, 10), norm_name=("instance", {"affine": True}))
    theirs.eval()
    blocks = (theirs.input_block, *theirs.downsamples, theirs.bottleneck)
    for block, own in zip((*blocks, *theirs.upsamples), (*unet.down, *unet.up), strict=True):
        block.load_state_dict(own.state_dict())
    theirs.output_block.conv.conv.load_state_dict(unet.output.state_dict())
    noisy, condition, timesteps = torch.randn(2, 4, 16, 16), torch.randn(2, 5, 16, 16), torch.tensor([3, 999])
    with torch.inference_mode():
        one = denoiser(noisy, condition, timesteps, torch.tensor([0, 0]))
        assert not torch.allclose(one, denoiser(noisy, condition, timesteps, torch.tensor([1, 0]))[:1])
        assert not torch.allclose(one, denoiser(noisy, condition, timesteps.flip(0), torch.tensor([0, 0])))
        for shift in unet.shift:
            shift.weight.zero_()
            shift.bias.zero_()
        expected = theirs(torch.cat([noisy, condition], dim=1))
        torch.testing.assert_close(denoiser(noisy, condition, timesteps, torch.tensor([2, 1])), expected)


def test_hypotheses_share_the_coarser_levels_of_their_image() -> None:
    noisy = {"train_noise": "gaussian", "inference_noise": "gaussian"}
    single = build(recipe(network={"condition": MULTISCALE}, diffusion=noisy))
    double = build(recipe(network={"condition": MULTISCALE}, diffusion=noisy, inference={"samples": 2}))
    double.load_state_dict(single.state_dict())
    noise, image = torch.randn(2, 8, 16, 16), batch().image
    with torch.inference_mode():
        halves = [single(image, part) for part in noise.chunk(2, dim=1)]
        torch.testing.assert_close(double(image, noise), torch.stack(halves).mean(dim=0))
    assert not torch.equal(*halves)


def test_dynunet_is_monais_without_its_second_set_of_names() -> None:
    settings = DynUnet(kind="direct", architecture="dynunet", channels=(4, 6, 8, 8))
    torch.manual_seed(3)
    ours = NnUnet(settings, structures=2).eval()
    torch.manual_seed(3)
    theirs = DynUNet(
        2, 3, 2, kernel_size=[3] * 4, strides=[1, 2, 2, 2], upsample_kernel_size=[2] * 3, filters=(4, 6, 8, 8)
    ).eval()
    image = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=0)
    pointers = [value.data_ptr() for value in ours.state_dict().values()]
    assert len(set(pointers)) == len(pointers) < len(theirs.state_dict())


def test_deep_supervision_counts_coarser_levels_half_and_a_quarter() -> None:
    made = build(RECIPES["dynunet"], training=True)
    assert isinstance(made, DirectSegmenter)
    assert isinstance(made.unet, NnUnet)
    assert made.deep_supervision is not None
    given = batch()
    levels = made.unet.levels(made.normaliser(given.image))
    heads = made.deep_supervision(levels)
    assert [tuple(logits.shape) for logits in heads] == [(2, 1, 16, 16), (2, 1, 8, 8)]
    whole = [(made.unet.output(levels[0]), 1), (heads[0], 2), (heads[1], 4)]
    terms = [mask_loss("dice_ce", logits, given.mask[:, :, ::step, ::step]) for logits, step in whole]
    expected = (terms[0] + terms[1] / 2 + terms[2] / 4) / 1.75
    torch.testing.assert_close(made.losses(given)["dice_ce"], expected)


def test_deep_supervision_changes_nothing_at_inference() -> None:
    plain = replace_network(RECIPES["dynunet"], deep_supervision=False)
    image = batch().image
    with torch.inference_mode():
        assert torch.equal(build(RECIPES["dynunet"], training=True).eval()(image), build(plain)(image))


def replace_network(chosen: Recipe, **changes: object) -> Recipe:
    return chosen.model_copy(update={"network": chosen.network.model_copy(update=changes)})


def test_basic_unet_works_from_full_size_on() -> None:
    network = build_unet(BasicUnet(kind="direct", architecture="basic-unet", channels=(4, 4, 6, 6, 8)), 2)
    shapes = []
    network.get_submodule("conv_0").register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape)))
    assert network(torch.randn(1, 3, 32, 32)).shape == (1, 2, 32, 32)
    assert shapes == [(1, 4, 32, 32)]


def test_a_frozen_classic_encoder_trains_its_projection_alone() -> None:
    made = build(recipe(network={"condition": {**CLASSIC, "trainable": False}}), training=True)
    torch.stack(list(made.losses(replace(batch(), uniform=torch.ones(2) * 0.5)).values())).sum().backward()
    reached = {key for key, parameter in made.named_parameters() if parameter.grad is not None}
    assert {key for key in reached if key.startswith("condition_encoder")} == {
        "condition_encoder.projection.weight",
        "condition_encoder.projection.bias",
    }


@pytest.mark.parametrize("condition", [CLASSIC, {}], ids=["unet", "autoencoder"])
def test_skips_start_as_the_frozen_decoder_and_then_see_the_finer_levels(condition: dict[str, Any]) -> None:
    plain, skips = build(decoding("frozen", condition=condition)), build(decoding("skips", condition=condition))
    image = batch().image
    assert isinstance(skips, LatentSegmenter)
    assert skips.refinement is not None
    with torch.inference_mode():
        assert torch.equal(skips(image), plain(image))
        nn.init.normal_(skips.refinement.correction.weight)
        condition_encoder, seen = skips.condition_encoder, []
        hook = skips.refinement.register_forward_hook(lambda *call: seen.append(call[1][1]))
        corrected = skips(image)
        hook.remove()
        assert not torch.allclose(corrected, plain(image))
        # Features of the level at full size, from the encoder's own parts.
        normalised = skips.normaliser(image)
        if condition:
            finest = condition_encoder.encoder.level_0(normalised)
        else:
            encoder = condition_encoder.encoder
            finest = encoder.down_blocks[0].resnets[0](encoder.conv_in(normalised), None)
        torch.testing.assert_close(seen[0][0], finest)
        assert [tuple(level.shape[-2:]) for level in seen[0]] == [(32, 32)]


def test_skips_learn_by_the_mask_loss_and_teach_the_encoder() -> None:
    made = build(decoding("skips", condition=CLASSIC), training=True)
    assert isinstance(made, LatentSegmenter)
    assert made.refinement is not None
    nn.init.normal_(made.refinement.correction.weight)  # from zero on, the gradient comes a step later
    made.losses(batch())["mask"].backward()
    reached = {key for key, value in made.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0}
    assert {key.partition(".")[0] for key in reached} == {"condition_encoder", "denoiser", "refinement"}
    assert any(key.startswith("refinement.lateral") for key in reached)


def test_hypotheses_see_the_features_of_their_image() -> None:
    """Several samples of an image, refined, are the mean of one at a time."""
    changes: dict[str, Any] = {"diffusion": {"loss_mask": 1.0, "inference_noise": "gaussian"}}
    network = {"decoder": "skips", "condition": CLASSIC}
    one = build(recipe(network=network, **changes))
    three = build(recipe(network=network, **changes, inference={"samples": 3}))
    assert isinstance(one, LatentSegmenter)
    assert one.refinement is not None
    nn.init.normal_(one.refinement.correction.weight)
    three.load_state_dict(one.state_dict())
    noise, image = torch.randn(2, 12, 16, 16), batch().image
    with torch.inference_mode():
        expected = torch.stack([one(image, part) for part in noise.chunk(3, dim=1)]).mean(dim=0)
        torch.testing.assert_close(three(image, noise), expected, rtol=1e-4, atol=1e-5)


def test_levels_of_several_sizes_come_together_at_full_size(tmp_path: Path) -> None:
    """A codec of factor 8 leaves three finer levels; the graph enlarges them as PyTorch does."""
    deep = CODEC.model_copy(update={"block_out_channels": (8, 8, 8, 8)})
    condition = {"architecture": "unet", "block_out_channels": [4, 6, 8, 8], "latent_channels": 5}
    torch.manual_seed(0)
    denoiser = {"architecture": "unet", "block_out_channels": [6, 8]}  # no matter here
    made = build_segmenter(decoding("skips", condition=condition, denoiser=denoiser), RGB, 1, deep, 0.7).eval()
    assert isinstance(made, LatentSegmenter)
    assert made.refinement is not None
    nn.init.normal_(made.refinement.correction.weight)
    levels = [torch.randn(2, count, 32 >> number, 32 >> number) for number, count in enumerate((4, 6, 8))]
    decoded, seen = torch.randn(2, 3, 32, 32), []
    made.refinement.convolutions.register_forward_hook(lambda *call: seen.append(call[1][0]))
    with torch.inference_mode():
        made.refinement(decoded, levels)
        enlarged = [
            lateral(level).repeat_interleave(1 << number, dim=2).repeat_interleave(1 << number, dim=3)
            for number, (lateral, level) in enumerate(zip(made.refinement.lateral, levels, strict=True))
        ]
        torch.testing.assert_close(seen[0], torch.cat([sum(enlarged), decoded.mean(dim=1, keepdim=True)], dim=1))
    export_graph(made, describe(), tmp_path / "model.onnx")
    check_graph(made, tmp_path / "model.onnx")
