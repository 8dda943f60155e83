"""benchmarks/after_training.py: its Dice is that of the means and masks themselves, and its table shows them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.after_training import main
from sdseg.backends.open_model import open_model
from sdseg.core.array_types import AnyArray
from sdseg.data.store import SliceStore
from tests.helpers.tiny import write_model, write_store
from tools.figure_tables import TABLES


def dice(masks: AnyArray, truth: AnyArray) -> float:
    return float(np.mean(2 * (masks & truth).sum((1, 2)) / (masks.sum((1, 2)) + truth.sum((1, 2)))))


def largest(mask: AnyArray) -> AnyArray:
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    return mask & (parts == 1 + np.argmax([(parts == each).sum() for each in range(1, count + 1)])) if count else mask


def test_flips_ensembles_and_postprocessing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = SliceStore.open(write_store(tmp_path / "prepared"))
    runs = [tmp_path / "polyps" / f"unet-seed{seed}" for seed in (0, 1)]
    for seed, run in enumerate(runs):
        write_model(run / "model", seed=seed)
    given, output = ["--prepared", str(tmp_path / "prepared")], tmp_path / "figures.json"
    assert main([*given, "--group", "unet", *map(str, runs), "--output", str(output)]) == 0
    figures = json.loads(output.read_text("utf-8"))
    assert figures["command"].endswith("--group unet polyps/unet-seed0 polyps/unet-seed1")
    rows = {(row["flips"], row["models"], row["postprocessing"]): row for row in figures["rows"]}
    assert len(rows) == len(figures["rows"]) == 3 * 2 * 4

    cases = store.rows_of("test")
    images, truth = store.images[cases], store.masks[cases] == 1
    models = [open_model(run / "model").backend for run in runs]
    plain = [model.probability(images)[:, 0] for model in models]
    turned = [model.probability(np.ascontiguousarray(images[:, :, ::-1]))[:, 0, :, ::-1] for model in models]
    row = rows["none", 1, "none"]
    assert row["test_mean"] == pytest.approx(np.mean([dice(each > 0.5, truth) for each in plain]), abs=1e-3)
    assert (row["passes"], row["repetitions"]) == (1, 2)
    row = rows["horizontal", 2, "none"]
    assert row["test_mean"] == pytest.approx(dice(np.mean([*plain, *turned], 0) > 0.5, truth), abs=1e-3)
    assert (row["passes"], row["repetitions"], row["test_sd"]) == (4, 1, None)
    masks = np.stack([largest(mask) for mask in np.mean(plain, 0) > 0.5])
    assert rows["none", 2, "largest_component"]["test_mean"] == pytest.approx(dice(masks, truth), abs=1e-3)

    lines = TABLES["after_training"](figures).splitlines()
    assert len([line for line in lines if line.startswith("| `unet` |")]) == 6
    assert f"| `unet` | horizontal | 2 | 4 | {rows['horizontal', 2, 'none']['val_mean']:.3f} |" in "\n".join(lines)
    capsys.readouterr()
    with pytest.raises(SystemExit, match="the group 'unet' names no run"):
        main([*given, "--group", "unet", "--output", str(output)])
