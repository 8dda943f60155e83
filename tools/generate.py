"""Writes the files that follow from others, so that nothing is stated twice; a test fails when one is out of date.

python tools/generate.py          workflow/schemas/config.schema.json from sdseg/config/run.py,
                                  workflow/envs/*.yaml from the lock files; tensorrt.yaml also from pyproject.toml
                                  tables of docs/benchmarks.md from benchmarks/figures/*.json
python tools/generate.py --check  write nothing; exit 1 and name the files that are out of date
python tools/generate.py --lock   first resolve pyproject.toml anew into requirements.lock and requirements-gpu.lock
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sdseg.config.run import json_schema  # noqa: E402
from sdseg.core.files import write_text  # noqa: E402
from tools.figure_tables import with_tables  # noqa: E402

__all__ = ["generated", "main", "read_lock", "requirements"]

LOCK, GPU_LOCK = ROOT / "requirements.lock", ROOT / "requirements-gpu.lock"
# Where else than on PyPI packages lie, with the reason. Not in the locks: pip asks every index for every package, and
# waits for each of them where one cannot be reached.
CPU_INDEX = (
    "https://download.pytorch.org/whl/cpu",
    "PyPI's torch for Linux brings 3 GB of CUDA along; this index has builds for CPUs, which pip takes for newer.",
)
TENSORRT_INDEX = (
    "https://pypi.nvidia.com",
    "TensorRT's libraries are here alone; what is on PyPI fetches them from here.",
)
SECTIONS = ("runtime", "workflow", "dev")  # who needs a package: a stage, Snakemake, or a developer
Pins = dict[str, dict[str, str]]  # section -> package -> version


def main(arguments: list[str] | None = None) -> int:
    """Write or check the generated files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--lock", action="store_true")
    chosen = parser.parse_args(arguments)
    if sys.flags.optimize > 1:
        raise SystemExit("the schema's descriptions are docstrings, which python -OO leaves out: run it without -OO")
    if chosen.lock:
        _resolve()
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{'out of date' if chosen.check else 'written'}: {path.relative_to(ROOT)}")
        if not chosen.check:
            write_text(path, generated()[path])
    return 1 if chosen.check and stale else 0


def generated() -> dict[Path, str]:
    """Every generated file with the text it must have."""
    tensorrt = requirements("tensorrt")
    measured = ROOT / "docs/benchmarks.md"
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {
        ROOT / "workflow/schemas/config.schema.json": schema,
        ROOT / "workflow/envs/cpu.yaml": _environment(LOCK, index=CPU_INDEX),
        ROOT / "workflow/envs/gpu.yaml": _environment(GPU_LOCK),
        measured: with_tables(measured.read_text("utf-8"), ROOT / "benchmarks/figures"),
        ROOT / "workflow/envs/tensorrt.yaml": _environment(GPU_LOCK, tensorrt, index=TENSORRT_INDEX),
    }


def read_lock(path: Path) -> Pins:
    """Pinned versions per section of a lock file."""
    pins: Pins = {section: {} for section in SECTIONS}
    section = ""
    for line in path.read_text("utf-8").splitlines():
        if match := re.fullmatch(r"# \[(\w+)\].*", line):
            section = match[1]
        elif line and not line.startswith("#"):
            name, version = line.split("==")
            pins[section][name] = version
    return pins


def _environment(lock: Path, unlocked: Iterable[str] = (), *, index: tuple[str, str] | None = None) -> str:
    """A conda environment of one stage: python and pip from conda-forge, the lock's runtime section from PyPI.

    `unlocked`: requirements that no lock can hold, as they cannot be resolved on a machine without a GPU.
    `index`: another one beside PyPI, and the reason.
    """
    packages = [f"      # {index[1]}", f"      - --extra-index-url {index[0]}"] if index is not None else []
    packages += [f"      - {name}=={version}" for name, version in read_lock(lock)["runtime"].items()]
    packages += [f"      - {requirement}" for requirement in unlocked]
    head = [
        f"# Written by tools/generate.py from {lock.name}: change that and run `make generate`.",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        "  - python=3.11",
        "  - pip",
        "  - pip:",
    ]
    return "\n".join([*head, *packages]) + "\n"


def requirements(*extras: str) -> list[str]:
    """What these extras of pyproject.toml ask for, extras that they name included; '' is the package alone."""
    project, lines = _project(), list[str]()
    for extra in extras:
        for line in project["optional-dependencies"][extra] if extra else project["dependencies"]:
            named = Requirement(line)
            lines += requirements(*sorted(named.extras)) if named.name == project["name"] else [line]
    return list(dict.fromkeys(lines))


def _resolve() -> None:
    """Resolve pyproject.toml with pip (nothing is installed) and write both lock files."""
    stages = ("download", "report", "train", "openvino")
    wanted = {
        "runtime": requirements("", "cpu", *stages),
        "workflow": requirements("workflow"),
        "dev": requirements("dev"),
    }
    found = _pip_report([each for section in wanted.values() for each in section])
    pins: Pins = {section: {} for section in SECTIONS}
    for section, roots in wanted.items():
        known = {name for earlier in pins.values() for name in earlier}
        for name in sorted(_closure(roots, found) - known):
            pins[section][name] = found[name]["version"].partition("+")[0]  # '+cpu' names a build, not a version
    write_text(LOCK, _lock_text(pins, "the CPU"))

    # PyPI's own torch for Linux is the CUDA build; what it brings along is pinned too.
    kept = {name: version for section in pins.values() for name, version in section.items() if name != "onnxruntime"}
    gpu_roots = requirements("", "gpu", *stages)
    gpu = _pip_report([*gpu_roots, *(f"{name}=={version}" for name, version in kept.items())], only_pypi=True)
    gpu_pins = {section: {n: v for n, v in pins[section].items() if n in kept} for section in SECTIONS}
    for name in _closure(gpu_roots, gpu):
        if not any(name in section for section in gpu_pins.values()):
            gpu_pins["runtime"][name] = gpu[name]["version"]
    gpu_pins["runtime"] = dict(sorted(gpu_pins["runtime"].items()))
    write_text(GPU_LOCK, _lock_text(gpu_pins, "one NVIDIA GPU or more (Linux)"))


def _project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def _pip_report(requirements: Iterable[str], *, only_pypi: bool = False) -> dict[str, dict[str, Any]]:
    """Metadata of everything pip would install for `requirements`, by canonical name."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    environment = dict(os.environ)
    if only_pypi:
        # Without a configuration of its own pip asks PyPI.
        own = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_INDEX_URL": "", "PIP_EXTRA_INDEX_URL": ""}
        environment |= own
    done = subprocess.run(
        [*command, *requirements], stdout=subprocess.PIPE, encoding="utf-8", check=True, env=environment
    )
    installed = json.loads(done.stdout)["install"]
    return {canonicalize_name(each["metadata"]["name"]): each["metadata"] for each in installed}


def _closure(roots: Iterable[str], found: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Names of the packages that `roots` need, directly or not."""
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(root), "") for root in roots]
    while waiting:
        requirement, wanted_by_extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": wanted_by_extra}):
            continue
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(Requirement(each), extra) for each in found[name].get("requires_dist", ())]
    return {name for name, _ in seen}


def _lock_text(pins: Pins, machine: str) -> str:
    lines = [
        f"# Exact versions for {machine}; the ranges are in pyproject.toml.",
        "# Made anew by `make lock` (tools/generate.py --lock), never by hand.",
    ]
    titles = {"runtime": "a stage", "workflow": "Snakemake", "dev": "tests and checks"}
    for section, packages in pins.items():
        lines += ["", f"# [{section}] needed by {titles[section]}"]
        lines += [f"{name}=={version}" for name, version in packages.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
