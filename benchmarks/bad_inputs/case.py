"""One bad input, and the good things that it is put among."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.helpers.raw_files import SIX, write_kseg, write_split
from tests.helpers.tiny import CT, DISC_CUP, write_graph, write_model, write_store

__all__ = ["LAYOUT", "MINI", "Bad", "Ready", "make_ready", "write_yaml"]

LAYOUT = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4, "mid_block_attention": False}
DENOISER = {"block_out_channels": [8], "attention": [False], "layers_per_block": 1, "norm_num_groups": 4, "heads": 1}
MINI: dict[str, Any] = {
    "raw": "raw data",
    "manual": "manual",
    "downloads": "downloads",
    "registry": "resources/datasets.yaml",
    "fetch": False,
    "splits": "resources/splits",
    "results": "results",
    "device": "cpu",
    "threads": 1,
    "processes": 1,
    "on_edit": "refuse",
    "phantoms": {"seed": 1, "scale": 0.2},
    "codecs": {"tiny": {**LAYOUT, "latent_channels": 4, "training": {"steps": 4, "batch": 2, "size": 32}}},
    "recipes": {
        "sdseg": {
            "file": "config/recipes/sdseg-multistep.yaml",
            "overrides": {"network": {"codec": "tiny", "condition": LAYOUT, "denoiser": DENOISER}},
        },
        "unet": {"file": "config/recipes/unet.yaml", "overrides": {"network": {"channels": [4, 8, 8]}}},
    },
    "datasets": {
        "kseg": {"source": "kseg", "origin": "phantom", "size": 32, "recipes": ["sdseg"]},
        "btcv": {"source": "btcv", "origin": "phantom", "size": 32, "recipes": ["unet"]},
    },
}


@dataclass(frozen=True)
class Bad:
    """One bad input.

    `about` holds words of which the answer must contain one: the file, the key, the option. `note` is what marks a note
    where the command is done all the same. `made` goes when it was judged.
    """

    name: str
    words: Sequence[object]
    about: tuple[str, ...]
    note: str = "WARNING"
    made: tuple[Path, ...] = ()

    def clear(self) -> None:
        for path in self.made:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink(True)


@dataclass(frozen=True)
class Ready:
    """What is good: a place to write, a raw dataset, a store, models."""

    scratch: Path
    raw: Path
    split: Path
    store: Path
    volumes: Path
    model: Path
    rgb: Path
    ct: Path

    def copy(self, what: Path, name: str = "copy") -> Path:
        """A copy of a good thing, to be spoilt."""
        place = self.scratch / f"{name}{what.suffix}"
        if place.is_dir():
            shutil.rmtree(place)
        place.unlink(missing_ok=True) if place.is_file() else None
        return Path(shutil.copytree(what, place) if what.is_dir() else shutil.copy(what, place))


def make_ready(folder: Path) -> Ready:
    scratch = folder / "scratch"
    scratch.mkdir()
    return Ready(
        scratch=scratch,
        raw=write_kseg(folder / "raw"),
        split=write_split(folder / "split.csv", SIX),
        store=write_store(folder / "store"),
        volumes=write_store(folder / "volumes", CT, DISC_CUP, {"train": (3, 3), "val": (2,), "test": (3, 2)}),
        model=write_model(folder / "model"),
        rgb=write_graph(folder / "rgb" / "model.onnx"),
        ct=write_graph(folder / "ct" / "model.onnx", CT, DISC_CUP),
    )


def write_yaml(path: Path, values: object) -> Path:
    path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
