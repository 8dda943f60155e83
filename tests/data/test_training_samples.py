"""Samples: paired orientation, draws that depend on the position alone, every row once per epoch."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdseg.config.training import Augmentation, Training
from sdseg.core.array_types import AnyArray
from sdseg.data.store import SliceStore
from sdseg.data.training_samples import ORIENTATIONS, Positions, TrainingSamples, orient
from tests.helpers.tiny import DISC_CUP, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    folder = tmp_path_factory.mktemp("données") / "prepared"
    cases = {"train": (1, 2, 1, 1), "val": (1,), "test": (1,)}
    return SliceStore.open(write_store(folder, structures=DISC_CUP, cases=cases))


def samples(store: SliceStore, seed: int = 0, augmentation: str = "dihedral", sampled: bool = False) -> TrainingSamples:
    views, moments = len(ORIENTATIONS[augmentation]), 2 if sampled else 1
    latents = np.random.default_rng(0).normal(size=(5, 2, views, moments, 4, 8, 8)).astype(np.float32)
    return TrainingSamples(
        store, store.rows_of("train"), seed=seed, augmentation=augmentation, latent_shape=(4, 8, 8), latents=latents
    )


@pytest.mark.parametrize("augmentation", get_args(Augmentation))
def test_as_many_latents_are_kept_as_masks_have_orientations(augmentation: Augmentation) -> None:
    """But for those that deform them: of these, none."""
    training = Training(augmentation=augmentation)
    assert training.deforms_masks == (augmentation in ("affine", "strong"))
    if not training.deforms_masks:
        assert training.kept_views == len(ORIENTATIONS[augmentation])


def test_the_eight_orientations_are_the_symmetries_of_the_square() -> None:
    square = np.arange(9).reshape(3, 3)
    found = {orient(square, number, (0, 1)).tobytes() for number in ORIENTATIONS["dihedral"]}
    turned = [np.rot90(base, times) for base in (square, square.T) for times in range(4)]
    assert found == {np.ascontiguousarray(one).tobytes() for one in turned}
    flips = {orient(square, number, (0, 1)).tobytes() for number in ORIENTATIONS["flips"]}
    expected = (square, square[::-1], square[:, ::-1], square[::-1, ::-1])
    assert flips == {np.ascontiguousarray(one).tobytes() for one in expected}


def test_image_and_masks_are_turned_alike(store: SliceStore) -> None:
    made = samples(store)
    seen = set()
    for position in range(60):
        sample, drawn = made[position], made.draw(position)
        row = made.rows[drawn.row]
        orientation = made.orientations[drawn.orientation]
        seen.add(orientation)
        np.testing.assert_array_equal(sample["image"].numpy(), orient(store.images[row], orientation, (0, 1)))
        label = orient(store.masks[row], orientation, (0, 1))
        np.testing.assert_array_equal(sample["mask"][0].numpy(), label >= 1)
        np.testing.assert_array_equal(sample["mask"][1].numpy(), label == 2)
    assert seen == set(range(8))


def test_the_latent_is_that_of_the_drawn_structure_and_orientation(store: SliceStore) -> None:
    mode, sampled = samples(store), samples(store, sampled=True)
    assert mode.latents is not None
    assert sampled.latents is not None
    drawn = mode.draw(7)
    place = (drawn.row, drawn.structure, drawn.orientation)
    np.testing.assert_array_equal(mode[7]["latent"].numpy(), mode.latents[place][0])
    mean, deviation = sampled.latents[place]
    np.testing.assert_allclose(sampled[7]["latent"].numpy(), mean + deviation * drawn.posterior, rtol=1e-6)


def test_a_position_always_gives_the_same_sample_and_a_seed_another(store: SliceStore) -> None:
    one, again, other = samples(store)[3], samples(store)[3], samples(store, seed=1)[3]
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["noise"], other["noise"])


@given(seed=st.integers(0, 1000), epoch=st.integers(0, 20))
def test_every_row_comes_once_per_epoch(store: SliceStore, seed: int, epoch: int) -> None:
    made = samples(store, seed=seed)
    count = len(made)
    rows = [made.draw(position).row for position in range(epoch * count, (epoch + 1) * count)]
    assert sorted(rows) == list(range(count))


@given(start=st.integers(0, 20), parts=st.sampled_from([1, 2]), processes=st.sampled_from([1, 2, 4]))
def test_processes_and_parts_share_a_batch_without_overlap(start: int, parts: int, processes: int) -> None:
    batch, stop = 8, start + 3
    shares = [
        list(Positions(start=start, stop=stop, batch=batch, parts=parts, rank=rank, processes=processes))
        for rank in range(processes)
    ]
    for step in range(3):
        together = [place for share in shares for piece in share[step * parts : (step + 1) * parts] for place in piece]
        assert sorted(together) == list(range((start + step) * batch, (start + step + 1) * batch))


def test_present_draws_among_the_structures_that_the_sample_shows(tmp_path: Path) -> None:
    prepared = write_store(tmp_path / "prepared", structures=DISC_CUP, cases={"train": (1, 1, 1)}, empty=(1,))
    store = SliceStore.open(prepared)
    row = int(store.rows_of("train")[0])
    settings = {"seed": 0, "augmentation": "none", "latent_shape": None, "latents": None}
    both = TrainingSamples(store, np.array([row]), **settings, present=True)  # type: ignore[arg-type]
    assert {int(both[position]["structure"]) for position in range(30)} == {0, 1}

    def no_cup(image: AnyArray, masks: npt.NDArray[np.bool_], seed: int) -> tuple[AnyArray, npt.NDArray[np.bool_]]:
        return image, masks & np.array([True, False])[:, None, None]

    disc = TrainingSamples(store, np.array([row]), **settings, present=True, augment=no_cup)  # type: ignore[arg-type]
    assert {int(disc[position]["structure"]) for position in range(30)} == {0}
    empty = TrainingSamples(store, np.array([1]), **settings, present=True)  # type: ignore[arg-type]
    assert {int(empty[position]["structure"]) for position in range(30)} == {0, 1}
    anyhow = TrainingSamples(store, np.array([row]), **settings, augment=no_cup)  # type: ignore[arg-type]
    assert {int(anyhow[position]["structure"]) for position in range(30)} == {0, 1}


def test_the_latent_is_that_of_the_structure_present(store: SliceStore) -> None:
    made = samples(store)
    made.present = True
    assert made.latents is not None
    for position in range(20):
        drawn, sample = made.draw(position), made[position]
        expected = made.latents[drawn.row, int(sample["structure"]), drawn.orientation, 0]
        np.testing.assert_array_equal(sample["latent"].numpy(), expected)
