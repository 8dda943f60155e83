"""What the package alone needs, and what extras bring: the table, pyproject.toml and the imports agree."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sdseg.core.errors import UserError
from sdseg.core.extras import EXTRAS, needing
from tools.generate import requirements

ROOT = Path(__file__).resolve().parents[2]
# What comes along with a package that is asked for.
WITHIN = {"markupsafe": "jinja2", "urllib3": "requests", "onnx_ir": "onnxscript"}
NOT_HERE = {"tensorrt": "tensorrt-cu13", "torchvision": "torchvision"}  # not in the locks
# Without any extra: predict with a graph, the API, the doctor, a split.
ALONE = ("inference.predict", "inference.predictor", "cli.doctor", "datasets.split", "download.download", "data.folds")


def distributions(*extras: str) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements(*extras)}


def distribution_of(module: str) -> str:
    module = WITHIN.get(module, module)
    return NOT_HERE.get(module) or canonicalize_name(providers()[module][0])


@cache
def providers() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def imported() -> set[str]:
    """Every package of others that a module of ours imports, early or late."""
    names: set[str] = set()
    for path in (ROOT / "sdseg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"sdseg"}


def test_every_import_is_asked_for() -> None:
    browser = {"playwright"}  # of the check of `export --to web`, which says itself how to get it
    alone = imported() - set(EXTRAS) - browser
    assert {distribution_of(name) for name in alone} == distributions("")
    by_libraries = {"tensorboard", "torchvision"}
    assert set(EXTRAS) - imported() == {"snakemake", *by_libraries}


@pytest.mark.parametrize("module", sorted(EXTRAS))
def test_an_extra_brings_what_it_is_named_for(module: str) -> None:
    if module == "onnxruntime":
        assert EXTRAS[module] == ("cpu", "gpu")
        return
    for extra in EXTRAS[module]:
        assert distribution_of(module) in distributions(extra)


def test_all_is_what_the_workflow_uses() -> None:
    assert distributions("all") == distributions("train", "download", "report", "workflow")
    assert distributions("formats") < distributions("train")


def test_the_package_alone_imports_nothing_of_an_extra() -> None:
    code = "\n".join(
        [
            "import sys",
            f"sys.modules.update(dict.fromkeys({sorted(EXTRAS)}))",  # None: to import it is a ModuleNotFoundError
            *(f"import sdseg.{module}" for module in ALONE),
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, extra, verb in (("scipy", "report", "report"), ("scipy", "train", "evaluate"), ("torch", "train", "x")):
        monkeypatch.setitem(sys.modules, module, None)
        task = f"'sdseg {verb}'"
        with pytest.raises(UserError, match=f"{task} needs the package {module}") as caught, needing(task, verb):
            __import__(module)
        assert caught.value.remedy == f"pip install 'sdseg[{extra}]'"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="a graph needs the package onnxruntime") as caught, needing("a graph"):
        __import__("onnxruntime")
    assert caught.value.remedy == "pip install 'sdseg[cpu]', or pip install 'sdseg[gpu]'"
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), needing("anything"):
        __import__("no_such_package")
