"""What a result says of the code and the packages it was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from sdseg import __version__
from sdseg.core.provenance import provenance


def test_provenance_names_versions_and_commit(root: Path) -> None:
    found: dict[str, Any] = provenance(("pydantic", "no-such-package"))
    assert found["sdseg"] == __version__
    assert found["packages"]["no-such-package"] == "absent"
    assert found["packages"]["pydantic"][0].isdigit()
    if (root / ".git").exists():
        told = subprocess.run(
            ["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, encoding="utf-8", check=True
        )
        assert told.stdout.startswith(found["commit"].removesuffix("+"))
    else:
        assert found["commit"] == "unknown"
