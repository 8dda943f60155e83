"""The training state: weights, averaged weights, optimiser, step. Written atomically, the last two kept, no pickles."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sdseg.artifacts import atomic_folder, sha256_file, write_json
from sdseg.errors import UserError
from sdseg.model.checkpoint import read_tensors, write_tensors
from sdseg.model.codecs import load_strictly

__all__ = ["TrainingState", "latest_state", "restore", "save_state"]

log = logging.getLogger("sdseg.train")
KEPT = 2
FILES = ("weights.safetensors", "average.safetensors", "optimiser.safetensors")


@dataclass(frozen=True)
class TrainingState:
    """A state on disk that was read and found whole."""

    folder: Path
    step: int  # optimiser steps done
    progress: dict[str, Any]  # what the loop carries along: best score and step, seconds so far, loss scale


def save_state(
    root: Path, step: int, progress: dict[str, Any], model: nn.Module, average: nn.Module, optimiser: Optimizer
) -> None:
    """Write `root/step-NNNNNNNN`, then remove all but the last two. A crash leaves the earlier states untouched."""
    with atomic_folder(root / f"step-{step:08d}") as folder:
        contents = (model.state_dict(), average.state_dict(), _flatten(optimiser))
        for name, tensors in zip(FILES, contents, strict=True):
            write_tensors(folder / name, tensors)
        checksums = {name: sha256_file(folder / name) for name in FILES}
        write_json(folder / "state.json", {"step": step, "progress": progress, "files": checksums})
    for old in sorted(root.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def latest_state(root: Path) -> TrainingState | None:
    """The newest whole state below `root`; a damaged one is named in the log and the one before it is used."""
    for folder in sorted(root.glob("step-*"), reverse=True):
        try:
            described = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            damaged = [name for name in FILES if sha256_file(folder / name) != described["files"][name]]
            if damaged:
                raise ValueError(f"{damaged[0]} does not have its checksum")
            return TrainingState(folder, int(described["step"]), dict(described["progress"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("training state %s is damaged (%s): using the one before it", folder, error)
    return None


def restore(state: TrainingState, model: nn.Module, average: nn.Module, optimiser: Optimizer) -> None:
    """Load a state into the objects of a run, strictly."""
    device = next(model.parameters()).device
    for module, name in ((model, FILES[0]), (average, FILES[1])):
        load_strictly(module, read_tensors(state.folder / name), state.folder / name)
    _unflatten(optimiser, read_tensors(state.folder / FILES[2]), device, state.folder / FILES[2])


def _flatten(optimiser: Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors under `<parameter number>.<name>`; its settings come from the recipe."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in optimiser.state_dict()["state"].items()
        for name, value in values.items()
    }


def _unflatten(optimiser: Optimizer, tensors: dict[str, Tensor], device: torch.device, where: Path) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        # AdamW keeps its step counter on the CPU and its moments where the parameters are.
        state.setdefault(int(index), {})[name] = value if name == "step" else value.to(device)
    described = optimiser.state_dict()
    count = sum(len(group["params"]) for group in described["param_groups"])
    if state and max(state) >= count:
        raise UserError("the optimiser state is of another network", where=where, remedy="remove the state folder")
    optimiser.load_state_dict({"state": state, "param_groups": described["param_groups"]})
