"""Networks that see more channels than their weights did: at first they answer as before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.direct_network import ResidualUnet
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.first_layer import widened
from sdseg.models.latent_segmenter import LatentSegmenter, start_from_codec
from sdseg.models.model_folder import load_model
from sdseg.models.start_from import open_start, take_over
from sdseg.models.unets import build_unet
from tests.helpers.models import write_latent_model
from tests.helpers.networks import AUTOENCODER, CLASSIC, CODEC, codec, quick_recipe
from tests.helpers.tiny import MR


def of_channels(count: int) -> ImageContract:
    names = tuple(f"channel {number}" for number in range(count))
    return MR.model_copy(update={"channels": count, "channel_names": names})


def test_kernels_of_the_first_three_stay_and_others_see_nothing() -> None:
    kernel = {"first.weight": torch.randn(4, 3, 3, 3), "then.weight": torch.randn(5, 4, 3, 3)}
    five, two = (
        widened(kernel, {"first.weight": torch.empty(4, count, 3, 3), "then.weight": torch.empty(5, 4, 3, 3)}, 3, count)
        for count in (5, 2)
    )
    assert torch.equal(five["first.weight"][:, :3], kernel["first.weight"])
    assert not five["first.weight"][:, 3:].any()
    assert torch.equal(two["first.weight"][:, 0], kernel["first.weight"][:, 0])
    torch.testing.assert_close(two["first.weight"][:, 1], kernel["first.weight"][:, 1:].sum(dim=1))
    assert five["then.weight"] is kernel["then.weight"]


@pytest.mark.parametrize("count", [2, 4])
def test_channels_that_are_alike_give_what_a_grey_image_gave(count: int, tmp_path: Path) -> None:
    """Of every kind of network that training may start from: latent ones and direct ones."""
    grey = torch.rand(2, 32, 32, 1)
    several = grey.expand(-1, -1, -1, count)
    for number, condition in enumerate((AUTOENCODER, CLASSIC)):
        own = quick_recipe(network={"condition": condition})
        folder = write_latent_model(tmp_path / f"latent{number}", MR, network={"condition": condition})
        segmenter = build_segmenter(own, of_channels(count), 1, CODEC, 0.7).eval()
        start = open_start(own, folder)
        assert isinstance(segmenter, LatentSegmenter)
        assert start is not None
        trained, _ = load_model(folder)
        segmenter.decoder.load_state_dict(trained.decoder.state_dict())  # type: ignore[union-attr]
        take_over(segmenter, start)
        torch.testing.assert_close(segmenter(several), trained(grey), atol=1e-5, rtol=0)
    start_from_codec(segmenter, codec())
    unet = ResidualUnet(kind="direct", architecture="unet", channels=(4, 6))
    one, more = (build_unet(unet, 1, planes=planes).eval() for planes in (3, count))
    more.load_state_dict(widened(one.state_dict(), more.state_dict(), 3, count))
    image = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(more(image.expand(-1, count, -1, -1)), one(image.expand(-1, 3, -1, -1)))
