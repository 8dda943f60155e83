"""What a user chooses about models in one HTML file: the configuration's section `web`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sdseg.core.settings import MANY, Strict, parse, read_yaml

__all__ = ["WebPages", "load_web_pages"]


class WebPages(Strict):
    """One file per recipe that opens in a browser and holds the model (docs/web.md)."""

    pages: bool = False  # true: every recipe gets results/<dataset>/<recipe>/export/segment.html
    # Where no Chromium is to be found that could check the file on real cases: an error, or keep it and say so.
    unchecked: Literal["refuse", "keep"] = "refuse"
    parity_cases: int | None = Field(8, ge=1, le=MANY)  # at most this many test cases; null for all
    most_megabytes: float = Field(100.0, ge=0, le=300)  # of a model within the file; a larger one lies beside it
    webgpu: bool = False  # true: the page computes with a graphics processor where a browser has one; 6 MB larger


def load_web_pages(path: Path) -> WebPages:
    """Read a file that holds a value of `web`. Raises UserError that lists every wrong key."""
    return parse(WebPages, read_yaml(path), where=str(path))
