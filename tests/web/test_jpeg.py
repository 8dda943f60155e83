"""Photos as the page reads them in a browser, whose own decoder it uses: those of Python, pixel by pixel."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from sdseg.io.images import read_image
from tests.helpers.browser import chromium
from tests.helpers.page_readers import bundle

ROTATED = 274  # the tag of the camera's orientation


def _write_photos(folder: Path) -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:93, :121]
    pixels = np.stack([x * 2 % 256, y * 3 % 256, (x + y) % 256], axis=-1) // 2 + random.integers(0, 60, (93, 121, 3))
    photo = Image.fromarray(pixels.astype(np.uint8))
    for number in range(1, 9):
        exif = Image.Exif()
        exif[ROTATED] = number
        photo.save(folder / f"turned{number}.jpg", exif=exif, quality=90)
    for quality, subsampling, progressive in ((95, 0, False), (50, 1, True), (90, 2, True)):
        name = f"quality {quality}, subsampled {subsampling}{', progressive' * progressive}.jpg"
        photo.save(folder / name, quality=quality, subsampling=subsampling, progressive=progressive)
    photo.convert("L").save(folder / "grey.jpg")
    colours = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    photo.save(folder / "colours of its own.jpg", icc_profile=colours)


def test_photos_are_those_of_python(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    _write_photos(folder)
    options = ("--format=iife", "--platform=browser", "--external:fs", "--external:path")
    script = bundle("io/in_page.ts", tmp_path / "readers.js", *options)
    with chromium() as browser:
        page = browser.new_page()
        page.add_script_tag(path=script)
        for path in sorted(folder.iterdir()):
            content = base64.b64encode(path.read_bytes()).decode()
            width, height, rgb = page.evaluate("([name, content]) => readRgb(name, content)", [path.name, content])
            pixels = np.frombuffer(base64.b64decode(rgb), np.uint8).reshape(height, width, 3)
            np.testing.assert_array_equal(pixels, read_image(path), err_msg=path.name)
