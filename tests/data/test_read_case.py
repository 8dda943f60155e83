from __future__ import annotations

from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.data.read_case import count_labels, read_case, read_grid
from sdseg.datasets.layouts import find_cases
from sdseg.datasets.sources import SOURCES
from tests.helpers.raw_files import LPS, contract, encode, picture, save, write_btcv, write_kseg, write_refuge2

BTCV = SOURCES["btcv"]


def test_an_image_is_resized_and_its_mask_coded(tmp_path: Path) -> None:
    source = SOURCES["kseg"]
    (found,) = find_cases(source, write_kseg(tmp_path, ["a"]))
    reading = read_case(source, found, contract(source, 16))
    assert (reading.height, reading.width, reading.geometry) == (40, 56, None)
    original = cv2.cvtColor(cv2.imread(str(found.image)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(reading.images[0], cv2.resize(original, (16, 16), interpolation=cv2.INTER_AREA))
    assert reading.masks.shape == (1, 16, 16)
    assert set(np.unique(reading.masks)) == {0, 1}
    assert reading.masks[0, 8, 8] == 1


def test_a_cup_lies_in_its_disc(tmp_path: Path) -> None:
    source = SOURCES["refuge2"]
    reading = read_case(source, find_cases(source, write_refuge2(tmp_path))[0], contract(source, 24))
    assert [int(reading.masks[0, 12, column]) for column in (0, 8, 12)] == [0, 1, 2]


def test_a_volume_is_cut_as_radiologists_see_it(tmp_path: Path) -> None:
    write_btcv(tmp_path, {"0001": 5})
    (found,) = find_cases(BTCV, tmp_path)
    assert read_grid(found).canonical_shape[2] == 5
    reading = read_case(BTCV, found, contract(BTCV, 8))
    assert reading.images.shape == (5, 8, 8, 1)
    assert reading.images.dtype == np.int16
    assert (reading.height, reading.width) == (16, 20)
    assert reading.geometry is not None
    assert reading.geometry.axcodes == "LPS"
    # Stored left-posterior-superior: the first index is the patient's right, the second the front, as on the screen.
    stored = np.asanyarray(nib.load(found.image).dataobj)
    expected = cv2.resize(np.ascontiguousarray(stored[:, :, 3].T), (8, 8), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(reading.images[3, :, :, 0], expected)


def test_a_volume_without_orientation_codes_is_noted(tmp_path: Path) -> None:
    write_btcv(tmp_path, {"0001": 5})
    (found,) = find_cases(BTCV, tmp_path)
    assert read_case(BTCV, found, contract(BTCV, 8)).facts.notes == ()
    for path in (found.image, found.label):
        nib.save(nib.Nifti1Image(np.asanyarray(nib.load(path).dataobj), None), path)
    (note,) = read_case(BTCV, found, contract(BTCV, 8)).facts.notes
    assert "(qform_code and sform_code are 0): its axes were taken to run LAS" in note


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    source = SOURCES["kseg"]
    write_kseg(tmp_path, ["a"])
    encode(tmp_path / "Kvasir-SEG" / "masks" / "a.jpg", picture(0, 40, 50)[1])
    with pytest.raises(
        UserError, match=r"(?s)the image is 56×40 pixels, its mask 50×40.*masks/a\.jpg.*drawn on a\.jpg"
    ):
        read_case(source, find_cases(source, tmp_path)[0], contract(source, 16))


@pytest.mark.parametrize(
    ("shape", "shift", "message"),
    [((20, 16, 4), 0.0, r"shape of the image \(20, 16, 5\)"), ((20, 16, 5), 9.0, "affines of image and label differ")],
)
def test_a_label_on_another_grid_is_refused(
    tmp_path: Path, shape: tuple[int, int, int], shift: float, message: str
) -> None:
    write_btcv(tmp_path, {"0001": 5})
    moved = LPS.copy()
    moved[0, 3] += shift
    save(tmp_path / "RawData/Training/label/label0001.nii.gz", np.zeros(shape, np.uint8), moved)
    (found,) = find_cases(BTCV, tmp_path)
    with pytest.raises(UserError, match=rf"(?s){message}.*label0001\.nii\.gz"):
        read_grid(found)
    with pytest.raises(UserError, match=message):
        read_case(BTCV, found, contract(BTCV, 8))


def test_undeclared_labels_are_refused(tmp_path: Path) -> None:
    write_btcv(tmp_path, {"0001": 5})
    labels = np.zeros((20, 16, 5), np.uint8)
    labels[0, 0, 0], labels[1, 1, 1] = 14, 99
    save(tmp_path / "RawData/Training/label/label0001.nii.gz", labels)
    with pytest.raises(UserError, match=r"(?s)label values \[14, 99\]; BTCV abdomen has 0 to 13.*label0001\.nii\.gz"):
        read_case(BTCV, find_cases(BTCV, tmp_path)[0], contract(BTCV, 8))


@given(
    values=hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.sampled_from([0, 0, 3, 13])
    ),
    axes=st.permutations(range(3)),
    steps=st.tuples(*[st.sampled_from([1, -1])] * 3),
)
def test_labels_that_occur_are_found_however_the_voxels_lie(
    values: AnyArray, axes: list[int], steps: tuple[int, int, int]
) -> None:
    labels = values.transpose(axes)[tuple(slice(None, None, step) for step in steps)]
    ids, numbers = np.unique(values, return_counts=True)
    expected = {int(one): int(number) for one, number in zip(ids, numbers, strict=True) if one}
    assert count_labels(labels) == expected


def test_what_a_check_wants_to_know_is_taken_at_the_native_size(tmp_path: Path) -> None:
    write_btcv(tmp_path, {"0001": 5}, shape=(64, 64))
    labels = np.zeros((64, 64, 5), np.uint8)
    labels[8:32, 8:32], labels[40, 41, 2] = 6, 12  # one voxel of an adrenal gland
    save(tmp_path / "RawData/Training/label/label0001.nii.gz", labels)
    (found,) = find_cases(BTCV, tmp_path)
    voxels = np.asanyarray(nib.load(found.image).dataobj)
    content = read_case(BTCV, found, contract(BTCV, 16)).facts
    assert (content.labels, content.lost) == ((6, 12), (12,))
    assert (content.spread.low, content.spread.high) == (voxels.min(), voxels.max())
