"""Do structures of a few pixels survive a codec, and what is denoised in its latents? config/nodules.yaml as rows.

python benchmarks/nodules.py --results results-nodules [--output benchmarks/figures/nodules.json]

On the test split at the working size, against the majority of the annotators: Dice per case of decode(encode(mask)) and
of the models, and the share of connected components below 20 pixels of which at least half is marked, for both.
Components are connected by edges or corners. Means over the seeds; a codec has one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy import ndimage  # noqa: E402

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from benchmarks.trained_runs import TrainedRun, runs_by_recipe, spread  # noqa: E402
from sdseg.backends.open_model import open_model  # noqa: E402
from sdseg.core.array_types import MaskArray  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.data.store import SliceStore, structure_masks  # noqa: E402
from sdseg.models.model_folder import load_codec_folder  # noqa: E402
from sdseg.training.latent_cache import reconstruct  # noqa: E402

SMALL = 20  # pixels
BATCH = 16


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results-nodules"))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/nodules.json")
    chosen = parser.parse_args(words)
    torch.set_num_threads(1)
    return write_figures(lambda: nodules(chosen.results), chosen.output)


def nodules(results: Path) -> dict[str, Any]:
    """The figures of a results folder.

    Raises UserError where it holds no run with a model, or data in which nothing is small.
    """
    every = runs_by_recipe(results, remedy="run config/nodules.yaml first")
    groups = {recipe: runs for (_, recipe), runs in every.items()}
    records = [run.model.provenance for runs in groups.values() for run in runs]
    return {
        "command": "python benchmarks/nodules.py --results results-nodules",
        "commit": ", ".join(sorted({record["commit"] for record in records})),
        "date": max(record["time"] for record in records)[:10],
        "machine": machine(),
        "small": SMALL,
        "rows": [_row(results, name, runs) for name, runs in sorted(groups.items())],
    }


@dataclass(frozen=True)
class _Recall:
    """How many small components there are, and of how many at least half is marked."""

    count: int
    marked: int

    @property
    def share(self) -> float:
        return self.marked / self.count if self.count else float("nan")


def _row(results: Path, recipe: str, runs: Sequence[TrainedRun]) -> dict[str, Any]:
    store = SliceStore.open(runs[0].folder.parent / "prepared")
    rows = store.rows_of("test")
    truth = structure_masks(store.masks[rows], store.manifest.structures)
    if not small_recall(truth, truth).count:
        raise UserError(
            f"no component of the test split is below {SMALL} pixels: there is none to be found",
            where=runs[0].folder.parent / "prepared",
            remedy="compare on data with small structures, such as those of config/nodules.yaml",
        )
    recalls = [small_recall(_predicted(run, store, rows), truth) for run in runs]
    decoded = _decoded(_codec_of(results, runs[0]), truth)
    dice = [run.summary.dice.mean for run in runs]
    validation = [run.training.best_dice for run in runs if run.training.best_dice is not None]
    return {
        "recipe": recipe,
        "seeds": len(runs),
        "steps": runs[0].training.steps,
        "cpu_seconds": round(fmean(run.cpu_seconds for run in runs), 1),
        "slices": len(rows),
        "components": recalls[0].count,
        "codec_dice": round(_mean_dice(decoded, truth), 4),
        "codec_recall": round(small_recall(decoded, truth).share, 4),
        "val_mean": round(fmean(validation), 4) if validation else None,
        **spread("dice", dice),
        **spread("recall", [each.share for each in recalls]),
    }


def small_recall(masks: MaskArray, truth: MaskArray, small: int = SMALL) -> _Recall:
    """Of the components of `truth` [N,K,H,W] below `small` pixels: how many there are, and are marked to a half."""
    count = marked = 0
    for predicted, true in zip(masks.reshape(-1, *masks.shape[-2:]), truth.reshape(-1, *truth.shape[-2:]), strict=True):
        labelled, _ = ndimage.label(true, structure=np.ones((3, 3)))
        sizes = np.bincount(labelled.ravel())[1:]
        hits = np.bincount(labelled.ravel(), weights=predicted.ravel())[1:]
        count += int((sizes < small).sum())
        marked += int((hits[sizes < small] >= sizes[sizes < small] / 2).sum())
    return _Recall(count, marked)


def _predicted(run: TrainedRun, store: SliceStore, rows: Any) -> MaskArray:
    served = open_model(run.folder / "model")
    parts = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    return np.concatenate([served.rule.masks(served.backend.probability(store.images[part])) for part in parts])


def _codec_of(results: Path, run: TrainedRun) -> Path:
    """The folder of the codec that a run's recipe names: the dataset's own, or one of all."""
    name: str | None = run.model.recipe["network"].get("codec")
    if name is None:
        raise UserError(f"'{run.recipe}' has no codec", where=run.folder, remedy="compare recipes of latents alone")
    own = run.folder.parent / "codecs" / name / "codec"
    return own if own.is_dir() else results / "codecs" / name / "codec"


def _decoded(folder: Path, truth: MaskArray) -> MaskArray:
    codec, _ = load_codec_folder(folder)
    parts = (truth[start : start + BATCH] for start in range(0, len(truth), BATCH))
    with torch.inference_mode():
        return np.concatenate([reconstruct(codec, part, torch.device("cpu")) > 0.5 for part in parts])


def _mean_dice(masks: MaskArray, truth: MaskArray) -> float:
    """Mean over slices, of those whose truth is not empty."""
    axes = (1, 2, 3)
    both, sizes = (masks & truth).sum(axes), masks.sum(axes) + truth.sum(axes)
    filled = truth.any(axes)
    return float((2 * both[filled] / sizes[filled]).mean())


if __name__ == "__main__":
    sys.exit(main())
