"""What is installed only where it is wanted: tests that need it say that they are skipped."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

__all__ = ["needs_openvino", "skip_without_openvino"]

NO_OPENVINO = "OpenVINO is not installed: nothing of it was run"
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason=NO_OPENVINO)


def skip_without_openvino() -> None:
    """Skip what follows in a test where OpenVINO is not installed; it is not imported."""
    if find_spec("openvino") is None:
        pytest.skip(NO_OPENVINO)
