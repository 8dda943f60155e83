"""Kills runs of the workflow at random times, in six ways, and compares their results with those of an undisturbed run.

    OMP_NUM_THREADS=1 python benchmarks/kills.py --kills 100

The pipeline is that of the tests (phantoms of two datasets, a codec, two trainings, scores, exports, the page), with
longer trainings. One pipeline after the other is started, ended, started again with the same command, and so on until
it is done; then everything that it has written is compared. A disk is filled up where a small file system can be
mounted (as root); elsewhere the size of files is limited, which stops a write half-way in the same call.

Figures: --output (default benchmarks/figures/kills.json).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sdseg.core.signals import heeded  # noqa: E402
from tests.helpers.projects import MINI, checkout  # noqa: E402

STEPS = 60
TRAINING = {"steps": STEPS, "checkpoint_every": 10, "validate_every": 20, "log_every": 1}
WAYS = {
    "SIGKILL, all processes": 3,
    "SIGKILL, the main process alone": 2,
    "SIGTERM, all processes": 2,
    "SIGTERM, the main process alone": 1,
    "SIGINT, all processes": 2,
    "disk full": 2,
}
ENDS = ("model/config.json", "codec/config.json", "prepared/manifest.json", "raw.json", "summary.json", "parity.json")
DATED = ("provenance", "seconds", "memory")  # parts of the names of what differs from run to run


class Pipeline:
    """A copy of the checkout with the mini configuration, whose runs are started and ended."""

    def __init__(self, place: Path) -> None:
        self.project = checkout(place, to_edit=True)
        recipes = json.loads(json.dumps(MINI["recipes"]))
        for recipe in recipes.values():
            recipe["overrides"]["training"] |= TRAINING
        codecs = {"tiny": {**MINI["codecs"]["tiny"], "training": {"steps": 80, "batch": 2, "size": 32}}}
        self.project.configure(recipes=recipes, codecs=codecs)
        self.results = self.project.results
        self.results.mkdir()
        self.log = place.with_suffix(".log")

    def start(self, limit: int | None = None) -> subprocess.Popen[bytes]:
        """Run the workflow in a process group of its own; `limit` is the largest size of a file, in bytes."""

        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's jobs in the background ignore it
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "mini.yaml"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.project.root, stdout=log, stderr=log, start_new_session=True, preexec_fn=prepare
            )

    def progress(self) -> tuple[int, int]:
        """Outputs that are there, and training steps whose state is saved."""
        done = sum(1 for path in self.results.rglob("*.json") if str(path).endswith(ENDS))
        return done, sum(self.saved(state) for state in self.results.glob("*/*/state"))

    def saved(self, state: Path) -> int:
        if (state / "finished").is_dir():
            return STEPS
        return max((int(path.parent.name[5:]) for path in state.glob("step-*/state.json")), default=0)

    def logged(self) -> dict[Path, int]:
        """The last training step in each journal."""
        last = {}
        for journal in self.results.glob("*/*/state/training.jsonl"):
            lines = journal.read_text("utf-8").splitlines()
            last[journal] = max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)
        return last

    def lost_steps(self, before: dict[Path, int]) -> int:
        """The most training steps that this run has logged and of which no state was saved."""
        now = self.logged()
        grown = [journal for journal, step in now.items() if step != before.get(journal)]
        return max((max(0, now[each] - self.saved(each.parent)) for each in grown), default=0)

    def contents(self) -> dict[str, str]:
        """SHA-256 of every result by name, without what tells of the time and the place of a run."""
        root = self.project.root
        files = [path for place in (self.results, root / "raw data") for path in sorted(place.rglob("*"))]
        found = {}
        for path in files:
            name = path.relative_to(root).as_posix()
            ours = not any(part in ("logs", "state") or part.startswith(".snakemake") for part in path.parts)
            if ours and path.is_file() and (value := essence(path)) is not None:
                found[name] = hashlib.sha256(value).hexdigest()
        return found


def essence(path: Path) -> bytes | None:
    """What of a file must repeat to the bit; None for pages, which show durations and dates."""
    if path.suffix == ".html" or path.name in ("training.jsonl", "summary.csv", "io.json"):
        return None
    if path.suffix == ".json":
        return json.dumps(undated(json.loads(path.read_text("utf-8"))), sort_keys=True).encode()
    if path.suffix == ".onnx":
        import onnx

        graph = onnx.load(path)
        del graph.metadata_props[:]
        return bytes(graph.SerializeToString(deterministic=True))
    return path.read_bytes()


def undated(value: Any) -> Any:
    if isinstance(value, dict):
        kept = [key for key in value if key != "scored" and not any(part in key for part in DATED)]
        return {key: undated(value[key]) for key in kept}
    return [undated(each) for each in value] if isinstance(value, list) else value


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None] | None]:
    """Mount a small file system at `folder`; gives what fills it up, or None where that is not allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=128m", "sdseg-kills", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, stderr=-3).returncode != 0:
        yield None
        return

    def fill() -> None:
        with suppress(OSError), (folder / ".ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(1 << 16)):
                pass

    try:
        yield fill
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


class Campaign:
    """Kills, one after the other, until there were enough; what became of them."""

    def __init__(self, kills: int, seed: int, place: Path) -> None:
        self.random, self.wanted, self.place = random.Random(seed), kills, place
        self.kills = self.identical = self.pipelines = 0
        self.by_way: dict[str, Counter[str]] = {way: Counter() for way in WAYS}
        self.failures: list[str] = []
        self.least = self.scale = 0.0  # seconds between two kills, on average

    def run(self) -> None:
        reference = self._undisturbed()
        while self.kills < self.wanted:
            self.pipelines += 1
            pipeline = Pipeline(self.place / f"pipeline {self.pipelines}")
            with small_disk(pipeline.results) as fill:
                ways = self._until_done(pipeline, fill)
                found = pipeline.contents()
                different = sorted(name for name in {*reference, *found} if reference.get(name) != found.get(name))
                left = [
                    path.name for path in pipeline.results.rglob(".*") if path.name.endswith((".part", ".old", ".lock"))
                ]
            if different or left:
                self.failures.append(f"pipeline {self.pipelines}: other than undisturbed: {different}; left: {left}")
            for way, count in ways.items():
                self.by_way[way]["identical"] += count * (not different and not left)
            self.identical += ways.total() * (not different and not left)
            print(
                f"pipeline {self.pipelines}: {ways.total()} kills, {len(found)} files, different: {different}",
                flush=True,
            )
            if not different and not left:
                shutil.rmtree(pipeline.project.root)

    def _undisturbed(self) -> dict[str, str]:
        kept = self.place / "undisturbed.json"  # of an earlier campaign with this --place
        if not kept.exists():
            self.place.mkdir(parents=True, exist_ok=True)
            pipeline = Pipeline(self.place / "undisturbed")
            started = time.monotonic()
            if pipeline.start().wait() != 0:
                sys.exit(pipeline.log.read_text("utf-8"))
            found = {"seconds": time.monotonic() - started, "contents": pipeline.contents()}
            kept.write_text(json.dumps(found), encoding="utf-8")
        reference = json.loads(kept.read_text("utf-8"))
        self.least = self.scale = reference["seconds"] / 12
        print(f"undisturbed: {reference['seconds']:.0f} s", flush=True)
        contents: dict[str, str] = reference["contents"]
        return contents

    def _until_done(self, pipeline: Pipeline, fill: Callable[[], None] | None) -> Counter[str]:
        """Run and kill one pipeline until it is done; the ways it was killed in."""
        ways: Counter[str] = Counter()
        self.scale = self.least
        while True:
            enough = self.kills >= self.wanted
            way = self.random.choices([*WAYS], [*WAYS.values()])[0]
            limit = self.random.randrange(1, 40) << 10 if way == "disk full" and fill is None and not enough else None
            before, logged, run = pipeline.progress(), pipeline.logged(), pipeline.start(limit)
            try:
                code = run.wait(None if enough else self.scale * self.random.uniform(0.4, 1.6))
            except subprocess.TimeoutExpired:
                self._end(run, way, pipeline, fill)
                ways[way] += 1
                self.kills += 1
                lost = 0 if way.endswith("main process alone") else pipeline.lost_steps(logged)
                self.by_way[way]["kills"] += 1
                self.by_way[way]["lost_steps_max"] = max(self.by_way[way]["lost_steps_max"], lost)
                moved = pipeline.progress() != before
                self.scale = max(self.least, self.scale * 0.8) if moved else min(3 * self.least, self.scale * 1.3)
                print(f"{self.kills}: {way}, {pipeline.progress()} done, {lost} steps lost", flush=True)
                continue
            if code == 0:
                return ways
            if limit is None:
                self.failures.append(f"pipeline {self.pipelines}: a run failed by itself after {dict(ways)}")
                print(self.failures[-1], pipeline.log.read_text("utf-8")[-3000:], flush=True)
                if len(self.failures) > 5:
                    sys.exit("too many failures")
            else:
                ways[way] += 1
                self.kills += 1
                self.by_way[way]["kills"] += 1

    def _end(self, run: subprocess.Popen[bytes], way: str, pipeline: Pipeline, fill: Callable[[], None] | None) -> None:
        name, _, whom = way.partition(", ")
        if name == "disk full":
            if fill is not None:
                fill()
                wait(run, 60.0)
            kill_all(run)
            (pipeline.results / ".ballast").unlink(missing_ok=True)
            return
        send = os.killpg if whom == "all processes" else os.kill
        with suppress(ProcessLookupError):
            send(run.pid, getattr(signal, name))
        if not wait(run, 120.0):
            self.failures.append(f"pipeline {self.pipelines}: {way}: still alive after two minutes")
            kill_all(run)
        if name in ("SIGTERM", "SIGINT"):  # shells end before their jobs, which are saving
            time.sleep(1.0)


def kill_all(run: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def wait(run: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the times and the ways (default: 0)")
    parser.add_argument("--place", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/kills.json")
    chosen = parser.parse_args()
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8")
    started = time.monotonic()
    with heeded(), tempfile.TemporaryDirectory(prefix="sdseg-kills-") as temporary:
        campaign = Campaign(chosen.kills, chosen.seed, chosen.place or Path(temporary))
        campaign.run()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "kills": campaign.kills,
        "identical": campaign.identical,
        "pipelines": campaign.pipelines,
        "lost_steps_max": max(each["lost_steps_max"] for each in campaign.by_way.values()),
        "checkpoint_every": TRAINING["checkpoint_every"],
        "by_signal": {way: dict(each) for way, each in campaign.by_way.items()},
        "failures": campaign.failures,
        "seconds": round(time.monotonic() - started),
        "cpu_minutes": round((used.ru_utime + used.ru_stime) / 60, 1),
        "command": f"python benchmarks/kills.py --kills {chosen.kills} --seed {chosen.seed}",
        "commit": commit.stdout.strip() or "unknown",
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))
    return 0 if campaign.identical == campaign.kills and not campaign.failures else 1


if __name__ == "__main__":
    sys.exit(main())
