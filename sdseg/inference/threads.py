"""Three stages at once, reading, computing and writing, with a bound on what is held in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["overlapped"]

Item = TypeVar("Item")
Read = TypeVar("Read")
Written = TypeVar("Written")


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Read], None],
    write: Callable[[Read], Written],
    ahead: int = 2,
) -> Generator[Written, None, None]:
    """What `write` gives for every item, in their order.

    `read` and `write` run in `ahead` threads each, `compute` in the caller's. At most `ahead` items are read or being
    read, one is computed, and `ahead` are being written: 2 × ahead + 1 in memory however many there are. `items` is
    taken from as needed. An error ends all; so does closing the iterator, after what is being written is written.
    """
    source = iter(items)
    reading: deque[Future[Read]] = deque()
    writing: deque[Future[Written]] = deque()
    readers, writers = ThreadPoolExecutor(ahead, "read"), ThreadPoolExecutor(ahead, "write")
    try:
        while True:
            for item in source:
                reading.append(readers.submit(read, item))
                if len(reading) >= ahead:
                    break
            if not reading:
                break
            loaded = reading.popleft().result()
            compute(loaded)
            while len(writing) >= ahead or (writing and writing[0].done()):
                yield writing.popleft().result()
            writing.append(writers.submit(write, loaded))
            del loaded
        while writing:
            yield writing.popleft().result()
    finally:
        readers.shutdown(wait=True, cancel_futures=True)
        writers.shutdown(wait=True)
