"""Who may import whom, read from the source with `ast`."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sdseg"

# From the ground up: a part may import the parts above its own line, never those below.
GROUND = {
    "argument_types",
    "arguments",
    "bounds",
    "errors",
    "documents",
    "settings",
    "shipped",
    "folders",
    "networks",
    "recipes",
    "own",
    "choices",
    "config",
    "engines",
    "mask_rule",
    "tensors",
    "artifacts",
    "ownership",
    "leftovers",
    "locks",
    "signals",
    "metrics",
    "surfaces",
    "statistics",
    "calibration",
    "published",
    "journal",
    "fingerprint",
    "provenance",
}
NOUNS = {"data", "model", "page", "runtime", "transfer"}  # folders; never each other
JOINTS = {  # several nouns at once, for more than one verb or for a long one
    "configured",
    *("assembly", "finished", "following", "guard", "identity", "loop", "material"),  # of training
    *("assessment", "evaluation", "exhibits", "scoresheet", "sized"),  # of evaluation
    *("fidelity", "predicting", "deployment", "gate", "scoring", "serving"),
    "sizing",
    "studies",
}
VERBS = {
    *("phantoms", "download", "split", "prepare", "codec", "convert", "train"),
    *("evaluate", "export", "predict", "report", "estimate", "doctor"),
}  # never each other
FREE_OF_TORCH = ("phantoms", "download", "split", "prepare", "report")


def imports_of(path: Path) -> set[str]:
    """First part below `sdseg` of every import in a file, those inside functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out in full, not relative"
            if node.module == "sdseg":
                found |= {alias.name for alias in node.names if alias.name != "__version__"}
            elif (node.module or "").startswith("sdseg."):
                found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("sdseg.")}
    return found


def parts() -> dict[str, set[str]]:
    """Every root module and folder of the package, with what it imports from the others."""
    found = {path.stem: imports_of(path) for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    for folder in PACKAGE.iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            files = list(folder.rglob("*.py"))
            found[folder.name] = set().union(*map(imports_of, files)) - {folder.name}
    return found


def test_every_part_has_its_place() -> None:
    assert set(parts()) <= GROUND | NOUNS | JOINTS | VERBS, "a new part of the package: give it a line in this file"


@pytest.mark.parametrize("name", sorted(parts()))
def test_imports_point_downwards(name: str) -> None:
    allowed = set(GROUND)
    if name in JOINTS | VERBS:
        allowed |= NOUNS | JOINTS
    assert parts()[name] <= allowed, f"{name} may not import {sorted(parts()[name] - allowed)}"


def test_ground_and_joints_have_no_circles() -> None:
    waiting = {name: imported & (GROUND | JOINTS) for name, imported in parts().items() if name in GROUND | JOINTS}
    while waiting:
        free = {name for name, imported in waiting.items() if not imported}
        assert free, f"these import each other in a circle: {waiting}"
        waiting = {name: imported - free for name, imported in waiting.items() if name not in free}


def test_the_rules_would_notice(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    lines = ("from sdseg.training.train import train", "import sdseg.models.codec", "from sdseg import metrics")
    file.write_text("def late():\n" + "".join(f"    {line}\n" for line in lines), encoding="utf-8")
    assert imports_of(file) == {"train", "model", "metrics"}


def test_verbs_are_the_subcommands() -> None:
    from sdseg.cli.commands import HANDLERS
    from sdseg.cli.parser import build_parser

    (commands,) = [action.choices for action in build_parser(HANDLERS)._actions if action.dest == "verb"]
    assert commands is not None
    assert set(commands) == VERBS


@pytest.mark.parametrize("verb", FREE_OF_TORCH)
def test_data_and_report_need_no_torch(verb: str) -> None:
    code = f"import sys, sdseg.{verb}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_help_is_quick_and_light() -> None:
    code = (
        "import sys\nfrom sdseg.cli.commands import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    durations = []
    for _ in range(3):  # the quickest of three: another process may be busy
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
        durations.append(time.perf_counter() - start)
    loaded = set(done.stderr.split())
    assert "train" in done.stdout
    assert not loaded & {"torch", "diffusers", "monai", "numpy", "pydantic", "yaml"}
    assert min(durations) < 1.0
