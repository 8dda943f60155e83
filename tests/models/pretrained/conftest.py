"""What every conversion of these tests does without: the codec's quality on hundreds of shapes."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec is measured on fewer shapes: half of a conversion's time."""
    monkeypatch.setattr("sdseg.models.codec_quality.HELD_OUT", 32)
