"""The codec verb: trains on shapes, measures its scale, takes in pretrained weights."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from sdseg.config.codec import Codec, CodecTraining
from sdseg.core.errors import UserError
from sdseg.core.settings import merge
from sdseg.core.signals import Stopped
from sdseg.models.codec import MaskCodec
from sdseg.models.codec_quality import draw_masks, measure
from sdseg.models.model_folder import load_codec_folder
from sdseg.models.random_shapes import random_shapes
from sdseg.training import number_format
from sdseg.training.codec import _loss as codec_loss
from sdseg.training.codec import build_codec
from tests.helpers.networks import CODEC, codec
from tests.helpers.training import heed


def settings(**overrides: object) -> Codec:
    return Codec.model_validate(merge(CODEC.model_dump(mode="json"), overrides))


def test_training_lowers_the_error_and_the_scale_gives_unit_variance(tmp_path: Path) -> None:
    import numpy as np

    build_codec(settings=settings(training={"steps": 1, "crop": 16}), output=tmp_path / "a")
    build_codec(
        settings=settings(training={"steps": 150, "batch": 8, "crop": 16, "learning_rate": 4e-3}),
        output=tmp_path / "b é",
    )
    _, before = load_codec_folder(tmp_path / "a")
    trained, after = load_codec_folder(tmp_path / "b é")
    assert after.dice > before.dice + 0.2
    shapes = torch.from_numpy(random_shapes(np.random.default_rng(99), 64, 32)).unsqueeze(1).float()
    with torch.inference_mode():
        assert float(trained.moments(shapes)[0].std()) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("steps", [1, 2, 10, 11])
def test_few_steps_have_a_schedule_as_well(tmp_path: Path, steps: int) -> None:
    build_codec(settings=settings(training={"steps": steps, "batch": 1, "crop": 16}), output=tmp_path / "codec")
    load_codec_folder(tmp_path / "codec")


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_codec(settings=settings(), output=tmp_path / name)
    one, other = ((tmp_path / name / "codec.safetensors").read_bytes() for name in ("a", "b"))
    assert one == other


def test_bf16_gives_other_weights_and_auto_those_of_what_is_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(number_format, "computes_in_bf16", lambda: False)
    for precision in ("no", "bf16", "auto"):
        build_codec(settings=settings(training={"precision": precision}), output=tmp_path / precision)
    weights = {name: (tmp_path / name / "codec.safetensors").read_bytes() for name in ("no", "bf16", "auto")}
    assert weights["no"] == weights["auto"] != weights["bf16"]
    assert settings(training={"precision": False}) == settings(training={"precision": "no"})  # YAML's unquoted no


def test_the_last_share_of_the_steps_sees_whole_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []

    def spy(codec: MaskCodec, training: CodecTraining, image: torch.Tensor, *given: Any) -> torch.Tensor:
        sides.append(image.shape[-1])
        return codec_loss(codec, training, image, *given)

    monkeypatch.setattr("sdseg.training.codec._loss", spy)
    build_codec(settings=settings(training={"steps": 5, "crop": 16, "whole": 0.4}), output=tmp_path / "codec")
    assert sides == [16, 16, 16, 32, 32]


def test_squares_weigh_the_errors_of_a_mask_otherwise(tmp_path: Path) -> None:
    """Adam's first step follows the signs alone; by the second the two distances have led elsewhere."""
    for distance in ("l1", "l2"):
        build_codec(settings=settings(training={"steps": 2, "distance": distance}), output=tmp_path / distance)
    one, other = ((tmp_path / name / "codec.safetensors").read_bytes() for name in ("l1", "l2"))
    assert one != other
    with pytest.raises(ValueError, match=r"'training\.distance' is of masks and images"):
        settings(encodes="labels", training={"data": "dataset", "distance": "l2"})


def test_pretrained_weights_and_a_given_scale_are_taken_over(tmp_path: Path) -> None:
    source = codec(seed=4)
    source.autoencoder.save_pretrained(tmp_path / "kl", safe_serialization=True)
    build_codec(
        settings=settings(training=None, weights=str(tmp_path / "kl"), latent_scale=0.18215), output=tmp_path / "codec"
    )
    loaded, manifest = load_codec_folder(tmp_path / "codec")
    assert manifest.latent_scale == 0.18215
    for ours, theirs in zip(loaded.autoencoder.parameters(), source.autoencoder.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_training_that_goes_astray_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    training = CodecTraining(steps=2, batch=2, size=32).model_copy(update={"learning_rate": 1e30})  # beyond its bounds
    astray = settings().model_copy(update={"training": training})
    with pytest.raises(UserError, match="the codec's latents have no scale: their standard deviation is nan"):
        build_codec(settings=astray, output=tmp_path / "codec")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_weights_that_went_astray_are_an_error(value: float) -> None:
    """All NaN, or all the same, so that latents do not differ."""
    broken = codec(seed=1)
    for parameter in broken.parameters():
        torch.nn.init.constant_(parameter, value)
    with pytest.raises(UserError, match=r"the codec's latents have no scale: their standard deviation is (nan|0)"):
        measure(broken, 32, torch.device("cpu"))


def test_a_place_that_cannot_be_written_is_named_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write: (Not a directory|File exists)"):
        build_codec(settings=settings(training={"steps": 10**6}), output=tmp_path / "file" / "codec")


def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(UserError, match="no CUDA GPU is available"):
        build_codec(settings=settings(), output=tmp_path / "codec", device="cuda")
    assert not (tmp_path / "codec").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_was_ended_repeats_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """A signal in the midst of step 4: the step is finished, the state saved, and the rest goes on from there.

    In the number format it began with, though the processor that goes on is no longer fast in it.
    """
    chosen = settings(training={"steps": 7, "crop": 16, "precision": "auto"})
    monkeypatch.setattr(number_format, "computes_in_bf16", lambda: True)
    build_codec(settings=chosen, output=tmp_path / "whole")
    drawn: list[int] = []

    def draw(*given: Any) -> torch.Tensor:
        drawn.append(len(drawn))
        if len(drawn) == 4:
            signal.raise_signal(number)
        return draw_masks(*given)

    monkeypatch.setattr("sdseg.training.codec.draw_masks", draw)
    heed(number)
    with pytest.raises(Stopped, match="stopped after step 4 of 7; the state is saved"):
        build_codec(settings=chosen, output=tmp_path / "ended")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ended.state", "whole"]
    torch.manual_seed(99)
    monkeypatch.setattr(number_format, "computes_in_bf16", lambda: False)
    build_codec(settings=chosen, output=tmp_path / "ended")
    assert len(drawn) == 7
    one, other = ((tmp_path / name / "codec.safetensors").read_bytes() for name in ("whole", "ended"))
    assert one == other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ended", "whole"]
