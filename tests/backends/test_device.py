"""The memory that was taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdseg.backends.device import peak_memory


@pytest.mark.parametrize("device", ["cpu", "openvino", "openvino-bf16"])
def test_the_peak_is_the_one_that_the_kernel_tells(device: str) -> None:
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("this system has no /proc")
    (told,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status.read_text("utf-8"), flags=re.MULTILINE)
    found = peak_memory(device)
    assert found["bytes"] == pytest.approx(int(told) * 1024, rel=0.01)
    assert "whole process" in found["of"]
