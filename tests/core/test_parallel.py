from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from sdseg.core import parallel
from sdseg.core.errors import ListedError, UserError
from sdseg.core.parallel import each


def test_results_keep_the_order_of_the_items() -> None:
    gate = threading.Event()

    def slow_first(number: int) -> int:
        if number == 0:
            gate.wait(10)
        elif number == 3:
            gate.set()
        return number * number

    results = each(slow_first, range(6), jobs=2, title="squares", where=Path(), remedy="none")
    assert results == [0, 1, 4, 9, 16, 25]


def test_never_more_than_the_given_number_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(3)

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(10)
        with lock:
            running -= 1

    each(work, range(6), jobs=3, title="work", where=Path(), remedy="none")
    assert most == 3


def test_all_bad_items_are_reported_in_order_by_their_short_names(tmp_path: Path) -> None:
    def work(number: int) -> int:
        if number % 2:
            raise UserError("it is odd", where=tmp_path / "sub" / f"{number}.png", remedy="make it even")
        return number

    with pytest.raises(ListedError, match=r"(?s)files: 3 of 6 cannot be used.*remedy: replace them") as caught:
        each(work, range(6), jobs=2, title="files", where=tmp_path, remedy="replace them")
    assert caught.value.problems == tuple(f"sub/{number}.png: it is odd (make it even)" for number in (1, 3, 5))


def test_a_fault_of_ours_is_not_taken_for_bad_input() -> None:
    def work(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError, match="division"):
        each(work, range(3), jobs=2, title="files", where=Path(), remedy="none")


def test_progress_reaches_the_log_where_no_bar_can_be_drawn(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "SECONDS_BETWEEN_LINES", -1.0)
    with caplog.at_level(logging.INFO):
        each(str, range(2), jobs=1, title="Kvasir", where=Path(), remedy="none")
    assert [record.getMessage() for record in caplog.records] == ["Kvasir: 1 of 2", "Kvasir: 2 of 2"]
