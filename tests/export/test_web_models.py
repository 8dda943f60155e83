"""What kinds of models a page takes: it finds what `sdseg predict` finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

from sdseg.backends.graph_checksum import open_manifest
from sdseg.config.export import Export
from sdseg.config.shape import Resampling
from sdseg.config.web_pages import WebPages
from sdseg.core.array_types import AnyArray
from sdseg.export.web.browser_backend import BrowserBackend
from sdseg.export.web.html_file import export_web
from sdseg.inference.predictor import Prediction, load_predictor
from tests.export.test_web_page import alike, saved_mask, take
from tests.helpers.browser import chromium
from tests.helpers.tiny import CT, DISC_CUP, write_graph

if TYPE_CHECKING:
    from playwright.sync_api import Browser


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


def test_a_volume_comes_to_the_spacing_of_its_model(browser: Browser, tmp_path: Path) -> None:
    how = Resampling(spacing=(0.9, 1.1))
    graph = write_graph(tmp_path / "model.onnx", CT.model_copy(update={"resampling": how}), DISC_CUP)
    file, path = tmp_path / "page.html", _spheres(tmp_path / "a.nii.gz")
    export_web(graph, file, WebPages(), Export())
    opened = BrowserBackend(browser, file, open_manifest(graph))
    expected: Prediction = load_predictor(graph, "cpu").predict(path)
    assert take(opened.page, path).startswith("disc: ")
    alike(np.asarray(nibabel.load(saved_mask(opened.page, tmp_path)).dataobj), expected.mask)
    assert "it sees 32 × 32 pixels in the middle" in opened.page.locator("#notes").inner_text()
    assert opened.problems == []
    opened.page.close()
