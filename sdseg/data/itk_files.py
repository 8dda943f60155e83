"""MetaImage and NRRD volumes to (array, Geometry) and back, through SimpleITK."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
from SimpleITK import GetArrayFromImage, GetImageFromArray, ImageFileReader, ImageFileWriter, ProcessObject

from sdseg.artifacts import atomic_file
from sdseg.data.geometry import Geometry
from sdseg.errors import UserError
from sdseg.tensors import AnyArray

__all__ = ["ITK_SUFFIXES", "is_itk", "read_itk", "write_itk"]

IO = {".mha": "MetaImageIO", ".mhd": "MetaImageIO", ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO"}
ITK_SUFFIXES = tuple(IO)
META_DATA = re.compile(rb"^ElementDataFile\s*=\s*(\S[^\r\n]*)", re.MULTILINE)
NRRD_DATA = re.compile(rb"^data ?file:\s*(\S[^\r\n]*)", re.MULTILINE)
HEADER = 1 << 14  # bytes that hold any header
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_itk(path: Path) -> bool:
    """Whether the name is one of a MetaImage or NRRD file."""
    return path.suffix.lower() in IO


def read_itk(path: Path) -> tuple[AnyArray, Geometry]:
    """The file's array [i,j,k] and its geometry. Raises UserError for a damaged file and for anything but 3-D."""
    if not path.is_file():
        raise UserError("the file is missing", where=path, remedy="check the path and its spelling")
    _check_header(path)
    reader = ImageFileReader()
    reader.SetImageIO(IO[path.suffix.lower()])
    reader.SetFileName(str(path))
    ProcessObject.SetGlobalWarningDisplay(False)  # ITK's own messages name no file
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
    rows = tuple(tuple(float(value) for value in row) for row in LPS_TO_RAS @ affine)
    x, y, z = (int(length) for length in shape)
    geometry = Geometry(shape=(x, y, z), affine=rows, qform=rows, qform_code=1, sform_code=1)
    return np.asarray(GetArrayFromImage(image).transpose(2, 1, 0)), geometry


def write_itk(array: AnyArray, geometry: Geometry, path: Path) -> None:
    """Write a canonical array [X,Y,Z] on the grid that `geometry` describes, compressed; as .mha or .nrrd."""
    native = geometry.to_native(array)  # [i,j,k]
    affine = LPS_TO_RAS @ geometry.matrix
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = GetImageFromArray(np.ascontiguousarray(native.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    writer = ImageFileWriter()
    writer.SetImageIO(IO[path.suffix.lower()])
    writer.UseCompressionOn()
    aside = tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    with atomic_file(path) as temporary, aside as folder:
        named = Path(folder) / f"volume{path.suffix.lower()}"  # ITK looks at the suffix whatever it is told
        writer.SetFileName(str(named))
        try:
            writer.Execute(image)
        except RuntimeError as error:
            raise UserError(
                f"cannot write: {str(error).strip().splitlines()[-1]}", where=path, remedy="check the disk's space"
            ) from None
        shutil.move(named, temporary)


def _check_header(path: Path) -> None:
    """Find what is wrong most often: MetaIO would print it to the terminal, name no file, and give a wrong reason."""
    with path.open("rb") as stream:
        head = stream.read(HEADER)
    nrrd = IO[path.suffix.lower()] == "NrrdImageIO"
    marks, field = ((b"NRRD",), NRRD_DATA) if nrrd else ((b"NDims", b"ElementDataFile"), META_DATA)
    if not head:
        raise UserError("the file is empty", where=path, remedy="replace the file by a whole copy")
    if any(mark not in head for mark in marks):
        raise UserError(
            f"no header of {'an NRRD' if nrrd else 'a MetaImage'} file in it",
            where=path,
            remedy="replace the file by a whole, valid copy",
        )
    found = field.search(head)
    data = found.group(1).strip().decode("utf-8", "replace") if found else "LOCAL"
    if data.upper().startswith(("LOCAL", "LIST")) or "%" in data or (path.parent / data).exists():
        return
    raise UserError(
        f"its data file '{data}' is missing",
        where=path,
        remedy="put it beside the header, under the name in there",
    )
