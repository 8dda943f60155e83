"""The folder a run writes into: with room, one run's at a time, rid of what a killed run left half written."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from sdseg.core.errors import UserError
from sdseg.core.locks import locked
from sdseg.inference.find_inputs import REPORT
from sdseg.inference.run_files import ITK_SNAP, SLICER, STATISTICS

__all__ = ["check_room", "locked_output", "remove_half_written"]

PROBE = 1 << 16  # bytes
KINDS = ("_mask", "_probability", "_overlay", REPORT, STATISTICS, SLICER, ITK_SNAP)
HALF_WRITTEN = tuple(f".*{kind}*.part" for kind in KINDS)


@contextmanager
def locked_output(output: Path) -> Iterator[None]:
    """Make the folder and hold it until the block ends, or the process does.

    Raises UserError where it cannot be written to, or while another run holds it: both would write one predict.json.
    """
    check_room(output)
    with locked(output, inside=True):
        yield


def check_room(output: Path, room: int = PROBE) -> None:
    """Raise UserError where the folder cannot be made or take `room` bytes: before hours of work, not after."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output) as stream:
            for _ in range(-(-room // PROBE)):
                stream.write(bytes(PROBE))
            stream.flush()
    except OSError as error:
        raise UserError(
            f"cannot write: {error.strerror or error}",
            where=output,
            remedy="choose an output folder you may write to, on a disk with space left; what is done is kept",
        ) from None


def remove_half_written(output: Path, names: Iterable[str]) -> None:
    """Remove what a killed run left half written, of results with these names below `output`."""
    for folder in {output, *((output / name).parent for name in names)}:
        if not folder.is_dir():
            continue
        for path in folder.iterdir():
            if not any(fnmatch(path.name, pattern) for pattern in HALF_WRITTEN):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
