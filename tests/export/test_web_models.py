"""What kinds of models a page takes: it finds what `sdseg predict` finds."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import nibabel
import numpy as np
import pytest
from torch import Tensor

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.backends.graph_checksum import open_manifest
from sdseg.config.export import Export
from sdseg.config.normalisation import ChannelWindow, Percentiles
from sdseg.config.shape import Resampling
from sdseg.config.tiles import Tiles
from sdseg.config.web_pages import WebPages
from sdseg.core.array_types import AnyArray
from sdseg.export.tracing import export_graph
from sdseg.export.web.browser_backend import BrowserBackend
from sdseg.export.web.html_file import export_web
from sdseg.inference.predictor import Prediction, load_predictor
from tests.export.test_web_page import alike, saved_mask, take
from tests.helpers.browser import chromium
from tests.helpers.tiny import DISC_CUP, POLYP, Brightness, describe

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def _spheres(path: Path, shape: tuple[int, int, int] = (30, 44, 9)) -> Path:
    """Two bright spheres in one another, in voxels that are longer along one axis."""
    place = np.stack(np.meshgrid(*(np.arange(length) for length in shape), indexing="ij"), axis=-1)
    distance: AnyArray = np.linalg.norm((place - (12, 25, 4)) * (1, 1, 3), axis=-1)
    values = np.select([distance < 5, distance < 10], [230, 110], -80).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.5, 0.8, 3.0, 1.0])), path)
    return path


class Mean(Brightness):
    """Finds what is bright in all channels together."""

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return super().forward(image.float().mean(dim=-1, keepdim=True), noise)


def _graph(path: Path, image: ImageContract, structures: tuple[Structure, ...]) -> Path:
    export_graph(Mean(image, len(structures)), describe(image, structures), path)
    return path


def _native_probability(page: Page) -> AnyArray:
    """Of what was segmented last, flat."""
    read = """async () => {
      const bytes = new Uint8Array((await sdseg.run("nativeProbability", null)).buffer);
      let binary = "";
      for (let at = 0; at < bytes.length; at += 32768) binary += String.fromCharCode(...bytes.subarray(at, at + 32768));
      return btoa(binary);
    }"""
    return np.frombuffer(base64.b64decode(page.evaluate(read)), dtype="<f4")


def test_files_of_a_case_are_its_channels(browser: Browser, tmp_path: Path) -> None:
    """Of volumes that come to one spacing, each normalised in a way of its own, with the slices beside each."""
    image = ImageContract(
        modality="ct",
        size=32,
        channels=2,
        channel_names=("CT", "PET"),
        shown_channel=1,
        neighbours=1,
        resampling=Resampling(spacing=(1.5, 1.5)),
        window=(0.0, 1.0),
        normalisations=(ChannelWindow(method="window", low=-175, high=250), Percentiles(low=1.0, nonzero=True)),
        dtype="float16",
    )
    graph, file = _graph(tmp_path / "model.onnx", image, DISC_CUP), tmp_path / "page.html"
    export_web(graph, file, WebPages(), Export())
    paths = [_spheres(tmp_path / "a_0000.nii.gz"), _spheres(tmp_path / "a_0001.nii.gz")]
    values = nibabel.load(paths[1]).get_fdata()
    affine = np.diag([-1.5, 0.8, 3.0, 1.0])  # the same grid the other way round
    affine[0, 3] = 1.5 * (len(values) - 1)
    nibabel.save(nibabel.Nifti1Image(values[::-1] * 0.03 + 7, affine), paths[1])
    expected: Prediction = load_predictor(graph, "cpu").predict(dict(zip(image.channel_names, paths, strict=True)))
    opened = BrowserBackend(browser, file, open_manifest(graph))
    page = opened.page
    assert "a CT volume here (NIfTI), one for each channel: CASE_0000 or CASE_CT, CASE_0001" in (
        page.locator("#drop-text").text_content() or ""
    )
    assert "'a': its file of PET is missing" in take(page, paths[0])
    lone = shutil.copyfile(paths[0], tmp_path / "b_CT.nii.gz")
    assert take(page, *paths, lone).startswith("disc: ")
    assert page.locator("#notes li").all_inner_texts()[-1].startswith("left out: 'b': its file of PET is missing")
    mask = nibabel.load(saved_mask(page, tmp_path))
    alike(np.asarray(mask.dataobj), expected.mask)
    np.testing.assert_allclose(mask.affine, nibabel.load(paths[0]).affine, atol=1e-5)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.5, 0.8, 3.1, 1.0])), paths[1])
    assert "do not lie on one another: their corners lie up to" in take(page, *paths)
    assert opened.problems == []
    page.close()


@pytest.mark.parametrize("size", [(70, 110), (20, 50)])
def test_a_large_image_is_seen_in_tiles(
    browser: Browser, tiled_page: BrowserBackend, tmp_path: Path, size: tuple[int, int]
) -> None:
    """Of two grey channels, at another scale."""
    page, random = tiled_page.page, np.random.default_rng(0)
    paths = {"DAPI": tmp_path / "x DAPI.png", "GFP": tmp_path / "x gfp.png"}
    for path in paths.values():
        cv2.imwrite(str(path), cv2.GaussianBlur(random.integers(0, 256, size).astype(np.uint8), (0, 0), 4) * 2)
    expected = load_predictor(tiled_page.file.with_suffix(".onnx"), "cpu").predict(paths)
    assert take(page, *paths.values()).startswith("polyp: ")
    np.testing.assert_allclose(_native_probability(page), expected.probability.ravel(), atol=1e-5)
    assert ("less than a tile" in page.locator("#notes").inner_text()) == (size == (20, 50))
    assert tiled_page.problems == []


@pytest.fixture(scope="module")
def tiled_page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> BrowserBackend:
    image = ImageContract(
        modality="rgb",
        size=(32, 40),
        channels=2,
        channel_names=("DAPI", "GFP"),
        window=(0.0, 255.0),
        tiles=Tiles(overlap=0.3, scale=0.9),
    )
    file = tmp_path_factory.mktemp("tiles") / "page.html"
    graph = _graph(file.with_suffix(".onnx"), image, POLYP)
    export_web(graph, file, WebPages(), Export())
    return BrowserBackend(browser, file, open_manifest(graph))
