"""benchmarks/calibration.py: its figures are those of the probabilities themselves, and its table shows them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibration import main
from sdseg.backends.open_model import open_model
from sdseg.data.store import SliceStore
from tests.helpers.models import GAUSSIAN, write_latent_model
from tests.helpers.tiny import write_model, write_store
from tools.figure_tables import TABLES

SAMPLES = 3


def test_ways_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path / "prepared")
    noisy = write_latent_model(tmp_path / "noisy" / "model", **GAUSSIAN)
    seeds = [write_model(tmp_path / f"unet-{seed}", seed=seed) for seed in (0, 1)]
    one_step = ["--way", "one step", "steps=1", f"samples={SAMPLES}", str(tmp_path / "noisy")]
    two_seeds = ["--way", "two seeds", *map(str, seeds)]
    output, prepared = tmp_path / "calibration.json", ["--prepared", str(tmp_path / "prepared")]
    repeated = ["--way", "two seeds", str(seeds[0]), "--output", str(output)]
    assert main([*prepared, *one_step, *two_seeds, *repeated]) == 0
    figures = json.loads(output.read_text("utf-8"))
    first, together, alone = figures["rows"]
    assert (first["steps"], first["samples"], first["hypotheses"], first["models"]) == (
        1,
        3,
        3,
        [f"{tmp_path.name}/noisy"],
    )
    assert (together["steps"], len(together["models"]), together["cases"]) == (None, 2, 3)

    store = SliceStore.open(tmp_path / "prepared")
    rows = store.rows_of("test")
    truth = (store.masks[rows] == 1)[:, None]
    for row, paths, samples in ((first, [noisy], SAMPLES), (together, seeds, None)):
        probability = np.mean(
            [open_model(path, samples=samples).backend.probability(store.images[rows]) for path in paths], 0
        )
        assert row["brier"] == pytest.approx(((probability - truth) ** 2).mean(), abs=1e-4)
        bins = np.clip(np.ceil(probability * 15) - 1, 0, 14)
        gaps = [abs((probability - truth)[bins == one].sum()) for one in range(15)]
        assert row["ece"] == pytest.approx(sum(gaps) / truth.size, abs=1e-4)

    *_, line_of_one, line_of_two = TABLES["calibration"](figures).splitlines()
    assert line_of_one.startswith(f"| one step | 1 | 1 | 3 | 1 | {first['ece']:.4f} |")
    assert line_of_two.startswith(f"| two seeds | 2 | n/a | n/a | 2 | {(together['ece'] + alone['ece']) / 2:.4f} ± ")
    capsys.readouterr()

    for wrong, message in (
        (["x", "steps=many", str(noisy)], "'steps=many' is no whole number"),
        (["x"], "names no model"),
    ):
        with pytest.raises(SystemExit, match=message):
            main([*prepared, "--way", *wrong, "--output", str(output)])
