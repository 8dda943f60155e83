"""`predict.json`: what a prediction did, kept and refused, as typed records."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, FiniteFloat

from sdseg.artifacts.results.record import FORMAT, Positive, Record

__all__ = ["KIND", "Failure", "PredictedInput", "PredictingModel", "Predictions", "Skipped"]

KIND = "sdseg-predictions"


class PredictingModel(Record):
    """The model that was asked, and why this one."""

    path: str
    checksum: str
    dataset: str
    origin: str
    recipe: str
    chosen: str


class PredictedInput(Record):
    """One input and its results. By kind of result: `outputs` (names of files), `bytes`, `checksums` (SHA-256).

    What another version wrote of an input of a former run is kept.
    """

    model_config = ConfigDict(extra="allow")

    input: str
    series: str | None = None  # of DICOM, its UID
    channels: tuple[str, ...] | None = None  # of several the file of each, in the model's order
    key: str  # which tells inputs apart
    name: str  # which its results begin with
    outputs: dict[str, str]
    shape: tuple[int, ...] = ()  # slices, rows, columns
    pixels: dict[str, int] = Field(default_factory=dict)  # structure -> its pixels, each counted whole
    label_map: dict[str, int] | None = None  # as pixels, in a file of one label a pixel
    millilitres: dict[str, FiniteFloat] | None = None
    area_mm2: dict[str, FiniteFloat] | None = None  # of a volume of one slice
    # structure -> its connected parts, and the mean of the input there; None of those where nothing was found
    components: dict[str, int] | None = None
    mean_intensity: dict[str, FiniteFloat | None] | None = None
    intensity_unit: str = ""
    hypotheses: tuple[dict[str, Any], ...] = ()  # of each: pixels, and millilitres of a volume
    # structure -> unit, mean and 90 % interval (low, high) of its size over the hypotheses
    over_hypotheses: dict[str, dict[str, Any]] = Field(default_factory=dict)
    samples: int | None = None  # hypotheses that were asked of the model; None: its own number
    tiles: dict[str, Any] | None = None  # how the image was seen in tiles; None: as a whole
    empty: bool
    notes: tuple[str, ...]
    seconds: Positive | None = None
    model: str  # checksum
    rule: dict[str, Any] = Field(default_factory=dict)  # how masks were made of probabilities
    bytes: dict[str, int]
    checksums: dict[str, str] = Field(default_factory=dict)
    fingerprint: str  # of the input's files
    kept: bool  # from a former run


class Failure(Record):
    """An input that could not be segmented."""

    input: str
    problem: str
    remedy: str


class Skipped(Record):
    """A file that is no input."""

    input: str
    reason: str


class Predictions(Record):
    """`predict.json`."""

    format: int = FORMAT
    kind: str = KIND
    model: PredictingModel | None = None
    backend: str = ""
    device: str = ""
    threshold: FiniteFloat | None = None
    exclusive: bool = False
    postprocessing: dict[str, bool] = Field(default_factory=dict)
    overlap: str | None = None  # which structure takes a pixel of several, where a file has one label a pixel
    values: dict[str, str] = Field(default_factory=dict)  # value in a mask -> structure
    label_ids: dict[str, tuple[int, ...]] = Field(default_factory=dict)  # the same -> label ids of the dataset in it
    probabilities: dict[str, str] = Field(default_factory=dict)  # kind of result -> structure
    rule_by_user: dict[str, bool] = Field(default_factory=dict)  # what of the above the user said, and not the model
    # Name of a file of the whole run -> SHA-256 as this run wrote it, and as the one before did.
    run_files: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    seconds: Positive | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    n_done: int
    n_kept: int
    n_failed: int
    empty_masks: tuple[str, ...]  # inputs
    failures: tuple[Failure, ...]
    inputs: tuple[PredictedInput, ...]
    earlier: tuple[PredictedInput, ...]  # inputs of former runs into the same folder
