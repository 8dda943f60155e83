"""What this machine can and cannot do, each with its fix."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.version import Version

from sdseg.backends.onnxruntime import PACKAGES
from sdseg.backends.openvino_support import INSTALL as INSTALL_OPENVINO
from sdseg.backends.openvino_support import computes_in_bf16
from sdseg.backends.tensorrt_support import SUPPORTED, installed_version, why_not_here
from sdseg.cli.installed_extras import EXTRAS_SHOWN, faults_of, requirements_of
from sdseg.config.run import Config
from sdseg.core.errors import UserError
from sdseg.core.extras import how_to_install
from sdseg.core.processor import adds_up_bytes
from sdseg.core.provenance import version_of
from sdseg.datasets.check_configuration import check_machine, configure_file
from sdseg.datasets.source_lookup import makes_split

__all__ = ["Finding", "doctor", "examine"]

CONDA_NEEDED = "24.7.1"  # what Snakemake's --use-conda asks for
DISK_NEEDED, DISK_WANTED = 1.0, 10.0  # GB
MEMORY_WANTED = 6.0  # GB, for the demo
INSTALL = "pip install --upgrade 'sdseg[cpu]'; of a checkout: make venv, or pip install -e '.[cpu,all]'"
NEEDED = ("train", "report", "workflow")  # extras of a run


@dataclass(frozen=True)
class Finding:
    """One line of the table. 'note' restricts what can be done; 'problem' stops a run."""

    state: Literal["ok", "note", "problem"]
    subject: str
    description: str
    fix: str | None = None


def doctor(config: Path | None = None) -> int:
    """Print the table; return 1 when there is a problem, else 0."""
    findings = list(examine(config))
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{finding.state:8}{finding.subject:{width + 2}}{finding.description}")
        if finding.fix:
            print(f"{'':{width + 10}}fix: {finding.fix}")
    problems = sum(finding.state == "problem" for finding in findings)
    print(f"\n{problems} problem(s)" if problems else "\nno problem found")
    return 1 if problems else 0


def examine(config: Path | None = None) -> Iterator[Finding]:
    """Every finding about this machine, and about one configuration on it."""
    yield _python(sys.version_info[:3])
    yield from _packages()
    gpus, findings = _torch()
    yield from findings
    yield from _onnxruntime({name: version for name in PACKAGES if (version := version_of(name))})
    yield from _optional()
    yield _conda(_conda_version())
    yield from _machine(Path.cwd())
    if config is not None:
        yield from _configuration(config, gpus)


def _python(version: tuple[int, ...]) -> Finding:
    text = ".".join(map(str, version))
    if version < (3, 11):
        return Finding("problem", "python", f"{text}, expected >=3.11", "make PYTHON=/path/to/python3.11")
    return Finding("ok", "python", text)


def _packages() -> Iterator[Finding]:
    for requirement in requirements_of():
        yield _package(requirement, version_of(requirement.name))
    for extra, purpose in EXTRAS_SHOWN.items():
        yield _extra(extra, purpose, [fault for each in requirements_of(extra) if (fault := faults_of(each))])


def _package(requirement: Requirement, version: str | None) -> Finding:
    if version is None:
        return Finding("problem", requirement.name, f"missing, expected {requirement.specifier}", INSTALL)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding("problem", requirement.name, f"{version}, expected {requirement.specifier}", INSTALL)
    return Finding("ok", requirement.name, version)


def _extra(extra: str, purpose: str, faults: list[str]) -> Finding:
    """One line of an extra. What is missing only restricts; another version than was tried is a problem."""
    subject, fix = f"[{extra}]", how_to_install(extra)
    if not faults:
        return Finding("ok", subject, ", ".join(f"{one.name} {version_of(one.name)}" for one in requirements_of(extra)))
    if all(" " not in fault for fault in faults):
        lacking = "not installed" if len(faults) == len(requirements_of(extra)) else f"lacks {', '.join(faults)}"
        return Finding("note", subject, f"{lacking}; for {purpose}", fix)
    return Finding("problem", subject, ", ".join(faults), fix)


def _torch() -> tuple[int, list[Finding]]:
    """How many GPUs torch can compute on, and what there is to say of it."""
    if version_of("torch") is None:
        return 0, []  # the line of its extra says so
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library it loads is missing or damaged
        return 0, [Finding("problem", "torch", f"cannot be imported: {error}", INSTALL)]
    cuda = torch.version.cuda
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        each = [torch.cuda.get_device_properties(index) for index in range(gpus)]
        return gpus, [Finding("ok", "GPU", f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, CUDA {cuda}") for gpu in each]
    if cuda is None:
        fix = "with a GPU: make venv LOCK=requirements-gpu.lock"
        return 0, [Finding("note", "GPU", "none usable: this torch is built for the CPU alone", fix)]
    fix = "look at nvidia-smi: the driver must be there and know this CUDA version"
    return 0, [Finding("note", "GPU", f"none usable, though torch is built for CUDA {cuda}", fix)]


def _onnxruntime(builds: dict[str, str]) -> Iterator[Finding]:
    """Its builds share a module folder: one of them, never two. `builds`: those installed, with their versions."""
    if len(builds) > 1:
        fix = f"pip uninstall --yes {' '.join(builds)}, then install the one you want"
        yield Finding("problem", "onnxruntime", f"{' and '.join(builds)} together: one hides the other", fix)
        return
    if not builds:
        fix = f"{how_to_install('cpu', 'gpu')} (one of the two)"
        state: Literal["note", "problem"] = "note" if version_of("openvino") else "problem"
        yield Finding(state, "onnxruntime", "missing: exported graphs need it, or OpenVINO", fix)
        return
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        yield Finding("problem", "onnxruntime", f"cannot be imported: {error}", INSTALL)
        return
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    for name, version in builds.items():
        yield Finding("ok", name, f"{version}, providers: {providers}")


def _openvino(version: str | None) -> Finding:
    if version is None:
        fix = f"{INSTALL_OPENVINO} to run graphs with --device openvino"
        return Finding("note", "openvino", "missing: graphs run on ONNX Runtime alone", fix)
    try:
        bf16 = computes_in_bf16()
    except (UserError, OSError, RuntimeError) as error:
        fix = f"{INSTALL_OPENVINO}, or pip uninstall openvino"
        return Finding("problem", "openvino", f"cannot be used: {error}", fix)
    also = "openvino-bf16 can be used" if bf16 else "no bfloat16 on this processor: not openvino-bf16"
    if not adds_up_bytes():
        also += "; no VNNI: int8 graphs of earlier versions are computed in single precision"
    return Finding("ok", "openvino", f"{version}, {also}")


def _optional() -> Iterator[Finding]:
    yield _openvino(version_of("openvino"))
    tensorrt = installed_version()
    if tensorrt is None:
        fix = f"with an NVIDIA GPU: {how_to_install('tensorrt')}"
        yield Finding("note", "tensorrt", "missing: no engines can be built", fix)
    elif not SUPPORTED.contains(tensorrt, prereleases=True):
        fix = f"pip install 'tensorrt-cu13{SUPPORTED}': 10.x has another API"
        yield Finding("note", "tensorrt", f"{tensorrt}, supported: {SUPPORTED}; no engines can be built", fix)
    else:
        yield Finding("ok", "tensorrt", tensorrt)


def _conda_version() -> str | None:
    """What `conda --version` says; None where there is no conda."""
    program = shutil.which("conda")
    if program is None:
        return None
    try:
        completed = subprocess.run(
            [program, "--version"], capture_output=True, encoding="utf-8", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    version = re.search(r"\d+(\.\d+)+", completed.stdout)
    return version[0] if version else ""


def _conda(version: str | None) -> Finding:
    fix = f"needed for snakemake --use-conda alone: install conda {CONDA_NEEDED} or newer (Miniforge)"
    if version is None:
        return Finding("note", "conda", "missing", fix)
    if not version or Version(version) < Version(CONDA_NEEDED):
        return Finding("note", "conda", f"{version or 'does not start'}, expected >={CONDA_NEEDED}", fix)
    return Finding("ok", "conda", version)


def _machine(folder: Path) -> Iterator[Finding]:
    yield Finding(
        "ok", "CPU cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if memory < MEMORY_WANTED:
        yield Finding(
            "note", "memory", f"{memory:.1f} GB", f"the demo wants {MEMORY_WANTED:.0f} GB: run with --cores 1"
        )
    else:
        yield Finding("ok", "memory", f"{memory:.1f} GB")
    yield _disk(shutil.disk_usage(folder).free / 1e9)


def _disk(free: float) -> Finding:
    if free < DISK_WANTED:
        fix = f"set 'results' of the configuration to a disk with {DISK_WANTED:.0f} GB free"
        return Finding("problem" if free < DISK_NEEDED else "note", "free disk", f"{free:.1f} GB", fix)
    return Finding("ok", "free disk", f"{free:.1f} GB")


def _configuration(path: Path, gpus: int) -> Iterator[Finding]:
    """Whether a run with this configuration would find what it needs."""
    try:
        run = configure_file(path)
        check_machine(run)
    except UserError as error:
        yield Finding("problem", "configuration", str(error).partition("\n  remedy")[0], error.remedy)
        return
    config = run.settings
    yield Finding("ok", "configuration", str(path))
    lacking = [extra for extra in NEEDED if any(map(faults_of, requirements_of(extra)))]
    if lacking:
        fix = f"{how_to_install(','.join(lacking))}; with --use-conda the jobs bring [train] and [report] themselves"
        yield Finding("problem", "extras", f"a run needs {', '.join(f'[{each}]' for each in lacking)}", fix)
    on_gpu = config.device.startswith("cuda")
    if on_gpu and int(config.device.partition(":")[2] or 0) >= gpus:
        fix = "set 'device: cpu', or run where there is a GPU"
        usable = f"{gpus} GPU(s), counted from 0, are" if gpus else "no GPU is"
        yield Finding("problem", "device", f"the configuration says {config.device}, and {usable} usable here", fix)
    if on_gpu and config.engines.missing == "error" and (reason := why_not_here()):
        fix = "set engines.missing to leave-out or elsewhere (docs/tensorrt.md)"
        yield Finding("problem", "engines", f"they cannot be built here: {reason}", fix)
    yield from _inputs(config)


def _inputs(config: Config) -> Iterator[Finding]:
    for name, dataset in config.datasets.items():
        if dataset.origin == "phantom":
            continue
        raw, split = config.raw_folder(name), config.split_path(name)
        if not raw.is_dir():
            fix = f"put the files of {dataset.source} there, or set 'raw' to where they are"
            yield Finding("problem", name, f"no raw files: {raw} is missing", fix)
        if not makes_split(dataset) and not split.is_file():
            fix = "set 'protocol' to one that is there, or 'split_file' to your own"
            yield Finding("problem", name, f"no split file: {split} is missing", fix)
    for name, codec in config.codecs.items():
        if codec.weights is not None and not Path(codec.weights).is_dir():
            fix = "put the pretrained autoencoder there, or give 'training' instead of 'weights'"
            yield Finding("problem", f"codec {name}", f"no weights: {codec.weights} is missing", fix)
