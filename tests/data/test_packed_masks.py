from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.data.packed_masks import MASK_FILES, PackedLabels, pack, write_packed


def written(folder: Path, labels: AnyArray) -> PackedLabels:
    write_packed(folder, pack(labels))
    streams, ends = (np.load(folder / name, mmap_mode="r") for name in MASK_FILES)
    return PackedLabels(streams, ends, (labels.shape[1], labels.shape[2]), folder / MASK_FILES[0])


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.just(5), st.just(5))), st.data())
def test_rows_come_back_however_they_are_asked_for(
    tmp_path_factory: pytest.TempPathFactory, labels: AnyArray, data: st.DataObject
) -> None:
    packed = written(tmp_path_factory.mktemp("masken ü"), labels)
    count = len(labels)
    assert (packed.shape, packed.dtype, len(packed)) == (labels.shape, labels.dtype, count)
    rows = data.draw(st.lists(st.integers(-count, count - 1), max_size=8))
    for chosen in (slice(None), data.draw(st.slices(count)), *rows, np.array(rows, np.int64)):
        expected = labels[chosen]
        found = packed[chosen]
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(packed[rows], labels[rows] if rows else labels[:0])
    np.testing.assert_array_equal(np.asarray(packed), labels)


def test_label_maps_take_a_fiftieth_of_their_pixels_or_less(tmp_path: Path) -> None:
    y, x = np.mgrid[:256, :256]
    label = sum(np.uint8(n) * (np.hypot(y - 40 - 15 * n, x - 128) < 7) for n in range(1, 10))
    written(tmp_path, np.stack([label] * 4).astype(np.uint8))
    assert sum((tmp_path / name).stat().st_size for name in MASK_FILES) < 4 * 256 * 256 / 50


def test_rows_that_are_not_there_and_damage_are_named(tmp_path: Path) -> None:
    labels = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)
    packed = written(tmp_path, labels)
    with pytest.raises(IndexError, match="out of range"):
        packed[3]
    streams = np.load(tmp_path / "masks.npy")
    streams[len(streams) // 2] ^= 0xFF
    spoilt = PackedLabels(streams, np.load(tmp_path / "mask_ends.npy"), (4, 4), tmp_path / "masks.npy")
    np.testing.assert_array_equal(spoilt[0], labels[0])
    with pytest.raises(UserError, match=r"(?s)row 1 is damaged.*masks\.npy.*sdseg prepare"):
        spoilt[1]
