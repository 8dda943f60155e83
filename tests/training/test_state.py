"""Training states: complete, atomic, the last two kept, a damaged one passed over."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from sdseg.core.errors import UserError
from sdseg.training.state import SavedObjects, kept_progress, latest_state, restore, save_state
from tests.helpers.loaded_python import python


def trained(seed: int, steps: int = 3, scaler: torch.amp.GradScaler | None = None) -> SavedObjects:
    torch.manual_seed(seed)
    model, average = nn.Linear(3, 2), nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        optimiser.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimiser.step()
    return SavedObjects(model, average, optimiser, scaler)


def test_restored_objects_go_on_as_the_saved_ones_do(tmp_path: Path) -> None:
    ours = trained(0)
    save_state(tmp_path, 3, {"best_dice": 0.5}, ours)
    found = latest_state(tmp_path)
    assert found is not None
    assert (found.step, found.progress) == (3, {"best_dice": 0.5})
    theirs = trained(1, steps=0)
    restore(found, theirs)
    for parts in (ours, theirs):
        torch.manual_seed(5)
        parts.optimiser.zero_grad()
        parts.model(torch.randn(4, 3)).square().sum().backward()
        parts.optimiser.step()
    pairs = zip(ours.model.parameters(), theirs.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_loss_scale_goes_on_where_it_was(tmp_path: Path) -> None:
    """What fp16 needs beside the weights: the scale, and how many steps it has held."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    parts = trained(0, scaler=scaler)
    for factor in (1.0, float("inf"), 1.0, 1.0):  # the second overflows: the scale is halved
        parts.optimiser.zero_grad()
        scaler.scale(parts.model(torch.ones(1, 3)).sum() * factor).backward()
        scaler.step(parts.optimiser)
        scaler.update()
    save_state(tmp_path, 4, {}, parts)
    found = latest_state(tmp_path)
    assert found is not None
    other = trained(1, scaler=torch.amp.GradScaler("cpu"))
    restore(found, other)
    assert other.scaler is not None
    assert other.scaler.state_dict() == scaler.state_dict()
    assert (other.scaler.get_scale(), other.scaler.state_dict()["_growth_tracker"]) == (2.0**9, 2)


def test_only_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_state(tmp_path, step, {}, trained(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_truncated_state_is_passed_over_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2):
        save_state(tmp_path, step, {}, trained(step))
    damaged = tmp_path / "step-00000002" / "optimiser.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-8])
    with caplog.at_level(logging.WARNING):
        found = latest_state(tmp_path)
    assert found is not None
    assert found.step == 1
    assert "step-00000002 is damaged (optimiser.safetensors" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": 2}'])
def test_an_unreadable_state_file_is_passed_over(tmp_path: Path, content: str) -> None:
    save_state(tmp_path, 2, {}, trained(0))
    (tmp_path / "step-00000002" / "state.json").write_text(content)
    assert latest_state(tmp_path) is None


def test_no_pickles_are_written(tmp_path: Path) -> None:
    save_state(tmp_path, 1, {}, trained(0))
    names = {path.name for path in (tmp_path / "step-00000001").iterdir()}
    assert names == {"weights.safetensors", "average.safetensors", "optimiser.safetensors", "state.json"}
    assert set(json.loads((tmp_path / "step-00000001" / "state.json").read_text())) == {
        "step",
        "progress",
        "scaler",
        "files",
    }


def test_the_state_of_a_larger_network_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, 1, {}, trained(0))
    found = latest_state(tmp_path)
    assert found is not None
    wider = nn.Linear(4, 2)
    with pytest.raises(UserError, match=r"do not fit the network: 'weight' is \(2, 3\), not \(2, 4\)"):
        restore(found, SavedObjects(wider, wider, torch.optim.AdamW(wider.parameters())))


def test_the_optimiser_of_another_network_is_refused(tmp_path: Path) -> None:
    """As after freezing a part: the weights fit, and the moments would belong to other parameters."""
    save_state(tmp_path, 1, {}, trained(0))
    found = latest_state(tmp_path)
    assert found is not None
    model = nn.Linear(3, 2)
    with pytest.raises(UserError, match="the optimiser state is of another network"):
        restore(found, SavedObjects(model, nn.Linear(3, 2), torch.optim.AdamW([model.bias])))


def test_what_kept_states_carry_along_can_be_read_without_their_tensors(tmp_path: Path) -> None:
    for step in (1, 2):
        save_state(tmp_path, step, {"best_step": step}, trained(0))
    (tmp_path / "step-00000001" / "state.json").write_text("{")
    assert kept_progress(tmp_path) == [{"best_step": 2}]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of a process on Windows")
def test_a_disk_that_fills_up_leaves_the_state_before_intact(tmp_path: Path, root: Path) -> None:
    done = subprocess.run(
        [python(), "-m", "tests.helpers.full_disk", "state", tmp_path / "state"],
        capture_output=True,
        encoding="utf-8",
        check=True,
        cwd=root,
    )
    assert "cannot write: File too large" in done.stdout
    assert "step-00000002" in done.stdout
    assert "kept 1 ['step-00000001']" in done.stdout
