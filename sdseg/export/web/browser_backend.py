"""The page in headless Chromium, as a backend: raw images to the probability that a user of the page would get.

Needs Playwright and a Chromium: the one that SDSEG_CHROMIUM names, one on the PATH, or Playwright's own.
"""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.inputs import as_input
from sdseg.core.array_types import FloatArray, RawImages
from sdseg.core.errors import UserError, first_line

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["BrowserBackend", "NoBrowserError", "open_browser"]

# A WebGPU that every Chromium brings along: it computes on the processor, slowly. And what lets the page use it.
SOFTWARE_WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
SOFTWARE_TOO = "#software-adapter"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 300.0  # seconds until the page has its model open: a busy machine is slow, not wrong
# Base64 in both directions: an array of numbers would take ten times as long.
COMPUTE = """async ([text, floats, count]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const values = floats ? new Float32Array(bytes.buffer) : bytes;
  const output = new Uint8Array((await sdseg.run("probability", { values, count })).buffer);
  let binary = "";
  for (let at = 0; at < output.length; at += 32768) binary += String.fromCharCode(...output.subarray(at, at + 32768));
  return btoa(binary);
}"""


class NoBrowserError(Exception):
    """Why no browser can be started here."""


class BrowserBackend:
    """A page that was written, open in a browser. `name` says which runtime computes.

    `problems` has what the page said on its console, and what it asked for beyond itself: both should stay empty.
    Raises UserError where the page does not open its model.
    """

    name = "onnxruntime-web"

    def __init__(
        self,
        browser: Browser,
        file: Path,
        graph: GraphManifest,
        model: Path | None = None,
        *,
        address: str | None = None,
        software_adapter: bool = False,
    ) -> None:
        """`model`: the file beside the page, where the model lies there; `address`: where a server has the page.

        `software_adapter`: a page with WebGPU may compute by one in software, which it otherwise leaves alone.
        """
        self.file, self.graph, self.problems = file.resolve(), graph, list[str]()
        self.address = address or self.file.as_uri()
        self.browser = f"{browser.browser_type.name} {browser.version}"
        self.page = browser.new_page()
        self._open(model, SOFTWARE_TOO if software_adapter else "")

    def probability(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] -> probability [N,K,H,W]; see Backend."""
        answer: str = self.page.evaluate(COMPUTE, self.as_text(images))
        shape = (len(images), len(self.graph.structures), *self.graph.image.sides)
        values = np.frombuffer(base64.b64decode(answer), dtype="<f4")
        return values.reshape(shape).astype(np.float32)

    def as_text(self, images: RawImages) -> list[str | bool | int]:
        """Raw images [N,H,W,C] on their way into the page: base64, whether it is of float32, N."""
        fed = as_input(images, self.graph.image)
        return [base64.b64encode(fed.tobytes()).decode("ascii"), bool(fed.dtype == np.float32), len(fed)]

    def computes(self) -> dict[str, str | None]:
        """Who has computed so far: `provider` (WebGPU or WebAssembly), `whyNoGpu` of a page that could do otherwise."""
        answer: dict[str, str | None] = self.page.evaluate("() => sdseg.run('computes', null)")
        return answer

    def _open(self, model: Path | None, fragment: str) -> None:
        page = self.page
        page.set_default_timeout(PATIENCE * 1000)
        page.on("console", lambda message: self.problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", lambda request: self._heard(request.url))
        page.goto(self.address + fragment)
        if model is not None:
            page.locator("#model-file").set_input_files(model)
        deadline = time.monotonic() + PATIENCE
        # Not by Playwright's own waiting, which the policy of the page stops: it evaluates text.
        while not page.evaluate("() => sdseg.isReady()"):
            message = page.locator("#message").text_content()
            if message or self.problems or time.monotonic() > deadline:
                raise UserError(
                    f"the page does not open its model in {self.browser}: "
                    f"{message or '; '.join(self.problems) or f'not within {PATIENCE:.0f} s'}",
                    where=self.file,
                    remedy="export the model in fp32; if it is, please report this",
                )
            time.sleep(0.1)

    def _heard(self, url: str) -> None:
        if url != self.address and not url.startswith(("blob:", "data:")):
            self.problems.append(f"request: {url}")


@contextmanager
def open_browser(*, webgpu: bool = False) -> Iterator[Browser]:
    """A headless Chromium for the time of the block, `webgpu` with that of software.

    Raises NoBrowserError where there is none.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise NoBrowserError("Playwright is not installed (pip install playwright)") from None
    chosen = os.environ.get("SDSEG_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
    options: dict[str, Any] = {} if chosen is None else {"executable_path": chosen}
    alone = os.geteuid() == 0  # as in containers, where Chromium refuses to start in its sandbox
    options["args"] = [
        *(("--no-sandbox",) if alone else ()),
        "--use-angle=swiftshader",  # all in software: by halves, Chromium calls WebGL slow on each page's console
        *(SOFTWARE_WEBGPU if webgpu else ()),
    ]
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(**options)
        except Error as error:
            why = f"no Chromium starts ({first_line(error)}); install one, or name it by SDSEG_CHROMIUM"
            raise NoBrowserError(why) from None
        try:
            yield browser
        finally:
            browser.close()
