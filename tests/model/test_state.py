"""Training states: complete, atomic, the last two kept, a damaged one passed over."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from sdseg.errors import UserError
from sdseg.model.state import latest_state, restore, save_state


def trained(seed: int, steps: int = 3) -> tuple[nn.Linear, nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model, average = nn.Linear(3, 2), nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        optimiser.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimiser.step()
    return model, average, optimiser


def test_restored_objects_go_on_as_the_saved_ones_do(tmp_path: Path) -> None:
    ours = trained(0)
    save_state(tmp_path, 3, {"best_dice": 0.5}, *ours)
    found = latest_state(tmp_path)
    assert found is not None
    assert (found.step, found.progress) == (3, {"best_dice": 0.5})
    theirs = trained(1, steps=0)
    restore(found, *theirs)
    for model, _, optimiser in (ours, theirs):
        torch.manual_seed(5)
        optimiser.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(ours[0].parameters(), theirs[0].parameters(), strict=True))


def test_only_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_state(tmp_path, step, {}, *trained(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_truncated_state_is_passed_over_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2):
        save_state(tmp_path, step, {}, *trained(step))
    damaged = tmp_path / "step-00000002" / "optimiser.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-8])
    with caplog.at_level(logging.WARNING):
        found = latest_state(tmp_path)
    assert found is not None
    assert found.step == 1
    assert "step-00000002 is damaged (optimiser.safetensors" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": 2}'])
def test_an_unreadable_state_file_is_passed_over(tmp_path: Path, content: str) -> None:
    save_state(tmp_path, 2, {}, *trained(0))
    (tmp_path / "step-00000002" / "state.json").write_text(content)
    assert latest_state(tmp_path) is None


def test_no_pickles_are_written(tmp_path: Path) -> None:
    save_state(tmp_path, 1, {}, *trained(0))
    names = {path.name for path in (tmp_path / "step-00000001").iterdir()}
    assert names == {"weights.safetensors", "average.safetensors", "optimiser.safetensors", "state.json"}
    assert set(json.loads((tmp_path / "step-00000001" / "state.json").read_text())) == {"step", "progress", "files"}


def test_the_state_of_a_larger_network_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, 1, {}, *trained(0))
    found = latest_state(tmp_path)
    assert found is not None
    wider = nn.Linear(4, 2)
    with pytest.raises(UserError, match=r"do not fit the network: 'weight' is \(2, 3\), not \(2, 4\)"):
        restore(found, wider, wider, torch.optim.AdamW(wider.parameters()))
