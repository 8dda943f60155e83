"""The working size of a dataset as a plan knows it: one that prepare chooses is read from what it prepared."""

from __future__ import annotations

from pathlib import Path

from sdseg.artifacts.manifests import PreparedManifest
from sdseg.config.run import Config
from sdseg.config.shape import AutoSize, bound_of
from sdseg.core.errors import UserError
from sdseg.core.files import read_json

__all__ = ["planned_size"]


def planned_size(config: Config, name: str) -> tuple[int | tuple[int, int], str]:
    """The size; where it is not chosen yet the largest that it may be, and a note that says so ("" else)."""
    size = config.datasets[name].size
    if not isinstance(size, AutoSize):
        return size, ""
    manifest = Path(config.results) / name / "prepared" / "manifest.json"
    try:
        return read_json(manifest, PreparedManifest).image.size, ""
    except UserError:  # not prepared yet, or damaged, which whoever needs it will say
        most = bound_of(size)
        return most, f"{name}: 'size: auto' is chosen by prepare; counted here is the largest, {most} × {most} pixels"
