"""The mask head: which size its logits have, what teaches it, and what a recipe with one may say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sdseg.config.codec import Codec
from sdseg.config.image_size import check_size
from sdseg.config.network import MaskHead
from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.label_classes import LabelClasses
from sdseg.models.latent_segmenter import LatentSegmenter, start_from_codec
from sdseg.models.mask_head import ConvolutionalHead
from sdseg.models.model_folder import count_parameters
from sdseg.models.segmenter import Batch
from sdseg.sizing.network_layouts import mask_head
from sdseg.sizing.training_needs import Shape, training_needs
from tests.helpers.networks import CODEC, codec, recipe
from tests.helpers.tiny import RGB

HEAD = {"decoder": "head", "mask_head": {"channels": [6, 4]}}


def with_head(**process: float) -> Recipe:
    return recipe(network=HEAD, diffusion=process)


def segmenter(chosen: Recipe) -> LatentSegmenter:
    torch.manual_seed(0)
    latent = build_segmenter(chosen, RGB, 1, CODEC, 0.7)
    assert isinstance(latent, LatentSegmenter)
    return latent


@pytest.mark.parametrize(("channels", "enlarged"), [((5, 4, 3), 1), ((5, 4), 2), ((5,), 4)])
def test_each_level_doubles_the_size_and_the_rest_is_enlarged(channels: tuple[int, ...], enlarged: int) -> None:
    head = ConvolutionalHead(MaskHead(channels=channels), 2, 4, 1.0)
    assert head.enlarged == enlarged
    logits = head(torch.randn(3, 2, 8, 8))
    assert logits.shape == (3, 1, 32, 32)
    assert torch.equal(head.probability(logits), torch.sigmoid(logits))
    # An enlarged map is bilinear: over a block of pixels from one latent pixel its second difference along a row is 0.
    row = logits[0, 0, 0, enlarged // 2 : enlarged // 2 + enlarged].double()
    assert enlarged < 3 or torch.allclose(row.diff(n=2), torch.zeros(enlarged - 2, dtype=torch.float64), atol=1e-5)


def test_an_empty_and_a_full_mask_differ() -> None:
    """Their latents are constant maps: a normalisation would make one of both."""
    torch.manual_seed(0)
    head = ConvolutionalHead(MaskHead(channels=(8, 4)), 2, 4, 1.0)
    with torch.no_grad():
        empty, full = (head(torch.full((1, 2, 8, 8), value))[..., 12:20, 12:20].mean().item() for value in (-1.0, 1.0))
    assert abs(empty - full) > 1e-3


def test_of_label_maps_it_gives_a_logit_per_class() -> None:
    classes = LabelClasses.separate(3)
    head = ConvolutionalHead(MaskHead(channels=(4,)), 2, 2, 1.0, classes)
    decoded = head(torch.randn(1, 2, 8, 8))
    assert decoded.shape == (1, classes.count, 16, 16)
    assert torch.allclose(head.logits(decoded).sigmoid(), head.probability(decoded), atol=1e-6)


def gradients(chosen: Recipe) -> set[str]:
    """The parts that a step of this recipe teaches."""
    latent = segmenter(chosen)
    torch.stack(list(latent.losses(batch_for(latent)).values())).sum().backward()  # type: ignore[no-untyped-call]
    return taught(latent)


def taught(latent: LatentSegmenter) -> set[str]:
    return {name.partition(".")[0] for name, each in latent.named_parameters() if each.grad is not None}


def batch_for(latent: LatentSegmenter) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8, generator=generator)
    z, noise = (torch.randn(2, *latent.latent_shape, generator=generator) for _ in range(2))
    mask, structure = torch.ones(2, 1, 32, 32), torch.zeros(2, dtype=torch.int64)
    return Batch(image, mask, structure, z, noise, torch.rand(2, generator=generator))


def test_the_masks_latents_teach_the_head_alone_and_the_mask_everything() -> None:
    others = {"condition_encoder", "denoiser"}
    assert gradients(with_head(loss_latent=0.0, loss_mask=1.0)) == {"decoder", *others}
    assert gradients(recipe()) == others
    latent = segmenter(with_head(loss_head=1.0))
    terms = latent.losses(batch_for(latent))
    assert set(terms) == {"latent", "head"}
    terms["head"].backward()  # type: ignore[no-untyped-call]
    assert taught(latent) == {"decoder"}


def test_a_codec_leaves_the_head_as_it_is() -> None:
    latent = segmenter(with_head(loss_mask=1.0))
    before = {name: value.clone() for name, value in latent.decoder.state_dict().items()}
    start_from_codec(latent, codec())
    assert all(torch.equal(value, before[name]) for name, value in latent.decoder.state_dict().items())


def test_its_cost_is_counted_from_the_layers() -> None:
    """As PyTorch counts it."""
    from torch.utils.flop_counter import FlopCounterMode

    latent = segmenter(with_head(loss_mask=1.0))
    with FlopCounterMode(display=False) as counter:
        latent.decoder(torch.zeros(1, *latent.latent_shape))
    costs = mask_head((6, 4), latent.latent_shape[0], latent.latent_shape[1])
    assert (costs.flops, costs.parameters) == (counter.get_total_flops(), count_parameters(latent.decoder))
    needs = training_needs(with_head(loss_mask=1.0), CODEC, Shape(32), cuda=False)
    assert needs.parameters == count_parameters(latent)
    assert needs.trainable == needs.parameters


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"network": {"decoder": "head"}}, "'decoder: head' and 'mask_head' belong together"),
    ({"network": {"mask_head": {}}}, "'decoder: head' and 'mask_head' belong together"),
    ({"network": HEAD}, "'diffusion.loss_mask' is 0 and so is 'diffusion.loss_head'"),
    ({"diffusion": {"loss_head": 1.0}}, "'diffusion.loss_head' teaches a mask head"),
]


@pytest.mark.parametrize(("values", "message"), WRONG)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**values)


def test_more_levels_than_the_codec_has_are_refused() -> None:
    layout = Codec.model_validate(CODEC.model_dump() | {"block_out_channels": (8, 8, 8)})
    network = recipe(
        network={"decoder": "head", "mask_head": {"channels": [4] * 4}, "condition": {"block_out_channels": [8, 8, 8]}},
        diffusion={"loss_mask": 1.0},
    ).network
    with pytest.raises(UserError, match=r"(?s)would enlarge the latent 8×, and the codec shrinks the image 4×.*3 entr"):
        check_size((32, 32), network, layout, "size")
