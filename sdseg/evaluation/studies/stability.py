"""M runs that differ in their noise alone: how far do their masks agree (the paper's Table 5 and Figure 4)?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sdseg.artifacts.results.studies import Stability
from sdseg.backends.base import Backend, Reseedable
from sdseg.backends.probability import check_finite
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.data.batches import by_case, slice_batches
from sdseg.evaluation.studies.similarity import Similarities, open_lpips
from sdseg.evaluation.studies.studied_model import Subject, bar
from sdseg.metrics.overlap import Tally

__all__ = ["stability"]

_Arrays = tuple[AnyArray, ...]


def stability(subject: Subject, runs: int, lpips: str | None = None) -> Stability:
    """The content of `stability.json`: agreement of the first of M runs with the other M−1, and each run's Dice.

    Run m draws its noise from seed m. Masks and probabilities are compared at the working size, each structure of
    each slice as a picture of its own. Raises UserError for fewer than two runs.
    """
    if runs < 2:
        raise UserError(f"{runs} run(s) cannot be compared", where="--stability", remedy="give 2 or more")
    backend = subject.served.backend
    if not isinstance(backend, Reseedable):
        raise UserError(
            f"'{backend.name}' cannot draw its noise from another seed",
            where=subject.served.path,
            remedy="name the model folder or its ONNX graph",
        )
    seeded = [backend.with_seed(seed) for seed in range(runs)]
    distance, reason = open_lpips(lpips, subject.scope.device)
    compared = {name: Similarities(distance, reason) for name in ("masks", "probabilities")}
    tallies, rule = [Tally() for _ in range(runs)], subject.served.rule
    with bar(subject.slices * runs, f"stability, {runs} runs") as progress:
        for names, (labelled, *probabilities) in _slices(subject, seeded, progress):
            masks_of_runs = [rule.masks(probability) for probability in probabilities]  # [N,K,H,W] each
            if rule.postprocesses:
                masks_of_runs = [rule.finish(masks) for masks in masks_of_runs]
            for masks, tally in zip(masks_of_runs, tallies, strict=True):
                tally.add(names, masks, labelled)
            for name, runs_of in (("probabilities", probabilities), ("masks", masks_of_runs)):
                pictures = torch.stack([torch.from_numpy(one).flatten(0, 1) for one in runs_of])  # [M,N·K,H,W]
                compared[name].add(pictures.float())
    return Stability.checked(
        **subject.header("stability"),
        runs=runs,
        seeds=range(runs),
        pictures=compared["masks"].images,
        pairs=compared["masks"].pairs,
        identical_pairs={name: each.identical_pairs for name, each in compared.items()},
        identical=compared["probabilities"].identical_pairs == compared["probabilities"].pairs,
        dice=[float(np.mean(tally.dice())) for tally in tallies],
        instance_level={name: each.instance_level() for name, each in compared.items()},
        dataset_level={name: each.dataset_level() for name, each in compared.items()},
    )


def _slices(
    subject: Subject, seeded: Sequence[Backend], progress: tqdm[Any]
) -> Iterator[tuple[Sequence[str], _Arrays]]:
    """The case of some slices, their label and the probability of each run; of whole cases where masks are mended."""

    def parts() -> Iterator[tuple[Sequence[str], _Arrays]]:
        for batch in slice_batches(subject.store, subject.cases, subject.batch):
            probabilities = list[AnyArray]()
            for one in seeded:
                probabilities.append(check_finite(one.probability(batch.images), subject.served.path))  # [N,K,H,W]
                progress.update(len(batch.images))
            yield batch.cases, (batch.labelled, *probabilities)

    if not subject.served.rule.postprocesses:
        return parts()
    return (((name,) * len(arrays[0]), arrays) for name, arrays in by_case(parts()))
