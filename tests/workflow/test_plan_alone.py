"""A run can be planned where Snakemake alone is installed: what the stages import is left to their environments."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.helpers.projects import MINI, checkout

BLOCK = '''
"""Makes every installed package but the allowed ones look missing."""
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = set(BLOCKED_NAMES.split())
sys.meta_path.insert(0, Missing())
'''


def plain(distribution: str) -> str:
    return distribution.lower().replace("_", "-")


def closure(name: str) -> set[str]:
    """Distributions that come with `name`, by the metadata of what is installed here."""
    waiting, found = [name], set()
    while waiting:
        name = plain(waiting.pop())
        if name in found:
            continue
        try:
            requires = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        wanted = map(Requirement, requires)
        waiting += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def test_planning_needs_what_comes_with_snakemake(tmp_path: Path) -> None:
    """`pip install snakemake` brings pydantic, by way of sqlmodel; nothing else is needed."""
    alone = closure("snakemake")
    assert {"pydantic", "pyyaml", "packaging"} <= alone
    assert not {"numpy", "torch"} & alone
    installed = metadata.packages_distributions()
    blocked = [
        module
        for module, distributions in installed.items()
        if module not in ("sdseg", "workflow")
        and not {each.lower().replace("_", "-") for each in distributions} & alone
    ]
    assert {"numpy", "cv2", "torch", "SimpleITK", "pydicom", "nibabel", "PIL", "scipy"} <= set(blocked)
    text = BLOCK.replace("BLOCKED_NAMES", repr(" ".join(blocked)))
    (tmp_path / "sitecustomize.py").write_text(text, encoding="utf-8")
    project = checkout(tmp_path / "copy é")
    own = {"layout": "nnunet", "modality": "ct", "windows": {"soft": [-100, 200]}}
    datasets = {**MINI["datasets"], "mine": {"source": "own", "own": own, "size": 32, "recipes": ["unet"]}}
    project.configure(datasets=datasets)
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", "--configfile", "mini.yaml"]
    done = subprocess.run(
        command,
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "mine: prepare" in done.stdout
    probe = [sys.executable, "-c", "import numpy"]
    without = subprocess.run(probe, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, check=False)
    assert without.returncode != 0, "the packages are not blocked, and this test shows nothing"
