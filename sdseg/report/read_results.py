"""Reading the files of a results folder into records. A wrong or missing key is a UserError that names key and file."""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sdseg.artifacts.results.evaluation import CaseRow, Overlay
from sdseg.artifacts.results.parity import Engine
from sdseg.artifacts.results.studies import STUDIES, LatentPicture, Latents, StudyRecords, TitledPicture, Volume
from sdseg.artifacts.results.training import Curves, Event, Resumed, Step, TrainingRecord, Validation
from sdseg.core.errors import UserError
from sdseg.core.files import read_json

__all__ = [
    "RANKS",
    "is_whole_png",
    "read_cases",
    "read_curves",
    "read_engines",
    "read_if_there",
    "read_overlays",
    "read_studies",
    "read_training",
    "read_volumes",
]

Record = TypeVar("Record", bound=BaseModel)
RANKS = ("best", "median", "worst")


def read_if_there(path: Path, model: type[Record]) -> Record | None:
    """What a file holds; None where there is none, as earlier versions or a run without that part leave it."""
    return read_json(path, model) if path.is_file() else None


def read_engines(folder: Path) -> tuple[Engine, ...]:
    """What the engines of an export folder say about themselves; none where there are none."""
    paths = sorted(folder.glob("*.engine.json"))
    return tuple(read_json(path, Engine).model_copy(update={"file": path.stem}) for path in paths)


def read_training(training: dict[str, Any], *, path: Path) -> TrainingRecord:
    """The training record inside the model's manifest at `path`."""
    return _validated(TrainingRecord, training, f"{path}, 'training'")


def read_cases(path: Path, *, expected: int) -> tuple[CaseRow, ...]:
    """Scores per case in the file's order. Raises UserError unless there are `expected` of them."""
    rows = []
    table = csv.DictReader(io.StringIO(_text(path), newline=""))
    for row in table:
        where = f"{path}, line {table.line_num}"
        rows.append(
            CaseRow(
                case=_cell(row, "case", where),
                dice=_score(row, "dice", where),
                iou=_score(row, "iou", where),
                predicted=_count(row, "pixels_predicted"),
                labelled=_count(row, "pixels_labelled"),
                note=row.get("undefined") or "",
            )
        )
    if len(rows) != expected:
        raise UserError(
            f"{len(rows)} cases, but summary.json beside it counts {expected}: the file is truncated or of another run",
            where=path,
            remedy="evaluate again",
        )
    return tuple(rows)


def read_curves(path: Path) -> Curves:
    """What the training logged."""
    loss: dict[int, float] = {}
    dice: dict[int, float] = {}
    resumed: list[int] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        event = _validated(Event, line, where)
        if event.event == "step":
            step = _validated(Step, line, where)
            loss[step.step] = float("nan") if step.loss is None else step.loss
        elif event.event == "validation":
            validation = _validated(Validation, line, where)
            dice[validation.step] = validation.dice
        elif event.event == "resumed":
            resumed.append(_validated(Resumed, line, where).step)
    return Curves(tuple(sorted(loss.items())), tuple(sorted(dice.items())), tuple(resumed))


def read_overlays(folder: Path) -> tuple[Overlay, ...]:
    """The pictures `<rank>_<case>.png` of a folder, best first; none where there is no folder."""
    if not folder.is_dir():
        return ()
    return tuple(_overlays(folder))


def is_whole_png(content: bytes) -> bool:
    """Whether it begins and ends as a PNG picture does."""
    return (
        content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR" and content.endswith(b"IEND\xaeB`\x82")
    )


def _overlays(folder: Path) -> Iterator[Overlay]:
    for rank in (*RANKS, "annotators"):
        for path in sorted(folder.glob(f"{rank}_*.png")):
            png = path.read_bytes()
            if not is_whole_png(png):
                raise UserError("not a whole PNG picture", where=path, remedy="evaluate again")
            width, height = struct.unpack(">II", png[16:24])
            yield Overlay(rank, path.stem.removeprefix(f"{rank}_"), png, width, height)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the file: {error}", where=path, remedy="make it again") from None


def _validated(model: type[Record], data: Any, where: str) -> Record:
    try:
        return model.model_validate_json(data) if isinstance(data, str) else model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"'{key}' {first['msg'].lower()}" if key else first["msg"],
            where=where,
            remedy="make it again with this version",
        ) from None


def _cell(row: dict[str, str | None], key: str, where: str) -> str:
    value = row.get(key)
    if value is None:
        raise UserError(f"column '{key}' is missing or the line is cut off", where=where, remedy="evaluate again")
    return value


def _score(row: dict[str, str | None], key: str, where: str) -> float:
    text = _cell(row, key, where)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise UserError(f"'{key}' is '{text}', a number from 0 to 1 was expected", where=where, remedy="evaluate again")
    return value


def _count(row: dict[str, str | None], key: str) -> int | None:
    text = row.get(key)
    return int(text) if text and text.isdecimal() else None


REMEDY = "run the study again"


def read_studies(folder: Path) -> StudyRecords:
    """The studies in an evaluation folder. Raises UserError for a file that is truncated or not as expected."""
    files = {name: folder / f"{name}.json" for name in STUDIES}
    records = StudyRecords(
        {name: read_json(file, STUDIES[name].record) for name, file in files.items() if file.is_file()}
    )
    latents = records.of(Latents)
    return records if latents is None else replace(records, pictures=tuple(_pictures(folder, latents)))


def read_volumes(folder: Path) -> tuple[Volume, ...]:
    """The volumes that may be scrolled, best first. Raises UserError where a picture is missing or cut off."""
    volumes = []
    for path in (folder / f"{rank}.json" for rank in RANKS):
        if not path.is_file():
            continue
        volume, picture = read_json(path, Volume), path.with_suffix(".webp")
        if len(volume.label) != volume.slices or len(volume.prediction) != volume.slices:
            raise UserError("the outlines are not one per slice", where=path, remedy="evaluate again")
        webp = picture.read_bytes() if picture.is_file() else b""
        if webp[:4] != b"RIFF" or webp[8:12] != b"WEBP" or int.from_bytes(webp[4:8], "little") + 8 > len(webp):
            raise UserError("not a whole WebP picture", where=picture, remedy="evaluate again")
        volumes.append(volume.model_copy(update={"webp": webp}))
    return tuple(volumes)


def _pictures(folder: Path, latents: Latents) -> list[TitledPicture]:
    titles = {"masks": "Masks, their latents and reconstructions", "conditions": "Condition before and after training"}
    pictures = []
    for name, title in titles.items():
        picture: LatentPicture = getattr(latents, name)
        png = None
        if picture.file is not None:
            path = folder / "latents" / Path(picture.file).name
            png = path.read_bytes() if path.is_file() else b""
            if not is_whole_png(png):
                raise UserError("not a whole PNG picture", where=path, remedy=REMEDY)
        pictures.append(TitledPicture(title, png, picture.reason or "not drawn"))
    return pictures
