"""MetaImage and NRRD volumes to (array, Geometry) and back, through SimpleITK."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np

from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.core.extras import needing
from sdseg.core.files import atomic_file
from sdseg.io.content import file_size
from sdseg.io.geometry import Geometry, fault_of_affine
from sdseg.io.itk_header import check_header, named_files
from sdseg.io.limits import LIMITS, Limits

__all__ = ["ITK_SUFFIXES", "data_files", "is_itk", "read_itk", "write_itk"]

IO = {".mha": "MetaImageIO", ".mhd": "MetaImageIO", ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO"}
ITK_SUFFIXES = tuple(IO)
TASK = "a MetaImage or NRRD file"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_itk(path: Path) -> bool:
    """Whether the name is one of a MetaImage or NRRD file."""
    return path.suffix.lower() in IO


def read_itk(path: Path, limits: Limits = LIMITS) -> tuple[AnyArray, Geometry]:
    """The file's array [i,j,k] and its geometry.

    Raises UserError for a damaged file, for anything but a 3-D volume within `limits`, and where the voxels lie
    elsewhere than in the file or beside it.
    """
    file_size(path)
    check_header(path, nrrd=_is_nrrd(path))
    with needing(f"{path.name}: {TASK}"):
        import SimpleITK as sitk  # noqa: N813  # what everybody calls it
    reader = sitk.ImageFileReader()
    reader.SetImageIO(IO[path.suffix.lower()])
    reader.SetFileName(str(path))
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # ITK's own messages name no file
    try:
        reader.ReadImageInformation()
        shape, components = reader.GetSize(), reader.GetNumberOfComponents()
        if len(shape) != 3 or components != 1:
            raise UserError(
                f"a {len(shape)}-D volume of shape {shape} with {components} value(s) per voxel; "
                "3-D with one is expected",
                where=path,
                remedy="save each channel or time point as its own 3-D file",
            )
        limits.check_volume(shape, path, _bytes_each(sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())))
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("ITK ERROR: ")
        if reason.startswith("Reason:"):  # the system's last error, which has nothing to do with it
            reason = "truncated or damaged"
        raise UserError(
            f"cannot be read: {reason}",
            where=path,
            remedy="replace the file by a whole, valid copy",
        ) from None
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    fault = fault_of_affine(affine)
    if fault is not None:
        raise UserError(fault, where=path, remedy="repair the file's header")
    rows = tuple(tuple(float(value) for value in row) for row in LPS_TO_RAS @ affine)
    x, y, z = (int(length) for length in shape)
    geometry = Geometry(shape=(x, y, z), affine=rows, qform=rows, qform_code=1, sform_code=1)
    return np.asarray(sitk.GetArrayFromImage(image).transpose(2, 1, 0)), geometry


def data_files(path: Path) -> tuple[Path, ...]:
    """The files beside a header that hold its voxels; none where it holds them. Raises UserError for no such header."""
    return named_files(path, nrrd=_is_nrrd(path))


def write_itk(array: AnyArray, geometry: Geometry, path: Path) -> None:
    """Write a canonical array [X,Y,Z] on the grid that `geometry` describes, compressed; as .mha or .nrrd."""
    with needing(f"{path.name}: {TASK}"):
        import SimpleITK as sitk  # noqa: N813
    native = geometry.to_native(array)  # [i,j,k]
    affine = LPS_TO_RAS @ geometry.matrix
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(native.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    writer = sitk.ImageFileWriter()
    writer.SetImageIO(IO[path.suffix.lower()])
    writer.UseCompressionOn()
    with (
        atomic_file(path) as temporary,
        tempfile.TemporaryDirectory(prefix=".itk.", suffix=".part", dir=path.parent) as folder,
    ):
        file = Path(folder) / f"volume{path.suffix.lower()}"  # ITK looks at the suffix whatever it is told
        writer.SetFileName(str(file))
        try:
            writer.Execute(image)
        except RuntimeError as error:
            raise UserError(
                f"cannot write: {str(error).strip().splitlines()[-1]}", where=path, remedy="check the disk's space"
            ) from None
        shutil.move(file, temporary)


def _is_nrrd(path: Path) -> bool:
    return IO[path.suffix.lower()] == "NrrdImageIO"


def _bytes_each(number_type: str) -> int:
    """Of a voxel, by a type as in '16-bit signed integer'."""
    words = number_type.split("-")
    return int(words[0]) // 8 if words[0].isdigit() else 8
