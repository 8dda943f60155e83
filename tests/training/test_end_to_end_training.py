"""LDSeg in training: no codec, one loss, an average as the recipe says, and a stopped run repeats to the bit."""

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
from tests.helpers.training import events, rewind, run


def test_a_resumed_run_repeats_to_the_bit(tmp_path: Path) -> None:
    """The official values: batch norm, whose statistics are part of the state, and the denoiser's average alone."""
    write_store(tmp_path / "prepared", structures=DISC_CUP, cases={"train": (1,) * 4, "val": (1,), "test": (1,)})
    chosen = ldseg("ldseg-official")
    model = run(tmp_path, tmp_path, chosen)
    assert all(set(event["losses"]) == {"noise", "mask"} for event in events(model, "step"))
    before = read_tensors(tmp_path / "last" / "weights.safetensors")
    rewind(tmp_path)
    again = run(tmp_path, tmp_path, chosen)
    assert events(again, "resumed")[0]["step"] == 2
    after = read_tensors(tmp_path / "last" / "weights.safetensors")
    assert before.keys() == after.keys()
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(value, after[name]) for name, value in before.items())

    _, manifest = load_model(again)
    assert (manifest.codec, manifest.training["codec_ceiling"]) == (None, None)
    answer = sdseg.load(again).predict(picture(RGB, 7)[0])
    assert answer.probability.shape == (2, 32, 32)
    assert answer.probability.min() >= 0
    assert (answer.probability[1] <= answer.probability[0]).all()  # the cup lies within its disc
    with pytest.raises(UserError, match="uses no mask codec"):
        open_codec(chosen, tmp_path, torch.device("cpu"))
