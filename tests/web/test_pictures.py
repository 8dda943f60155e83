"""Pictures as the page reads them: pixel by pixel those that Python reads, and the same sizes after resizing."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from sdseg.core.array_types import AnyArray
from sdseg.data.transforms import resize_images, restore_probability
from sdseg.io.images import read_image_noted
from tests.helpers.page_readers import read_as_the_page, run_script

ROTATED = 274  # the tag of the camera's orientation
SIZES = [
    *(((50, 70), (64, 64)), ((100, 90), (64, 64)), ((37, 41), (128, 100)), ((128, 128), (64, 64))),
    *(((300, 200), (64, 64)), ((300, 100), (64, 64)), ((130, 128), (64, 64)), ((3, 2), (16, 16)), ((64, 64), (64, 64))),
]
SIGNATURE = b"\x89PNG\r\n\x1a\n"
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]  # of Adam7
HALVES = 0.02  # of the values that lie halfway between two, of 16 bits


def _by_hand(path: Path, grey: AnyArray, bits: int, *, interlaced: bool) -> None:
    """A grey PNG of what no library here writes: few bits a pixel, or rows in seven passes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = grey.shape
    parts = [grey[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [grey]
    rows = b"".join(
        b"\0" + (np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :]).tobytes())
        for part in parts
        if part.size
        for row in part
    )
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, int(interlaced))
    path.write_bytes(SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def _write_pictures(folder: Path) -> list[Path]:
    folder.mkdir()
    random = np.random.default_rng(0)
    rgba = random.integers(0, 256, (23, 37, 4), dtype=np.uint8)
    # Smooth enough that packings find something to pack.
    rgba[5:15, 5:30] = 200
    rgb, grey = Image.fromarray(rgba[..., :3]), Image.fromarray(rgba[..., 0])
    palette, bilevel = rgb.quantize(16), Image.fromarray(rgba[..., 0] > 128)
    for number in range(1, 9):
        exif = Image.Exif()
        exif[ROTATED] = number
        rgb.save(folder / f"turned{number}.png", exif=exif)
        rgb.save(folder / f"turned{number}.tif", tiffinfo={ROTATED: number})
    Image.fromarray(rgba).save(folder / "transparent.png")
    Image.fromarray(rgba).save(folder / "transparent.tif")
    Image.fromarray(rgba).save(folder / "transparent.bmp")
    Image.fromarray(rgba[..., 2:], "LA").save(folder / "grey and transparent.png")
    palette.save(folder / "palette.png", transparency=bytes(range(16)))
    for suffix in ("bmp", "tif"):
        palette.save(folder / f"palette.{suffix}")
    for suffix in ("png", "bmp", "tif"):
        rgb.save(folder / f"colours.{suffix}")
        grey.save(folder / f"grey.{suffix}")
        bilevel.save(folder / f"bilevel.{suffix}")
    for packing in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"):
        rgb.save(folder / f"{packing}.tif", compression=packing)
        Image.fromarray(np.arange(15_000, dtype=np.uint8).reshape(100, 150)).save(
            folder / f"large {packing}.tif", compression=packing
        )
    rgb.save(folder / "predicted.tif", compression="tiff_lzw", tiffinfo={317: 2})
    grey.save(folder / "white is zero.tif", tiffinfo={262: 0})
    deep = rgba.astype(np.uint16) * 256 + 7
    for suffix in ("png", "tif"):
        cv2.imwrite(str(folder / f"deep.{suffix}"), deep[..., :3])
        cv2.imwrite(str(folder / f"deep and transparent.{suffix}"), deep)
        cv2.imwrite(str(folder / f"deep grey.{suffix}"), deep[..., 0])
        cv2.imwrite(str(folder / f"narrow.{suffix}"), deep[..., 0] % 1000)
    for bits in (1, 2, 4, 8):
        for interlaced in (False, True):
            name = f"{bits} bits{' interlaced' * interlaced}.png"
            _by_hand(folder / name, rgba[..., 0] >> (8 - bits), bits, interlaced=interlaced)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], dict[str, dict[str, Any]], Path]:
    place = tmp_path_factory.mktemp("pictures")
    paths = _write_pictures(place / "files")
    return paths, read_as_the_page({path.name: [path] for path in paths}, place / "read"), place / "read"


def test_every_pixel_is_that_of_python(pictures: tuple[list[Path], dict[str, dict[str, Any]], Path]) -> None:
    paths, results, folder = pictures
    different = []
    for path in paths:
        expected, notes = read_image_noted(path)
        (read,) = results[path.name].get("inputs", [{}])
        if not read:
            different.append(f"{path.name}: {results[path.name]}")
            continue
        pixels = np.fromfile(folder / read["rgb"], np.uint8).reshape(read["height"], read["width"], 3)
        if pixels.shape != expected.shape or (pixels != expected).any() or read["notes"] != list(notes):
            different.append(path.name)
        saved = np.asarray(Image.open(folder / read["saved"]))
        assert np.array_equal(saved, pixels), path.name
    assert not different


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
def test_sizes_change_as_opencv_changes_them(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(1)
    cases, expected = list[dict[str, Any]](), dict[str, AnyArray]()

    def add(array: AnyArray, size: tuple[int, int], result: AnyArray, *, restore: bool = False) -> None:
        name = f"{len(cases)}.raw"
        array.tofile(tmp_path / name)
        channels = array.shape[2] if array.ndim == 3 else 1
        case = {"name": name, "type": kind, "restore": restore, "channels": channels}
        cases.append(case | {"from": array.shape[:2], "to": size})
        expected[name] = result

    for before, after in SIZES:
        for channels in (1, 3):
            low, high = {"uint8": (0, 256), "int16": (-1000, 3000), "float32": (-1000, 3000)}[kind]
            array = random.integers(low, high, (*before, channels)).astype(kind)
            add(array, after, resize_images(array[None], after)[0])
    if kind == "float32":
        for before, after in (((64, 64), (300, 531)), ((64, 64), (32, 32)), ((64, 64), (40, 200))):
            array = random.random(before, dtype=np.float32)
            add(array, after, restore_probability(array[None], after)[0], restore=True)
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    run_script("io/resize_arrays.ts", str(tmp_path / "cases.json"), str(tmp_path))
    for name, wanted in expected.items():
        result = np.fromfile(tmp_path / f"{name}.out", kind).reshape(wanted.shape)
        if kind == "uint8":
            np.testing.assert_array_equal(result, wanted)
        elif kind == "int16":
            difference = np.abs(result.astype(int) - wanted)
            assert difference.max() <= 1
            assert np.count_nonzero(difference) <= HALVES * difference.size
        else:
            np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
