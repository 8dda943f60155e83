"""What a model costs (the paper's Table 4): parameters and FLOPs per part, latency, throughput, memory, training."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sdseg.artifacts.manifests import ModelManifest
from sdseg.artifacts.results.studies import Efficiency, Latency, NetworkPart
from sdseg.backends.base import Backend
from sdseg.backends.device import peak_memory
from sdseg.backends.open_model import Served
from sdseg.backends.probability import check_finite
from sdseg.config.inference import PASSES
from sdseg.core.array_types import RawImages
from sdseg.data.tile_grid import TileGrid
from sdseg.evaluation.studies.studied_model import Subject, bar
from sdseg.models.ensemble import EnsembleSegmenter
from sdseg.models.model_folder import count_parameters, load_model
from sdseg.models.segmenter import Segmenter

__all__ = ["counted", "efficiency", "flops_of"]

BATCHES = (1, 4, 16)
WARM_UP, REPEATS = 2, 20  # calls of each batch size
PATIENCE = 1.0  # seconds after which a batch size is not repeated again
FEWEST = 5
GRAPH = "an exported graph has no parts: name the model folder"
TRAINING = ("steps", "seconds", "batch", "device", "processes", "memory", "best_step", "stopped")


def efficiency(subject: Subject) -> Efficiency:
    """The content of `efficiency.json`: `parts`, `latency` by batch size, `memory`, `training`.

    Times are of the backend's `probability`, from pixels in memory to probability in memory: no file is read. FLOPs
    count a multiplication and an addition as two, for one image with the recipe's steps and samples.
    """
    batches = [subject.cases[0].slices]  # of a three-dimensional model: a whole volume
    if subject.batch is not None:
        batches = sorted({*BATCHES, subject.batch})
    device = subject.scope.device
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with bar(len(batches) * (WARM_UP + REPEATS), "efficiency", "call") as progress:
        latency = []
        for batch in batches:
            latency.append(_latency(subject.served, _images(subject, batch)))
            progress.update(WARM_UP + REPEATS)
    memory = _memory(subject.served.backend, device)  # before another copy of the network is loaded
    costs = counted(subject.served.path)
    return Efficiency.checked(
        **subject.header("efficiency"),
        **costs,
        latency=latency,
        memory=memory,
        device=_device_name(device),
        threads=torch.get_num_threads(),
    )


def flops_of(segmenter: Segmenter, raw: torch.Tensor) -> tuple[int, dict[str, int]]:
    """FLOPs of one forward of raw images [N,H,W,C], on the whole and per part, multiplication and addition apart."""
    noise = torch.zeros(len(raw), *segmenter.noise_shape) if segmenter.noise_shape is not None else None
    counter = FlopCounterMode(display=False)
    # Fused attention is not counted on every device; written out as products it is.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        segmenter(raw, noise)
    counts = counter.get_flop_counts()
    prefix = type(segmenter).__name__
    parts = {name: sum(counts.get(f"{prefix}.{name}", {}).values()) for name in segmenter.parts()}
    return int(counter.get_total_flops()), {name: int(value) for name, value in parts.items()}


def counted(path: Path) -> dict[str, Any]:
    """Parameters and FLOPs per part of one slice, and what training took; a graph does not tell."""
    names = ("parts", "parameters", "flops", "inference", "training")
    if not path.is_dir():
        return {**dict.fromkeys(names), "reason": GRAPH}
    segmenter, manifest = load_model(path)
    window, sides = segmenter.sliding_window, manifest.image.sides
    total, parts = flops_of(segmenter, _blank(manifest, window.size if window is not None else sides))
    if window is not None:  # of a patch; the record has those of a slice
        patches = window.patches_per_slice(sides)
        total, parts = round(total * patches), {name: round(flops * patches) for name, flops in parts.items()}
    network_parts = [
        NetworkPart(part=name, parameters=count_parameters(part), flops=parts[name])
        for name, part in segmenter.parts().items()
    ]
    inference = manifest.recipe.get("inference", {})
    return {
        "parts": network_parts,
        "parameters": count_parameters(segmenter),
        "flops": total,
        "inference": {name: inference.get(name) for name in ("steps", "samples")}
        | {"flips": inference.get("flips", "none"), "passes": _passes(segmenter)},
        "training": {name: manifest.training.get(name) for name in TRAINING}
        | {"machine": manifest.provenance.get("machine")},
        "reason": None,
    }


def _passes(segmenter: Segmenter) -> int:
    """How often networks see an image, flipped or not, for one answer: of an ensemble those of all members."""
    members = segmenter.members if isinstance(segmenter, EnsembleSegmenter) else [segmenter]
    return sum(PASSES[member.flips] for member in members if isinstance(member, Segmenter))


def _blank(manifest: ModelManifest, spatial: tuple[int, ...]) -> torch.Tensor:
    image = manifest.image
    dtype = torch.uint8 if image.modality == "rgb" else torch.float32  # as every runtime is fed
    return torch.zeros(1, *spatial, image.fed_channels, dtype=dtype)


def _latency(served: Served, images: RawImages) -> Latency:
    """Median and 90th percentile of the seconds of one call, and images per second at the median."""
    for _ in range(WARM_UP):
        check_finite(served.backend.probability(images), served.path)
    seconds: list[float] = []
    while len(seconds) < REPEATS and (len(seconds) < FEWEST or sum(seconds) < PATIENCE):
        started = time.perf_counter()
        served.backend.probability(images)
        seconds.append(time.perf_counter() - started)
    median = float(np.median(seconds))
    return Latency(
        batch=len(images),
        seconds_median=median,
        seconds_p90=float(np.quantile(seconds, 0.9)),
        images_per_second=len(images) / median,
        calls=len(seconds),
    )


def _images(subject: Subject, batch: int) -> RawImages:
    """`batch` slices of the cases, from the first on; again from the first where they do not suffice. Or tiles."""
    if subject.store.manifest.image.tiles is not None:
        whole = subject.store.images[subject.cases[0].start]
        tiles = TileGrid(whole.shape[0], whole.shape[1], subject.store.manifest.image.sides).cut(whole)
        return np.asarray(tiles[np.resize(np.arange(len(tiles)), batch)])
    rows = np.concatenate([np.arange(case.start, case.start + case.slices) for case in subject.cases])
    return subject.store.images[np.resize(rows, batch)]


def _memory(backend: Backend, device: str) -> dict[str, Any]:
    if device == "cuda" and not backend.name.startswith("torch"):
        return {"bytes": None, "of": f"not measured: {backend.name} does not tell what it holds on the GPU"}
    return peak_memory(device)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"
