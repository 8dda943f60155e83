"""Two stages in one run: the mask loss joins at its step, and a run stopped on the way there repeats to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sdseg.models.model_folder import read_tensors
from tests.helpers.networks import CLASSIC, recipe
from tests.helpers.training import events, rewind, run, write_inputs


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("two stages é"))


def test_the_mask_loss_joins_at_its_step_and_a_resumed_run_repeats_to_the_bit(ready: Path, tmp_path: Path) -> None:
    chosen = recipe(
        network={"condition": CLASSIC, "decoder": "trained"},  # the decoder has no gradient in the first stage
        diffusion={
            "train_timesteps": "last",
            "train_noise": "zero",
            "distance": "l2",
            "loss_mask": 2.0,
            "loss_mask_from": 6,
            "loss_mask_warmup": 2,
        },
        optimiser={"learning_rate": 1e-3, "mask_learning_rate": 5e-4, "schedule": "cosine"},
        training={"checkpoint_every": 5, "validate_every": 5},
    )
    model = run(ready, tmp_path, chosen)
    steps = {event["step"]: event for event in events(model, "step")}
    assert [set(steps[step]["losses"]) for step in range(1, 9)] == [{"latent"}] * 6 + [{"latent", "mask"}] * 2
    rates = [steps[step]["learning_rate"] for step in range(1, 9)]
    assert rates[0] == 1e-3
    assert rates[5] < 1e-4
    assert rates[6] == 5e-4

    before = read_tensors(model / "weights.safetensors"), read_tensors(tmp_path / "last" / "weights.safetensors")
    rewind(tmp_path)  # back to step 5, in the first stage
    again = run(ready, tmp_path, chosen)
    assert events(again, "resumed")[0]["step"] == 5
    after = read_tensors(again / "weights.safetensors"), read_tensors(tmp_path / "last" / "weights.safetensors")
    for old, new in zip(before, after, strict=True):
        assert old.keys() == new.keys()
        assert all(torch.equal(value, new[name]) for name, value in old.items())
    repeated = {event["step"]: event for event in events(again, "step")}
    assert {step: event["losses"] for step, event in repeated.items()} == {
        step: event["losses"] for step, event in steps.items()
    }
