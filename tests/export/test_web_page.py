"""A model in one HTML file: in headless Chromium it finds what `sdseg predict` finds, quietly."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import nibabel
import numpy as np
import pytest

from sdseg.artifacts.image_contract import Structure
from sdseg.backends.graph_checksum import open_manifest
from sdseg.config.export import Export
from sdseg.config.patches import SlidingWindow
from sdseg.config.web_pages import WebPages
from sdseg.core.errors import ListedError, UserError
from sdseg.export.web.browser_backend import BrowserBackend
from sdseg.export.web.html_file import export_web
from sdseg.export.web.one_file import ASSETS
from sdseg.export.web.page_contract import check_runs_in_browser, page_contract
from sdseg.inference.predictor import Prediction, load_predictor
from sdseg.io.structure_colours import structure_colour
from tests.helpers.browser import chromium
from tests.helpers.raw_files import write_series
from tests.helpers.tiny import CT, DISC_CUP, RGB, describe, write_graph, write_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WEB = Path(__file__).resolve().parents[2] / "web"
PATIENCE = 120.0  # seconds: a busy machine is slow, not wrong


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web é")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def image_page(browser: Browser, bright_rgb: Path, folder: Path) -> BrowserBackend:
    file = folder / "images.html"
    export_web(bright_rgb, file, WebPages(), Export())
    return BrowserBackend(browser, file, open_manifest(bright_rgb))


@pytest.fixture(scope="module")
def volume_page(browser: Browser, bright_ct: Path, folder: Path) -> BrowserBackend:
    """Its model lies beside it."""
    file = folder / "volumes.html"
    export_web(bright_ct, file, WebPages(most_megabytes=0), Export())
    return BrowserBackend(browser, file, open_manifest(bright_ct), file.with_suffix(".onnx"))


def take(page: Page, *files: Path) -> str:
    """Give files to the page; what it says once it is done."""
    page.locator("#files").set_input_files(list(files))
    return said(page)


def said(page: Page) -> str:
    deadline = time.monotonic() + PATIENCE
    while not page.evaluate("() => sdseg.isReady()"):
        assert time.monotonic() < deadline, page.locator("#status").text_content()
        time.sleep(0.05)
    return page.locator("#message").text_content() or page.locator("#status").text_content() or ""


def saved_mask(page: Page, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.locator("#save-mask").click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def elsewhere(function: Callable[..., None], *values: object, **more: object) -> None:
    """Call it in a thread of its own: Playwright runs once in each, and in this one for the fixtures."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(function, *values, **more).result()


def alike(mask: np.ndarray, expected: np.ndarray) -> None:
    """But for pixels on the threshold: uint8 images are resized in whole numbers, whose last digit may differ."""
    assert mask.shape == expected.shape
    assert expected.any()
    assert np.mean(mask != expected) < 0.002


def photo(path: Path, orientation: int = 6) -> Path:
    """A JPEG with the camera's rotation in its header."""
    pixels = _scene(90, 60)
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 98])
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    path.write_bytes(data[:2].tobytes() + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:].tobytes())
    return path


def _scene(height: int, width: int) -> np.ndarray:
    """BGR with a bright ellipse off the middle."""
    pixels = np.random.default_rng(0).integers(20, 60, (height, width, 3)).astype(np.uint8)
    cv2.ellipse(pixels, (width // 3, height // 2), (width // 5, height // 3), 20, 0, 360, (210, 220, 230), -1)
    return pixels


@pytest.mark.parametrize("kind", ["png of 16 bits", "photo on its side"])
def test_an_image_gets_the_mask_of_predict(
    image_page: BrowserBackend, bright_rgb: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "photo on its side":
        path = photo(tmp_path / "IMG é.jpg")
    else:
        path = tmp_path / "<b>deep.png"
        cv2.imwrite(str(path), _scene(70, 110).astype(np.uint16) * 257)
    expected = load_predictor(bright_rgb, "cpu").predict(path)
    status = take(image_page.page, path)
    assert status.startswith("polyp: ")
    assert f"{int(expected.mask.sum()):,}"[:2] in status
    mask = cv2.imread(str(saved_mask(image_page.page, tmp_path)), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) == {0, 255}
    alike(mask > 0, expected.mask > 0)
    assert image_page.page.locator("#result-heading").text_content() == path.name  # as text, whatever it holds
    assert image_page.problems == []


def _volume(path: Path) -> Path:
    """An oblique volume with two bright spheres in one another, stored with a slope."""
    shape = (30, 44, 9)
    place = np.stack(np.meshgrid(*(np.arange(length) for length in shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm((place - (12, 25, 4)) * (1, 1, 3), axis=-1)
    values = np.select([distance < 5, distance < 10], [230.0, 110.0], -80.0) + 1024.0
    affine = np.array([[-0.7, 0.1, 0.0, 11], [0.1, 0.0, 2.4, -7], [0.0, 0.8, 0.3, 5], [0, 0, 0, 1]], dtype=float)
    image = nibabel.Nifti1Image(values.astype(np.int16), affine)
    image.header.set_slope_inter(1.0, -1024.0)
    nibabel.save(image, path)
    return path


def test_a_volume_gets_the_mask_of_predict_in_its_own_geometry(
    volume_page: BrowserBackend, bright_ct: Path, tmp_path: Path
) -> None:
    path = _volume(tmp_path / "a.nii.gz")
    expected: Prediction = load_predictor(bright_ct, "cpu").predict(path)
    status = take(volume_page.page, path)
    assert status.startswith("disc: ")
    image = nibabel.load(saved_mask(volume_page.page, tmp_path))
    alike(np.asarray(image.dataobj), expected.mask)
    np.testing.assert_allclose(image.affine, nibabel.load(path).affine, atol=1e-5)
    assert image.get_data_dtype() == np.uint8
    assert volume_page.problems == []


def test_a_real_series_gets_the_mask_of_predict(
    volume_page: BrowserBackend, bright_ct: Path, samples: Path, tmp_path: Path
) -> None:
    """Of DICOM, packed as JPEG 2000, with a rescale intercept; a bar tells how far it is, and the volume is right."""
    page, series = volume_page.page, samples / "dicom_ct"
    page.evaluate(
        """() => {
          window.told = [];
          const bar = document.getElementById("progress");
          new MutationObserver(() => told.push(bar.value)).observe(bar, { attributes: true });
        }"""
    )
    expected: Prediction = load_predictor(bright_ct, "cpu").predict(series)
    status = take(page, *sorted(series.iterdir()))
    assert len({round(value, 2) for value in page.evaluate("() => told")}) > 10
    image = nibabel.load(saved_mask(page, tmp_path))
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected.mask)
    assert expected.geometry is not None
    np.testing.assert_allclose(image.affine, expected.geometry.matrix, atol=1e-5)
    millilitres = np.count_nonzero(expected.masks[0]) * abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert f"disc: {millilitres:.1f} ml" in status
    assert volume_page.problems == []


def test_a_volume_is_cut_in_the_plane_of_its_model(browser: Browser, folder: Path, tmp_path: Path) -> None:
    graph = write_graph(folder / "sagittal.onnx", CT.model_copy(update={"slicing": "sagittal"}), DISC_CUP)
    file, path = folder / "sagittal.html", _volume(tmp_path / "a.nii.gz")
    export_web(graph, file, WebPages(), Export())
    opened = BrowserBackend(browser, file, open_manifest(graph))
    expected: Prediction = load_predictor(graph, "cpu").predict(path)
    take(opened.page, path)
    alike(np.asarray(nibabel.load(saved_mask(opened.page, tmp_path)).dataobj), expected.mask)
    label = opened.page.locator("#planes canvas").get_attribute("aria-label") or ""
    assert re.findall(r"(\w+) slice \d+ of (\d+)", label) == [("Axial", "44"), ("Coronal", "9"), ("Sagittal", "30")]
    assert opened.problems == []
    _lose_the_graphics_card(opened.page)
    assert opened.page.locator("#planes canvas").count() == 3
    assert "without 3-D: the graphics card gave up the picture" in take(opened.page, path)
    labels = opened.page.eval_on_selector_all("#planes canvas", "all => all.map((one) => one.ariaLabel)")
    assert [label.split(",")[0].split(" of ")[1] for label in labels] == ["44", "9", "30"]
    assert opened.problems == []


def _lose_the_graphics_card(page: Page) -> None:
    lose = "() => document.querySelector('.stage canvas').getContext('webgl2').getExtension('WEBGL_lose_context')"
    page.evaluate(f"{lose}.loseContext()")
    deadline = time.monotonic() + PATIENCE
    while "without 3-D" not in (page.locator("#status").text_content() or ""):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_viewer_shows_the_mask_where_it_lies(volume_page: BrowserBackend, bright_ct: Path, tmp_path: Path) -> None:
    """Of the saved picture of each plane: right is left, the front or the head on top; and 3-D is another picture."""
    page, path = volume_page.page, _volume(tmp_path / "a.nii.gz")
    assert "Computed in" in take(page, path)
    image = nibabel.Nifti1Image(load_predictor(bright_ct, "cpu").predict(path).mask, nibabel.load(path).affine)
    labels = np.asarray(nibabel.as_closest_canonical(image).dataobj)[::-1, ::-1, ::-1]
    page.locator("#outlines").uncheck()
    page.locator("#opacity").press("End")
    for axis, view in ((2, "axial"), (1, "coronal"), (0, "sagittal")):
        page.locator(".view select").select_option(view)
        seen = cv2.imread(str(_saved_picture(page, tmp_path)))[:, :, ::-1].astype(int)
        place = int(page.get_by_label(f"{view.title()} slice", exact=True).input_value()) - 1
        if axis == 2:
            place = labels.shape[2] - 1 - place  # counted from the feet
        expected = cv2.resize(labels.take(place, axis).T, seen.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        found = np.zeros_like(expected)
        for number in range(2):
            found[np.abs(seen - structure_colour(number)).max(axis=2) < 8] = number + 1
        assert set(np.unique(expected)) == {0, 1, 2}
        assert np.mean(found != expected) < 0.04  # the crosshair, the letters
    page.locator(".view select").select_option("solid")
    assert not np.array_equal(cv2.imread(str(_saved_picture(page, tmp_path)))[:9, :9], seen[:9, :9])
    page.locator(".view select").select_option("planes")
    assert volume_page.problems == []


def _saved_picture(page: Page, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.locator("#save-picture").click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    said(page)
    return path


def test_a_zipped_series_with_a_rescale_slope_gets_the_mask_of_predict(
    volume_page: BrowserBackend, bright_ct: Path, tmp_path: Path
) -> None:
    voxels = np.full((26, 31, 6), 944, dtype=np.int16)
    voxels[5:20, 8:24, 1:5] = 1134
    voxels[9:15, 12:19, 2:4] = 1254
    axes = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # cut from the side, as few are
    series = write_series(tmp_path / "series", voxels // 2, directions=axes, t0028_1053="2")
    expected = load_predictor(bright_ct, "cpu").predict(series)
    zipped = Path(shutil.make_archive(str(tmp_path / "scan"), "zip", series))
    assert take(volume_page.page, zipped).startswith("disc: ")
    mask = nibabel.load(saved_mask(volume_page.page, tmp_path))
    assert expected.geometry is not None
    ours = nibabel.orientations.apply_orientation  # of the file as the page wrote it, along the axes of Python's
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(mask.affine), nibabel.io_orientation(expected.geometry.matrix)
    )
    alike(ours(np.asarray(mask.dataobj), turn), expected.mask)
    voxel = abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    shown = volume_page.page.locator("#sizes tbody td").first.inner_text()
    assert float(shown.split()[0]) == pytest.approx(float(expected.masks[0].sum()) * voxel, rel=0.01)
    assert volume_page.problems == []


def test_sliders_change_the_mask(volume_page: BrowserBackend, tmp_path: Path) -> None:
    page = volume_page.page
    take(page, _volume(tmp_path / "a.nii.gz"))
    sizes = page.locator("#sizes tbody td").nth(0)
    before = sizes.text_content()
    slices = page.locator("#planes").screenshot()
    page.locator("#planes input").first.press("ArrowRight")
    page.locator("#threshold").press("Home")
    deadline = time.monotonic() + PATIENCE
    while sizes.text_content() == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sizes.text_content() != before
    assert page.locator("#planes").screenshot() != slices
    canvas, slider = page.locator("#planes canvas"), page.get_by_label("Sagittal slice", exact=True)
    place = int(slider.input_value())
    canvas.press("ArrowRight")
    assert int(slider.input_value()) == place + 1
    assert f"Sagittal slice {place + 1} of 30" in (canvas.get_attribute("aria-label") or "")
    canvas.click(position={"x": 12, "y": 40})
    assert int(slider.input_value()) < 5  # at the patient's right
    page.evaluate("""() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["no volume"], "notes.nii"));
      const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer });
      document.querySelector("#planes canvas").dispatchEvent(drop);
    }""")
    while "notes.nii" not in said(page):
        assert time.monotonic() < deadline
    assert volume_page.problems == []


def test_a_slider_moved_during_work_is_heeded_and_saved(image_page: BrowserBackend, tmp_path: Path) -> None:
    page = image_page.page
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), _scene(70, 110))
    take(page, path)
    sizes = page.locator("#sizes tbody td").first
    move = """value => {
      const slider = document.getElementById("threshold");
      slider.value = value;
      slider.dispatchEvent(new Event("input"));
    }"""
    shown = [sizes.inner_text()]
    with page.expect_download():
        page.evaluate(f"() => {{ document.getElementById('save-mask').click(); ({move})(0.01); }}")
    said(page)
    shown.append(sizes.inner_text())
    with page.expect_download() as waiting:
        page.evaluate(f"() => {{ ({move})(0.5); document.getElementById('save-mask').click(); }}")
    waiting.value.save_as(tmp_path / "mask.png")
    said(page)
    assert shown[1] != shown[0] == sizes.inner_text()
    mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    assert shown[0].startswith(f"{np.count_nonzero(mask):,} pixels")
    assert image_page.problems == []


def test_of_several_inputs_those_that_can_be_worked_on_are_reached(image_page: BrowserBackend, tmp_path: Path) -> None:
    page, path = image_page.page, tmp_path / "b.png"
    cv2.imwrite(str(path), _scene(70, 110))
    page.reload()
    said(page)
    assert take(page, _volume(tmp_path / "a.nii.gz"), path).startswith("polyp: ")
    assert page.locator("#notes li").all_inner_texts()[-1] == "left out: 'a.nii.gz' is a volume"
    page.locator("#inputs").select_option("0")
    assert "made for an image" in said(page)
    assert page.locator("#inputs").input_value() == "1"  # what is still shown
    assert page.evaluate("() => document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert take(page, path).startswith("polyp: ")
    assert not page.locator("#inputs").is_visible()
    assert image_page.problems == []


def test_bad_files_get_one_message_and_the_page_goes_on(image_page: BrowserBackend, tmp_path: Path) -> None:
    text = tmp_path / "notes.nii"
    text.write_text("no volume")
    assert "notes.nii" in take(image_page.page, text)
    assert "made for an image" in take(image_page.page, _volume(tmp_path / "v.nii.gz"))
    assert image_page.page.locator("#message").text_content()
    image_page.page.locator("#try-sample").click()
    assert said(image_page.page).startswith("polyp: ")
    assert image_page.problems == []


def test_files_that_cannot_be_taken_get_a_word_which_the_next_ones_clear(
    image_page: BrowserBackend, tmp_path: Path
) -> None:
    page, path = image_page.page, tmp_path / "a.png"
    cv2.imwrite(str(path), _scene(70, 110))
    page.evaluate("""() => {
      document.getElementById("try-sample").click();
      const [files, data] = [document.getElementById("files"), new DataTransfer()];
      data.items.add(new File(["x"], "x.png"));
      files.files = data.files;
      files.dispatchEvent(new Event("change"));
    }""")
    assert "while the page was at work" in said(page)
    page.evaluate("""() => {
      const entry = { isFile: true, file: (_, refuse) => refuse(new Error("it is gone")) };
      const dataTransfer = { items: [{ webkitGetAsEntry: () => entry }], files: [] };
      document.dispatchEvent(Object.assign(new Event("drop"), { dataTransfer }));
    }""")
    deadline = time.monotonic() + PATIENCE
    while "it is gone" not in said(page):
        assert time.monotonic() < deadline
    assert take(page, path).startswith("polyp: ")
    assert image_page.problems == []


def test_a_damaged_page_says_so_and_is_not_replaced_by_what_is_dropped(
    browser: Browser, image_page: BrowserBackend, tmp_path: Path
) -> None:
    text = image_page.file.read_text()
    at = text.index('id="model">') + 1000
    damaged = tmp_path / "damaged.html"
    damaged.write_text(text[:at] + text[at + 400 :])
    with pytest.raises(UserError, match=r"page is damaged\. Get a whole copy"):
        BrowserBackend(browser, damaged, image_page.graph)
    page = browser.contexts[-1].pages[-1]
    assert page.locator("#drop-text").text_content() == "The model did not open."
    assert page.evaluate("() => !document.dispatchEvent(new Event('drop', { cancelable: true }))")
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone_in_both_themes(image_page: BrowserBackend, volume_page: BrowserBackend, theme: str) -> None:
    for page in (image_page.page, volume_page.page):
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": 360, "height": 780})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
        paper = page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
        assert (sum(map(int, paper[4:-1].split(","))) > 384) == (theme == "light")
        assert "Not a medical device" in page.locator("header").inner_text()
        assert "onnxruntime-web" in (page.locator("#licences").text_content() or "")


def test_the_keyboard_reaches_everything(image_page: BrowserBackend) -> None:
    page = image_page.page
    wanted = """() => [...document.querySelectorAll("button, select, input, summary, [tabindex='0']")]
      .filter((each) => !each.disabled && each.checkVisibility()).length"""
    page.evaluate("() => document.addEventListener('focusin', (event) => event.target.setAttribute('data-seen', ''))")
    number = page.evaluate(wanted)
    for _ in range(number + 2):
        page.keyboard.press("Tab")
    assert page.evaluate("() => document.querySelectorAll('[data-seen]').length") >= number


def test_parity_decides_whether_a_page_is_kept(bright_rgb: Path, tmp_path: Path) -> None:
    store, file = write_store(tmp_path / "prepared", RGB), tmp_path / "segment.html"
    options = WebPages(parity_cases=2, unchecked="keep")
    elsewhere(export_web, bright_rgb, file, options, Export(), prepared=store)
    record = json.loads(file.with_suffix(".json").read_text())
    if "not_run" in record:
        pytest.skip(record["not_run"])
    assert record["parity"]["passed"]
    assert record["parity"]["n_cases"] == 2
    assert record["parity"]["max_abs_difference"] < 1e-5
    file.unlink()
    with pytest.raises(ListedError, match="web page does not compute what the model computes"):
        elsewhere(export_web, bright_rgb, file, options, Export(max_abs_difference=1e-12), prepared=store)
    assert not file.exists()


def test_without_a_browser_the_configuration_decides(
    bright_rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDSEG_CHROMIUM", str(tmp_path / "none"))
    store, file = write_store(tmp_path / "prepared", RGB), tmp_path / "segment.html"
    with pytest.raises(UserError, match="page could not be checked"):
        elsewhere(export_web, bright_rgb, file, WebPages(), Export(), prepared=store)
    assert not file.exists()
    elsewhere(export_web, bright_rgb, file, WebPages(unchecked="keep"), Export(), prepared=store)
    assert "Chromium" in json.loads(file.with_suffix(".json").read_text())["not_run"]


def test_nothing_in_the_file_can_leave_its_place(bright_rgb: Path, tmp_path: Path) -> None:
    file = tmp_path / "segment.html"
    export_web(bright_rgb, file, WebPages(), Export())
    text = file.read_text()
    assert text.count("<script") == text.count("</script>")
    assert "connect-src 'none'" in text
    assert "unsafe-inline" not in text
    assert "'unsafe-eval'" not in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert file.stat().st_size < 12e6


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (describe(CT).model_copy(update={"sliding_window": SlidingWindow(size=(8, 32, 32))}), "sees patches"),
        (describe(CT.model_copy(update={"channels": 2})), "2 channels"),  # without names
        (describe(CT, tuple(Structure(name=f"organ {n}", values=(n,)) for n in range(1, 33))), "32 structures"),
    ],
)
def test_what_no_browser_runs_is_refused(graph: object, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        check_runs_in_browser(graph, tmp_path / "model.onnx")  # type: ignore[arg-type]


def test_the_page_knows_what_the_graph_says() -> None:
    noisy = page_contract(describe(CT, DISC_CUP, noise_shape=(4, 8, 8)))
    assert noisy["noise"]["shape"] == [4, 8, 8]
    assert [one["parts"] for one in noisy["structures"]] == [2, 1]
    assert noisy["window"] == [-175.0, 250.0]


@pytest.fixture
def node() -> str:
    program = shutil.which("node")
    if program is None or not (WEB / "node_modules" / "esbuild").is_dir():
        pytest.skip("Node.js or the packages of web/ are missing: 'make web' installs the packages")
    return program


def test_the_pages_own_tests_pass(node: str) -> None:
    files = sorted(str(path) for path in WEB.glob("tests/*/*.test.ts"))
    done = subprocess.run([node, "--import", "tsx", "--test", *files], cwd=WEB, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_built_page_is_that_of_its_sources(node: str, tmp_path: Path) -> None:
    subprocess.run([node, "build.mjs", str(tmp_path)], cwd=WEB, check=True)
    for path in sorted(tmp_path.iterdir()):
        assert path.read_bytes() == (ASSETS / path.name).read_bytes(), f"{path.name}: run 'make web', and commit it"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in ASSETS.iterdir()}
