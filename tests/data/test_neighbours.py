"""Slices with their neighbours: of their own case alone, the last one repeated at its ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdseg.core.errors import UserError
from sdseg.data.batches import slice_batches
from sdseg.data.neighbours import with_neighbours
from sdseg.data.quick_augmentation import QuickAugmentation
from sdseg.data.store import SliceStore
from tests.helpers.tiny import CT, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    folder = tmp_path_factory.mktemp("neighbours") / "prepared"
    return SliceStore.open(write_store(folder, CT, cases={"train": (4,), "val": (1,), "test": (2, 3)}))


@pytest.mark.parametrize("count", [1, 2])
def test_a_row_has_the_slices_about_it(store: SliceStore, count: int) -> None:
    seen = store.with_neighbours(count)
    assert seen.manifest.image.fed_channels == 2 * count + 1
    expected = np.empty((10, 32, 32, 2 * count + 1), store.images.dtype)
    for case in store.cases:
        for row in range(case.start, case.start + case.slices):
            for place, offset in enumerate(range(-count, count + 1)):
                beside = min(max(row + offset, case.start), case.start + case.slices - 1)
                expected[row, ..., place] = store.images[beside][..., 0]
            whole = store.images[case.rows]
            np.testing.assert_array_equal(with_neighbours(whole, row - case.start, count), expected[row])
    np.testing.assert_array_equal(seen.images[:], expected)
    np.testing.assert_array_equal(seen.images[[7, 2, 9]], expected[[7, 2, 9]])
    np.testing.assert_array_equal(seen.images[3], expected[3])
    (batch,) = slice_batches(seen, seen.cases_of("test"), (8,))
    np.testing.assert_array_equal(batch.images, expected[5:])
    np.testing.assert_array_equal(seen.slices, store.images)


def test_none_leaves_the_store_as_it_is_and_images_have_none(store: SliceStore, tmp_path: Path) -> None:
    assert store.with_neighbours(0) is store
    assert "neighbours" not in store.manifest.image.model_dump()
    images = SliceStore.open(write_store(tmp_path / "images"))
    with pytest.raises(UserError, match="every case of these data is a single image or slice"):
        images.with_neighbours(1)


def test_slices_are_no_colours(store: SliceStore) -> None:
    """The same slice three times stays the same three times, whatever is drawn."""
    three = np.repeat(store.images[0], 3, axis=-1)
    changed, _ = QuickAugmentation(CT, affine=True)(three, np.zeros((1, 32, 32), bool), seed=5)
    np.testing.assert_array_equal(changed[..., 0], changed[..., 1])
    np.testing.assert_array_equal(changed[..., 0], changed[..., 2])
