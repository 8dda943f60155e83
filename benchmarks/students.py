"""What led to the settings of `sdseg-fast`: its validation Dice by what it learns from, and when its masks are judged.

    python benchmarks/students.py --prepared R/prepared --codec codecs/small/codec --teacher R/sdseg-seed0/model

Trainings of the student of config/pareto.yaml, one seed each, shorter than there: without a teacher, by the teacher's
z_0 alone, and by its condition, z_0 and probability; with Dice + cross entropy on the mask itself from the first step,
for the last fifth of the steps, or never.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from sdseg.core.provenance import provenance  # noqa: E402
from sdseg.core.settings import merge  # noqa: E402

ALL = {"condition": 1.0, "latent": 1.0, "probability": 1.0, "head": 0.0}
NEVER, FIRST, LAST = "none", "from the first step", "for the last fifth"
WAYS: tuple[tuple[str, dict[str, float] | None, str], ...] = (
    ("nobody", None, FIRST),
    ("nobody", None, LAST),
    ("the teacher's z_0", ALL | {"condition": 0.0, "probability": 0.0}, NEVER),
    ("condition, z_0 and probability", ALL, FIRST),
    ("condition, z_0 and probability", ALL, NEVER),
    ("condition, z_0 and probability", ALL, LAST),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, required=True, help="folder made by 'sdseg prepare'")
    parser.add_argument("--codec", type=Path, required=True, help="folder made by 'sdseg codec'")
    parser.add_argument("--teacher", type=Path, required=True, help="model folder")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/students.json")
    chosen = parser.parse_args()
    return write_figures(lambda: figures(chosen), chosen.output)


def figures(chosen: argparse.Namespace) -> dict[str, Any]:
    """A row for each way to teach."""
    made = provenance(("torch",))
    named = {name: getattr(chosen, name).parts[-2:] for name in ("prepared", "codec", "teacher")}
    words = " ".join(f"--{name} {'/'.join(parts)}" for name, parts in named.items())
    with tempfile.TemporaryDirectory(prefix="sdseg-students-") as folder:
        rows = [
            {"taught_by": by, "mask_loss": masks, **trained(chosen, Path(folder) / str(number), taught, masks)}
            for number, (by, taught, masks) in enumerate(WAYS)
        ]
    return {
        "command": f"python benchmarks/students.py {words} --steps {chosen.steps}",
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": f"{machine()}, one thread",
        "steps": chosen.steps,
        "rows": rows,
    }


def trained(chosen: argparse.Namespace, place: Path, taught: dict[str, float] | None, masks: str) -> dict[str, Any]:
    """Validation Dice and CPU seconds of one training."""
    from sdseg.config.recipe import load_recipe
    from sdseg.config.run import load_config
    from sdseg.core.files import write_json

    steps, entry = chosen.steps, load_config(ROOT / "config/pareto.yaml").recipes["sdseg-fast"]
    begins = {NEVER: None, FIRST: 0, LAST: steps * 4 // 5}[masks]
    length = {"steps": steps, "augmentation": "dihedral", "ema_decay": 0.98, "validate_every": steps}
    changes = {
        "training": length,
        "diffusion": {"loss_mask": 0.0 if begins is None else 1.0, "loss_mask_from": begins or 0},
        "distillation": taught,
    }
    place.mkdir()
    own = {key: values for key, values in entry.overrides.items() if key != "distillation"}
    recipe = load_recipe(ROOT / "config/recipes/sdseg-fast.yaml", merge(own, changes))
    write_json(place / "recipe.yaml", recipe)  # JSON is YAML
    way = ["train", "--recipe"] if taught is None else ["distill", "--teacher", chosen.teacher, "--student"]
    command = [sys.executable, "-m", "sdseg", *way, place / "recipe.yaml", "--prepared", chosen.prepared, "--quiet"]
    command += ["--codec", chosen.codec, "--output", place / "model"]
    subprocess.run([str(word) for word in command], check=True, cwd=ROOT)
    training = json.loads((place / "model/config.json").read_text("utf-8"))["training"]
    found = {"val_dice": round(training["best_dice"], 4), "cpu_seconds": round(training["cpu_seconds"], 1)}
    print(f"{place.name}: {found}", file=sys.stderr)
    return found


if __name__ == "__main__":
    sys.exit(main())
