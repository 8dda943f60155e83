"""What flips, an ensemble of seeds and post-processing are worth to trained models, for docs/benchmarks.md.

python benchmarks/after_training.py --prepared results/kseg/prepared \\
    --group sdseg results/kseg/sdseg-seed0 results/kseg/sdseg-seed1 --group unet results/kseg/unet-seed0 …

A group is a recipe and its trainings, seed by seed. For every choice of `inference.flips`, for the models one by one
and for the mean of their probabilities, and for each of the four kinds of post-processing: mean Dice over the cases at
the working size, of the validation split (by which a value is chosen) and of the test split (for the record).
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from benchmarks.trained_runs import spread  # noqa: E402
from sdseg.backends.torch import TorchBackend  # noqa: E402
from sdseg.core.array_types import FloatArray, MaskArray  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.core.provenance import provenance  # noqa: E402
from sdseg.data.batches import by_case, check_store, slice_batches  # noqa: E402
from sdseg.data.mask_rule import MaskRule  # noqa: E402
from sdseg.data.store import SliceStore  # noqa: E402
from sdseg.metrics import overlap  # noqa: E402
from sdseg.models.flips import MIRRORED  # noqa: E402
from sdseg.models.model_folder import load_model  # noqa: E402
from sdseg.training.choose_postprocessing import COMBINATIONS  # noqa: E402

SPLITS = ("val", "test")
BATCH = 16
# The cases of the slices, probability [N,K,H,W] and labels of the same shape.
Answer = tuple[tuple[str, ...], FloatArray, MaskArray]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, required=True, help="folder made by 'sdseg prepare'")
    parser.add_argument("--group", nargs="+", action="append", required=True, metavar="NAME RUN")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/after_training.json")
    chosen = parser.parse_args(words)
    return write_figures(lambda: worth(chosen.prepared, chosen.group), chosen.output)


def worth(prepared: Path, groups: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The figures of some recipes on one store. Raises UserError for a group without runs, or runs of other data."""
    alone = next((group[0] for group in groups if len(group) < 2), None)
    if alone is not None:
        raise UserError(f"the group '{alone}' names no run", where="--group", remedy="write a name, then its runs")
    store = SliceStore.open(prepared)
    rows = [row for name, *runs in groups for row in _rows(name, [Path(run) for run in runs], store)]
    named = [
        word for name, *runs in groups for word in ("--group", name, *("/".join(Path(r).parts[-2:]) for r in runs))
    ]
    made = provenance(("torch",), stage="evaluation.evaluate")
    return {
        "command": shlex.join(["python", "benchmarks/after_training.py", "--prepared", prepared.name, *named]),
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": machine(),
        "dataset": store.manifest.dataset,
        "size": store.manifest.image.size,
        "rows": rows,
    }


def _name(run: str) -> str:
    """`<dataset>/<recipe>`, without where the results lie."""
    return "/".join(Path(run).parts[-2:])


def _rows(name: str, runs: Sequence[Path], store: SliceStore) -> list[dict[str, Any]]:
    rows = []
    for flips, turned in MIRRORED.items():
        answers = [_answers(run / "model", flips, store) for run in runs]
        rule = answers[0][1]
        of_each = [answer for answer, _ in answers]
        ways = {1: of_each} if len(runs) == 1 else {1: of_each, len(runs): [_mean(of_each)]}
        for models, way in ways.items():
            for mended, combination in COMBINATIONS.items():
                finish = replace(rule, **combination.model_dump())
                dice = {split: [_dice(each[split], finish) for each in way] for split in SPLITS}
                rows.append(
                    {
                        "recipe": name,
                        "flips": flips,
                        "models": models,
                        "passes": models * (1 + len(turned)),
                        "postprocessing": mended,
                        "repetitions": len(way),
                        **spread("val", dice["val"]),
                        **spread("test", dice["test"]),
                    }
                )
    return rows


def _answers(folder: Path, flips: str, store: SliceStore) -> tuple[dict[str, Answer], MaskRule]:
    """A model's probabilities of each split, and how it makes masks of them."""
    segmenter, manifest = load_model(folder, {"flips": flips})
    backend = TorchBackend(segmenter, manifest.image, noise_shape=segmenter.noise_shape)
    answers = {}
    for split in SPLITS:
        cases = check_store(store, folder, manifest.image, manifest.structures, split)
        parts = [(part, backend.probability(part.images)) for part in slice_batches(store, cases, BATCH)]
        names = tuple(name for part, _ in parts for name in part.cases)
        labelled = np.concatenate([part.labelled for part, _ in parts])
        answers[split] = (names, np.concatenate([probability for _, probability in parts]), labelled)
    return answers, MaskRule(manifest.threshold, manifest.exclusive)


def _mean(answers: Sequence[dict[str, Answer]]) -> dict[str, Answer]:
    mean = {split: np.mean([each[split][1] for each in answers], axis=0) for split in SPLITS}
    return {split: (answers[0][split][0], mean[split], answers[0][split][2]) for split in SPLITS}


def _dice(answer: Answer, rule: MaskRule) -> float:
    names, probability, labelled = answer
    whole = by_case([(names, (rule.masks(probability), labelled))])
    return float(np.mean([overlap.dice(overlap.counts(rule.finish(mask), label)).mean() for _, (mask, label) in whole]))


if __name__ == "__main__":
    sys.exit(main())
