"""Patches of volumes: drawn from the position alone, image and masks alike, about what they shall show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sdseg.config.recipe import Recipe
from sdseg.data.packed_masks import pack, write_packed
from sdseg.data.patch_samples import PatchSamples, median_spacing, with_spacing
from sdseg.data.store import SliceStore, structure_masks
from tests.helpers.networks import direct_recipe
from tests.helpers.tiny import CT, DISC_CUP, seal, write_store

SIZE = (8, 16, 12)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    """Training volumes of 12, 8 and 5 slices; the last is less deep than a patch."""
    folder = tmp_path_factory.mktemp("volumes é") / "prepared"
    return SliceStore.open(write_store(folder, CT, DISC_CUP, cases={"val": (3,), "train": (12, 8, 5), "test": (2,)}))


def recipe(
    foreground: float = 0.5, augmentation: str = "flips", seed: int = 0, size: tuple[int, int, int] = SIZE
) -> Recipe:
    return direct_recipe(
        network={"architecture": "dynunet", "dimensions": 3, "channels": [4, 6, 8]},
        patches={"size": size, "foreground": foreground},
        training={"augmentation": augmentation, "seed": seed},
    )


def test_a_sample_depends_on_its_position_and_the_seed_alone(store: SliceStore) -> None:
    first, again, other = (PatchSamples(store, recipe(seed=seed)) for seed in (3, 3, 4))
    later = {position: again[position] for position in (7, 2, 5)}
    for position, sample in later.items():
        assert all(torch.equal(value, first[position][name]) for name, value in sample.items())
    assert any(not torch.equal(first[position]["image"], other[position]["image"]) for position in range(4))
    drawn = [first.draw(position) for position in range(6)]
    assert [sorted(each.case for each in drawn[start : start + 3]) for start in (0, 3)] == [[0, 1, 2], [0, 1, 2]]


def test_strong_augmentation_follows_the_position_too(store: SliceStore) -> None:
    one, again = (PatchSamples(store, recipe(augmentation="strong")) for _ in range(2))
    for position in (4, 1):
        assert one[position]["image"].shape == (*SIZE, 1)
        assert torch.equal(one[position]["image"], again[position]["image"])


def test_a_patch_is_cut_from_the_volume_and_turned_with_its_masks(store: SliceStore) -> None:
    samples = PatchSamples(store, recipe())
    flips = set()
    for position in range(24):
        sample, drawn = samples[position], samples.draw(position)
        flips.add(drawn.flips)
        assert sample["image"].shape == (*SIZE, 1)
        assert sample["mask"].shape == (2, *SIZE)
        axes = [axis for axis, turned in enumerate(drawn.flips) if turned]
        image, masks = sample["image"].flip(axes), sample["mask"].flip([axis + 1 for axis in axes])
        first, last = samples.rows_at(position)
        depth, place = (
            last - first + 1,
            tuple(slice(at, at + side) for at, side in zip(drawn.corner, SIZE, strict=True)),
        )
        front = (SIZE[0] - depth) // 2  # of the volume that is less deep than a patch, as MONAI pads it
        rows = range(first, last + 1)
        pixels = store.images[first : last + 1, place[1], place[2]].astype(np.float32)
        labelled = structure_masks(store.masks[list(rows)], DISC_CUP)[:, :, place[1], place[2]].swapaxes(0, 1)
        np.testing.assert_array_equal(image[front : front + depth], pixels)
        np.testing.assert_array_equal(masks[:, front : front + depth], labelled)
        for rest in (slice(0, front), slice(front + depth, None)):
            assert (image[rest] == CT.window[0]).all()
            assert not masks[:, rest].any()
    assert len(flips) > 4


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_a_share_of_patches_has_a_structure_in_its_middle(store: SliceStore, share: float) -> None:
    samples = PatchSamples(store, recipe(share, "none", size=(4, 16, 16)))
    hits = []
    for position in range(200):
        drawn = samples.draw(position)
        deepest = samples.cases[drawn.case].slices - 4
        if 0 < drawn.corner[0] < deepest and all(0 < at < 16 for at in drawn.corner[1:]):  # pushed aside by no border
            hits.append(int(samples[position]["mask"][0, 2, 8, 8]))
    assert len(hits) > 2
    assert set(hits) == {int(share)}


def test_each_structure_of_a_volume_is_in_the_middle_as_often_whatever_its_size(tmp_path: Path) -> None:
    """Eight voxels of one beside 12 000 of the other, which lies over more voxels than are kept."""
    folder = write_store(tmp_path / "prepared", CT, DISC_CUP, cases={"train": (12, 8), "test": (1,)})
    store = SliceStore.open(folder)
    labels = np.zeros(store.masks.shape, dtype=np.uint8)
    for case in store.cases_of("train"):
        labels[case.rows] = 1
        middle = case.start + case.slices // 2
        labels[middle : middle + 2, 15:17, 15:17] = 2
    write_packed(folder, pack(labels))
    samples = PatchSamples(SliceStore.open(seal(folder)), recipe(1.0, size=(4, 16, 16)))
    small = 0
    for position in range(200):
        drawn = samples.draw(position)
        slice_ = samples.cases[drawn.case].start + drawn.corner[0] + 2
        small += bool(labels[slice_, drawn.corner[1] + 8, drawn.corner[2] + 8] == 2)
    assert 75 < small < 125


def test_the_spacing_is_the_median_of_the_training_volumes_at_the_working_size(store: SliceStore) -> None:
    spacings = iter([(0.8, 1.0, 5.0), (0.7, 1.2, 2.5), (0.6, 0.9, 3.0)])  # x, y, z of the files, of 40 × 48 pixels
    cases = [
        replace(case, spacing=next(spacings) if case.split == "train" else (9.0, 9.0, 9.0)) for case in store.cases
    ]
    spaced = replace(store, cases=tuple(cases))
    assert median_spacing(spaced) == pytest.approx((3.0, 1.0 * 48 / 32, 0.7 * 40 / 32))
    chosen = with_spacing(recipe(), spaced).network
    assert chosen.model_dump()["spacing"] == pytest.approx((3.0, 1.5, 0.875))
    own = with_spacing(direct_recipe(network={"architecture": "dynunet", "channels": [4, 6, 8]}), spaced)
    assert "spacing" not in own.network.model_dump()
