"""Three stages at once: order, bounds, and what becomes of errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from sdseg.core.errors import UserError
from sdseg.inference.threads import overlapped


class Stages:
    """Counts what is held between the stages."""

    def __init__(self, count: int) -> None:
        self.count, self.taken, self.held, self.most = count, 0, 0, 0
        self.computed: list[int] = []
        self.written: list[int] = []
        self.lock = threading.Lock()

    def items(self) -> Iterator[int]:
        for number in range(self.count):
            self.taken = number + 1
            yield number

    def read(self, number: int) -> int:
        with self.lock:
            self.held += 1
            self.most = max(self.most, self.held)
        return number

    def compute(self, number: int) -> None:
        self.computed.append(number)

    def write(self, number: int) -> int:
        with self.lock:
            self.written.append(number)
            self.held -= 1
        return number


@pytest.mark.parametrize("ahead", [1, 3])
def test_order_and_bound(ahead: int) -> None:
    stages = Stages(500)
    found = []
    for number in overlapped(stages.items(), stages.read, stages.compute, stages.write, ahead):
        found.append(number)
        assert stages.taken <= number + 2 * ahead + 2  # nothing is taken long before its turn
    assert found == stages.computed == list(range(500))
    assert 1 <= stages.most <= 2 * ahead + 1


def test_the_stages_overlap() -> None:
    """Each waits for the other: one stage after the other would never get past the first item."""
    count = 20
    computing = [threading.Barrier(2, timeout=10) for _ in range(count)]  # of n, with the reading of n + 1
    writing = [threading.Barrier(2, timeout=10) for _ in range(count)]  # of n, with the computing of n + 1

    def read(number: int) -> int:
        if number:
            computing[number - 1].wait()
        return number

    def compute(number: int) -> int:
        if number + 1 < count:
            computing[number].wait()
        if number:
            writing[number - 1].wait()
        return number

    def write(number: int) -> int:
        if number + 1 < count:
            writing[number].wait()
        return number

    assert list(overlapped(range(count), read, compute, write)) == list(range(count))


@pytest.mark.parametrize("stage", ["read", "compute", "write"])
def test_an_error_ends_all_and_leaves_no_thread(stage: str) -> None:
    stages, before = Stages(1000), threading.active_count()
    whole = getattr(stages, stage)

    def broken(number: int) -> int:
        if number == 5:
            raise UserError("the disk is full", remedy="clear it")
        return int(whole(number) or number)

    functions = {name: getattr(stages, name) for name in ("read", "compute", "write")} | {stage: broken}
    with pytest.raises(UserError, match="the disk is full"):
        list(overlapped(stages.items(), **functions))
    assert stages.taken < 20
    assert threading.active_count() == before


def test_closing_lets_what_is_being_written_be_written() -> None:
    stages = Stages(1000)
    running = overlapped(stages.items(), stages.read, stages.compute, stages.write)
    assert next(running) == 0
    running.close()
    assert stages.written == stages.computed[: len(stages.written)]
    assert len(stages.computed) - len(stages.written) <= 1
    assert stages.taken < 20
