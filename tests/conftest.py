"""Fixtures shared by all tests: folders of real samples and golden values, which may be absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no {name} here: set {variable} to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def samples() -> Path:
    """Small real images in the datasets' own layouts."""
    return _folder("SDSEG_SAMPLES", "samples")


@pytest.fixture(scope="session")
def golden() -> Path:
    """What the official network computes, to compare with."""
    return _folder("SDSEG_GOLDEN", "golden")
