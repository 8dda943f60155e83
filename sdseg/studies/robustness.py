"""Dice of a model when images get worse: noise, blur, JPEG, contrast and resolution, in rising strength."""

from __future__ import annotations

from typing import Any, cast

from sdseg.core.array_types import RawImages
from sdseg.studies.corruption import KINDS, CorruptedImages
from sdseg.studies.subject import Subject, bar, mean_scores

__all__ = ["robustness"]


def robustness(subject: Subject) -> dict[str, Any]:
    """The content of `robustness.json`: the scores of clean images, and `curves`, one per kind of harm.

    A curve's `levels` go from mild to severe; the clean score is their level 0. Scores are at the working size.
    """
    images, image = subject.store.images, subject.store.manifest.image
    runs = 1 + sum(len(kind.strengths) for kind in KINDS)
    curves = []
    with bar(subject.slices * runs, "robustness") as progress:
        backend = subject.served.backend
        clean = mean_scores(subject, backend, progress, timed=False)
        for kind in KINDS:
            levels = []
            for level, strength in enumerate(kind.strengths, start=1):
                harmed = cast("RawImages", CorruptedImages(images, subject.cases, kind, strength, image))
                found = mean_scores(subject.on(harmed), backend, progress, timed=False)
                levels.append({"level": level, "strength": strength, **found})
            curves.append({"kind": kind.name, "unit": kind.unit, "levels": levels})
    return subject.header("robustness") | {"clean": clean, "curves": curves}
