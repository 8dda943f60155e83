"""Any backend and a slice store -> scores per case, their summary, and the best, median and worst case to look at."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sdseg.artifacts import atomic_folder, provenance, write_json, write_text
from sdseg.assessment import Assessed, Assessment, Rules, dice_by_threshold
from sdseg.calibration import THRESHOLDS, Calibration
from sdseg.config import Dataset
from sdseg.data.images import write_image
from sdseg.data.labels import NativeLabels
from sdseg.data.opening import open_raw
from sdseg.data.sources import SOURCES
from sdseg.data.store import SliceStore
from sdseg.errors import UserError
from sdseg.exhibits import overlay, ranked, write_volumes
from sdseg.scoresheet import figures, table
from sdseg.serving import Served, check_store, open_model
from sdseg.statistics import INTERVAL
from sdseg.tensors import FloatArray, RawImages

__all__ = ["Options", "evaluate"]

log = logging.getLogger(__name__)
FORMAT = 1
# What an evaluation folder may hold: studies of a model (sdseg/studies) are out of date once it is scored anew.
STUDIES = ("efficiency.json", "sweep.*", "stability.json", "robustness.*", "latents.json", "latents")
OWNED = ("cases.csv", "summary.json", "overlays", "volumes", *STUDIES)
NO_RAW = "no raw folder was given (--raw), so labels at the native size of the files are not at hand"


@dataclass(frozen=True)
class Options:
    """What an evaluation may be asked for beyond its input and output."""

    split: str = "test"  # every case of it is scored, volumes over all their slices together
    device: str = "cpu"
    batch: int = 8  # slices computed at a time; batches run over the borders of cases
    raw: Path | None = None  # the raw files the store was made from; without them nothing is scored at native size
    settings: Dataset | None = None  # of the dataset; needed to read the raw files of a user's own dataset
    choose_threshold: bool = False  # on the validation split, instead of the model's own
    nsd_tolerance: float = 2.0  # mm


def evaluate(prepared: Path, model: Path, output: Path, options: Options = Options()) -> None:
    """Write `output`/cases.csv, summary.json and overlays/{best,median,worst}_<case>.png; all of them, or none.

    Of volumes also volumes/{best,median,worst}.webp and .json, to be scrolled in the page.

    Parameters
    ----------
    prepared: a slice store.
    model: a model folder or an .onnx file.
    output: folder to write; one of an earlier evaluation is replaced.

    Raises UserError when store, model and raw files do not fit each other, or the model gives NaN.
    """
    # 1. Open everything, and make sure that it belongs together.
    store = SliceStore.open(prepared)
    served = open_model(model, options.device)
    cases = check_store(store, model, served.image, served.structures, options.split)
    _check(options)
    native = _native(store, options)
    if native is None:
        log.warning("%s; scores are at the working size alone", NO_RAW)
    with atomic_folder(output, owned=OWNED) as folder:
        timed = _Timed(served)
        timed.warm_up(store.images[cases[0].start : cases[0].start + min(options.batch, len(store.images))])

        # 2. The threshold: the model's own, or the best on the validation split.
        chosen = _chosen_threshold(store, served, options) if options.choose_threshold else None
        threshold = served.threshold if chosen is None else float(chosen["threshold"])

        # 3. Score every case.
        calibration = Calibration()
        rules = Rules(threshold, options.nsd_tolerance)
        assessment = Assessment(timed.probability, store, rules, native, calibration)
        with _bar(sum(case.slices for case in cases), options.split) as bar:
            scores = []
            for score in assessment.run(cases, options.batch):
                scores.append(score)
                bar.update(score.case.slices)

        # 4. Write the scores, and pictures of three cases.
        write_text(folder / "cases.csv", table(scores))
        summary = _summary(scores, store, served, options, timed.seconds_per_image) | {
            **figures(scores, None if native else NO_RAW),
            "threshold": threshold,
            "threshold_chosen": chosen,
            "calibration": {"size": "working size", **calibration.record()},
        }
        write_json(folder / "summary.json", summary)
        exhibits = ranked(scores)
        for rank, shown in exhibits.items():
            name = re.sub(r'[\\/:*?"<>|]+', "_", shown.case.case)  # a case's name may hold a slash
            picture = overlay(shown, store, timed.probability, threshold)
            write_image(folder / "overlays" / f"{rank}_{name}.png", picture)
        write_volumes(folder / "volumes", exhibits, store, timed.probability, threshold)
    dice = summary["dice"]
    log.info(
        "%s: Dice %.4f ± %.4f over %d cases of '%s', at the %s",
        *(served.recipe, dice["mean"], dice["sd"], len(scores), options.split, summary["scored_at"]),
    )


class _Timed:
    """A backend with a clock around the computation and a check of what came out."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._seconds, self._images = 0.0, 0

    def warm_up(self, images: RawImages) -> None:
        """Compute once unmeasured: the first call allocates and compiles."""
        self._served.backend.probability(images)

    def probability(self, images: RawImages) -> FloatArray:
        started = time.perf_counter()
        probability = self._served.backend.probability(images)  # [N,K,H,W]
        self._seconds += time.perf_counter() - started
        self._images += len(images)
        return _finite(probability, self._served)

    @property
    def seconds_per_image(self) -> float:
        return self._seconds / max(self._images, 1)


def _finite(probability: FloatArray, served: Served) -> FloatArray:
    if not np.isfinite(probability).all():
        raise UserError(
            "the model gives NaN or infinite probability: its scores would mean nothing",
            where=served.path,
            remedy="train again with a smaller learning rate or without mixed precision, or export in fp32",
        )
    return probability


def _check(options: Options) -> None:
    if options.batch < 1:
        raise UserError(f"a batch of {options.batch} slices", where="--batch", remedy="give 1 or more")
    if not options.nsd_tolerance > 0:
        raise UserError(
            f"a tolerance of {options.nsd_tolerance:g} mm", where="--nsd-tolerance", remedy="give more than 0"
        )
    if options.choose_threshold and options.split == "val":
        raise UserError(
            "the threshold would be chosen on the very cases that are scored",
            where="--choose-threshold",
            remedy="score another --split, or keep the model's threshold",
        )


def _native(store: SliceStore, options: Options) -> NativeLabels | None:
    """The raw labels, where a raw folder is given."""
    if options.raw is None:
        return None
    if not options.raw.is_dir():
        raise UserError(
            "no raw files here: the folder is missing",
            where=options.raw,
            remedy="name the folder the store was prepared from, or leave --raw out: then scores are at the working "
            "size alone",
        )
    known = SOURCES.get(store.manifest.source)
    if known is not None:
        return NativeLabels(store, options.raw, known.coding)
    if options.settings is None:
        raise UserError(
            "the raw files are a dataset of your own, and only its settings say what the values of a mask mean",
            where="--settings",
            remedy="name the YAML file that 'sdseg prepare' was given",
        )
    return NativeLabels(store, options.raw, open_raw(options.settings, options.raw)[0].coding)


def _chosen_threshold(store: SliceStore, served: Served, options: Options) -> dict[str, Any]:
    """The threshold with the best mean Dice on the validation split, at the working size."""
    cases = check_store(store, served.path, served.image, served.structures, "val")
    dice = dice_by_threshold(
        lambda images: _finite(served.backend.probability(images), served), store, cases, options.batch
    )
    best = np.flatnonzero(dice == dice.max())
    index = int(best[np.abs(THRESHOLDS[best] - 0.5).argmin()])  # among equals the one nearest to 0.5
    return {
        "threshold": float(THRESHOLDS[index]),
        "split": "val",
        "n_cases": len(cases),
        "dice": float(dice[index]),
        "curve": [[float(one), float(mean)] for one, mean in zip(THRESHOLDS, dice, strict=True)],
    }


def _bar(slices: int, split: str) -> tqdm[Any]:
    return tqdm(total=slices, desc=f"evaluate {split}", unit="slice", disable=None)


def _summary(
    scores: Sequence[Assessed], store: SliceStore, served: Served, options: Options, seconds_per_image: float
) -> dict[str, Any]:
    """What was scored, with what: everything but the scores."""
    held = store.manifest
    return {
        "format": FORMAT,
        "dataset": held.dataset,
        "source": held.source,
        "origin": held.origin,
        "recipe": served.recipe,
        "protocol": held.protocol,
        "split": options.split,
        "target": held.target,
        "backend": served.backend.name,
        "n_cases": len(scores),
        "n_slices": sum(score.case.slices for score in scores),
        "interval": INTERVAL,
        "nsd_tolerance_mm": options.nsd_tolerance,
        "seconds_per_image": seconds_per_image,
        "codec_ceiling": served.training.get("codec_ceiling"),
        "size": held.image.size,
        "data_checksum": held.data_checksum,
        "model_checksum": served.checksum,
        "trained_on": {
            "dataset": served.dataset,
            "origin": served.origin,
            "data_checksum": served.training.get("data_checksum"),
        },
        "provenance": provenance(("torch", "onnxruntime", "diffusers", "monai", "scipy")),
    }
