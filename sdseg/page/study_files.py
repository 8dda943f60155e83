"""Reading what the studies of a model left, and the volumes to scroll. A file that is cut off is a UserError."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from sdseg.artifacts.results.studies import (
    Drawn,
    Efficiency,
    Findings,
    Latents,
    Picture,
    Robustness,
    Stability,
    Sweep,
    Volume,
)
from sdseg.core.errors import UserError
from sdseg.core.files import read_json
from sdseg.page.reading import RANKS, is_whole_png

__all__ = ["read_findings", "read_volumes"]

REMEDY = "run the study again"
Record = TypeVar("Record", bound=BaseModel)


def read_findings(folder: Path) -> Findings:
    """The studies in an evaluation folder. Raises UserError for a file that is truncated or not as expected."""
    latents = _optional(folder / "latents.json", Latents)
    return Findings(
        sweep=_optional(folder / "sweep.json", Sweep),
        stability=_optional(folder / "stability.json", Stability),
        robustness=_optional(folder / "robustness.json", Robustness),
        efficiency=_optional(folder / "efficiency.json", Efficiency),
        latents=latents,
        pictures=tuple(_pictures(folder, latents)) if latents else (),
    )


def read_volumes(folder: Path) -> tuple[Volume, ...]:
    """The volumes that may be scrolled, best first. Raises UserError where a picture is missing or cut off."""
    found = []
    for path in (folder / f"{rank}.json" for rank in RANKS):
        if not path.is_file():
            continue
        volume, picture = read_json(path, Volume), path.with_suffix(".webp")
        if len(volume.label) != volume.slices or len(volume.prediction) != volume.slices:
            raise UserError("the outlines are not one per slice", where=path, remedy="evaluate again")
        webp = picture.read_bytes() if picture.is_file() else b""
        if webp[:4] != b"RIFF" or webp[8:12] != b"WEBP" or int.from_bytes(webp[4:8], "little") + 8 > len(webp):
            raise UserError("not a whole WebP picture", where=picture, remedy="evaluate again")
        found.append(volume.model_copy(update={"webp": webp}))
    return tuple(found)


def _optional(path: Path, model: type[Record]) -> Record | None:
    return read_json(path, model) if path.is_file() else None


def _pictures(folder: Path, latents: Latents) -> list[Picture]:
    titles = {"masks": "Masks, their latents and reconstructions", "conditions": "Condition before and after training"}
    found = []
    for name, title in titles.items():
        drawn: Drawn = getattr(latents, name)
        png = None
        if drawn.file is not None:
            path = folder / "latents" / Path(drawn.file).name
            png = path.read_bytes() if path.is_file() else b""
            if not is_whole_png(png):
                raise UserError("not a whole PNG picture", where=path, remedy=REMEDY)
        found.append(Picture(title, png, drawn.reason or "not drawn"))
    return found
