"""One change at a time: what each value of a recipe is worth on the validation split, for docs/benchmarks.md.

python benchmarks/changes.py --models FOLDER --against NAME [NAME …] [--output benchmarks/figures/changes.json]
    [--cpu-seconds-per-step NAME=SECONDS …] [--gpu MODEL]

`FOLDER` holds a run per change, `NAME/model`, trained by `sdseg train --set KEY=VALUE …` on the same data. The models
named by `--against`, one of a kind (U-Net, latent), are what was started from; every other one is told by the values in
which it differs from the one of its kind. The test split is not looked at. Rows that the output has of other runs stay.
Of a run on a GPU the seconds are those of as many steps on a CPU, which are asked for, and the GPU's name. The page of
a results folder shows the table where it finds it, as `changes.json` beside the datasets.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from benchmarks.trained_runs import cpu_seconds, named_seconds  # noqa: E402
from sdseg.artifacts.manifests import ModelManifest  # noqa: E402
from sdseg.artifacts.results.changes import Changes  # noqa: E402
from sdseg.artifacts.results.training import TrainingRecord  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.core.files import read_json  # noqa: E402

# Keys in which nothing that is learnt differs.
SCALE = (
    "description",
    *(
        f"training.{key}"
        for key in ("steps", "validate_every", "validate_slices", "log_every", "checkpoint_every", "workers")
    ),
)

JOINTS = (("command", "; "), ("commit", ", "), ("date", " to "))  # of several in one line

OWN = ("network.denoiser.architecture", "network.denoiser.block_out_channels")  # keys that a classic denoiser has


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--against", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/changes.json")
    parser.add_argument("--cpu-seconds-per-step", nargs="+", type=named_seconds, default=[], metavar="NAME=SECONDS")
    parser.add_argument("--gpu", default="cuda", metavar="MODEL", help="that runs not on a CPU were trained on")
    chosen = parser.parse_args(words)
    return write_figures(lambda: figures(chosen), chosen.output)


def figures(chosen: argparse.Namespace) -> dict[str, Any]:
    """The whole file: the runs of the folder, and what the file had of others."""
    earlier = read_json(chosen.output, Changes).content() if chosen.output.exists() else None
    new = changes(chosen.models, chosen.against, dict(chosen.cpu_seconds_per_step), chosen.gpu)
    return Changes.checked(**joined(new, earlier)).content()


def changes(folder: Path, against: list[str], timed: dict[str, float], gpu: str) -> dict[str, Any]:
    """The figures of a folder of runs. Raises UserError where a run that others are held against is missing."""
    models = {
        path.parent.parent.name: read_json(path, ModelManifest) for path in sorted(folder.glob("*/model/config.json"))
    }
    missing = [name for name in against if name not in models]
    if missing:
        raise UserError(f"no run is named {', '.join(missing)}", where=folder, remedy="train it first")
    starts = {kind(models[name]): (name, flat(models[name].recipe)) for name in against}
    alone = [name for name, model in models.items() if kind(model) not in starts]
    if alone:
        raise UserError(
            f"no run of the kind of {alone[0]} ({kind(models[alone[0]])}) is named, to hold it against",
            where=folder,
            remedy="name what it was started from: --against NAME NAME",
        )
    rows = [row(folder, name, model, *starts[kind(model)], timed, gpu) for name, model in models.items()]
    command = ["python", "benchmarks/changes.py", "--models", folder.name, "--against", *against]
    if timed:
        each = (f"{name}={seconds:g}" for name, seconds in timed.items())
        command += ["--cpu-seconds-per-step", *each, "--gpu", gpu]
    return {
        "command": shlex.join(command),
        "commit": ", ".join(sorted({model.provenance["commit"] for model in models.values()})),
        "date": max(model.provenance["time"] for model in models.values())[:10],
        "machine": machine(),
        "rows": sorted(rows, key=lambda each: (each["kind"], bool(each["changes"]), each["name"])),
    }


def joined(measured: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """The figures with the rows of an earlier file that they do not replace, in groups of what was started from."""
    if before is None:
        return measured
    new = {each["name"] for each in measured["rows"]}
    rows = [*(each for each in before["rows"] if each["name"] not in new), *measured["rows"]]
    place = {each["name"]: index for index, each in enumerate(rows) if each["against"] is None}
    together = {key: dict.fromkeys([*before[key].split(joint), *measured[key].split(joint)]) for key, joint in JOINTS}
    dates = sorted(together["date"])
    return {
        **measured,
        **{key: joint.join(together[key]) for key, joint in JOINTS},
        "date": " to ".join(dict.fromkeys((dates[0], dates[-1]))),
        "rows": sorted(
            rows, key=lambda each: (each["kind"], place[each["against"] or each["name"]], bool(each["changes"]))
        ),
    }


def row(
    folder: Path,
    name: str,
    model: ModelManifest,
    start: str,
    values: dict[str, Any],
    timed: dict[str, float],
    gpu: str,
) -> dict[str, Any]:
    """A run: in what it differs from the one that was started from, its length, and what it reached.

    Raises UserError where its record does not tell that.
    """
    own, training = flat(model.recipe), TrainingRecord.checked(**model.training)
    learnt = [key for key in own if key not in SCALE and not key.startswith("inference.")]
    trained_on, best = training.device, training.best_dice
    taken = training.cpu_seconds if trained_on == "cpu" else 0.0  # of a GPU those of a CPU are asked for
    if trained_on is None or taken is None or best is None:
        untold = {"device": trained_on, "cpu_seconds": taken, "best_dice": best}
        raise UserError(
            f"the record of the training lacks {', '.join(key for key, value in untold.items() if value is None)}",
            where=folder / name / "model" / "config.json",
            remedy="train it anew, with 'training.validate_every'",
        )
    keys = [key for key in learnt if own[key] != values.get(key) and (own[key] or key in values)]
    if own.get("network.denoiser.architecture") == "unet":
        keys = [key for key in keys if not key.startswith("network.denoiser.") or key in OWN]
    return {
        "name": name,
        "kind": kind(model),
        "dataset": model.dataset,
        "size": model.image.size,
        "against": None if name == start else start,
        "changes": {key: own.get(key) for key in keys},
        "steps": training.steps,
        "cpu_seconds": round(cpu_seconds(name, trained_on, taken, training.steps, timed), 1),
        "seed": model.recipe["training"]["seed"],
        "val": round(best, 4),
        "trained_on": None if trained_on == "cpu" else gpu,
    }


def kind(model: ModelManifest) -> str:
    return "unet" if model.recipe["network"]["kind"] == "direct" else "latent"


def flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return leaves


if __name__ == "__main__":
    sys.exit(main())
