from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.io.images import is_image, pixels_of, read_image, read_mask, write_image
from tests.helpers.raw_files import encode

RGB = np.random.default_rng(0).integers(0, 256, (11, 17, 3), dtype=np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, (11, 17), dtype=np.uint8)


def bgr(pixels: AnyArray) -> AnyArray:
    return pixels[..., ::-1]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_lossless_images_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "mit Leer zeichen" / f"Bäuche 腹部{suffix}"
    encode(path, bgr(RGB))
    np.testing.assert_array_equal(read_image(path), RGB)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_written_images_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / "ä b" / f"colour{suffix}", RGB)
    write_image(tmp_path / "ä b" / f"grey{suffix}", GREY)
    np.testing.assert_array_equal(read_image(tmp_path / "ä b" / f"colour{suffix}"), RGB)
    np.testing.assert_array_equal(read_mask(tmp_path / "ä b" / f"grey{suffix}"), GREY)


def test_jpeg_is_close_to_what_was_written(tmp_path: Path) -> None:
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    write_image(tmp_path / "a.jpg", smooth)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), smooth, atol=3)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    path = encode(tmp_path / "grey.png", GREY)
    np.testing.assert_array_equal(read_image(path), np.repeat(GREY[..., None], 3, axis=2))


def test_transparency_is_dropped(tmp_path: Path) -> None:
    path = encode(tmp_path / "alpha.png", np.dstack([bgr(RGB), GREY]))
    np.testing.assert_array_equal(read_image(path), RGB)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_become_8_by_the_whole_range(tmp_path: Path, suffix: str) -> None:
    deep = bgr(RGB).astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image(encode(tmp_path / f"deep{suffix}", deep)), RGB)
    np.testing.assert_array_equal(read_mask(encode(tmp_path / f"mask{suffix}", GREY.astype(np.uint16) * 257)), GREY)


def test_16_bit_masks_of_small_values_keep_them(tmp_path: Path) -> None:
    path = encode(tmp_path / "mask.png", (GREY % 3).astype(np.uint16))
    np.testing.assert_array_equal(read_mask(path), GREY % 3)


@pytest.mark.parametrize(("tag", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_the_cameras_orientation_tag_is_applied(tmp_path: Path, tag: int, turn: int) -> None:
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:8, :8] = 255
    plain = encode(tmp_path / "plain.jpg", picture).read_bytes()
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, tag, 0, 0)
    tagged = tmp_path / "tagged.jpg"
    tagged.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:])
    expected = np.rot90(read_image(tmp_path / "plain.jpg"), turn)
    np.testing.assert_array_equal(read_image(tagged), expected)
    np.testing.assert_allclose(read_mask(tagged), expected[..., 0], atol=2)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_truncated_images_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = encode(tmp_path / f"a{suffix}", RGB.repeat(8, axis=0).repeat(8, axis=1))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for read in (read_image, read_mask):
        with pytest.raises(UserError, match=rf"(?s)not a readable image.*where: .*a\{suffix}.*remedy"):
            read(path)


def test_a_jpeg_without_its_end_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.jpg", RGB)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="truncated"):
        read_image(path)


def test_other_files_are_no_images(tmp_path: Path) -> None:
    page = tmp_path / "login.png"
    page.write_text("<html>please log in</html>")
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(UserError, match="not a readable image"):
        read_image(page)
    with pytest.raises(UserError, match="the file is empty"):
        read_image(empty)
    with pytest.raises(UserError, match="the file is missing"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_image(tmp_path)


def test_tiffs_of_several_pages_or_of_floats_are_refused(tmp_path: Path) -> None:
    done, data = cv2.imencodemulti(".tiff", [RGB, RGB])
    assert done
    (tmp_path / "pages.tiff").write_bytes(data.tobytes())
    with pytest.raises(UserError, match="TIFF of 2 pages"):
        read_image(tmp_path / "pages.tiff")
    with pytest.raises(UserError, match="pixels of 32-bit floating-point numbers; 8 or 16 bits are expected"):
        read_image(encode(tmp_path / "float.tiff", RGB.astype(np.float32)))


def test_an_unknown_image_format_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot encode an image as '\.xyz'"):
        write_image(tmp_path / "a.xyz", RGB)
    assert not list(tmp_path.iterdir())


def bomb(path: Path, side: int) -> Path:
    """A PNG file whose header promises side × side pixels, and little else."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b""))
    return path


def test_an_image_beyond_all_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="60000×60000 pixels by its header, 3,600,000,000 in all; at most 268,435,456"):
        read_image(bomb(tmp_path / "a.png", 60000))


def test_pixels_by_the_header(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".tif", ".bmp"):
        assert pixels_of(encode(tmp_path / f"a{suffix}", RGB)) == 11 * 17
    (tmp_path / "b.png").write_text("no picture")
    for name in ("b.png", "none.png"):
        assert pixels_of(tmp_path / name) == 0
    assert pixels_of(bomb(tmp_path / "c.png", 10000)) == 10**8
    assert pixels_of(bomb(tmp_path / "d.png", 60000)) == 3600000000


def test_cmyk_and_one_bit_are_read_as_pillow_has_them(tmp_path: Path) -> None:
    smooth = Image.fromarray(np.repeat(np.linspace(0, 255, 48, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2))
    for mode, suffix in (("CMYK", ".jpg"), ("CMYK", ".tif"), ("1", ".png"), ("1", ".tif"), ("LA", ".png")):
        path = tmp_path / f"a{mode}{suffix}"
        smooth.convert(mode).save(path)
        with Image.open(path) as expected:
            np.testing.assert_allclose(read_image(path).astype(int), np.asarray(expected.convert("RGB")), atol=4)


def test_names_of_images() -> None:
    assert is_image(Path("a.JPEG"))
    assert not is_image(Path("a.nii.gz"))
