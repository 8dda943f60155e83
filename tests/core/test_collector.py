"""The garbage collector rests while libraries load, and works again after it."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from sdseg.core.collector import uncollected

SCRIPT = """
import gc, weakref
from sdseg.core.collector import loading

class Ring:
    def __init__(self):
        self.own = self

def dies(collect):
    seen = weakref.ref(Ring())
    if collect:
        gc.collect()
    else:
        for _ in range(20_000):
            [[]]
            kept.append([])
    return seen() is None

kept = []
assert gc.isenabled() and gc.get_freeze_count() == 0
try:
    with loading():
        assert not gc.isenabled()
        assert not dies(collect=False)
        raise ImportError("no such library")
except ImportError:
    pass
assert gc.isenabled()
frozen = gc.get_freeze_count()
assert frozen > 0
kept.clear()
assert dies(collect=True) and dies(collect=False)
with loading():
    later = [[] for _ in range(1000)]
assert gc.isenabled() and gc.get_freeze_count() <= frozen
gc.disable()
with loading():
    pass
assert not gc.isenabled()
"""


def test_it_rests_while_libraries_load_and_works_again_after_it() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)


def test_it_rests_where_it_is_told_to_and_as_it_was_before() -> None:
    enabled = gc.isenabled()
    try:
        for before in (True, False):
            (gc.enable if before else gc.disable)()
            with pytest.raises(ValueError, match="whatever"), uncollected():
                assert not gc.isenabled()
                raise ValueError("whatever")
            assert gc.isenabled() == before
    finally:
        (gc.enable if enabled else gc.disable)()
