"""What a user gives, a file or an array, as the slices a model wants; everything odd about it is refused or noted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.core.array_types import AnyArray, RawImages
from sdseg.core.errors import UserError
from sdseg.data.fit import SliceFit, fit_of
from sdseg.data.intensities import spread_of, unlike
from sdseg.data.normalise import to_contract
from sdseg.data.read_channels import read_grey_channels
from sdseg.data.slicing import check_slices, to_slices
from sdseg.data.transforms import stretch
from sdseg.inference.find_inputs import InputFile
from sdseg.inference.load_channels import channels_of_array, contract_of_channel, side_by_side
from sdseg.inference.native_size import NativeSegmentation
from sdseg.io.dicom import read_slices
from sdseg.io.geometry import Geometry, fault_of_affine
from sdseg.io.images import IMAGE_SUFFIXES, read_image_noted
from sdseg.io.itk import ITK_SUFFIXES
from sdseg.io.limits import LIMITS, Limits
from sdseg.io.volume_warnings import odd_spacing, odd_values
from sdseg.io.volumes import VOLUME_SUFFIXES, check_numbers, read_volume_noted

__all__ = ["open_array", "open_file"]

VOLUMES = {
    "ct": "CT volumes",
    "mr": "MR volumes",
    "pet": "PET volumes",
    "ultrasound": "ultrasound volumes",
    "other": "volumes",
}
KINDS = {"image": "an image", "volume": "a volume", "series": "a DICOM series"}
UPRIGHT = (
    "a slice without an affine: row 0 was taken for the patient's {} and column 0 for the {}; an array as "
    "nibabel has it lies otherwise, so give its affine too"
)
ONE = {"axial": "an axial", "coronal": "a coronal", "sagittal": "a sagittal"}
ENDS = {"axial": "SI", "coronal": "AP", "sagittal": "LR"}  # directions across the slices
# Of a slice that says nothing of itself: where row 0 and column 0 lie.
SIDES = {"axial": ("front", "right side"), "coronal": ("head", "right side"), "sagittal": ("head", "front")}
ARRAY = InputFile(Path("array"), "array", "image")
SLIVER = 8.0  # an axis is squeezed so many times more than the other: like no image a model has seen
TINY = 8  # pixels
OTHER_SPACING = 2.0  # times as long or short as in training: structures look unlike any a model has seen


def open_file(
    file: InputFile,
    image: ImageContract,
    structures: tuple[Structure, ...],
    *,
    with_probability: bool = False,
    with_pixels: bool = False,
    limits: Limits = LIMITS,
) -> NativeSegmentation:
    """Read an image for an 'rgb' model, a volume or DICOM series for a 'ct' model.

    Raises UserError for others, and for what is larger than `limits`.
    """
    if (file.kind == "image") != (image.modality == "rgb"):
        expected = f"images ({', '.join(IMAGE_SUFFIXES)})"
        if image.modality != "rgb":
            expected = f"{VOLUMES[image.modality]} ({', '.join((*VOLUME_SUFFIXES, *ITK_SUFFIXES))}, DICOM series)"
        raise UserError(
            f"{KINDS[file.kind]}, but this model was made for {expected}",
            where=file.path,
            remedy="choose a model for this kind of file, or give the other kind",
        )
    if image.channels > 1 and image.channel_names:
        if not file.channels:
            raise UserError(
                f"one file, and the model sees the channels {', '.join(image.channel_names)}",
                where=file.path,
                remedy="name them as nnU-Net does (CASE_0000, CASE_0001, …), or one by one",
            )
        several = []
        for number, part in enumerate(file.channels):
            own = contract_of_channel(image, number)
            given = {"with_probability": with_probability and not number, "with_pixels": with_pixels}
            several.append(open_file(part, own, structures, **given, limits=limits))
        return side_by_side(file, several, image)
    notes, sources = list(file.notes), tuple[Path, ...]()
    geometry, raw_values = None, None
    if file.kind == "image":
        named = tuple((name, file.path) for name in image.channel_names)
        pixels, odd = read_grey_channels(named, limits) if named else read_image_noted(file.path, limits)
        slices: RawImages = pixels[None]  # [1,H,W,3]
        notes += odd
    else:
        if file.kind == "series":
            raw, geometry, sources = read_slices(file.files, file.path, limits)
            check_numbers(raw, file.path)
            notes += odd_values(raw, image)
            raw = geometry.to_canonical(raw)
        else:
            raw, geometry, odd = read_volume_noted(file.path, limits, image)  # [X,Y,Z]
            notes += odd
        voxels, altered = to_contract(raw, image, file.path)
        notes += (*altered, *_offset(voxels, image), *odd_spacing(geometry))
        check_slices(geometry.canonical_shape, image.slicing, file.path)
        slices = to_slices(voxels, image.slicing)[..., None]  # [N,H,W,1]
        if with_pixels and image.is_normalised:
            raw_values = to_slices(raw, image.slicing)[..., None]
    notes += _unlike(slices, image)
    native = _native(file, slices, geometry, image, structures, with_probability)
    native.sources = sources
    native.notes = notes + _sides(native.fit, image) + _alone(slices, image) + _unlike_spacing(native, image)
    if with_pixels:
        native.pixels_shown, native.raw_values = slices, raw_values
    return native


def open_array(
    array: AnyArray, affine: npt.ArrayLike | None, image: ImageContract, structures: tuple[Structure, ...]
) -> NativeSegmentation:
    """An array as a model's input.

    RGB models: [H,W,3], [H,W,4] (transparency is dropped) or grey [H,W], uint8 or uint16 (divided by 257). CT models:
    Hounsfield units of a volume [i,j,k], or of one slice [i,j] of it in the model's plane, with `affine` [4,4], voxel
    to millimetres in RAS+ as nibabel has it; or a slice [H,W] as data/slicing.py has it (row 0 of an axial one is the
    front, column 0 the right side), which a note says it was taken for. Raises UserError.
    """
    if image.channels > 1 and image.channel_names:
        planes = enumerate(channels_of_array(array, image))
        opened = [open_array(plane, affine, contract_of_channel(image, number), structures) for number, plane in planes]
        return side_by_side(ARRAY, opened, image)
    if not isinstance(array, np.ndarray):
        raise UserError(
            f"a {type(array).__name__}; a NumPy array or the path of a file is expected",
            remedy="predict(np.asarray(image)) for Pillow, predict(image.get_fdata(), affine=image.affine) for nibabel",
        )
    if not array.size:
        raise UserError(f"an array of shape {array.shape}: no values", remedy="check how it was cut or read")
    geometry, notes, flat = None, list[str](), array.ndim == 2
    if image.modality == "rgb":
        if affine is not None:
            raise UserError("an affine, but this model was made for images", remedy="leave it out")
        slices: RawImages = (_colours(array)[..., :1] if image.channel_names else _colours(array))[None]
    elif array.ndim in (2, 3) and affine is not None:
        volume = array[..., None] if flat else array
        geometry = _geometry(volume, affine)
        if flat and geometry.axcodes[2] not in ENDS[image.slicing]:
            raise UserError(
                f"a slice [i,j] that is not {image.slicing}: by its affine the axes run {geometry.axcodes[:2]}, "
                f"and this model has seen {image.slicing} slices",
                remedy=f"give the volume [i,j,k] with its affine, or one {image.slicing} slice of it",
            )
        check_numbers(volume, None)
        check_slices(geometry.canonical_shape, image.slicing, None)
        voxels, notes = to_contract(volume, image, None)
        slices = to_slices(geometry.to_canonical(voxels), image.slicing)[..., None]
    elif flat:
        check_numbers(array, None)
        voxels, notes = to_contract(array, image, None)
        slices = voxels[None, ..., None]
        notes.append(UPRIGHT.format(*SIDES[image.slicing]))
    else:
        raise UserError(
            f"an array of shape {array.shape} {'with' if affine is not None else 'without'} an affine; this model "
            f"wants a volume [i,j,k] or {ONE[image.slicing]} slice [i,j] of it with the affine, or a slice [H,W] whose "
            f"row 0 is the patient's {SIDES[image.slicing][0]} and column 0 the {SIDES[image.slicing][1]}",
            remedy="predict(volume, affine=image.affine), or give the path of the file",
        )
    native = _native(ARRAY, slices, geometry, image, structures, with_probability=True)
    native.notes = notes + _unlike(slices, image) + _alone(slices, image)
    native.notes += _unlike_spacing(native, image)
    native.flat = flat and geometry is not None
    return native


def _native(
    file: InputFile,
    slices: RawImages,
    geometry: Geometry | None,
    image: ImageContract,
    structures: tuple[Structure, ...],
    with_probability: bool,
) -> NativeSegmentation:
    height, width = slices.shape[1:3]
    fed = stretch(slices, image.window) if image.stretch else slices
    fit = fit_of(image, (height, width), geometry.spacing if geometry else ())
    return NativeSegmentation(
        file=file,
        structures=structures,
        images=fit.images(fed, image.window[0]).astype(image.dtype, copy=False),
        fit=fit,
        geometry=geometry,
        plane=image.slicing,
        with_probability=with_probability,
    )


def _colours(array: AnyArray) -> npt.NDArray[np.uint8]:
    """[H,W,3] uint8 of a grey, RGB or RGBA array of 8 or 16 bits."""
    shape = array.shape
    if array.dtype not in (np.uint8, np.uint16) or array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] < 3):
        raise UserError(
            f"an array of shape {shape} and type {array.dtype}; this model wants RGB [H,W,3] or grey [H,W], uint8",
            remedy="give the pixels as an image reader has them: 0 to 255, channels last, not normalised",
        )
    if array.ndim == 3 and shape[2] > 4:
        raise UserError(f"an array of shape {shape}: {shape[2]} channels", remedy="put the three colours last")
    colours = np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array[..., :3]
    return np.rint(colours / 257.0).astype(np.uint8) if colours.dtype == np.uint16 else np.ascontiguousarray(colours)


def _geometry(array: AnyArray, affine: npt.ArrayLike) -> Geometry:
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or fault_of_affine(matrix) is not None:
        raise UserError("an affine that is no invertible [4,4] matrix", remedy="give nibabel's image.affine")
    rows = tuple(tuple(float(value) for value in row) for row in matrix)
    x, y, z = array.shape
    return Geometry(shape=(x, y, z), affine=rows, qform=rows, qform_code=1, sform_code=1)


def _offset(voxels: AnyArray, image: ImageContract) -> list[str]:
    """Unsigned scans without their rescale intercept: air is 0 and soft tissue about 1024."""
    if image.modality != "ct" or image.is_normalised or image.window[0] >= 0 or voxels.min() < 0:
        return []
    soft = float(np.mean((voxels > 874) & (voxels < 1174)))
    if soft < 0.1:
        return []
    return [
        f"no value below 0, and {soft:.0%} of the voxels near 1024: stored with an offset of 1024, it seems, and not "
        "in Hounsfield units; subtract 1024, or export it with its rescale intercept"
    ]


def _sides(fit: SliceFit, image: ImageContract) -> list[str]:
    (height, width), working = fit.native, fit.working
    if image.resampling is not None:
        return _resampled(fit, image.resampling.spacing)
    if image.tiles is not None:
        (rows, columns), tile = working, image.sides
        if rows >= tile[0] and columns >= tile[1]:
            return []
        return [
            f"{columns}×{rows} pixels{'' if image.tiles.scale == 1 else f' at scale {image.tiles.scale:g}'}, less than "
            f"a tile of {tile[1]}×{tile[0]}: there is nothing but the lowest value around it"
        ]
    into, squeezed = f"{working[1]}×{working[0]}", (height / working[0]) / (width / working[1])
    if min(fit.native) < TINY:
        return [f"{width}×{height} pixels, enlarged to {into}: too small to say anything about"]
    if max(squeezed, 1 / squeezed) > SLIVER:
        return [f"{width}×{height} pixels, squeezed into {into}: like no image the model has seen"]
    return []


def _resampled(fit: SliceFit, spacing: tuple[float, float]) -> list[str]:
    """Of slices that are resampled, what a model does not see of them, or sees smaller."""
    whole, seen = (f"{height} × {width}" for height, width in (fit.resampled, fit.working))
    if fit.cut:
        what = f"slices of {whole} pixels at the model's spacing of {spacing[0]:g} × {spacing[1]:g} mm"
        return [f"{what}, and it sees {seen} in the middle: nothing is found outside"]
    if fit.shrunk < 1:
        return [f"slices larger than the {seen} pixels that the model sees: shrunk to {fit.shrunk:.0%} of their size"]
    return []


def _unlike(slices: RawImages, image: ImageContract) -> list[str]:
    """Another scale than that of training; of volumes that are normalised one by one any will do."""
    return [] if image.is_normalised else unlike(spread_of(slices), image.intensities)


def _alone(slices: RawImages, image: ImageContract) -> list[str]:
    """A model of several slices, or of whole volumes' statistics, that gets one slice."""
    if len(slices) > 1:
        return []
    notes = []
    if image.is_normalised:
        how = image.normalisation or image.normalisations[0]
        notes.append(
            f"a single slice: normalised by its own values ({how.method}), where the model was trained "
            "on volumes normalised as a whole; give the volume"
        )
    if not image.neighbours:
        return notes
    return [
        *notes,
        f"a single slice: the model sees {image.neighbours} on each side of it, and gets it itself in their place; "
        "give the volume",
    ]


def _unlike_spacing(native: NativeSegmentation, image: ImageContract) -> list[str]:
    """A volume whose voxels have other sides, at the working size, than those that a three-dimensional model knows."""
    if image.spacing is None or min(image.spacing) <= 0 or native.geometry is None:
        return []
    between, rows, columns = native.spacing
    own = (between, rows * native.fit.pixel[0], columns * native.fit.pixel[1])
    if all(max(one / known, known / one) <= OTHER_SPACING for one, known in zip(own, image.spacing, strict=True)):
        return []
    here, there = (" × ".join(f"{length:.3g}" for length in lengths) for lengths in (own, image.spacing))
    return [
        f"voxels of {here} mm at the working size (depth, rows, columns), those of the training volumes of {there} mm: "
        "structures have other proportions than the model has seen; resample the volume to the training's spacing"
    ]
