"""A few training steps of a recipe on made-up data: seconds per step on this machine, measured once and kept."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from sdseg.artifacts.image_contract import ImageContract
from sdseg.backends.cache import cache_folder
from sdseg.backends.device import peak_memory, torch_device
from sdseg.config.codec import Codec
from sdseg.config.direct_network import DirectNetwork
from sdseg.config.network import neighbours_of
from sdseg.config.patches import Extent
from sdseg.config.recipe import Recipe
from sdseg.core.files import sha256_text, write_json
from sdseg.core.provenance import version_of
from sdseg.models.build_segmenter import attach_training_parts, build_segmenter
from sdseg.models.codec import MaskCodec
from sdseg.models.diffusion_segmenter import DiffusionSegmenter
from sdseg.models.label_classes import LabelClasses
from sdseg.models.segmenter import Batch
from sdseg.sizing.training_needs import Shape
from sdseg.training.loop import optimiser_step
from sdseg.training.number_format import with_precision
from sdseg.training.optimiser import update_average
from sdseg.training.setup import check_possible, new_accelerator, prepare_to_train

__all__ = ["Probe", "probe"]

FORMAT = 2
STEPS = 4  # the first one is not counted: memory is taken then, and kernels are chosen
PATIENCE = 30.0  # seconds after which no further step is begun
# Values that change nothing about a step.
IRRELEVANT = {"description", "start_from", "inference"}
STEP = ("batch", "accumulate", "precision", "augmentation", "mask_loss", "gradient_checkpointing")


@dataclass(frozen=True)
class Probe:
    """What was measured. `peak_bytes`: of the GPU, or None on the CPU, where other probes may have held more."""

    seconds_per_step: float
    steps: int  # that were counted
    device: str  # name of the processor or GPU
    threads: int
    peak_bytes: int | None
    kept: bool = False  # told from the cache


def probe(recipe: Recipe, codec: Codec | None, shape: Shape, channels: int, device: str) -> Probe:
    """Seconds of one optimiser step; reading the data and validation are not in them.

    What was measured on this machine, with these threads and this version of PyTorch, is kept in the cache folder and
    told again. Raises UserError where the device is not there, or cannot do what the recipe says.
    """
    torch_device(device)
    check_possible(recipe, device)
    recipe = with_precision(recipe, device)
    name, threads = _name_of(device), torch.get_num_threads()
    path = cache_folder() / "probes" / f"{_key(recipe, codec, shape, channels, name, threads)}.json"
    cached = _read(path)
    if cached is not None:
        return cached
    measured = _measure(recipe, codec, shape, channels, device, name, threads)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"format": FORMAT, **asdict(measured)})
    except OSError:  # measured again next time
        pass
    return measured


def _measure(
    recipe: Recipe, codec: Codec | None, shape: Shape, channels: int, device: str, name: str, threads: int
) -> Probe:
    accelerator = new_accelerator(recipe, device)
    window = (0.0, 255.0) if channels == 3 else (-175.0, 250.0)
    image = ImageContract(
        modality="rgb" if channels == 3 else "ct",
        size=shape.size,
        channels=channels,
        neighbours=neighbours_of(recipe.network),
        window=window,
    )
    segmenter = build_segmenter(recipe, image, shape.structures, codec, 1.0)
    if isinstance(recipe.network, DirectNetwork):  # a vision encoder's file may not be there yet
        attach_training_parts(segmenter, recipe.network, shape.structures)
    average, module, optimiser = prepare_to_train(segmenter, recipe, accelerator)
    encoder = None
    if codec is not None and recipe.training.deforms_masks:  # encoded at every step
        classes = LabelClasses.separate(shape.structures) if codec.encodes == "labels" else None
        encoder = MaskCodec(codec, classes=classes).eval().requires_grad_(False).to(accelerator.device)
    part = recipe.training.batch // recipe.training.accumulate
    # The last step's losses: those of a second stage cost most.
    patch = recipe.patches.size if recipe.patches is not None else None
    latent_shape = segmenter.latent_shape if isinstance(segmenter, DiffusionSegmenter) else None
    batch = _batch(image, shape, latent_shape, part, accelerator.device, patch)
    batch = replace(batch, step=recipe.training.steps)
    module.train()
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < STEPS and (not seconds or time.perf_counter() - began < PATIENCE):
        started = time.perf_counter()
        parts = _parts(batch, recipe.training.accumulate, encoder)
        optimiser_step(accelerator, module, optimiser, parts, recipe.optimiser.clip_norm)
        update_average(average, segmenter, recipe.training)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    timed_steps = seconds[1:] or seconds
    peak = peak_memory(device)["bytes"] if device == "cuda" else None
    return Probe(sorted(timed_steps)[len(timed_steps) // 2], len(timed_steps), name, threads, peak)


def _parts(batch: Batch, count: int, encoder: MaskCodec | None) -> Iterator[Batch]:
    """The same part again and again; where training has no cached latents, its masks are encoded each time."""
    for _ in range(count):
        if encoder is not None:
            with torch.no_grad():
                encoder.moments(batch.mask[:, : encoder.at_once])
        yield batch


def _batch(
    image: ImageContract,
    shape: Shape,
    latent_shape: tuple[int, ...] | None,
    count: int,
    device: torch.device,
    patch: Extent | None,
) -> Batch:
    """Random pixels, masks, latents and noise, as training gets them; with `patch` of volumes."""
    latent, noise, uniform = None, None, None
    if latent_shape is not None:
        latent, noise = (torch.randn(count, *latent_shape, device=device) for _ in range(2))
        uniform = torch.rand(count, device=device)
    spatial = patch or image.sides
    pixels = torch.randint(0, 200, (count, *spatial, image.fed_channels), device=device)
    return Batch(
        image=pixels.to(getattr(torch, image.dtype)),
        mask=(torch.rand(count, shape.structures, *spatial, device=device) > 0.5).float(),
        structure=torch.zeros(count, dtype=torch.int64, device=device),
        latent=latent,
        noise=noise,
        uniform=uniform,
    )


def _key(recipe: Recipe, codec: Codec | None, shape: Shape, channels: int, name: str, threads: int) -> str:
    settings = recipe.model_dump(mode="json", exclude=IRRELEVANT)
    settings["training"] = {key: settings["training"][key] for key in STEP}
    layout = codec.model_dump(mode="json", exclude={"weights", "training"}) if codec else None
    parts = [FORMAT, settings, layout, asdict(shape), channels, name, threads, version_of("torch")]
    return sha256_text(json.dumps(parts, sort_keys=True))[:32]


def _name_of(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


def _read(path: Path) -> Probe | None:
    """What is kept; None where there is nothing, or nothing of use."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        cached = Probe(**{key: record[key] for key in Probe.__dataclass_fields__} | {"kept": True})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return cached if record.get("format") == FORMAT and cached.seconds_per_step > 0 else None
