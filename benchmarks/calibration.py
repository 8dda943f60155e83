"""How far probabilities mean what they say, for several ways to come by them, side by side, for docs/benchmarks.md.

python benchmarks/calibration.py --prepared results/kseg/prepared \\
    --way "one step" steps=1 samples=16 results/kseg/noisy-seed0 \\
    --way "20 steps" steps=20 samples=16 results/kseg/noisy-seed0 \\
    --way "three seeds" results/kseg/sdseg-seed0 results/kseg/sdseg-seed1 results/kseg/sdseg-seed2

A way has a name, settings laid over the recipe's own (reverse steps, hypotheses of an image), and models: model
folders, folders of results that hold one, or graphs. Of several models the probabilities are averaged. The same name
again is a repetition, with another seed for example: the table has the mean of them. Everything is measured at the
working size on the test split, or that of --split: expected calibration error and reliability over the pixels of all
structures (15 bins, as in summary.json), Brier score, mean Dice over cases, seconds per slice.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from sdseg.backends.averaged_models import averaged  # noqa: E402
from sdseg.backends.base import samples_of  # noqa: E402
from sdseg.backends.open_model import Served, open_model  # noqa: E402
from sdseg.core.array_types import FloatArray, MaskArray, RawImages  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.core.provenance import provenance  # noqa: E402
from sdseg.data.batches import check_store, score_cases  # noqa: E402
from sdseg.data.store import Case, SliceStore  # noqa: E402
from sdseg.metrics.calibration import Calibration  # noqa: E402
from sdseg.models.model_folder import read_manifest  # noqa: E402

__all__ = ["Way", "main", "side_by_side"]

SETTINGS = ("steps", "samples")
BATCH = 8


@dataclass(frozen=True)
class Way:
    """One way to come by a probability."""

    name: str
    models: tuple[Path, ...]
    settings: dict[str, int]  # of SETTINGS, over the recipe's own

    @classmethod
    def parsed(cls, words: Sequence[str]) -> Way:
        """A name, then settings `steps=N` and `samples=N` and models in any order."""
        name, *rest = words
        settings = {key: value for word in rest for key, _, value in [word.partition("=")] if key in SETTINGS}
        models = tuple(Path(word) for word in rest if word.partition("=")[0] not in SETTINGS)
        wrong = next((f"{key}={value}" for key, value in settings.items() if not value.isdecimal()), None)
        if wrong or not models:
            what = f"'{wrong}' is no whole number" if wrong else f"the way '{name}' names no model"
            raise UserError(what, where="--way", remedy="write a name, steps=N and samples=N if wanted, then models")
        return cls(name, models, {key: int(value) for key, value in settings.items()})

    def opened(self) -> Served:
        """The models as one."""
        steps, samples = self.settings.get("steps"), self.settings.get("samples")
        return averaged([open_model(_model_in(path), steps=steps, samples=samples) for path in self.models])


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, required=True, help="folder made by 'sdseg prepare'")
    parser.add_argument("--way", nargs="+", action="append", required=True, metavar="WORD")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/calibration.json")
    chosen = parser.parse_args(words)
    return write_figures(lambda: side_by_side(chosen.prepared, chosen.way, chosen.split), chosen.output)


def side_by_side(prepared: Path, ways: Sequence[Sequence[str]], split: str = "test") -> dict[str, Any]:
    """The figures of some ways on one store. Raises UserError for models that were not made for it."""
    store, parsed = SliceStore.open(prepared), [Way.parsed(words) for words in ways]
    rows = [_row(way, store, split) for way in parsed]
    words = [word for given in ways for word in ("--way", *given)]
    made = provenance(("torch", "onnxruntime"), stage="evaluation.evaluate")
    return {
        "command": shlex.join(["python", "benchmarks/calibration.py", "--prepared", str(prepared), *words]),
        "commit": ", ".join(sorted({row.pop("commit") or made["commit"] for row in rows})),
        "date": made["time"][:10],
        "machine": machine(),
        "dataset": store.manifest.dataset,
        "origin": store.manifest.origin,
        "data_checksum": store.manifest.data_checksum,
        "split": split,
        "size": store.manifest.image.size,
        "rows": rows,
    }


def _row(way: Way, store: SliceStore, split: str) -> dict[str, Any]:
    served = way.opened()
    store = store.with_neighbours(served.image.neighbours)
    cases = check_store(store, served.path, served.image, served.structures, split)
    measured = _Measured(served)
    scores = list(score_cases(measured, store, cases, BATCH, served.rule))
    recipe = _recipe_of(way)
    return {
        "way": way.name,
        "models": [_name(path) for path in way.models],
        "commit": recipe.pop("commit", None),
        "steps": way.settings.get("steps", recipe.get("steps")),
        "samples": way.settings.get("samples", recipe.get("samples")),
        "hypotheses": samples_of(served.backend),
        "cases": len(scores),
        "slices": _slices(cases),
        "brier": round(measured.squares / measured.values, 6),
        "dice": round(fmean(one.mean_dice for one in scores), 4),
        "seconds_per_slice": round(measured.seconds / _slices(cases), 4),
        **measured.calibration.record(),
    }


class _Measured:
    """What `score_cases` asks for masks: the probabilities behind them are looked at on the way."""

    def __init__(self, served: Served) -> None:
        self.served, self.calibration = served, Calibration()
        self.squares, self.values, self.seconds = 0.0, 0, 0.0

    def __call__(self, images: RawImages, labelled: MaskArray) -> MaskArray:
        started = time.perf_counter()
        probability: FloatArray = self.served.backend.probability(images)
        self.seconds += time.perf_counter() - started
        self.calibration.add(probability, labelled)
        self.squares += float(((probability.astype("float64") - labelled) ** 2).sum())
        self.values += labelled.size
        return self.served.rule.masks(probability)


def _recipe_of(way: Way) -> dict[str, Any]:
    """The recipe's own steps and samples, and the commit of a way whose first model is a folder; empty of a graph."""
    folder = _model_in(way.models[0])
    if not folder.is_dir():
        return {}
    manifest = read_manifest(folder)
    inference = manifest.recipe.get("inference", {}) if manifest.codec is not None else {}
    return {**{key: inference.get(key) for key in SETTINGS}, "commit": manifest.provenance.get("commit")}


def _model_in(path: Path) -> Path:
    """The model folder in a folder of results, else the path itself."""
    return path / "model" if (path / "model" / "config.json").is_file() else path


def _name(path: Path) -> str:
    """`<dataset>/<recipe>`, without where the results lie."""
    parts = [part for part in path.parts if part not in ("model", "export", "model.onnx")]
    return "/".join(parts[-2:])


def _slices(cases: Sequence[Case]) -> int:
    return sum(case.slices for case in cases)


if __name__ == "__main__":
    sys.exit(main())
