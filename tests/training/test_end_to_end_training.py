"""LDSeg in training: no codec, one loss, an average as the recipe says. That it resumes: test_every_recipe.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sdseg
from sdseg.core.errors import UserError
from sdseg.models.frozen_codec import open_codec
from sdseg.models.model_folder import load_model, read_tensors
from tests.helpers.end_to_end import ldseg
from tests.helpers.tiny import DISC_CUP, RGB, picture, write_store
from tests.helpers.training import events, run


def test_the_official_values_train_without_a_codec(tmp_path: Path) -> None:
    """Batch norm, whose statistics are part of the model, and the denoiser's average alone."""
    write_store(tmp_path / "prepared", structures=DISC_CUP, cases={"train": (1,) * 4, "val": (1,), "test": (1,)})
    chosen = ldseg("ldseg-official")
    model = run(tmp_path, tmp_path, chosen)
    assert all(set(event["losses"]) == {"noise", "mask"} for event in events(model, "step"))
    assert any("running_mean" in name for name in read_tensors(model / "weights.safetensors"))

    _, manifest = load_model(model)
    assert (manifest.codec, manifest.training["codec_ceiling"]) == (None, None)
    answer = sdseg.load(model).predict(picture(RGB, 7)[0])
    assert answer.probability.shape == (2, 32, 32)
    assert answer.probability.min() >= 0
    assert (answer.probability[1] <= answer.probability[0]).all()  # the cup lies within its disc
    with pytest.raises(UserError, match="uses no mask codec"):
        open_codec(chosen, tmp_path, torch.device("cpu"))
