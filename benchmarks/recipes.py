"""Recipes against each other: the same data, the same steps, several seeds, one table.

python benchmarks/recipes.py --raw KSEG256 [--configfile config/evidence.yaml] [--seeds 0 1 2] [--jobs 2] [--folder DIR]

Prepares the datasets of the configuration and their codecs with Snakemake, then trains every recipe with every seed
(`python -m sdseg train`, one thread each) and scores it on the test split (`python -m sdseg evaluate`). What is there
already, made with the same settings, is kept: an interrupted run continues. A recipe with `start_from` starts from that
recipe's model of the same seed. Writes `<folder>/evidence.json` and prints the table: mean ± standard deviation over
seeds of the mean Dice and IoU per case at the working size, on validation and test cases, and CPU seconds of training.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sdseg.config.recipe import Recipe  # noqa: E402
from sdseg.config.run import Config, load_config  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="folder of the images, `raw` of datasets.kseg256")
    parser.add_argument("--configfile", type=Path, default=ROOT / "config/evidence.yaml")
    parser.add_argument("--datasets", nargs="+", help="some of the configuration's datasets (default: all)")
    parser.add_argument("--recipes", nargs="+", help="some of the configuration's recipes (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each (default: 2)")
    parser.add_argument("--folder", type=Path, default=Path("results-evidence"), help="default: results-evidence")
    parser.add_argument("--print-only", action="store_true", help="the table of what is there already")
    chosen = parser.parse_args()
    config = load_config(chosen.configfile)
    runs = [
        Trial(chosen.folder.resolve(), config, dataset, recipe, seed)
        for dataset in chosen.datasets or config.datasets
        for seed in chosen.seeds
        for recipe in config.recipes_of(dataset)
        if not chosen.recipes or recipe in chosen.recipes
    ]
    if not chosen.print_only:
        _prepare(chosen.configfile, chosen.folder, chosen.raw, chosen.jobs)
        _train_all(runs, chosen.jobs)
    figures = [run.figures() for run in runs if run.done]
    (chosen.folder / "evidence.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    _print_table(figures)
    return 0 if all(run.done for run in runs) else 1


class Trial:
    """One recipe, trained on one dataset with one seed."""

    def __init__(self, root: Path, config: Config, dataset: str, name: str, seed: int) -> None:
        self.dataset, self.name, self.seed = dataset, name, seed
        self.prepared = root / dataset / "prepared"
        self.folder = root / "trials" / dataset / f"{name}-{seed}"
        resolved = config.resolve_recipe(dataset, name)
        self.recipe = resolved.model_copy(update={"training": resolved.training.model_copy(update={"seed": seed})})
        start = resolved.start_from
        self.after = root / "trials" / dataset / f"{start.recipe}-{seed}" if start and start.recipe else None
        codec = getattr(resolved.network, "codec", None)
        self.codec = root / "codecs" / codec / "codec" if codec else None

    @property
    def done(self) -> bool:
        """Trained and scored with these very settings."""
        try:
            return (self.folder / "recipe.yaml").read_text() == _text(self.recipe) and self._figures.is_file()
        except FileNotFoundError:
            return False

    @property
    def _figures(self) -> Path:
        return self.folder / "figures.json"

    def run(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._figures.unlink(missing_ok=True)
        (self.folder / "recipe.yaml").write_text(_text(self.recipe), encoding="utf-8")
        words = ["--prepared", self.prepared, "--recipe", self.folder / "recipe.yaml", "--name", self.name]
        words += ["--output", self.folder / "model", "--on-edit", "restart"]
        words += ["--codec", self.codec] if self.codec else []
        words += ["--start-from", self.after / "model"] if self.after else []
        cpu, wall = self._call("train", words)
        scores = {}
        for split in ("val", "test"):
            output = self.folder / split
            model = ["--prepared", self.prepared, "--model", self.folder / "model", "--output", output]
            self._call("evaluate", [*model, "--split", split])
            summary = json.loads((output / "summary.json").read_text())
            scores[split] = {measure: summary[measure]["mean"] for measure in ("dice", "iou")}
        parameters = json.loads((self.folder / "model/config.json").read_text())["training"]["parameters"]
        record = {
            "dataset": self.dataset,
            "recipe": self.name,
            "seed": self.seed,
            "steps": self.recipe.training.steps,
            "parameters": sum(parameters.values()),
            "cpu_seconds": round(cpu, 1),
            "wall_seconds": round(wall, 1),
            **scores,
        }
        self._figures.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._figures.read_text())
        return found

    def _call(self, verb: str, words: list[Any]) -> tuple[float, float]:
        """CPU and wall seconds of one stage, in a process of its own with one thread."""
        began = time.perf_counter()
        with (self.folder / f"{verb}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "sdseg", verb, *map(str, words)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{verb} of {self.name} on {self.dataset} failed: see {log.name}")
        return _cpu(usage), time.perf_counter() - began


def _prepare(configfile: Path, folder: Path, raw: Path, jobs: int) -> None:
    words = ["--cores", str(jobs), "--configfile", str(configfile), "--config", f"results={folder}"]
    words += [f"datasets={{kseg256: {{raw: {json.dumps(str(raw.resolve()))}}}}}"]
    subprocess.run(
        ["snakemake", *words, "--quiet", "host", "reason", "--until", "slice_store", "codec_model"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        check=True,
    )


def _train_all(runs: list[Trial], jobs: int) -> None:
    """Those that others start from first; then the rest."""
    waiting = [run for run in runs if not run.done]
    for chosen in ([run for run in waiting if not run.after], [run for run in waiting if run.after]):
        with ThreadPoolExecutor(jobs) as pool:
            for run, _ in zip(chosen, pool.map(Trial.run, chosen), strict=True):
                print(f"{time.strftime('%T')} {run.dataset} {run.name} seed {run.seed}", flush=True)


def _print_table(figures: list[dict[str, Any]]) -> None:
    print(f"\n{platform.processor() or platform.machine()}, {time.strftime('%F')}\n")
    print("| dataset | recipe | parameters | steps | seeds | CPU s | val Dice | test Dice | test IoU |")
    print("|---|---|---|---|---|---|---|---|---|")
    for dataset, recipe in dict.fromkeys((each["dataset"], each["recipe"]) for each in figures):
        own = [each for each in figures if (each["dataset"], each["recipe"]) == (dataset, recipe)]
        columns = [
            _spread([each[split][measure] for each in own])
            for split, measure in (("val", "dice"), ("test", "dice"), ("test", "iou"))
        ]
        seconds = statistics.mean(each["cpu_seconds"] for each in own)
        print(
            f"| {dataset} | `{recipe}` | {own[0]['parameters'] / 1e6:.2f} M | {own[0]['steps']} | {len(own)} "
            f"| {seconds:.0f} | {' | '.join(columns)} |"
        )


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def _text(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
