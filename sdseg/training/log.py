"""The record of a training run: one JSON line per event, and the same figures for TensorBoard."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sdseg.artifacts.results.training import EVENTS
from sdseg.core.errors import UserError
from sdseg.core.files import not_writable, write_text

__all__ = ["Journal"]


class Journal:
    """Appends events to `path`. On resuming at `step`, what a killed run wrote beyond that step is dropped.

    Raises UserError when the disk is full, whether for the file or for TensorBoard's, which a thread of its own writes.
    """

    def __init__(self, path: Path, tensorboard: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = path
        lines = [line for line in _whole_lines(path) if json.loads(line).get("step", 0) <= step] if step else []
        write_text(path, "".join(line + "\n" for line in lines))
        self._stream = path.open("a", encoding="utf-8")
        self._of_threads = threading.excepthook
        threading.excepthook = self._thread_failed
        self._board = SummaryWriter(str(tensorboard), purge_step=step + 1 if step else None)

    def write(self, event: str, step: int, **values: Any) -> None:
        """Append `{"event": …, "step": …, …}`; numbers, also nested ones, become TensorBoard scalars too.

        Raises UserError for a number that is not finite: JSON has none such, and no reader could go on from the line.
        """
        try:
            record = EVENTS[event].checked(event=event, step=step, **values)
            line = json.dumps(record.content(), allow_nan=False)
        except ValueError:
            raise UserError(
                f"a figure of step {step} is not finite and is not logged: {event} {values}",
                where=self.path,
                remedy="lower optimiser.learning_rate or set training.precision: no",
            ) from None
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
            for name, value in values.items():
                for part, number in value.items() if isinstance(value, dict) else (("", value),):
                    if isinstance(number, int | float) and not isinstance(number, bool):
                        self._board.add_scalar(f"{event}/{name}{'/' + part if part else ''}", number, step)
        except OSError as problem:
            raise not_writable(self.path, problem) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close()
        except OSError as problem:
            if error is None:
                raise not_writable(self.path, problem) from None
        finally:
            threading.excepthook = self._of_threads

    def _close(self) -> None:
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
        finally:
            self._board.close()

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread ends at a full disk and says so again when it is next used: no need of its traceback."""
        if not isinstance(failure.exc_value, OSError):
            self._of_threads(failure)


def _whole_lines(path: Path) -> list[str]:
    """The lines that were written completely: a killed process may leave half of the last one."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            json.loads(line)
        except json.JSONDecodeError:
            break
        lines.append(line)
    return lines
