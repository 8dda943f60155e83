"""Windows against the formulas of the published code, written out here by hand."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.dataset import Dataset
from sdseg.core.array_types import AnyArray
from sdseg.data.prepare import prepare
from sdseg.data.slicing import from_slices
from sdseg.data.store import SliceStore
from sdseg.datasets.sources import SOURCES
from sdseg.io.volumes import read_geometry
from sdseg.models.normaliser import Normaliser
from tests.helpers.raw_files import save, write_btcv, write_split

ROUNDING = 1 / 400  # half a Hounsfield unit of the 400 that become 2, where a volume is stretched


def seen_by_the_network(images: AnyArray, contract: ImageContract, *, training: bool) -> AnyArray:
    normaliser = Normaliser(contract).train(training)
    return np.asarray(normaliser(torch.from_numpy(np.array(images)))[:, 0])


def official_training(voxels: AnyArray) -> AnyArray:
    return np.asarray((np.clip(voxels.astype(float), -175, 250) + 125) / 400 * 2 - 1)


def official_test(voxels: AnyArray) -> AnyArray:
    clipped = np.clip(voxels.astype(float), -125, 275)
    return np.asarray((clipped - clipped.min()) / (clipped.max() - clipped.min()) * 2 - 1)


def test_the_official_window_of_btcv_is_reproduced(tmp_path: Path) -> None:
    raw = write_btcv(tmp_path / "raw", {"0005": 3, "0006": 3, "0001": 3, "0002": 3}, shape=(16, 16))
    narrow = np.random.default_rng(9).integers(-60, 171, (16, 16, 3)).astype(np.int16)  # reaches neither end
    save(raw / "RawData/Training/img/img0002.nii.gz", narrow)
    split = write_split(tmp_path / "s.csv", {"0005": "train", "0006": "val", "0001": "test", "0002": "test"})
    settings = Dataset(source="btcv", origin="phantom", size=16, window="official")
    contract = prepare(name="b", settings=settings, raw=raw, split=split, output=tmp_path / "out").image
    assert (contract.window, contract.train_clip, contract.stretch) == ((-125.0, 275.0), (-175.0, 250.0), True)
    store = SliceStore.open(tmp_path / "out")
    for case in store.cases:
        voxels = np.asanyarray(nib.load(raw / case.image).dataobj)
        training = case.split == "train"
        found = seen_by_the_network(store.images[case.rows], contract, training=training)
        native = read_geometry(raw / case.image).to_native(from_slices(found, "axial"))
        expected = official_training(voxels) if training else official_test(voxels)
        np.testing.assert_allclose(native, expected, atol=ROUNDING + 1e-6 if case.case == "0002" else 1e-6)
        low, high = (-1.25, 0.875) if training else (-1.0, 1.0)
        assert (round(float(found.min()), 4), round(float(found.max()), 4)) == (low, high)


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if "corrected" in source.windows])
def test_every_corrected_window_is_one_for_all_and_fills_the_range(name: str) -> None:
    source = SOURCES[name]
    contract = ImageContract(modality="ct", size=1, channels=1, window=source.window("corrected"))
    assert "corrected" not in source.quirks
    values = np.array([*contract.window, sum(contract.window) / 2, -5000, 5000], np.float32).reshape(-1, 1, 1, 1)
    for training in (False, True):
        found = seen_by_the_network(values, contract, training=training).ravel()
        np.testing.assert_allclose(found, [-1, 1, 0, -1, 1], atol=1e-6)


def test_enamel_is_told_from_dentine_by_the_corrected_window_of_sts_alone() -> None:
    teeth = np.array([1191, 1500, 2000, 2800], np.int16).reshape(-1, 1, 1, 1)  # 1191 is the median of tooth voxels
    for name, distinct in (("official", 1), ("corrected", 4)):
        contract = ImageContract(modality="ct", size=1, channels=1, window=SOURCES["sts"].window(name))
        assert len(np.unique(seen_by_the_network(teeth, contract, training=False))) == distinct
