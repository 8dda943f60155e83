"""A Chromium for tests that look at pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from sdseg.export.web.browser_backend import NoBrowserError, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["chromium"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless one. Skips where there is none."""
    try:
        with open_browser() as browser:
            yield browser
    except NoBrowserError as error:
        pytest.skip(f"no browser: {error}")
