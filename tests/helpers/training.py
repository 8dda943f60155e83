"""Helpers of the tests of training: what it reads, a run, its history, and the moment before its last saved state."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sdseg.config.recipe import Recipe
from sdseg.models.segmenter import Segmenter
from sdseg.training.codec import build_codec
from sdseg.training.finished_run import keep_finished
from sdseg.training.train import train
from tests.helpers.networks import CODEC
from tests.helpers.tiny import write_store


def write_inputs(folder: Path) -> Path:
    """A slice store and a codec in `folder`."""
    write_store(folder / "prepared", cases={"train": (1,) * 6, "val": (1, 1), "test": (1, 1)})
    build_codec(settings=CODEC, output=folder / "codec")
    return folder


def run(ready: Path, place: Path, chosen: Recipe, **more: Any) -> Path:
    """Train into `place`; the model folder. Its states are kept beside it as they were before they shrank."""

    def copied(state: Path, places: Sequence[Path], segmenters: Sequence[Segmenter]) -> None:
        shutil.rmtree(place / "unshrunk", ignore_errors=True)
        shutil.copytree(state, place / "unshrunk")
        keep_finished(state, places, segmenters)

    with patch("sdseg.training.train.keep_finished", copied):
        _run(ready, place, chosen, more)
    return place / "model"


def _run(ready: Path, place: Path, chosen: Recipe, more: dict[str, Any]) -> None:
    train(
        prepared=more.pop("prepared", ready / "prepared"),
        recipe_name="tiny",
        recipe=chosen,
        codec=more.pop("codec", ready / "codec" if chosen.network.kind == "latent-diffusion" else None),
        output=place / "model",
        last=place / "last",
        state=place / "state",
        quiet=True,
        **more,
    )


def heed(number: int) -> None:
    """Let a signal have its effect, also where the shell that started the tests ignores it."""
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def rewind(place: Path) -> None:
    """Take a finished run back to its last state but one, as if it had been killed on the way to the last."""
    state = place / "state"
    shutil.rmtree(state)
    shutil.copytree(place / "unshrunk", state)
    shutil.rmtree(max(state.glob("step-*")))
    for folder in ("model", "last"):
        shutil.rmtree(place / folder)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Events of one kind in a model folder's history."""
    lines = (folder / "training.jsonl").read_text("utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]
