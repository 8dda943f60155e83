"""The training state: weights, averaged weights, optimiser, loss scale, step, and random generators where wanted.

Atomic, the last two kept, no pickles.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder, sha256_file, write_json
from sdseg.models.codec import load_strictly
from sdseg.models.model_folder import read_tensors, write_tensors

__all__ = [
    "SavedObjects",
    "TrainingProgress",
    "TrainingState",
    "kept_progress",
    "latest_state",
    "restore",
    "save_state",
]

log = logging.getLogger("sdseg.training.train")
KEPT = 2
WEIGHTS, AVERAGE, OPTIMISER, RANDOM = (
    f"{name}.safetensors" for name in ("weights", "average", "optimiser", "generators")
)
FILES = (WEIGHTS, AVERAGE, OPTIMISER, RANDOM)


@dataclass(frozen=True)
class SavedObjects:
    """The objects of a run whose tensors a state holds."""

    model: nn.Module
    average: nn.Module | None
    optimiser: Optimizer
    scaler: GradScaler | None = None  # of fp16 alone
    random: bool = False  # torch's random generators too, where steps draw from them and do not seed them


@dataclass
class TrainingProgress:
    """What must survive an interruption of the loop beside the tensors."""

    best_dice: float = -1.0
    best_step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0  # of all threads of the process; loader workers are others
    worse: int = 0  # validations in a row without a better Dice
    stopped: str = ""  # why training ended, once it did: steps or plateau
    unjudged: bool = False  # the process was asked to end before the validation that is due after this step


@dataclass(frozen=True)
class TrainingState:
    """A state on disk whose files have their checksums."""

    folder: Path
    step: int  # optimiser steps done
    progress: dict[str, Any]  # what the loop carries along: best score and step, seconds so far
    scaler: dict[str, Any] | None  # the loss scale and its growth


def save_state(root: Path, step: int, progress: dict[str, Any], objects: SavedObjects) -> None:
    """Write `root/step-NNNNNNNN`, then remove all but the last two. The earlier survive a crash or a full disk."""
    contents = {WEIGHTS: objects.model.state_dict(), OPTIMISER: _flatten(objects.optimiser)}
    if objects.average is not None:
        contents[AVERAGE] = objects.average.state_dict()
    if objects.random:
        contents[RANDOM] = _generators(objects.model)
    scaler = objects.scaler.state_dict() if objects.scaler is not None else None
    with atomic_folder(root / f"step-{step:08d}", (*FILES, "state.json")) as folder:
        for name, tensors in contents.items():
            write_tensors(folder / name, tensors)
        checksums = {name: sha256_file(folder / name) for name in contents}
        record = {"step": step, "progress": progress, "scaler": scaler, "files": checksums}
        write_json(folder / "state.json", record)
    for old in sorted(root.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def latest_state(root: Path) -> TrainingState | None:
    """The newest whole state below `root`; a damaged one is named in the log and the one before it is used."""
    for folder in sorted(root.glob("step-*"), reverse=True):
        try:
            record = _described(folder)
            checksums = {WEIGHTS: "", OPTIMISER: "", **record["files"]}
            damaged = [name for name in checksums if sha256_file(folder / name) != checksums[name]]
            if damaged:
                raise ValueError(f"{damaged[0]} does not have its checksum")
            progress, scaler = dict(record["progress"]), record.get("scaler")
            return TrainingState(folder, int(record["step"]), progress, scaler)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("training state %s is damaged (%s): using the one before it", folder, error)
    return None


def kept_progress(root: Path) -> list[dict[str, Any]]:
    """What the loop carried along in each state below `root` whose description can be read."""
    progress = []
    for folder in sorted(root.glob("step-*")):
        try:
            progress.append(dict(_described(folder)["progress"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # `latest_state` says so
    return progress


def restore(state: TrainingState, objects: SavedObjects) -> None:
    """Load a state into the objects of a run, strictly."""
    device = next(objects.model.parameters()).device
    for module, name in ((objects.model, WEIGHTS), (objects.average, AVERAGE)):
        if module is not None:
            load_strictly(module, read_tensors(state.folder / name), state.folder / name)
    _unflatten(objects.optimiser, read_tensors(state.folder / OPTIMISER), device, state.folder / OPTIMISER)
    if objects.random:
        _set_generators(read_tensors(state.folder / RANDOM), device)
    if objects.scaler is not None and state.scaler is not None:
        objects.scaler.load_state_dict(state.scaler)


def _described(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "state.json").read_text(encoding="utf-8")))


def _generators(model: nn.Module) -> dict[str, Tensor]:
    """The state of torch's generator on the CPU, and of that on the model's GPU."""
    device = next(model.parameters()).device
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _set_generators(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


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
    current = optimiser.state_dict()
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for number, values in state.items():
        shapes = {tuple(value.shape) for name, value in values.items() if name != "step"}
        if number >= len(parameters) or shapes - {tuple(parameters[number].shape)}:
            raise UserError("the optimiser state is of another network", where=where, remedy="remove the state folder")
    optimiser.load_state_dict({"state": state, "param_groups": current["param_groups"]})
