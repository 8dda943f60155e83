"""Harm to images: none at strength 0, the same in any batch, worse at higher levels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sdseg.data.store import SliceStore
from sdseg.evaluation.studies.robustness import KINDS, CorruptedImages, Kind, corrupt, robustness
from tests.helpers.models import subject_of
from tests.helpers.tiny import CT, RGB, picture, write_graph, write_store

NONE = {"noise": 0.0, "blur": 1e-3, "contrast": 1.0, "resolution": 1.0}  # JPEG always costs something


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name in NONE], ids=lambda kind: kind.name)
@pytest.mark.parametrize("contract", [RGB, CT], ids=lambda contract: contract.modality)
def test_no_harm_at_no_strength(kind: Kind, contract: object) -> None:
    chosen = CT if contract is CT else RGB
    image, _ = picture(chosen, seed=3)
    inside = np.clip(image, *chosen.window).astype(image.dtype)
    assert np.array_equal(corrupt(image, kind, NONE[kind.name], chosen, seed=0), inside)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("contract", [RGB, CT], ids=lambda contract: contract.modality)
def test_harm_rises_and_keeps_type_and_range(kind: Kind, contract: object) -> None:
    chosen = CT if contract is CT else RGB
    image, _ = picture(chosen, seed=3)
    inside = np.clip(image.astype(float), *chosen.window)
    changes = []
    for strength in kind.strengths:
        harmed = corrupt(image, kind, strength, chosen, seed=1)
        assert (harmed.shape, harmed.dtype) == (image.shape, image.dtype)
        assert harmed.min() >= chosen.window[0]
        assert harmed.max() <= chosen.window[1]
        changes.append(float(np.abs(harmed - inside).mean()))
    assert changes == sorted(changes)
    assert changes[-1] > changes[0]


def test_noise_has_the_deviation_it_says() -> None:
    noise = KINDS[0]
    grey = np.full((200, 200, 1), 37, dtype=np.int16)  # the middle of the window: nothing is clipped
    found = corrupt(grey, noise, 0.05, CT, seed=5)
    assert math.isclose(found.std(), 0.05 * 425, rel_tol=0.02)


def test_a_picture_is_the_same_in_any_batch(tmp_path: Path) -> None:
    store = SliceStore.open(write_store(tmp_path / "prepared", CT, cases={"test": (2, 3)}))
    harmed = CorruptedImages(store.images, store.cases, KINDS[0], 0.1, CT)
    whole = harmed[np.arange(5)]
    assert np.array_equal(harmed[np.array([4, 1])], whole[[4, 1]])
    assert not np.array_equal(whole[0] - store.images[0], whole[1] - store.images[1])  # noise of its own


def test_curves_of_a_model(tmp_path: Path) -> None:
    write_store(tmp_path / "prepared", CT)
    graph = write_graph(tmp_path / "g/model.onnx", CT)
    found = robustness(subject_of(tmp_path, graph))
    assert found.clean.dice > 0.95
    assert [curve.kind for curve in found.curves] == ["noise", "blur", "jpeg", "contrast", "resolution"]
    assert all([level.level for level in curve.levels] == [1, 2, 3, 4, 5] for curve in found.curves)
    assert found.curves[0].levels[-1].dice < found.clean.dice
    assert robustness(subject_of(tmp_path, graph, batch=2)).curves == found.curves
