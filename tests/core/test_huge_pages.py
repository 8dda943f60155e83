"""Memory lies elsewhere afterwards and holds what it held, in a fork too."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import hashlib, os, runpy, sys
from sdseg.core import huge_pages

def huge():
    with open("/proc/self/smaps_rollup", encoding="ascii") as lines:
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("AnonHugePages"))

held = [bytes([number]) * 3_000_000 for number in range(20)]
before = hashlib.sha256(b"".join(held)).hexdigest()
gathered = huge_pages.into_huge_pages()
print(gathered, huge(), end=" ", flush=True)
if os.fork() == 0:
    held[3] = b"x" * 3_000_000
    os._exit(hashlib.sha256(b"".join(held)).hexdigest() == before)
assert os.wait()[1] == 0
assert hashlib.sha256(b"".join(held)).hexdigest() == before
again = huge_pages.into_huge_pages()
runpy.run_path(huge_pages.__file__, run_name="__main__")
print(again)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's own")
def test_memory_keeps_what_it_holds_and_the_kernel_counts_it() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, encoding="utf-8", check=True)
    gathered, huge, again = map(int, done.stdout.split())
    if gathered == 0:
        pytest.skip("Linux before 6.1, or without huge pages")
    assert 30_000_000 < gathered <= huge  # the kernel's own count
    assert again >= gathered  # what lies there counts


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from sdseg.core.huge_pages import into_huge_pages

    monkeypatch.setattr(sys, "platform", "darwin")
    assert into_huge_pages() == 0
