"""Being asked to end: SIGTERM, as schedulers send it, SIGHUP and SIGINT end a command in order, with a message.

Each becomes an interruption, so that what cleans up after Ctrl-C does so after all of them. Training asks for a delay.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Request", "Stopped", "deferred", "ended", "heeded"]

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """The process was asked to end. The exit status is 128 + `number`, as that of a program the signal had killed."""

    def __init__(self, number: int, what: str = "interrupted") -> None:
        self.number = number
        super().__init__(what if number == signal.SIGINT else f"{what} ({signal.Signals(number).name})")


class Request:
    """Whether a signal has come while it was deferred; a second one ends the process at once."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._waits = True

    @contextmanager
    def heeded_at_once(self) -> Iterator[None]:
        """A part that may be broken off at any point. Raises Stopped there."""
        self._waits = False
        try:
            if self.number is not None:
                raise Stopped(self.number)
            yield
        finally:
            self._waits = True

    def take(self, number: int, _frame: FrameType | None) -> None:
        again = self.number is not None
        self.number = number
        if again or not self._waits:
            raise Stopped(number)


def ended(step: int, of: int) -> str:
    """What a training says that was asked to end, once its state is saved."""
    return f"stopped after step {step} of {of}; the state is saved, and the same command continues from there"


@contextmanager
def deferred() -> Iterator[Request]:
    """Signals that would end the process are noted in the request instead, until the block ends."""
    request = Request()
    with _handled(SIGNALS, request.take):
        yield request


@contextmanager
def heeded() -> Iterator[None]:
    """Of a command: SIGTERM and SIGHUP raise Stopped, as SIGINT raises KeyboardInterrupt."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handled(SIGNALS[1:], stop):
        yield


@contextmanager
def _handled(numbers: tuple[int, ...], handler: Any) -> Iterator[None]:
    """Handlers for the signals that are not ignored (`nohup` ignores SIGHUP); put back at the end."""
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():  # no other can set any
            for number in numbers:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
