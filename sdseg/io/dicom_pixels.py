"""The pixels of one DICOM slice in the scanner's units.

Files that pydicom decodes exactly are read by it, whatever else is installed; SimpleITK (GDCM) reads the others.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdseg.core.array_types import AnyArray
from sdseg.core.extras import needing
from sdseg.io.dicom_header import damaged

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["read_pixels"]

# Transfer syntaxes: implicit and explicit little endian, deflated, run-length, JPEG 2000 without loss.
EXACT = ("1.2.840.10008.1.2", *(f"1.2.840.10008.1.2.{ending}" for ending in ("1", "1.99", "5", "4.90")))
TABLES = ("ModalityLUTSequence", "RealWorldValueMappingSequence")  # other ways to units than slope and intercept
WHOLE = (np.uint8, np.uint16, np.uint32, np.int8, np.int16, np.int32)  # the narrowest that holds all values is taken


def read_pixels(path: Path) -> AnyArray:
    """Values of a slice, [rows,columns]: whole numbers where slope and intercept are, else float64.

    Raises UserError for a file that is damaged, and where reading it needs an extra that is not installed.
    """
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values elsewhere in a header are none of our business
        try:
            dataset = pydicom.dcmread(path, force=True)
            exact = _is_exact(dataset)
            values = _values(dataset) if exact else None
        except Exception:  # pydicom and decoders raise nearly anything at damaged bytes
            raise damaged(path) from None
    return _read_by_itk(path, dataset) if values is None else values


def _is_exact(dataset: Dataset) -> bool:
    """Whether slope and intercept of grey values in known bits are all there is to it."""
    stored, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    return (
        str(dataset.file_meta.get("TransferSyntaxUID", EXACT[0])) in EXACT
        and str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME2"
        and allocated in (8, 16)
        and stored <= allocated
        and int(dataset.get("HighBit", stored - 1)) == stored - 1
        and not any(table in dataset for table in TABLES)
    )


def _values(dataset: Dataset) -> AnyArray:
    from pydicom.uid import UID

    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = UID(EXACT[0])  # files without a head have DICOM's default
    pixels: AnyArray = dataset.pixel_array
    bits, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation") or 0) == 1
    stored = np.bitwise_and(pixels, np.array((1 << bits) - 1).astype(pixels.dtype))  # higher bits may hold an overlay
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if signed:
        stored = np.where(stored > high, stored.astype(np.int32) - (1 << bits), stored).astype(pixels.dtype)
    slope, intercept = (_number(dataset, name, of) for name, of in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)))
    if not (slope.is_integer() and intercept.is_integer()):
        return np.asarray(stored * np.float64(slope) + np.float64(intercept))
    if (slope, intercept) == (1.0, 0.0):
        return np.asarray(stored)
    ends = sorted(int(slope) * end + int(intercept) for end in (low, high))
    kind = next((each for each in WHOLE if np.iinfo(each).min <= ends[0] and ends[1] <= np.iinfo(each).max), np.float64)
    return np.asarray(stored.astype(np.int64) * int(slope) + int(intercept)).astype(kind)


def _number(dataset: Dataset, name: str, default: float) -> float:
    value = dataset.get(name)
    return default if value is None or value == "" else float(value)


def _read_by_itk(path: Path, dataset: Dataset) -> AnyArray:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    kind = getattr(syntax, "name", "unknown")
    with needing(f"{path.name}: a DICOM file of this kind ({kind})"):
        from SimpleITK import GetArrayFromImage, ImageFileReader, ProcessObject
    reader = ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    ProcessObject.SetGlobalWarningDisplay(False)  # GDCM's own messages name no file
    try:
        return np.asarray(GetArrayFromImage(reader.Execute())[0])  # [1,rows,columns], rescaled
    except RuntimeError:
        raise damaged(path) from None
