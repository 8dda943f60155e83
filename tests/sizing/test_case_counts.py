"""Numbers of cases and slices, against phantoms as they are written and the splits as they are committed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdseg.config.network import LatentNetwork
from sdseg.config.run import Config, load_config
from sdseg.core.files import write_json
from sdseg.datasets.phantoms import PHANTOM_SOURCES, write_phantoms
from sdseg.sizing.case_counts import Count, count
from sdseg.sizing.run_needs import _dataset, _training

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {"unet": {"file": str(ROOT / "config/recipes/unet.yaml")}}
OWN = {"layout": "folders", "modality": "rgb", "images": "i", "masks": "m", "labels": {1: "polyp"}}


def counted(results: Path, scale: float = 1.0, **dataset: Any) -> Count:
    made = {
        "results": str(results),
        "splits": str(ROOT / "resources/splits"),
        "recipes": RECIPES,
        "datasets": {"d": dataset},
        "phantoms": {"scale": scale},
    }
    return count(Config.model_validate(made), "d")


@pytest.mark.parametrize("source", PHANTOM_SOURCES)
def test_phantoms_are_counted_before_they_are_written(tmp_path: Path, source: str) -> None:
    written: list[dict[str, int]] = []
    for scale in (0.05, 0.1):
        cases = counted(tmp_path, scale, source=source, origin="phantom").cases
        if cases not in written:  # of most there are as few at either scale
            (tmp_path / str(scale)).mkdir()
            written.append(write_phantoms(source, tmp_path / str(scale), seed=0, scale=scale))
        assert cases == written[-1]
    assert len(written) == (2 if source in ("kseg", "refuge2") else 1)


def test_slices_of_phantom_volumes_are_about_right(tmp_path: Path) -> None:
    import nibabel

    write_phantoms("btcv", tmp_path, seed=0, scale=0.2)
    slices = [nibabel.load(path).shape for path in tmp_path.rglob("img*.nii.gz")]
    total = counted(tmp_path / "results", 0.2, source="btcv", origin="phantom").n_slices
    # The scanner's axis is the short one, whatever the orientation of the file.
    assert total == pytest.approx(np.sum([min(shape) for shape in slices]), rel=0.15)


def test_latents_are_cached_of_every_annotator(tmp_path: Path) -> None:
    demo = load_config(ROOT / "config/demo.yaml").model_dump()
    demo |= {"results": str(tmp_path), "datasets": {"d": {"source": "lidc", "origin": "phantom"}}, "ablation": None}
    config = Config.model_validate(demo)
    dataset = _dataset(config, "d")
    recipe = next(one for name in config.recipes if (one := config.resolve_recipe("d", name)).diffusion)
    eight = recipe.training.model_copy(update={"augmentation": "dihedral"})  # orientations
    recipe = recipe.model_copy(update={"training": eight})
    four, one = (_training(config, each, "r", recipe) for each in (dataset, replace(dataset, annotators=1)))
    assert (dataset.annotators, dataset.count.slices) == (4, {"train": 84, "val": 24, "test": 36})
    assert four.disk_bytes is not None
    assert one.disk_bytes is not None
    assert isinstance(recipe.network, LatentNetwork)
    codec = config.codecs[recipe.network.codec]
    moments = 2 if recipe.diffusion and recipe.diffusion.sample_latents else 1
    latents = 4 * 84 * 8 * moments * codec.latent_channels * (256 // codec.factor) ** 2
    assert four.disk_bytes - one.disk_bytes == 3 * latents


def test_latents_of_tiles_are_not_kept(tmp_path: Path) -> None:
    demo = load_config(ROOT / "config/demo.yaml").model_dump()
    own = {"source": "cvc", "origin": "phantom", "size": 64, "tiles": {}}
    demo |= {"results": str(tmp_path), "datasets": {"d": own, "whole": {**own, "tiles": None}}, "ablation": None}
    config = Config.model_validate(demo)
    recipe = next(one for name in config.recipes if (one := config.resolve_recipe("d", name)).diffusion)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"augmentation": "flips"})})
    before = _training(config, _dataset(config, "d"), "r", recipe)
    counts = {"n_slices": {"train": 90, "val": 9, "test": 9}, "n_cases": {"train": 9, "val": 1, "test": 1}}
    for name in ("d", "whole"):
        write_json(tmp_path / name / "prepared" / "manifest.json", counts)
    tiles, whole = (_training(config, _dataset(config, name), "r", recipe) for name in ("d", "whole"))
    assert _dataset(config, "d").count.n_slices == 108
    assert before.disk_bytes is not None
    assert before.disk_bytes == tiles.disk_bytes
    assert whole.disk_bytes is not None
    assert whole.disk_bytes > before.disk_bytes


def test_committed_splits(tmp_path: Path) -> None:
    """As resources/splits/README.md lists them, and the slices that the paper counts."""
    assert counted(tmp_path, source="cvc").cases == {"train": 490, "val": 61, "test": 61}
    paper = counted(tmp_path, source="btcv", protocol="paper")
    assert (paper.cases, paper.slices) == (
        {"train": 18, "val": 0, "test": 12},
        {"train": 2211, "val": 0, "test": 1568},
    )
    assert counted(tmp_path, source="sts", protocol="paper").n_slices == 2505 + 600
    assert counted(tmp_path, source="isic2018", protocol="official").n_cases == 3694


def test_prepared_data_know_best(tmp_path: Path) -> None:
    parts = {"train": 5, "val": 1, "test": 2}
    write_json(tmp_path / "d/prepared/manifest.json", {"n_cases": parts, "n_slices": {**parts, "train": 50}})
    found = counted(tmp_path, source="cvc")
    assert (found.n_cases, found.n_slices, found.by) == (8, 53, "prepared data")
    (tmp_path / "d/prepared/manifest.json").write_text("{", encoding="utf-8")
    assert counted(tmp_path, source="cvc").by == "split file"


def test_what_nothing_tells_is_not_made_up(tmp_path: Path) -> None:
    found = counted(tmp_path, source="own", own=OWN)
    assert (found.cases, found.n_slices) == (None, None)
    assert "before its files are read" in found.by
    assert counted(tmp_path, source="cvc", protocol="mine").by == "no split file"
