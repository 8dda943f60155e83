"""The datasets' names: the light list says what the records say, and nothing outside knows them."""

from __future__ import annotations

import re
from pathlib import Path

import sdseg
from sdseg.datasets.layouts import LAYOUTS
from sdseg.datasets.phantoms import PHANTOM_SOURCES
from sdseg.datasets.source_names import PHANTOM_NAMES, SOURCE_NAMES
from sdseg.datasets.sources import SOURCES


def test_the_light_names_are_those_of_the_records() -> None:
    assert set(SOURCE_NAMES) == set(SOURCES) == set(LAYOUTS)
    assert set(PHANTOM_NAMES) == set(PHANTOM_SOURCES) == {name for name in SOURCES if SOURCES[name].phantom}


def test_names_stand_below_datasets_alone() -> None:
    package = Path(sdseg.__file__).parent
    name = re.compile(rf"\b({'|'.join(SOURCE_NAMES)})\b", re.IGNORECASE)
    elsewhere = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != "datasets"]
    assert len(elsewhere) > 100
    assert [str(path) for path in elsewhere if name.search(path.read_text("utf-8"))] == []
