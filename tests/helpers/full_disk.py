"""What a disk that fills up does to what is written: `python -m tests.helpers.full_disk PART FOLDER`.

In a process of its own, whose limit on a file's size stands in for the disk: writing stops half-way in the same call.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from sdseg.core.errors import UserError
from sdseg.training.log import Journal
from sdseg.training.state import SavedObjects, latest_state, save_state

__all__: list[str] = []


def state(folder: Path) -> None:
    """The second of two states has no room, nor has any file of it."""
    save_state(folder, 1, {}, wide())
    fill(20_000)
    try:
        save_state(folder, 2, {}, wide())
    except UserError as error:
        print(error)
    found = latest_state(folder)
    print("kept", found and found.step, sorted(path.name for path in folder.iterdir()))


def wide() -> SavedObjects:
    """80 kB of weights."""
    model = nn.Linear(100, 200)
    return SavedObjects(model, nn.Linear(100, 200), torch.optim.AdamW(model.parameters()))


def journal(folder: Path) -> None:
    """The record of a training has no room."""
    log(folder, lambda journal, step: journal.write("done", step, reason="x" * 200))


def board(folder: Path) -> None:
    """TensorBoard's file has none, and the record stays small."""

    def write(journal: Journal, step: int) -> None:
        journal.write("step", step, loss=1.0, losses={f"a{number}": 1.0 for number in range(20)})
        folder.joinpath("training.jsonl").write_bytes(b"")

    log(folder, write)


def log(folder: Path, write: Callable[[Journal, int], None]) -> None:
    try:
        with Journal(folder / "training.jsonl", folder / "tensorboard", 0) as journal:
            journal.write("step", 1, loss=1.0)
            fill(2_000)
            for step in range(2, 10_000):
                write(journal, step)
                time.sleep(0.001)
    except UserError as error:
        print(error)


def fill(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


if __name__ == "__main__":
    {"state": state, "journal": journal, "board": board}[sys.argv[1]](Path(sys.argv[2]))
