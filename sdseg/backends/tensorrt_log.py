"""What TensorRT says while it works: its log lines, kept for error messages, and the progress of a build.

Imports TensorRT: import this module inside a function, after `require_tensorrt`.
"""

from __future__ import annotations

import logging
import threading
from typing import NoReturn

import tensorrt as trt
from tqdm import tqdm

__all__ = ["BuildProgress", "LogLines"]

log = logging.getLogger(__name__)

KEPT = 20  # of TensorRT's errors and warnings, in an error message
LEVELS = {
    trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
    trt.ILogger.Severity.ERROR: logging.ERROR,
    trt.ILogger.Severity.WARNING: logging.WARNING,
    trt.ILogger.Severity.INFO: logging.DEBUG,
    trt.ILogger.Severity.VERBOSE: logging.NOTSET,
}


class LogLines(trt.ILogger):
    """Passes TensorRT's messages on to `logging` and keeps its errors and warnings."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)  # the bindings want it called by name
        self._kept: list[tuple[int, str]] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        level = LEVELS[severity]
        if level >= logging.WARNING:
            self._kept.append((level, msg.strip()))
        if level != logging.NOTSET:
            # Whoever called TensorRT raises its errors with these lines: here they are for those who look closely.
            log.log(logging.DEBUG if level >= logging.ERROR else level, "%s", msg)

    def problems(self) -> list[str]:
        """The last errors, then warnings if there is no error."""
        errors = [text for level, text in self._kept if level >= logging.ERROR]
        return (errors or [text for _, text in self._kept])[-KEPT:]


class BuildProgress(trt.IProgressMonitor):
    """A build's phases as progress bars, one below the other. Ctrl-C ends the build at its next step."""

    def __init__(self) -> None:
        trt.IProgressMonitor.__init__(self)
        self.interrupted = False
        self._lock = threading.Lock()  # TensorRT calls from several threads
        self._bars: dict[str, tqdm[NoReturn]] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        with self._lock:
            below = len(self._bars)
            bar: tqdm[NoReturn] = tqdm(total=num_steps, desc=phase_name, position=below, leave=below == 0, disable=None)
            self._bars[phase_name] = bar

    def step_complete(self, phase_name: str, step: int) -> bool:
        try:
            with self._lock:
                bar = self._bars.get(phase_name)
                if bar is not None:
                    bar.update(step + 1 - bar.n)
        except KeyboardInterrupt:
            self.interrupted = True
        return not self.interrupted

    def phase_finish(self, phase_name: str) -> None:
        with self._lock:
            bar = self._bars.pop(phase_name, None)
            if bar is not None:
                bar.close()
