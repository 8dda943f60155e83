"""M runs that differ in their noise alone: how far do their masks agree (the paper's Table 5 and Figure 4)?"""

from __future__ import annotations

import numpy as np
import torch

from sdseg.artifacts.results.studies import Stability
from sdseg.backends.base import Reseedable
from sdseg.backends.probability import check_finite
from sdseg.core.errors import UserError
from sdseg.data.batches import slice_batches
from sdseg.evaluation.studies.similarity import Similarities, open_lpips
from sdseg.evaluation.studies.studied_model import Subject, bar
from sdseg.metrics.overlap import Tally

__all__ = ["stability"]


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
        for batch in slice_batches(subject.store, subject.cases, (subject.scope.batch,)):
            probabilities, masks_of_runs = list[torch.Tensor](), list[torch.Tensor]()
            for seeded_backend, tally in zip(seeded, tallies, strict=True):
                probability = check_finite(seeded_backend.probability(batch.images), subject.served.path)  # [N,K,H,W]
                masks = rule.masks(probability)
                tally.add(batch.cases, masks, batch.labelled)
                for pictures, of_runs in ((probability, probabilities), (masks, masks_of_runs)):
                    of_runs.append(torch.from_numpy(pictures).flatten(0, 1))  # [N·K,H,W]
                progress.update(len(batch.images))
            compared["probabilities"].add(torch.stack(probabilities))  # [M,N·K,H,W]
            compared["masks"].add(torch.stack(masks_of_runs).float())
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
