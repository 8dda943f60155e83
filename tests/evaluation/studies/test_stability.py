"""Agreement of runs: PSNR by hand, identical runs exactly identical, what cannot be computed with its reason."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sdseg.core.errors import UserError
from sdseg.evaluation.studies.similarity import Similarities, alexnet_file, open_lpips
from sdseg.evaluation.studies.stability import stability
from tests.helpers.models import GAUSSIAN, subject_of, write_latent_model
from tests.helpers.tiny import write_model


def test_psnr_as_computed_by_hand() -> None:
    runs = np.random.default_rng(0).random((3, 2, 32, 32), dtype=np.float32)
    runs[:, 1] = runs[0, 1]  # the second picture never changes
    similar = Similarities()
    similar.add(torch.from_numpy(runs))
    error = np.mean([(runs[0, 0] - runs[run, 0]) ** 2 for run in (1, 2)])
    found = similar.instance_level()
    assert found["psnr"]["value"] == pytest.approx(10 * math.log10(1 / error), rel=1e-5)
    assert found["psnr"]["images_identical"] == 1
    assert (similar.images, similar.pairs, similar.identical_pairs) == (2, 4, 2)
    assert 0.45 < found["ssim"]["value"] < 0.55  # two pairs of noise, near 0, and two that are 1


def test_large_pictures_have_ms_ssim() -> None:
    drawn = torch.rand(2, 1, 176, 176, generator=torch.Generator().manual_seed(0))
    similar = Similarities()
    similar.add(drawn)
    found = similar.instance_level()["ms_ssim"]
    assert found["reason"] is None
    assert 0 <= found["value"] < 0.9


def test_a_deterministic_recipe_is_exactly_identical(tmp_path: Path) -> None:
    found = stability(subject_of(tmp_path, write_model(tmp_path / "model"), batch=2), runs=3).content()
    assert found["identical"] is True
    assert found["identical_pairs"] == {"masks": 6, "probabilities": 6}
    assert len(set(found["dice"])) == 1
    for level in found["instance_level"].values():
        assert level["psnr"]["value"] == "inf"
        assert level["ssim"]["value"] == 1.0
        assert level["ms_ssim"]["value"] is None
        assert "at least 176 pixels, these have 32" in level["ms_ssim"]["reason"]
    lpips = found["dataset_level"]["masks"]["lpips"]
    assert lpips["value"] is None
    assert "no AlexNet weights were named" in lpips["reason"]


def test_a_sampling_recipe_differs_between_seeds_and_repeats_itself(tmp_path: Path) -> None:
    subject = subject_of(tmp_path, write_latent_model(tmp_path / "model", **GAUSSIAN))
    found = stability(subject, runs=2).content()
    assert found["identical"] is False
    assert 0 < found["instance_level"]["probabilities"]["psnr"]["value"] < 100
    again = stability(subject, runs=2).content()
    assert found["instance_level"] == again["instance_level"]


def test_one_run_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be compared"):
        stability(subject_of(tmp_path, write_model(tmp_path / "model")), runs=1)


def test_weights_of_lpips_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        open_lpips(str(tmp_path / "none.pth"))
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(UserError, match="not AlexNet's weights"):
        open_lpips(str(tmp_path / "other.pth"))
    assert alexnet_file(tmp_path / "other.pth", "d9298a10") == tmp_path / "other.pth"  # sha256sum of 'other'
