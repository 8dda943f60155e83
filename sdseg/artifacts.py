"""Files between the stages: atomic writes, validated reads, checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sdseg import __version__
from sdseg.bounds import Channels, Checksum, Count, Probability, Range, WorkingSize
from sdseg.errors import UserError
from sdseg.ownership import check_owned

__all__ = [
    "GraphManifest",
    "GraphPort",
    "ImageContract",
    "Intensities",
    "ModelManifest",
    "PreparedManifest",
    "StoredType",
    "Structure",
    "atomic_file",
    "atomic_folder",
    "make_folder",
    "not_writable",
    "parse_json",
    "read_json",
    "sha256_file",
    "sha256_text",
    "write_json",
    "write_text",
]

StoredType = Literal["uint8", "int16", "uint16", "int32", "float16", "float32"]
Manifest = TypeVar("Manifest", bound=BaseModel)
FORMAT = 1
TEMPORARY = 40  # letters of its name that a temporary file has as well: names may be as long as the disk takes
_WRITE_ERRORS = {
    errno.ENOSPC,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EDQUOT,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
}


class _Strict(BaseModel):
    """Frozen, without unknown keys, without numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


def _distinct(structures: tuple[Structure, ...]) -> tuple[Structure, ...]:
    names = [each.name for each in structures]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"names '{twice[0]}' twice")
    return structures


class Structure(_Strict):
    """One thing to segment: the label ids that make it up. Structures may overlap (the disc contains the cup)."""

    name: str = Field(min_length=1)
    values: tuple[int, ...] = Field(min_length=1)


Structures = Annotated[tuple[Structure, ...], Field(min_length=1), AfterValidator(_distinct)]


class Intensities(_Strict):
    """How the raw values of the training images lay, at their native size: what an input is held against.

    Triples are the smallest, the median and the largest of all training cases.
    """

    cases: int
    low: float  # smallest value in any of them
    high: float  # largest
    p1: tuple[float, float, float]  # 1st percentile
    p50: tuple[float, float, float]
    p99: tuple[float, float, float]
    width: tuple[float, float, float]  # from the 1st to the 99th percentile


class ImageContract(_Strict):
    """What a model wants as input: enough to feed it a file of the user's own."""

    modality: str = Field(pattern="^(rgb|ct)$")
    size: WorkingSize  # working height and width
    channels: Channels  # 3 for rgb, 1 for ct
    window: Range  # these two raw values become -1 and 1; values outside are clipped
    train_clip: Range | None = None  # in training raw values are clipped here instead (published quirk)
    stretch: bool = False  # evaluated volumes span the window by themselves: data/slices.py `stretch` (published quirk)
    dtype: StoredType = "int16"  # in which raw values are kept; where it is left out uint8 for rgb, int16 for ct
    intensities: Intensities | None = None  # of the training images; None where they were not recorded

    @model_validator(mode="before")
    @classmethod
    def _usual_type(cls, data: Any) -> Any:
        """The type of contracts that were written before there were others."""
        if isinstance(data, dict) and data.get("dtype") is None:
            return data | {"dtype": "uint8" if data.get("modality") == "rgb" else "int16"}
        return data


class PreparedManifest(_Strict):
    """`prepared/manifest.json`: what the slice store beside it holds."""

    format: int = FORMAT
    dataset: str
    source: str
    origin: str  # "real", "sample" or "phantom": a phantom figure is never shown as a dataset's
    protocol: str
    target: str
    image: ImageContract
    structures: Structures
    exclusive: bool = False  # whether structures exclude each other in a pixel: sdseg/mask_rule.py
    labels: dict[int, str]  # every label id the dataset declares, with its name
    n_cases: dict[str, Count]  # per split
    n_slices: dict[str, Count]  # per split
    checksums: dict[str, str]  # file name -> SHA-256
    data_checksum: str  # SHA-256 over all of the above checksums: names this very preparation
    fast_checksums: dict[str, str] = Field(default_factory=dict)  # array file -> CRC-32; none in earlier versions
    provenance: dict[str, Any]


class ModelManifest(_Strict):
    """`model/config.json`: everything needed to rebuild the network and to feed it."""

    format: int = FORMAT
    kind: str = "sdseg-model"
    dataset: str
    origin: str
    protocol: str
    recipe_name: str
    recipe: dict[str, Any]  # the resolved recipe, as in config.Recipe
    codec: dict[str, Any] | None  # the codec's architecture; None for direct methods
    latent_scale: float | None = Field(gt=0)
    image: ImageContract
    structures: Structures
    threshold: Probability
    exclusive: bool = False  # whether structures exclude each other: the likelier one has the pixel
    training: dict[str, Any]  # step, validation Dice, seconds, data checksum, codec ceiling
    files: dict[str, str]  # weight file -> SHA-256
    provenance: dict[str, Any]


class GraphPort(_Strict):
    """One input or output of an exported graph."""

    name: str
    dtype: str
    axes: tuple[str | Annotated[int, Field(ge=1)], ...]  # a word names a dynamic axis
    range: Range | None  # smallest and largest meaningful value; None for noise


class GraphManifest(_Strict):
    """`export/io.json`, also carried inside the ONNX file as the metadata value `sdseg`.

    What defaults to None is unknown for graphs of earlier versions.
    """

    format: int = FORMAT
    kind: str = "sdseg-graph"
    version: str | None = None  # of this package
    precision: str = "fp32"  # in which the networks compute; inputs and outputs keep their types
    dataset: str
    origin: str
    recipe: str
    inputs: tuple[GraphPort, ...]
    outputs: tuple[GraphPort, ...]
    image: ImageContract
    structures: Structures
    threshold: Probability
    exclusive: bool = False  # true: of structures above the threshold the likeliest has the pixel; false: they overlap
    opset: int = Field(ge=1)
    protocol: str | None = None
    labels: dict[int, str] | None = None  # every label id the dataset declares, with its name
    interpolation: str | None = None  # how images were brought to the working size: data/slices.py `resize_images`
    data_checksum: str | None = None  # of the prepared data it was trained on
    model_checksum: str | None = None  # of the weights it was made from
    # Checked whenever the file is opened: runtime/onnx_sealed.py.
    content_sha256: Checksum | None = None  # of the ONNX file without these 64 digits
    weights_sha256: Checksum | None = None  # of the '.data' file beside it; None where the weights are in the graph
    provenance: dict[str, Any]


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step: a reader sees the old file or the new one."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: BaseModel | dict[str, Any] | list[Any]) -> None:
    """Write a manifest or plain value as indented JSON, atomically; NaN is refused."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    write_text(path, json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path, model: type[Manifest]) -> Manifest:
    """Read and validate a manifest. Raises UserError when it is missing, truncated or of another format."""
    kind = model.__name__
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"the {kind} file is missing", where=path, remedy="run the stage that makes it, or name another folder"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the {kind} file: {error}", where=path, remedy="check the file") from None
    return parse_json(text, model, where=path)


def parse_json(text: str, model: type[Manifest], *, where: Path) -> Manifest:
    """Validate a manifest's text, read from `where`. Raises UserError when it is truncated or of another format."""
    odd: list[str] = []  # NaN, Infinity, -Infinity, which Python reads

    def constant(name: str) -> float:
        odd.append(name)
        return float(name)

    try:
        data = json.loads(text, parse_constant=constant)
    except (ValueError, RecursionError) as error:  # JSONDecodeError; numbers of too many digits
        raise UserError(
            f"not valid JSON ({error}): the file is truncated or not ours", where=where, remedy="make it again"
        ) from None
    written = data.get("format") if isinstance(data, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise UserError(
            f"format {written} is newer than this sdseg {__version__} understands ({FORMAT})",
            where=where,
            remedy="update sdseg",
        )
    try:
        manifest = model.model_validate(data)
    except ValidationError as error:
        raise UserError(
            f"not a {model.__name__}: {_told(error)}", where=where, remedy="make it again with this version"
        ) from None
    if odd:  # in a part whose values are free
        raise UserError(f"{odd[0]} in it, which is no number of JSON", where=where, remedy="make it again")
    return manifest


def _told(error: ValidationError) -> str:
    """The first problem of a manifest: key, what is wrong, and the value where it is short."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    message = message if first["type"] == "value_error" else message[:1].lower() + message[1:]
    value = first["input"]
    shown = f" (it is {value!r})" if isinstance(value, int | float | str) and len(repr(value)) <= 40 else ""
    return f"'{key}' {message}{shown}"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without an error."""
    parent = path.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:TEMPORARY]}.", suffix=".part", dir=parent)
        os.close(handle)
    except OSError as error:
        raise not_writable(parent, error) from None
    temporary = Path(name)
    try:
        yield temporary
        _umask_mode(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in _WRITE_ERRORS:
            raise not_writable(path, error) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, owned: Collection[str]) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `path` when the block ends without an error.

    `owned` names what a folder already there may hold (ownership.py `check_owned`): anything else is the user's, and a
    UserError, before the block and again before the folder is replaced. A link stays, and its folder is replaced.
    """
    check_owned(path, owned)
    if path.is_symlink():
        path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        temporary.chmod(0o755)
    except OSError as error:
        raise not_writable(path.parent, error) from None
    previous = temporary.with_suffix(".old")
    try:
        yield temporary
        check_owned(path, owned)  # hours may have gone by
        try:
            if path.exists():
                os.replace(path, previous)
            os.replace(temporary, path)
        except OSError as error:
            raise not_writable(path, error) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # from the block itself: the disk is full
            raise not_writable(path, error) from error
        raise
    finally:
        if previous.exists() and not path.exists():  # failed or interrupted between the two replacements
            os.replace(previous, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, before work begins whose result goes there. Raises UserError if it cannot."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(path, error) from None
    if not os.access(path, os.W_OK):
        raise not_writable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def not_writable(path: Path, error: OSError) -> UserError:
    """The error that says why nothing can be written there."""
    if error.errno == errno.ENAMETOOLONG:
        return UserError(
            f"the name is too long for the disk: '{path.name[:40]}…' has {len(os.fsencode(path.name))} bytes",
            where=path.parent,
            remedy="give the file or case it is named after a shorter name; most disks take 255 bytes",
        )
    return UserError(
        f"cannot write: {error.strerror or error}",
        where=path,
        remedy="choose an output folder you may write to, on a disk with space left",
    )


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _umask_mode(path: Path) -> None:
    """mkstemp makes files private; give them the permissions an ordinary write would have given."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
