"""The workflow on a SLURM of one node, which this script starts and ends: a training cancelled in mid-run, and resumed.

    apt-get install slurm-wlm munge                         (Debian, Ubuntu; the services need not run)
    pip install snakemake-executor-plugin-slurm             (beside Snakemake)
    python benchmarks/slurm.py [--folder FOLDER] [--json FILE]

Runs a small configuration on phantoms twice: undisturbed without SLURM, and by `workflow/profiles/slurm`, where the
training is cancelled by `scancel` once it has saved a state. Compares the checksums of everything that both made, and
fails where one differs, or where the training was not resumed. Everything lies in FOLDER (default: a temporary one):
two checkouts, keys, settings, logs and pids of munged, slurmctld and slurmd; nothing outside is touched, and the three
daemons are ended by their pids. Takes a few minutes; as root and as any other user.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
LAYOUT = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4, "mid_block_attention": False}
DENOISER = {"block_out_channels": [8, 16], "attention": [False, True], "layers_per_block": 1, "norm_num_groups": 4}
TRAINING = {"batch": 4, "precision": "no", "validate_every": 100, "checkpoint_every": 50, "log_every": 10, "workers": 0}
CONFIG: dict[str, Any] = {
    "raw": "raw",
    "results": "results",
    "threads": 1,
    "phantoms": {"seed": 1, "scale": 0.2},
    "codecs": {"tiny": {**LAYOUT, "training": {"steps": 50, "batch": 4, "size": 32}}},
    "recipes": {
        "sdseg-onestep": {
            "file": "config/recipes/sdseg-onestep.yaml",
            "overrides": {
                "network": {
                    "codec": "tiny",
                    "condition": {**LAYOUT, "init": "random"},
                    "denoiser": {**DENOISER, "heads": 1},
                },
                "training": {**TRAINING, "steps": 800},
            },
        },
        "unet": {
            "file": "config/recipes/unet.yaml",
            "overrides": {
                "network": {"architecture": "unet", "channels": [4, 8], "residual_units": 0},
                "training": {**TRAINING, "steps": 100},
            },
        },
    },
    "datasets": {
        "kseg": {"source": "kseg", "origin": "phantom", "size": 32, "recipes": ["sdseg-onestep"]},
        "btcv": {"source": "btcv", "origin": "phantom", "size": 32, "recipes": ["unet"]},
    },
    "export": {"max_abs_difference": 0.01, "max_dice_difference": 0.05, "parity_cases": 2},
}
CANCELLED = "kseg/sdseg-onestep"
COMPARED = ("*.safetensors", "*.npy", "model.onnx", "cases.csv", "slices.csv")
DAEMONS = ("munged", "slurmctld", "slurmd")
PATIENCE = 3600  # seconds for one run of the workflow


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where everything lies, and stays (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="also write what was seen to this file")
    chosen = parser.parse_args()
    missing = [name for name in (*DAEMONS, "sbatch", "scancel", "srun") if _program(name) is None]
    if missing:
        parser.error(_not_installed(*missing))
    if chosen.folder is not None and chosen.folder.exists():
        parser.error(f"{chosen.folder} is there already: name a new folder")
    if chosen.folder is not None:
        chosen.folder.mkdir(parents=True)
    folder = chosen.folder.resolve() if chosen.folder else Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        seen = _experiment(folder)
    finally:
        if chosen.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(seen, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(seen, indent=2) + "\n", encoding="utf-8")
    return 0 if seen["resumed_after_step"] and not seen["different"] and seen["compared"] else 1


def _experiment(folder: Path) -> dict[str, Any]:
    """What was seen: the training's story, and the files that differ from the undisturbed run's."""
    undisturbed, by_slurm = _checkout(folder / "undisturbed"), _checkout(folder / "by-slurm")
    begun = time.monotonic()
    _finish(_snakemake(undisturbed, "--cores", "2"), undisturbed)
    alone = time.monotonic() - begun
    with _cluster(folder / "cluster") as environment:
        version = subprocess.run(
            ["sbatch", "--version"], env=environment, capture_output=True, encoding="utf-8", check=True
        ).stdout
        begun = time.monotonic()
        words = ["--workflow-profile", "workflow/profiles/slurm", "--slurm-status-command", "squeue"]
        words += ["--slurm-no-account", "--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "5"]
        running = _snakemake(by_slurm, *words, environment=environment)
        job, step = _cancel_training(by_slurm, running, environment)
        log = _finish(running, by_slurm)
        whole = time.monotonic() - begun
    states = [json.loads(line) for line in (by_slurm / "results" / CANCELLED / "model/training.jsonl").open()]
    resumed = [event["step"] for event in states if event["event"] == "resumed"]
    first, second = _checksums(undisturbed / "results"), _checksums(by_slurm / "results")
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8")
    return {
        "command": "python benchmarks/slurm.py --json benchmarks/figures/slurm.json",
        "commit": head.stdout.strip() or "unknown",
        "date": time.strftime("%Y-%m-%d"),
        "slurm": version.split()[-1],
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "jobs": len(re.findall(r"has been submitted with SLURM jobid", log)),
        "cancelled_job": job,
        "steps_when_cancelled": step,
        "resumed_after_step": resumed,
        "steps": CONFIG["recipes"]["sdseg-onestep"]["overrides"]["training"]["steps"],
        "compared": len(first),
        "different": sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name)),
        "seconds_undisturbed": round(alone),
        "seconds_by_slurm": round(whole),
    }


def _checkout(folder: Path) -> Path:
    for part in ("sdseg", "workflow", "config", "resources/splits"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("resources/datasets.yaml", "pyproject.toml"):
        shutil.copy(ROOT / file, folder / file)
    (folder / "small.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    return folder


def _snakemake(folder: Path, *words: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "snakemake", *words, "--configfile", "small.yaml"]
    with (folder / "run.log").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment)


def _finish(running: subprocess.Popen[bytes], folder: Path) -> str:
    """What a run printed, once it ended well."""
    code = running.wait(PATIENCE)
    log = (folder / "run.log").read_text(encoding="utf-8")
    if code:
        print(log, file=sys.stderr)
        raise SystemExit(f"snakemake in {folder} ended with {code}")
    return log


def _cancel_training(folder: Path, running: subprocess.Popen[bytes], environment: dict[str, str]) -> tuple[str, int]:
    """Cancel the job that trains, once a state was saved; its id, and the last step it had written down."""
    journal = folder / "results" / CANCELLED / "state/training.jsonl"
    end = time.monotonic() + PATIENCE
    while running.poll() is None and time.monotonic() < end:
        steps = re.findall(r'"step": (\d+)', journal.read_text(encoding="utf-8")) if journal.exists() else []
        log = (folder / "run.log").read_text(encoding="utf-8")
        job = re.search(rf"SLURM jobid (\d+) \(log: \S*/rule_model/{re.escape(CANCELLED.replace('/', '_'))}/", log)
        if job and steps and int(steps[-1]) >= 120:
            subprocess.run(["scancel", job[1]], check=True, env=environment)
            return job[1], int(steps[-1])
        time.sleep(0.1)
    running.kill()
    raise SystemExit(f"no training was seen; see {folder / 'run.log'}")


def _checksums(results: Path) -> dict[str, str]:
    """Of what must not depend on how it was run; of a graph without its metadata, which say when it was made."""
    import onnx

    files = {path for pattern in COMPARED for path in results.rglob(pattern) if "state" not in path.parts}
    found = {}
    for path in sorted(files):
        content = path.read_bytes()
        if path.suffix == ".onnx":
            graph = onnx.load_from_string(content)
            del graph.metadata_props[:]
            content = graph.SerializeToString(deterministic=True)
        found[str(path.relative_to(results))] = hashlib.sha256(content).hexdigest()
    return found


@contextmanager
def _cluster(folder: Path) -> Iterator[dict[str, str]]:
    """A SLURM of this machine alone; the environment in which its commands find it."""
    for part in (".", "state", "spool"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    key, munge = folder / "munge.key", folder / "munge.socket"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    (folder / "slurm.conf").write_text(_settings(folder, munge), encoding="utf-8")
    # Snakemake's jobs forget every SLURM_… variable, this one too: the `srun` they find says it again.
    shim = folder / "bin" / "srun"
    shim.parent.mkdir()
    text = f'#!/bin/sh\nSLURM_CONF="{folder / "slurm.conf"}" exec {_installed("srun")} "$@"\n'
    shim.write_text(text, encoding="utf-8")
    shim.chmod(0o755)
    path = f"{shim.parent}:{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    files = {"key-file": key, "socket": munge}
    files |= {f"{kind}-file": folder / f"munged.{kind}" for kind in ("log", "pid", "seed")}
    try:
        subprocess.run(
            [_installed("munged"), "--force", *(f"--{name}={path}" for name, path in files.items())], check=True
        )
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([_installed(daemon)], check=True, env=environment)
        _wait_until_idle(environment, folder)
        yield environment
    finally:
        for daemon in reversed(DAEMONS):
            pid = folder / f"{daemon}.pid"
            if pid.exists():
                os.kill(int(pid.read_text()), signal.SIGTERM)


def _settings(folder: Path, munge: Path) -> str:
    host, user = socket.gethostname(), getpass.getuser()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 512  # MiB
    with socket.socket() as first, socket.socket() as second:
        ports = []
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
            ports.append(each.getsockname()[1])
    values = {
        "ClusterName": "one",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={munge}",
        "SlurmctldPort": ports[0],
        "SlurmdPort": ports[1],
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        **{f"{name}PidFile": folder / f"{name.lower()}.pid" for name in ("Slurmctld", "Slurmd")},
        **{f"{name}LogFile": folder / f"{name.lower()}.log" for name in ("Slurmctld", "Slurmd")},
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "ProctrackType": "proctrack/linuxproc",  # no cgroups
        "TaskPlugin": "task/none",
        "AccountingStorageType": "accounting_storage/none",
        "MinJobAge": 300,  # seconds `squeue` tells of a finished job
    }
    lines = [f"{name}={value}" for name, value in values.items()]
    lines.append(f"NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory={memory} State=UNKNOWN")
    lines.append("PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
    return "\n".join(lines) + "\n"


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    for _ in range(60):
        told = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"], env=environment, capture_output=True, encoding="utf-8", check=False
        )
        if told.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    raise SystemExit(f"the node does not come up: {told.stdout}{told.stderr}; see the logs in {folder}")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")


def _installed(name: str) -> str:
    """Where a program lies. Ends the script where there is none."""
    path = _program(name)
    if path is None:
        raise SystemExit(_not_installed(name))
    return path


def _not_installed(*names: str) -> str:
    return f"not installed: {', '.join(names)} (apt-get install slurm-wlm munge)"


if __name__ == "__main__":
    sys.exit(main())
