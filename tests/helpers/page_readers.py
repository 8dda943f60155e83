"""The page's own readers, run by Node on files that Python wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = ["bundle", "read_as_the_page", "run_script"]

# A codec asks for modules in the old way, and for where it lies, before it finds that it was given all it needs.
REQUIRE = "import {createRequire as asks} from 'node:module'; const require = asks(import.meta.url), __dirname = '/';"
WEB = Path(__file__).resolve().parents[2] / "web"


def run_script(name: str, *words: str) -> None:
    """Run a script of web/tests in Node. Skips where Node or the packages of web/ are missing."""
    with tempfile.TemporaryDirectory() as folder:
        script = bundle(name, Path(folder) / "script.mjs", "--format=esm", "--platform=node", f"--banner:js={REQUIRE}")
        _run("node", str(script), *words)


def bundle(name: str, target: Path, *options: str) -> Path:
    """A script of web/tests with all it needs, packed as the page is. Skips as `run_script` does."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed; the page's readers are compared with Python's where it is")
    esbuild = WEB / "node_modules" / ".bin" / "esbuild"
    if not esbuild.exists():
        pytest.skip("the page's packages are not installed: run 'npm ci' in web/")
    packing = ["--bundle", "--target=es2022", "--loader:.wasm=binary", "--log-level=warning"]
    _run(str(esbuild), str(WEB / "tests" / name), *packing, *options, f"--outfile={target}")
    return target


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=WEB, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def read_as_the_page(cases: Mapping[str, Sequence[Path]], folder: Path) -> dict[str, dict[str, Any]]:
    """What the page reads of each case, or why it refuses it; arrays lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / "cases.json"
    listing.write_text(json.dumps({name: [str(path) for path in paths] for name, paths in cases.items()}), "utf-8")
    run_script("io/read_files.ts", str(listing), str(folder))
    results: dict[str, dict[str, Any]] = json.loads((folder / "results.json").read_text("utf-8"))
    return results
