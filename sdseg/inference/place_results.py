"""Results on their way into the output folder: made aside, then put in place, never over a file of the user's."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdseg.core.errors import UserError
from sdseg.core.files import make_folder
from sdseg.inference.find_inputs import REPORT, InputFile
from sdseg.inference.run_record import RunLog

__all__ = ["ResultFiles"]

NAME_MAX = 255  # bytes, where the disk does not tell


class ResultFiles:
    """The results of one run: which file each will be, and whether it may be written."""

    def __init__(
        self,
        run_log: RunLog,
        files: Sequence[InputFile],
        targets: Callable[[InputFile], dict[str, str]],
        *,
        overwrite: bool = False,
    ) -> None:
        """`targets` names the results of an input below the output folder; `overwrite` lets foreign files go."""
        self._run_log, self._targets, self._overwrite = run_log, targets, overwrite
        self._output = run_log.output
        self._inputs = set(_identities(files))
        self._claims: dict[str, InputFile] = {}
        for file in files:
            for name in targets(file).values():
                self._claims.setdefault(name.lower(), file)
        self._longest = _longest_name(self._output)

    def check(self, file: InputFile) -> None:
        """Raise UserError unless every result of `file` has a place of its own.

        Refused are a file that is an input of this run (always), a file that no run into this folder wrote or that was
        changed since (unless `overwrite`), a result that another input has too, and a name too long for the disk.
        """
        for name in self._targets(file).values():
            problem = self._problem(file, name)
            if problem is not None:
                what, remedy = problem
                raise UserError(what, where=file.path, remedy=remedy)

    @contextmanager
    def aside(self) -> Iterator[Path]:
        """A folder to make results in, of the same disk; it goes when the block ends."""
        with tempfile.TemporaryDirectory(
            prefix=f".{REPORT}.", suffix=".part", dir=self._output, ignore_cleanup_errors=True
        ) as folder:
            yield Path(folder)

    def place(self, file: InputFile, record: dict[str, Any], folder: Path) -> None:
        """Note what was made of `file` in `folder`, and put it in its place. Raises what `check` does."""
        self.check(file)  # hours may have passed since the input was read
        ours = {name: self._overwrite or self._run_log.ours(name) for name in record["outputs"].values()}
        noted = self._run_log.note(file, record, folder)
        placed = list[Path]()
        try:
            for name, replace in ours.items():
                _move(folder / name, self._output / name, replace=replace)
                placed += [] if replace else [self._output / name]
        except BaseException:
            for path in placed:
                path.unlink()
            self._run_log.withdraw(noted)
            raise
        self._run_log.add(noted)

    def _problem(self, file: InputFile, name: str) -> tuple[str, str] | None:
        """What speaks against writing `name` for `file`, and what to do."""
        longest = max(len(os.fsencode(part)) for part in Path(name).parts)
        if longest > self._longest:
            what = f"its result would have a name of {longest} bytes, and the disk takes {self._longest}"
            return what, "give the file a shorter name"
        other = self._claims.get(name.lower(), file)
        if other != file:
            return f"its result '{name}' is that of {other.path} as well", "rename one of the two, or run them apart"
        former = self._run_log.owner(name)
        if former is not None and former["key"] != file.key:
            return f"its result '{name}' is that of {former['input']} in an earlier run", "name another --output folder"
        path = self._output / name
        if not os.path.lexists(path):
            return None
        if _identity(path) in self._inputs:
            return f"its result '{name}' would replace another input of this run", "name another --output folder"
        if self._overwrite or self._run_log.ours(name):
            return None
        if self._run_log.knows(name):
            what = f"its result '{name}' was changed since an earlier run wrote it: it is left as it is"
            return what, "move it away, or say --overwrite to have it replaced"
        what = f"its result '{name}' would replace a file that no run into this folder wrote"
        return what, "name another --output folder, move the file away, or say --overwrite to have it replaced"


def _move(source: Path, target: Path, *, replace: bool) -> None:
    """Put a file in its place in one step; where it may replace nothing, raise UserError if there is something."""
    make_folder(target.parent)
    if not replace:
        try:
            os.link(source, target)  # fails where something is there, unlike a renaming
        except FileExistsError:
            raise UserError(
                f"'{target.name}' was put into the output folder during the run: it is left as it is",
                where=target,
                remedy="move it away and run again",
            ) from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
        else:
            return
    os.replace(source, target)


def _identities(files: Sequence[InputFile]) -> Iterator[tuple[int, int]]:
    for file in (part for whole in files for part in whole.parts):
        for path in file.files or (file.path,):
            identity = _identity(path)
            if identity is not None:
                yield identity


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from every other, whatever names and links lead to it; None for one that cannot be reached."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return NAME_MAX
