"""Memory lies elsewhere afterwards and holds what it held, in a fork too."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from sdseg.core import huge_pages

SCRIPT = """
import hashlib, os, runpy, sys
from sdseg.core import huge_pages

def huge():
    if not os.path.exists("/proc/self/smaps_rollup"):
        return 0
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
huge_pages.into_huge_pages()
runpy.run_path(huge_pages.__file__, run_name="__main__")
"""


def gathers() -> bool:
    """Linux since 6.1, built with huge pages."""
    if sys.platform != "linux" or not Path("/sys/kernel/mm/transparent_hugepage").is_dir():
        return False
    return tuple(map(int, platform.release().split("-")[0].split(".")[:2])) >= (6, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's own")
def test_memory_keeps_what_it_holds_and_the_kernel_counts_it() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, encoding="utf-8", check=True)
    gathered, huge = map(int, done.stdout.split())
    if not gathers():
        pytest.skip("Linux before 6.1, or without huge pages")
    assert 0 < gathered <= huge  # the kernel's own count


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert huge_pages.into_huge_pages() == 0


@pytest.mark.parametrize("lines", [None, "7f00-7f01\n", "x-y rw-p 0 0 0\n"], ids=["none", "short", "no addresses"])
def test_memory_that_is_not_told_of_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: str | None
) -> None:
    """As in a container without /proc: no library's loading ends for it."""
    maps = tmp_path / "maps"
    if lines is not None:
        maps.write_text(lines, encoding="utf-8")
    monkeypatch.setattr(huge_pages, "MAPS", maps)
    assert huge_pages.into_huge_pages() == 0
