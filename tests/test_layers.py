"""The house and its rule (docs/architecture.md), read from the source with `ast`: who imports whom, what names mean."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sdseg"

# Packages stand in one order: each imports from those before it. Stages come after them and never import each other;
# the command line comes last.
ORDER = ("core", "config", "artifacts", "io", "metrics", "datasets", "sizing", "data", "models", "backends")
STAGES = {"download", "training", "evaluation", "export", "inference", "report"}
LAST = "cli"
# How a stage is entered from outside; all else in it is its own affair.
PUBLIC = {
    "download": {"download", "obtain"},
    "training": {"train", "codec", "probe", "make_ensemble"},
    "evaluation": {"evaluate", "studies.run"},
    "export": {"onnx", "tensorrt", "triton", "web.html_file"},
    "inference": {"predict", "predictor"},
    "report": {"report"},
}
# One name in two packages stands for one thing at two levels.
TWICE = {"codec", "hard_cases", "pictures", "tensorrt", "studies", "parity", "run", "figures"}
MOST_LINES = 350
VAGUE = {"found", "made", "told", "asked", "said"}  # of a variable: name what it holds
FREE_OF_TORCH = ("datasets.phantoms.write", "download.download", "datasets.split", "data.prepare", "report.report")
VERBS = {
    *("phantoms", "download", "split", "folds", "prepare", "codec", "convert", "train", "distill", "ensemble"),
    *("evaluate", "export", "predict", "report", "doctor", "estimate", "configure"),
}


def modules() -> dict[str, Path]:
    """Every module below `sdseg` by its dotted name; a package stands for its `__init__`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
BELOW = {name: path for name, path in MODULES.items() if name and name != "__main__"}


@cache
def parsed(path: Path) -> ast.Module:
    """Of a module: several rules read each, and parsing them all takes a second."""
    return ast.parse(path.read_text("utf-8"))


@cache
def imports_of(path: Path, *, late: bool = True) -> frozenset[str]:
    """Dotted names below `sdseg` that a file imports; without `late` only those that load with it."""
    tree = parsed(path)
    nodes = (
        list(ast.walk(tree)) if late else [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    )
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out in full, not relative"
            if node.module == "sdseg" or (node.module or "").startswith("sdseg."):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith("sdseg.")}
    return frozenset(_module_of(name.removeprefix("sdseg.")) for name in names) - {""}


def _module_of(name: str) -> str:
    """The module that an imported name lies in: the longest part of it that is one."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def package_of(name: str) -> str:
    return name.partition(".")[0]


def allowed(importer: str) -> set[str]:
    """Packages that a package may import from."""
    if importer == LAST:
        return {*ORDER, *STAGES}
    return set(ORDER if importer in STAGES else ORDER[: ORDER.index(importer)])


def test_at_the_root_stand_packages_alone() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == {*ORDER, *STAGES, LAST}, "a new package: give it its place in the order"


@pytest.mark.parametrize("package", [*ORDER, *sorted(STAGES), LAST])
def test_imports_follow_the_order(package: str) -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in BELOW.items()
        if package_of(name) == package
        for imported in sorted(imports_of(path))
        if package_of(imported) not in {package, *allowed(package)}
    ]
    assert wrong == []


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_stages_are_entered_by_their_public_modules(stage: str) -> None:
    public = {f"{stage}.{name}" for name in PUBLIC[stage]}
    assert public <= set(MODULES)
    entered = {
        imported
        for name, path in MODULES.items()
        if package_of(name) != stage
        for imported in imports_of(path)
        if package_of(imported) == stage
    }
    assert entered <= public


def test_no_circle_of_modules() -> None:
    """Among imports that load with their module: those inside functions may wait."""
    waiting = {name: (imports_of(path, late=False) - {name}) & set(BELOW) for name, path in BELOW.items()}
    while waiting:
        free = {name for name, imported in waiting.items() if not imported}
        assert free, f"these import each other in a circle: {waiting}"
        waiting = {name: imported - free for name, imported in waiting.items() if name not in free}


def private_names_in(tree: ast.Module) -> list[str]:
    """Names with a leading underscore that Python source takes from modules below `sdseg`."""
    return [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sdseg"
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]


def test_private_names_stay_in_their_module() -> None:
    private = {name: private_names_in(parsed(path)) for name, path in MODULES.items()}
    assert {name: taken for name, taken in private.items() if taken} == {}
    late = ast.parse("def late():\n    from sdseg.core.files import _part, sha256_file")
    assert private_names_in(late) == ["sdseg.core.files._part"]
    assert private_names_in(ast.parse("from sdseg import __version__\nfrom os import _exit")) == []


def test_the_rules_would_notice(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    lines = ("from sdseg.training.train import train", "import sdseg.models.codec", "from sdseg.metrics import overlap")
    file.write_text("def late():\n" + "".join(f"    {line}\n" for line in lines), encoding="utf-8")
    assert imports_of(file) == {"training.train", "models.codec", "metrics.overlap"}
    assert imports_of(file, late=False) == set()
    assert "training" not in allowed("evaluation")
    assert "data" not in allowed("datasets")


def test_names_mean_one_thing() -> None:
    leaves = Counter(name.rpartition(".")[2] for name in BELOW if "phantoms" not in name)
    packages = {package_of(name) for name in BELOW}
    twice = {leaf for leaf, count in leaves.items() if count > 1}
    assert twice - TWICE - packages == set()
    # `sdseg.io` can shadow nothing: it is a package below another.
    assert {name for name in BELOW if name.rpartition(".")[2] in sys.stdlib_module_names} <= {"io"}


def test_a_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def vague_names_in(tree: ast.Module) -> list[str]:
    """Variables and parameters of functions that say that something happened, and not what they hold."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    nodes = [node for function in functions for node in ast.walk(function)]
    stored = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return [name for name in (*stored, *(node.arg for node in nodes if isinstance(node, ast.arg))) if name in VAGUE]


def test_variables_say_what_they_hold() -> None:
    vague = {name: vague_names_in(parsed(path)) for name, path in MODULES.items()}
    assert {name: names for name, names in vague.items() if names} == {}
    assert vague_names_in(ast.parse("def f(told):\n    found = 1\n    cases = found")) == ["found", "told"]


def test_rooms_are_small() -> None:
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_every_module_says_what_it_is() -> None:
    assert [name for name, path in MODULES.items() if not ast.get_docstring(parsed(path))] == []


def test_verbs_are_the_subcommands() -> None:
    from sdseg.cli.commands import HANDLERS
    from sdseg.cli.parser import build_parser

    (commands,) = [action.choices for action in build_parser(HANDLERS)._actions if action.dest == "verb"]
    assert commands is not None
    assert set(commands) == VERBS


def test_data_and_report_need_no_torch() -> None:
    """Each by itself, but for what it shares with those before it outside this package."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'sdseg.{name}')\n"
        "    if 'torch' in sys.modules:\n"
        "        sys.exit(name)\n"
        "    for each in [each for each in sys.modules if each.startswith('sdseg')]:\n"
        "        del sys.modules[each]\n"
    )
    command = [sys.executable, "-c", code, *FREE_OF_TORCH]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8", check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_help_is_quick_and_light() -> None:
    code = (
        "import sys\nfrom sdseg.__main__ import main\n"
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
