"""The mask codec: ranges, its decoder half, pretrained weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sdseg.config.codec import Codec
from sdseg.core.errors import UserError
from sdseg.models.codec import MaskCodec, MaskDecoder, load_pretrained, mask_image, mask_probability
from tests.helpers.networks import CODEC, codec


def masks() -> torch.Tensor:
    return torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)).round()


def test_masks_become_three_equal_channels_from_minus_one_to_one() -> None:
    image = mask_image(masks())
    assert image.shape == (2, 3, 32, 32)
    assert torch.equal(image[:, 0], image[:, 2])
    assert set(image.unique().tolist()) == {-1.0, 1.0}


def test_probability_is_clamped_before_the_channels_are_averaged() -> None:
    decoded = torch.tensor([3.0, 0.0, -1.0]).view(1, 3, 1, 1)  # to [0,1]: 2 → 1, 0.5, 0
    assert mask_probability(decoded).item() == pytest.approx(0.5)


def test_scale_changes_the_latents_but_not_the_masks() -> None:
    one, other = codec(scale=1.0), codec(scale=0.25)
    with torch.inference_mode():
        mean, deviation = one.moments(masks())
        scaled_mean, scaled_deviation = other.moments(masks())
        assert mean.shape == (2, 4, 16, 16)
        torch.testing.assert_close(scaled_mean, mean * 0.25)
        torch.testing.assert_close(scaled_deviation, deviation * 0.25)
        torch.testing.assert_close(one.decode(mean), other.decode(scaled_mean))


def test_decoder_half_decodes_as_the_whole_does() -> None:
    whole = codec()
    half = MaskDecoder.of(whole).eval()
    latents = torch.randn(2, 4, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(mask_probability(half(latents)), whole.decode(latents))


def test_pretrained_weights_of_diffusers_compute_the_same(tmp_path: Path) -> None:
    source = codec(seed=1)
    source.autoencoder.save_pretrained(tmp_path / "größe 1", safe_serialization=True)
    target = codec(seed=2)
    load_pretrained(target, tmp_path / "größe 1")
    with torch.inference_mode():
        torch.testing.assert_close(target.moments(masks())[0], source.moments(masks())[0])


def test_weights_of_another_layout_are_refused_by_name(tmp_path: Path) -> None:
    codec().autoencoder.save_pretrained(tmp_path, safe_serialization=True)
    wider = Codec.model_validate(CODEC.model_dump() | {"block_out_channels": (8, 16)})
    with pytest.raises(UserError, match=r"do not fit the network: .*is \(8,\), not \(16,\)"):
        load_pretrained(MaskCodec(wider), tmp_path)


def test_a_folder_without_weights_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)no \*\.safetensors.*put a diffusers AutoencoderKL there"):
        load_pretrained(codec(), tmp_path)


def test_a_truncated_weight_file_is_one_clear_error(tmp_path: Path) -> None:
    codec().autoencoder.save_pretrained(tmp_path, safe_serialization=True)
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot read the weights"):
        load_pretrained(codec(), tmp_path)
