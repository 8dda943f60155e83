"""A page with WebGPU: checked by that of software, and computing without it where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdseg.backends.graph_checksum import open_manifest
from sdseg.config.export import Export
from sdseg.config.web_pages import WebPages
from sdseg.export.web.browser_backend import BrowserBackend
from sdseg.export.web.html_file import export_web
from tests.helpers.browser import chromium
from tests.helpers.tiny import RGB, write_store


def test_a_page_with_webgpu_is_checked_by_both_ways_to_compute(bright_rgb: Path, tmp_path: Path) -> None:
    store, file = write_store(tmp_path / "prepared", RGB), tmp_path / "segment.html"
    export_web(bright_rgb, file, WebPages(parity_cases=2, unchecked="keep", webgpu=True), Export(), prepared=store)
    record = json.loads(file.with_suffix(".json").read_text())
    if (reason := record.get("not_run", record.get("webgpu_not_run"))) is not None:
        pytest.skip(reason)
    assert record["parity"]["n_cases"] == 2
    assert record["webgpu_parity"]["passed"]
    assert record["webgpu_parity"]["n_slices"] == 3
    assert record["webgpu_parity"]["max_abs_difference"] < 1e-5
    with chromium() as browser:
        page = BrowserBackend(browser, file, open_manifest(bright_rgb), software_adapter=True)
        assert page.computes()["provider"] == "WebAssembly"
        why = "without WebGPU: the browser offers no graphics processor"
        assert why in (page.page.locator("#status").text_content() or "")
        assert why in (page.page.locator("#facts").text_content() or "")
        assert page.problems == []
