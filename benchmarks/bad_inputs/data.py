"""Files of data that are damaged, hostile or of another kind: split files, raw files, inputs of `predict`, masks."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from pydicom.uid import UID

from benchmarks.bad_inputs.case import Bad, Ready, noise, write_yaml
from tests.helpers.raw_files import SIX, encode, save, write_series

__all__ = ["masks", "predictions", "raw_files", "splits"]

SHAPE = (30, 26, 5)  # of every volume
GOOD_SPLIT = ["id,group,split", *(f"{case},{case},{split}" for case, split in SIX.items())]


def splits(ready: Ready) -> Iterator[Bad]:
    settings = write_yaml(ready.scratch / "kseg.yaml", {"source": "kseg", "size": 32})
    path = ready.scratch / "bad split.csv"
    lines = GOOD_SPLIT
    contents: dict[str, bytes] = {
        "empty": b"",
        "header alone": b"id,group,split\n",
        "binary": bytes(range(256)),
        "utf-16": "\n".join(lines).encode("utf-16"),
        "latin-1": "\n".join([*lines, "é,é,test"]).encode("latin-1"),
        "semicolons": "\n".join(lines).replace(",", ";").encode(),
        "another header": "\n".join(["case,patient,part", *lines[1:]]).encode(),
        "no header": "\n".join(lines[1:]).encode(),
        "a case twice": "\n".join([*lines, lines[1]]).encode(),
        "a case in two splits": "\n".join([*lines, "a,a,test"]).encode(),
        "an unknown split": "\n".join([*lines[:-1], "f,f,held-out"]).encode(),
        "an empty id": "\n".join([*lines, ",x,test"]).encode(),
        "an empty split": "\n".join([*lines[:-1], "f,f,"]).encode(),
        "a missing column": "\n".join([*lines[:-1], "f,f"]).encode(),
        "a further column": "\n".join([*lines[:-1], "f,f,test,more"]).encode(),
        "a case that is not there": "\n".join([*lines, "zebra,zebra,test"]).encode(),
        "no training case": "\n".join(["id,group,split", *(f"{c},{c},test" for c in SIX)]).encode(),
        "a group in two splits": "\n".join(["id,group,split", "a,p,train", "b,p,test", *lines[3:]]).encode(),
        "a group with a space": "\n".join(["id,group,split", "a,p,train", "b,p ,test", *lines[3:]]).encode(),
        "a group in capitals": "\n".join(["id,group,split", "a,p,train", "b,P,test", *lines[3:]]).encode(),
        "a null character": "\n".join(lines).replace("f,f", "f\x00,f").encode(),
        "an open quote": "\n".join([*lines, '"zebra,zebra,test']).encode(),
    }
    for name, content in contents.items():
        path.write_bytes(content)
        words = ["prepare", "--name", "x", "--settings", settings, "--raw", ready.raw, "--split", path]
        yield Bad(name, [*words, "--output", ready.scratch / "out" / "p"], (path.name, "zebra", "group", "train"))
    path.unlink()
    for name, place in {"missing": path, "a folder": ready.scratch, "null": Path("/dev/null")}.items():
        words = ["prepare", "--name", "x", "--settings", settings, "--raw", ready.raw, "--split", place]
        yield Bad(name, [*words, "--output", ready.scratch / "out" / "p"], (str(place),))


def raw_files(ready: Ready) -> Iterator[Bad]:
    """One file of a raw dataset spoilt in every way; the raw folder named as something else; outputs near it."""
    settings = write_yaml(ready.scratch / "kseg.yaml", {"source": "kseg", "size": 32})
    for kind in ("images", "masks"):
        for name, spoil in SPOILT_IMAGES.items():
            raw = ready.copy(ready.raw, "raw")
            path = raw / "Kvasir-SEG" / kind / "e.jpg"
            spoil(path)
            words = ["prepare", "--name", "x", "--settings", settings, "--raw", raw, "--split", ready.split]
            yield Bad(
                f"{kind}: {name}",
                [*words, "--output", ready.scratch / "out" / "p"],
                ("e.jpg", "'e'", "e:"),
                made=(raw,),
            )
    words = ["prepare", "--name", "x", "--settings", settings, "--split", ready.split]
    outside = ready.scratch / "out" / "p"
    raw = ready.copy(ready.raw, "raw")
    (ready.scratch / "link").symlink_to(raw)
    mine = ready.scratch / "mine"
    mine.mkdir()
    (mine / "thesis.docx").write_text("years of work")
    for name, place, output, about in (
        ("raw missing", ready.scratch / "none", outside, "none"),
        ("raw a file", ready.split, outside, "split.csv"),
        ("raw empty", _empty(ready.scratch / "empty"), outside, "empty"),
        ("output is raw", raw, raw, "raw"),
        ("output in raw", raw, raw / "Kvasir-SEG" / "prepared", "raw"),
        ("output holds raw", raw, ready.scratch, str(ready.scratch)),
        ("output is a link to raw", raw, ready.scratch / "link", "link"),
        ("output holds somebody's files", raw, mine, "thesis.docx"),
        ("output is a file", raw, ready.split, "split.csv"),
        ("output below a file", raw, ready.split / "p", "split.csv"),
        ("output in /proc", raw, Path("/proc/nowhere/p"), "/proc"),
    ):
        yield Bad(name, [*words, "--raw", place, "--output", output], (about,))
    (ready.scratch / "link").unlink()
    shutil.rmtree(mine)
    for name, spoil_volume in SPOILT_VOLUMES.items():
        path = ready.scratch / "own" / "images" / "vol7.nii.gz"
        _volumes(path.parent.parent)
        spoil_volume(path)
        own = {"layout": "folders", "modality": "ct", "images": "images", "masks": "masks", "labels": {1: "x"}}
        own |= {"windows": {"w": [-175, 250]}}
        chosen = write_yaml(ready.scratch / "own.yaml", {"source": "own", "size": 32, "own": own})
        split = ready.scratch / "own.csv"
        split.write_text("id,group,split\nvol7,vol7,train\nu,u,val\nw,w,test\n", encoding="utf-8")
        words = ["prepare", "--name", "x", "--settings", chosen, "--raw", path.parent.parent, "--split", split]
        made = (path.parent.parent, ready.scratch / "out" / "p")
        yield Bad(
            f"volume: {name}",
            [*words, "--output", ready.scratch / "out" / "p"],
            ("vol7.nii.gz", "'vol7'", ": vol7"),
            made=made,
        )


def predictions(ready: Ready) -> Iterator[Bad]:
    output = ready.scratch / "predicted"
    for name, spoil in SPOILT_IMAGES.items():
        path = encode(ready.scratch / "in" / "photo.png", noise(40, 40, 3))
        spoil(path)
        words = ["predict", path, "--model", ready.rgb, "--output", output]
        yield Bad(f"image: {name}", words, ("photo.png", "photo"), made=(output, path.parent))
    for name, spoil in SPOILT_VOLUMES.items():
        path = save(ready.scratch / "in" / "scan.nii.gz", _scan())
        spoil(path)
        words = ["predict", path, "--model", ready.ct, "--output", output]
        yield Bad(f"volume: {name}", words, ("scan.nii.gz", "scan"), made=(output, path.parent))
    for name, edit in SPOILT_SLICES.items():
        folder = write_series(ready.scratch / "in" / "series", _scan())
        for path in sorted(folder.iterdir()):
            edit(path)
        words = ["predict", folder, "--model", ready.ct, "--output", output]
        yield Bad(f"DICOM: {name}", words, ("series", ".dcm", "abdomen"), made=(output, folder.parent))
    for suffix, headers in HEADERS.items():
        for name, header in headers.items():
            path = ready.scratch / "in" / f"scan{suffix}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(header)
            words = ["predict", path, "--model", ready.ct, "--output", output]
            yield Bad(f"{suffix}: {name}", words, (path.name,), made=(output, path.parent))
    photo = encode(ready.scratch / "photos" / "1.png", noise(40, 40, 3))
    mine = encode(photo.parent / "1_mask.png", noise(40, 40))
    pattern = photo.parent / "*.png"
    yield Bad(
        "own mask beside the input", ["predict", pattern, "--model", ready.rgb, "--output", photo.parent], (mine.name,)
    )
    encode(output / "1_mask.png", noise(8, 8))
    yield Bad(
        "a target that is somebody's",
        ["predict", photo, "--model", ready.rgb, "--output", output],
        ("1_mask.png",),
        made=(output,),
    )
    for name, words, about in (
        ("no such file", [ready.scratch / "none.png", "--model", ready.rgb], "none.png"),
        ("an empty folder", [_empty(ready.scratch / "empty"), "--model", ready.rgb], "empty"),
        ("a pattern without files", [ready.scratch / "*.xyz", "--model", ready.rgb], "*.xyz"),
        ("photos to a CT model", [photo, "--model", ready.ct], "1.png"),
        ("no model", [photo, "--model", ready.scratch / "none.onnx"], "none.onnx"),
        ("a picture as model", [photo, "--model", photo], "1.png"),
        ("output is a file", [photo, "--model", ready.rgb, "--output", photo], "1.png"),
        ("output in /proc", [photo, "--model", ready.rgb, "--output", "/proc/nowhere"], "/proc"),
        ("batch of 0", [photo, "--model", ready.rgb, "--batch", "0"], "batch"),
        ("batch of -1", [photo, "--model", ready.rgb, "--batch", "-1"], "batch"),
        ("no GPU", [photo, "--model", ready.rgb, "--device", "cuda"], "cuda"),
    ):
        given = words if "--output" in words else [*words, "--output", output]
        yield Bad(name, ["predict", *given], (about,), made=(output,))


def masks(ready: Ready) -> Iterator[Bad]:
    """Masks of another program, for `evaluate --predictions`."""
    settings = write_yaml(ready.scratch / "kseg.yaml", {"source": "kseg", "size": 32})
    from sdseg.__main__ import main

    store = ready.scratch / "kseg store"
    main(
        [
            str(w)
            for w in (
                "prepare",
                "--name",
                "k",
                "--settings",
                settings,
                "--raw",
                ready.raw,
                "--split",
                ready.split,
                "--output",
                store,
            )
        ]
    )
    shapes = {case: (40 + 4 * number, 56 - 2 * number) for number, case in enumerate(SIX)}
    words = ["evaluate", "--prepared", store, "--name", "other", "--raw", ready.raw]

    def write(**changes: Any) -> Path:
        folder = ready.scratch / "others"
        shutil.rmtree(folder, ignore_errors=True)
        for case in ("e", "f"):
            encode(folder / f"{case}.png", changes.get(case, np.zeros(shapes[case], np.uint8)))
        return folder

    for name, content in {
        "another size": np.zeros((9, 9), np.uint8),
        "a value of no structure": np.full(shapes["f"], 7, np.uint8),
        "colours": noise(*shapes["f"], 3),
        "16 bits": np.full(shapes["f"], 900, np.uint16),
    }.items():
        yield Bad(
            name, [*words, "--predictions", write(f=content), "--output", ready.scratch / "out" / "e"], ("f.png",)
        )
    for name, spoil in SPOILT_IMAGES.items():
        folder = write()
        spoil(folder / "f.png")
        yield Bad(name, [*words, "--predictions", folder, "--output", ready.scratch / "out" / "e"], ("f.png", "f"))
    folder = write()
    shutil.copy(folder / "f.png", folder / "f.bmp")
    yield Bad(
        "two files for a case",
        [*words, "--predictions", folder, "--output", ready.scratch / "out" / "e"],
        ("f.bmp", "f.png"),
    )
    yield Bad(
        "no folder",
        [*words, "--predictions", ready.scratch / "none", "--output", ready.scratch / "out" / "e"],
        ("none",),
    )
    yield Bad("no raw", [*words[:-2], "--predictions", write(), "--output", ready.scratch / "out" / "e"], ("--raw",))


def _scan() -> np.ndarray[Any, np.dtype[np.int16]]:
    voxels = np.full(SHAPE, -120, np.int16)
    voxels[10:20, 8:16, 1:] = 150
    return voxels


def _volumes(folder: Path) -> None:
    for seed, case in enumerate(("u", "vol7", "w")):
        save(folder / "images" / f"{case}.nii.gz", _scan() + noise(*SHAPE, seed=seed))
        save(folder / "masks" / f"{case}.nii.gz", (_scan() > 0).astype(np.uint8))


def _empty(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _replaced(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _cut(share: float) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def _instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def _png(width: int, height: int) -> bytes:
    """The header of a PNG, followed by nothing much."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


SPOILT_IMAGES: dict[str, Callable[[Path], object]] = {
    "empty": _replaced(b""),
    "one byte": _replaced(b"\xff"),
    "text": _replaced(b"no picture"),
    "zeros": _replaced(bytes(5000)),
    "html": _replaced(b"<!DOCTYPE html><title>Sign in</title>"),
    "cut at a tenth": _cut(0.1),
    "cut at half": _cut(0.5),
    "30000 squared": _replaced(_png(30000, 30000)),
    "2^31 wide": _replaced(_png(2**31 - 1, 1)),
    "0 wide": _replaced(_png(0, 5)),
    "a GIF's head": _replaced(b"GIF89a" + bytes(20)),
    "a pickle": _replaced(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07nothing\x94."),
    "missing": lambda path: path.unlink(),
    "a folder": _instead(lambda path: path.mkdir()),
    "a link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "a dead link": _instead(lambda path: path.symlink_to("nowhere")),
    "a pipe": _instead(lambda path: os.mkfifo(path)),
    "a link to /dev/zero": _instead(lambda path: path.symlink_to("/dev/zero")),
    "a link to a folder": _instead(lambda path: path.symlink_to("/etc/ssl")),
}


def _header(**fields: Any) -> Callable[[Path], object]:
    """Fields of a NIfTI header, as they may not be."""

    def spoil(path: Path) -> None:
        content = bytearray(gzip.decompress(path.read_bytes()))
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        for key, value in fields.items():
            header[key] = value
        content[:348] = header.binaryblock
        path.write_bytes(gzip.compress(bytes(content)))

    return spoil


def _again(make: Callable[[], Any], affine: Any = None) -> Callable[[Path], object]:
    return lambda path: save(path, make(), *(() if affine is None else (np.array(affine, float),)))


SPOILT_VOLUMES: dict[str, Callable[[Path], object]] = {
    "empty": _replaced(b""),
    "text": _replaced(b"no volume"),
    "zeros": _replaced(bytes(5000)),
    "zeros in gzip": _replaced(gzip.compress(bytes(5000))),
    "4 GB of zeros in gzip": _replaced(gzip.compress(bytes(64 << 20)) * 64),
    "cut at a tenth": _cut(0.1),
    "cut at half": _cut(0.5),
    "a header alone": lambda path: path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:348])),
    "2^40 voxels": _header(dim=[3, 32767, 32767, 1024, 1, 1, 1, 1]),
    "negative size": _header(dim=[3, -5, 26, 5, 1, 1, 1, 1]),
    "no dimension": _header(dim=[0, 1, 1, 1, 1, 1, 1, 1]),
    "seven dimensions": _header(dim=[7, 5, 2, 2, 2, 2, 2, 2]),
    "unknown type": _header(datatype=9999),
    "complex": _again(lambda: np.zeros(SHAPE, np.complex64)),
    "four dimensions": _again(lambda: np.zeros((*SHAPE, 2), np.int16)),
    "all NaN": _again(lambda: np.full(SHAPE, np.nan, np.float32)),
    "one NaN": _again(lambda: np.where(np.arange(np.prod(SHAPE)).reshape(SHAPE) == 5, np.nan, 50).astype(np.float32)),
    "infinite": _again(lambda: np.full(SHAPE, np.inf, np.float32)),
    "1e30": _again(lambda: np.full(SHAPE, 1e30, np.float32)),
    "slope of 1e30": _header(scl_slope=1e30, scl_inter=0),
    "NaN in the affine": _header(sform_code=1, srow_x=[np.nan, 0, 0, 0]),
    "zero affine": _header(sform_code=1, srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4),
    "singular affine": _header(sform_code=1, srow_x=[1, 0, 0, 0], srow_y=[1, 0, 0, 0], srow_z=[0, 0, 1, 0]),
    "spacing of 1e6 mm": _again(lambda: _scan(), np.diag([1e6, 1e6, 1e6, 1])),
    "spacing of 1e-9 mm": _again(lambda: _scan(), np.diag([1e-9, 1e-9, 1e-9, 1])),
    "photo values": _again(lambda: noise(*SHAPE)),
    "0 to 1": _again(lambda: np.random.default_rng(0).random(SHAPE).astype(np.float32)),
    "missing": lambda path: path.unlink(),
    "a folder": _instead(lambda path: path.mkdir()),
    "a link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "a pipe": _instead(lambda path: os.mkfifo(path)),
    "a link to /dev/zero": _instead(lambda path: path.symlink_to("/dev/zero")),
}


def _tags(**values: Any) -> Callable[[Path], object]:
    """Elements of every slice, as they may not be; None removes one."""

    def edit(path: Path) -> None:
        with pydicom.config.disable_value_validation():
            data = pydicom.dcmread(path)
            for key, value in values.items():
                if value is None:
                    delattr(data, key) if key in data else None
                else:
                    setattr(data, key, value)
            data.save_as(path)

    return edit


SPOILT_SLICES: dict[str, Callable[[Path], object]] = {
    "empty": _replaced(b""),
    "zeros": _replaced(bytes(5000)),
    "a mark alone": _replaced(bytes(128) + b"DICM"),
    "cut at half": _cut(0.5),
    "cut at nine tenths": _cut(0.9),
    "65535 rows and columns": _tags(Rows=65535, Columns=65535),
    "no rows": _tags(Rows=0),
    "spacing of 0": _tags(PixelSpacing=[0, 0]),
    "negative spacing": _tags(PixelSpacing=[-1, 1]),
    "no spacing": _tags(PixelSpacing=None),
    "spacing of 1e6 mm": _tags(PixelSpacing=[1e6, 1e6]),
    "zero orientation": _tags(ImageOrientationPatient=[0] * 6),
    "no orientation": _tags(ImageOrientationPatient=None),
    "slope of 0": _tags(RescaleSlope=0),
    "slope that is no number": _tags(RescaleSlope=None, RescaleIntercept=None),
    "slope of 1e30": _tags(RescaleSlope="1e30"),
    "the same place": _tags(ImagePositionPatient=[0, 0, 0]),
    "no place": _tags(ImagePositionPatient=None),
    "MR": _tags(Modality="MR"),
    "a report": _tags(Modality="SR"),
    "three samples": _tags(SamplesPerPixel=3),
    "no pixels": _tags(PixelData=None),
    "12 bits in 8": _tags(BitsAllocated=8, BitsStored=12),
    "unknown transfer": lambda path: _transfer(path, "1.2.3.4"),
    "missing": lambda path: path.unlink(),
    "links to themselves": _instead(lambda path: path.symlink_to(path.name)),
}


def _transfer(path: Path, syntax: str) -> None:
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.save_as(path)


_MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "{size}\nElementType = {type}\n{more}ElementDataFile = {file}\n"
)
_NRRD = "NRRD0004\ntype: {type}\ndimension: 3\nsizes: {size}\nencoding: raw\nendian: little\n{more}{file}\n"


def _mha(size: str = "DimSize = 4 4 4", type: str = "MET_SHORT", more: str = "", file: str = "LOCAL") -> bytes:
    return _MHA.format(size=size, type=type, more=more, file=file).encode() + bytes(128)


def _nrrd(size: str = "4 4 4", type: str = "short", more: str = "", file: str = "") -> bytes:
    return _NRRD.format(size=size, type=type, more=more, file=file).encode() + b"\n" + bytes(128)


HEADERS: dict[str, dict[str, bytes]] = {
    ".mha": {
        "text": b"no volume",
        "too short": _mha(size="DimSize = 40 40 40"),
        "2^45 voxels": _mha(size="DimSize = 32768 32768 32768"),
        "negative": _mha(size="DimSize = -4 4 4"),
        "unknown type": _mha(type="MET_NOTHING"),
        "no size": _mha(size="Comment = none"),
        "spacing of 0": _mha(more="ElementSpacing = 0 0 0\n"),
        "zero directions": _mha(more="TransformMatrix = 0 0 0 0 0 0 0 0 0\n"),
    },
    ".mhd": {
        "/etc/passwd": _mha(file="/etc/passwd"),
        "above": _mha(file="../../x"),
        "a list": _mha(file="LIST"),
        "a pattern": _mha(file="%d.raw 1 4 1"),
        "missing": _mha(file="none.raw"),
        "itself": _mha(file="scan.mhd"),
    },
    ".nrrd": {
        "text": b"no volume",
        "too short": _nrrd(size="40 40 40"),
        "2^45 voxels": _nrrd(size="32768 32768 32768"),
        "unknown type": _nrrd(type="nothing"),
        "NaN spacing": _nrrd(more="spacings: nan nan nan\n"),
        "/etc/passwd": _nrrd(file="data file: /etc/passwd"),
        "above": _nrrd(file="data file: ../../x"),
    },
}
