"""The page in a real browser: quiet, alone, sortable, enlargeable, scrollable, by keyboard, in both themes, on a phone.

Needs Playwright and a Chromium: the one named by SDSEG_CHROMIUM, one on the PATH, or Playwright's own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sdseg.report.report import compare, report
from tests.helpers.stage_results import StageResults, edit_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PUBLISHED = Path(__file__).resolve().parents[2] / "resources" / "paper"
PATIENCE = 180_000  # ms: a busy machine is slow, not wrong
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = os.environ.get("SDSEG_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}; install chromium, or name one by SDSEG_CHROMIUM")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(stages: StageResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = stages.results(tmp_path_factory.mktemp("results"), ("btcv", "cvc", "refuge2"))
    # As much as a card can hold: masks made elsewhere, seeds, and an export checked several times.
    edit_json(folder / "cvc" / "unet" / "evaluation" / "summary.json", predictions="masks")
    for seed in (0, 1):
        stages.run(folder / "cvc" / f"a-recipe-with-a-long-name-seed{seed}", seed=seed)
    parity = folder / "cvc" / "sdseg" / "export" / "parity.json"
    found = json.loads(parity.read_text("utf-8"))
    none = {"file": "model.bf16.onnx", "precision": "bf16", "backend": "onnxruntime-cpu", "not_run": "no convolution"}
    edit_json(parity, checks=[{**found, "file": "model.onnx"}, none])
    report(folder, folder / "report.html", PUBLISHED)
    compare(folder, folder, folder / "comparison.html")
    return folder / "report.html"


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(file.as_uri())
    yield page
    page.close()


@pytest.mark.parametrize("name", ["report.html", "comparison.html"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_opens_quietly_alone_and_fits(browser: Browser, file: Path, theme: str, width: int, name: str) -> None:
    file = file.with_name(name)
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_load_state("load")
    page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {file.as_uri()}
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sticking_out = """[...document.querySelectorAll("body *")].filter((each) => !each.closest(".scroll, .unseen, .skip")
      && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML.slice(0, 80))"""
    assert page.evaluate(sticking_out) == []
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 384) == (theme == "light")
    page.close()


def test_headings_sort_by_keyboard(page: Page) -> None:
    page.locator("th button", has_text="Dice").focus()
    read = """[...document.querySelectorAll("td[data-label=Dice]")].map((cell) => Number(cell.dataset.value))"""
    page.keyboard.press("Enter")
    assert page.evaluate(read) == sorted(page.evaluate(read), reverse=True)
    page.keyboard.press("Space")
    assert page.evaluate(read) == sorted(page.evaluate(read))
    assert page.locator("#sorted").text_content() == "Sorted by Dice, ascending"


def test_a_phone_sorts_by_a_list(browser: Browser, file: Path) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.set_default_timeout(PATIENCE)
    page.goto(file.as_uri())
    chosen = page.locator("#sort-by")
    words = [text for text in chosen.locator("option").all_text_contents() if text.startswith("IoU")]
    chosen.select_option(label=words[0])
    found = page.evaluate("[...document.querySelectorAll('td[data-label=IoU]')].map((one) => +one.dataset.value)")
    assert found == sorted(found, reverse=True)
    page.close()


def test_pictures_enlarge_and_close_by_keyboard(page: Page) -> None:
    picture = page.locator("button.enlarge").first
    picture.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog#viewer")
    assert dialog.evaluate("one => one.open")
    first = page.locator("#viewer-caption").text_content()
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-caption").text_content() != first
    page.keyboard.press("Escape")
    assert not dialog.evaluate("one => one.open")
    assert picture.evaluate("one => one === document.activeElement")


def test_volumes_scroll_by_keyboard_and_their_outlines_can_be_hidden(page: Page, file: Path) -> None:
    volume = page.locator(".volume").first
    slider, canvas = volume.locator("input[type=range]"), volume.locator("canvas")
    page.wait_for_function(
        "document.querySelector('.volume canvas').getContext('2d').getImageData(320,320,1,1).data[3]"
    )
    volumes = file.parent / "btcv" / "sdseg" / "evaluation" / "volumes"
    best, worst = (json.loads((volumes / f"{rank}.json").read_text("utf-8")) for rank in ("best", "worst"))
    shown, slices = best["first"] + 1, best["slices"]  # the largest label
    assert slider.input_value() == str(shown)
    drawn = canvas.evaluate("one => one.toDataURL()")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert canvas.get_attribute("data-slice") == str(shown + 1)
    assert volume.locator("output").text_content() == f"Slice {shown + 1} of {slices}"
    assert canvas.evaluate("one => one.toDataURL()") != drawn
    page.keyboard.press("End")
    assert canvas.get_attribute("data-slice") == str(slices)
    page.keyboard.press("Home")
    with_outlines = canvas.evaluate("one => one.toDataURL()")
    for tick in volume.locator("input[type=checkbox]").all():
        tick.focus()
        page.keyboard.press("Space")
    assert canvas.evaluate("one => one.toDataURL()") != with_outlines
    volume.locator("select").select_option("1")
    assert volume.locator("output").text_content() == f"Slice {worst['first'] + 1} of {worst['slices']}"


def test_the_keyboard_reaches_everything(page: Page) -> None:
    wanted = """[...document.querySelectorAll("a[href], button, select, input, summary, [tabindex='0']")]
      .filter((each) => !each.closest("dialog") && each.checkVisibility()).length"""
    page.evaluate("document.addEventListener('focusin', (event) => event.target.setAttribute('data-seen', ''))")
    number = page.evaluate(wanted)
    for _ in range(number + 2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.querySelectorAll('[data-seen]').length") >= number
