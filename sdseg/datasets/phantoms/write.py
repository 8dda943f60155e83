"""`sdseg phantoms`: write a synthetic dataset in the layout of a real one."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder, write_text
from sdseg.core.locks import writes
from sdseg.core.overwrite_checks import check_owned
from sdseg.datasets.phantom_marks import PHANTOM_MARKS
from sdseg.datasets.phantoms import check_source, write_phantoms

__all__ = ["phantoms"]

log = logging.getLogger(__name__)


@writes("output")
def phantoms(source: str, output: Path, seed: int, scale: float) -> None:
    """Write the phantom of `source` to the folder `output`, which it replaces as a whole.

    The same seed and scale give the same bytes. Raises UserError for an unknown source, a negative seed, or a scale
    that is not above zero, and for a folder that holds anything but phantoms, or anything besides those that were
    written: it may be somebody's data.
    """
    check_source(source)
    if seed < 0:
        raise UserError(
            f"the seed is {seed}, expected 0 or more", where="--seed", remedy="give a whole number from 0 on"
        )
    if not (math.isfinite(scale) and scale > 0):
        raise UserError(
            f"the scale is {scale}, expected a number above 0",
            where="--scale",
            remedy="1 is the usual size, 0.1 a small one",
        )
    _check_output(output)
    listed = _listed(output)
    with atomic_folder(output, listed or _files(output)) as folder:
        counts = write_phantoms(source, folder, seed, scale)
        written = _files(folder)
        if not listed:  # a phantom of an earlier version, which kept no list
            check_owned(output, {*PHANTOM_MARKS, *_alike(written)})
        write_text(folder / PHANTOM_MARKS[0], "".join(f"{name}\n" for name in (*PHANTOM_MARKS, *written)))
    shown = ", ".join(f"{count} {split}" for split, count in counts.items())
    log.info("%s: %s (phantom, seed %d) in %s", source, shown, seed, output)


def _files(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))


def _listed(output: Path) -> tuple[str, ...]:
    """What the phantoms' mark says was written; none where there is no mark, or one of an earlier version."""
    mark = output / PHANTOM_MARKS[0]
    return tuple(mark.read_text(encoding="utf-8").splitlines()) if mark.is_file() else ()


def _alike(written: Iterable[str]) -> set[str]:
    """The files themselves, and patterns of those that lie in the same folders and end as they do."""
    paths = [PurePosixPath(name) for name in written]
    return {str(each.with_name(f"*{''.join(each.suffixes)}") if len(each.parts) > 1 else each) for each in paths}


def _check_output(output: Path) -> None:
    if output.is_dir() and (any((output / mark).exists() for mark in PHANTOM_MARKS) or not any(output.iterdir())):
        return
    if output.exists():
        raise UserError(
            "phantoms would replace files that are there already and are no phantoms",
            where=output,
            remedy="name another folder",
        )
