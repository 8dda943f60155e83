"""Any backend and a slice store -> scores per case, their summary, and the best, median and worst case to look at."""

from __future__ import annotations

import csv
import io
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sdseg import metrics
from sdseg.artifacts import atomic_folder, provenance, write_json, write_text
from sdseg.data.overlays import LABEL_COLOUR, PREDICTION_COLOUR, Outline, draw_outlines
from sdseg.data.slices import to_display
from sdseg.data.store import SliceStore, structure_masks
from sdseg.data.volumes import write_image
from sdseg.errors import UserError
from sdseg.scoring import CaseScore, score_cases
from sdseg.serving import Served, check_store, open_model
from sdseg.tensors import FloatArray, MaskArray, RawImages

__all__ = ["evaluate"]

log = logging.getLogger(__name__)
FORMAT = 1


def evaluate(
    prepared: Path, model: Path, output: Path, split: str = "test", device: str = "cpu", batch: int = 8
) -> None:
    """Write `output`/cases.csv, summary.json and overlays/{best,median,worst}_<case>.png; all of them, or none.

    Parameters
    ----------
    prepared: a slice store.
    model: a model folder or an .onnx file.
    output: folder to write; one of an earlier evaluation is replaced.
    split: 'train', 'val' or 'test'; every case of it is scored, volumes over all their slices together.
    device: 'cpu' or 'cuda'.
    batch: slices computed at a time; batches run over the borders of cases.

    Raises UserError when store and model do not fit each other, or the model gives NaN.
    """
    # 1. Open both, and make sure that they belong together.
    store = SliceStore.open(prepared)
    served = open_model(model, device)
    cases = check_store(store, model, served.image, served.structures, split)
    if batch < 1:
        raise UserError(f"a batch of {batch} slices", where="--batch", remedy="give 1 or more")
    with atomic_folder(output, owned=("cases.csv", "summary.json", "overlays")) as folder:
        # 2. Score every case.
        timed = _Timed(served)
        timed.warm_up(store.images[cases[0].start : cases[0].start + min(batch, len(store.images))])
        with tqdm(
            total=sum(case.slices for case in cases), desc=f"evaluate {split}", unit="slice", disable=None
        ) as bar:
            scores = []
            for score in score_cases(timed.predict, store, cases, batch):
                scores.append(score)
                bar.update(score.case.slices)

        # 3. Write the scores, and pictures of three cases.
        write_text(folder / "cases.csv", _table(scores, store))
        write_json(folder / "summary.json", _summary(scores, store, served, split, timed.seconds_per_image))
        for rank, chosen in _ranked(scores).items():
            name = re.sub(r'[\\/:*?"<>|]+', "_", chosen.case.case)  # a case's name may hold a slash
            write_image(folder / "overlays" / f"{rank}_{name}.png", _overlay(chosen, store, served))
    dice = metrics.summarise(np.array([score.mean_dice for score in scores]))
    log.info("%s: Dice %.4f ± %.4f over %d cases of '%s'", served.recipe, dice.mean, dice.sd, len(scores), split)


class _Timed:
    """A backend as `score_cases` wants it, with a clock around the computation and a check of what came out."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._seconds, self._images = 0.0, 0

    def warm_up(self, images: RawImages) -> None:
        """Compute once unmeasured: the first call allocates and compiles."""
        self._served.backend.probability(images)

    def predict(self, images: RawImages, labelled: MaskArray) -> MaskArray:
        started = time.perf_counter()
        probability = self._served.backend.probability(images)  # [N,K,H,W]
        self._seconds += time.perf_counter() - started
        self._images += len(images)
        return _mask(probability, self._served)

    @property
    def seconds_per_image(self) -> float:
        return self._seconds / max(self._images, 1)


def _mask(probability: FloatArray, served: Served) -> MaskArray:
    if not np.isfinite(probability).all():
        raise UserError(
            "the model gives NaN or infinite probability: its scores would mean nothing",
            where=served.path,
            remedy="train again with a smaller learning rate or without mixed precision, or export in fp32",
        )
    return np.asarray(probability > served.threshold)


def _table(scores: Sequence[CaseScore], store: SliceStore) -> str:
    """cases.csv: one line per case; pixels are counted at the working size, over all slices and structures."""
    names = [structure.name for structure in store.manifest.structures]
    several = names if len(names) > 1 else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["case", "dice", "iou", "group", "split", "slices", "pixels_predicted", "pixels_labelled"]
    writer.writerow([*header, *(f"dice_{name}" for name in several), *(f"iou_{name}" for name in several)])
    for score in scores:
        case, pixels = score.case, score.pixels
        line = [case.case, f"{score.mean_dice:.6f}", f"{score.mean_iou:.6f}", case.group, case.split, case.slices]
        line += [int(pixels.predicted.sum()), int(pixels.labelled.sum())]
        if several:
            line += [f"{value:.6f}" for value in (*score.dice, *score.iou)]
        writer.writerow(line)
    return text.getvalue()


def _summary(
    scores: Sequence[CaseScore], store: SliceStore, served: Served, split: str, seconds_per_image: float
) -> dict[str, Any]:
    held = store.manifest
    dice, iou = np.stack([score.dice for score in scores]), np.stack([score.iou for score in scores])  # [cases,K]
    return {
        "format": FORMAT,
        "dataset": held.dataset,
        "source": held.source,
        "origin": held.origin,
        "recipe": served.recipe,
        "protocol": held.protocol,
        "split": split,
        "target": held.target,
        "backend": served.backend.name,
        "n_cases": len(scores),
        "n_slices": sum(score.case.slices for score in scores),
        "dice": asdict(metrics.summarise(dice.mean(axis=1))),
        "iou": asdict(metrics.summarise(iou.mean(axis=1))),
        "structures": {
            structure.name: {
                "dice": asdict(metrics.summarise(dice[:, index])),
                "iou": asdict(metrics.summarise(iou[:, index])),
            }
            for index, structure in enumerate(held.structures)
        },
        "seconds_per_image": seconds_per_image,
        "codec_ceiling": served.training.get("codec_ceiling"),
        "threshold": served.threshold,
        "size": held.image.size,
        "scored_at": "working size",
        "data_checksum": held.data_checksum,
        "model_checksum": served.checksum,
        "trained_on": {
            "dataset": served.dataset,
            "origin": served.origin,
            "data_checksum": served.training.get("data_checksum"),
        },
        "provenance": provenance(("torch", "onnxruntime", "diffusers", "monai")),
    }


def _ranked(scores: Sequence[CaseScore]) -> dict[str, CaseScore]:
    """Best, median and worst case by Dice, among those with something to see: a label or a prediction."""
    visible = [score for score in scores if score.pixels.predicted.any() or score.pixels.labelled.any()]
    ordered = sorted(visible or scores, key=lambda score: score.mean_dice)
    return {"best": ordered[-1], "median": ordered[len(ordered) // 2], "worst": ordered[0]}


def _overlay(score: CaseScore, store: SliceStore, served: Served) -> RawImages:
    """The case's slice with the largest label (without any: the largest prediction), with both outlines."""
    case = score.case
    labelled = structure_masks(store.masks[case.rows], store.manifest.structures)  # [Z,K,H,W]
    areas = labelled.sum(axis=(1, 2, 3))
    if not areas.any():
        found = [_predicted(store, served, row) for row in range(case.rows.start, case.rows.stop)]
        areas = np.array([mask.sum() for mask in found])
    index = int(areas.argmax())
    row = case.start + index
    note = f"Dice {score.mean_dice:.3f}" + (f"   slice {index + 1} of {case.slices}" if case.slices > 1 else "")
    return draw_outlines(
        to_display(store.images[row], served.image.window),
        (
            Outline("label", labelled[index], LABEL_COLOUR, width=6),
            Outline("prediction", _predicted(store, served, row), PREDICTION_COLOUR, width=2),
        ),
        note,
    )


def _predicted(store: SliceStore, served: Served, row: int) -> MaskArray:
    """The model's masks of one slice, [K,H,W]."""
    return np.asarray(_mask(served.backend.probability(store.images[row : row + 1]), served)[0])
