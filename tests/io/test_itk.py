"""MetaImage and NRRD: the same volume as SimpleITK has it, there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from sdseg.core.errors import UserError
from sdseg.io.itk import read_itk, write_itk
from sdseg.io.volumes import read_volume

TURNED = (0.0, 1.0, 0.0, 0.8, 0.0, 0.6, 0.6, 0.0, -0.8)  # oblique


def write(path: Path, array: np.ndarray, direction: tuple[float, ...] = TURNED) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(array)  # [k,j,i]
    image.SetSpacing((0.5, 0.7, 2.0))
    image.SetOrigin((-3.0, 11.0, 7.0))
    image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(path))
    return image


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr", ".MHA"])
def test_points_and_values(tmp_path: Path, suffix: str) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    path = tmp_path / f"v é{suffix.lower()}"
    image = write(path, array)
    if suffix.isupper():
        path = path.rename(tmp_path / f"v é{suffix}")
    raw, geometry = read_itk(path)
    np.testing.assert_array_equal(raw, array.transpose(2, 1, 0))
    for index in ((0, 0, 0), (5, 4, 3)):
        theirs = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(geometry.matrix[:3] @ [*index, 1], theirs, atol=1e-6)
    canonical, same = read_volume(path)
    np.testing.assert_array_equal(same.to_native(canonical), raw)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_written_on_the_same_grid(tmp_path: Path, suffix: str) -> None:
    image = write(tmp_path / f"v{suffix}", np.random.default_rng(1).integers(-9, 9, (4, 5, 6)).astype(np.int16))
    canonical, geometry = read_volume(tmp_path / f"v{suffix}")
    write_itk((canonical > 0).astype(np.uint8), geometry, tmp_path / f"mask é{suffix}")
    mask = SimpleITK.ReadImage(str(tmp_path / f"mask é{suffix}"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(mask), SimpleITK.GetArrayFromImage(image) > 0)
    assert mask.IsSameImageGeometryAs(image)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"v{suffix}", f"mask é{suffix}"])


def test_a_name_as_long_as_the_disk_takes(tmp_path: Path) -> None:
    write(tmp_path / "v.mha", np.zeros((4, 5, 6), np.int16))
    canonical, geometry = read_volume(tmp_path / "v.mha")
    write_itk(canonical, geometry, tmp_path / "new" / f"{'x' * 251}.mha")
    assert [len(path.name) for path in (tmp_path / "new").iterdir()] == [255]
    with pytest.raises(UserError, match=r"the name is too long for the disk: 'x{40}…' has 256 bytes"):
        write_itk(canonical, geometry, tmp_path / f"{'x' * 252}.mha")


def test_refusals(tmp_path: Path) -> None:
    write(tmp_path / "v.mhd", np.zeros((3, 4, 5), np.int16))
    next(tmp_path.glob("*raw")).unlink()
    (tmp_path / "text.nrrd").write_text("no volume")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 4), np.int16)), str(tmp_path / "flat.mha"))
    vector = SimpleITK.GetImageFromArray(np.zeros((3, 4, 4, 2), np.int16), isVector=True)
    SimpleITK.WriteImage(vector, str(tmp_path / "vector.mha"))
    SimpleITK.WriteImage(SimpleITK.Image([2, 2, 2, 2], SimpleITK.sitkInt16), str(tmp_path / "4d.nrrd"))
    write(tmp_path / "d.nhdr", np.zeros((3, 4, 5), np.int16))
    next(tmp_path.glob("d.raw*")).unlink()
    (tmp_path / "text.mha").write_text("no volume")
    (tmp_path / "empty.mha").touch()
    write(tmp_path / "cut.mha", np.zeros((30, 40, 5), np.int16))
    (tmp_path / "cut.mha").write_bytes((tmp_path / "cut.mha").read_bytes()[:-500])
    for name, message in {
        "v.mhd": r"its data file 'v\.z?raw' is missing",
        "d.nhdr": r"its data file 'd\.raw\S*' is missing",
        "text.nrrd": "no header of an NRRD file",
        "text.mha": "no header of a MetaImage file",
        "empty.mha": "the file is empty",
        "cut.mha": "cannot be read: truncated or damaged",
        "missing.mha": "the file is missing",
        "flat.mha": "a 2-D volume",
        "vector.mha": r"with 2 value\(s\) per voxel",
        "4d.nrrd": "a 4-D volume",
    }.items():
        with pytest.raises(UserError, match=message):
            read_volume(tmp_path / name)
