"""A preset fitted to data and machine: size, batch, steps, augmentation, each with its reason."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdseg.cli.fit_shape import FittedShape, Reasoned, fit_shape
from sdseg.cli.own_data import OwnData
from sdseg.config.codec import Codec, made_from
from sdseg.config.recipe import Recipe, load_recipe
from sdseg.core.errors import UserError, first_line
from sdseg.core.processor import computes_in_bf16
from sdseg.core.settings import parse
from sdseg.core.shipped_files import shipped
from sdseg.io.limits import available_memory
from sdseg.sizing.presets import PRESETS, Preset
from sdseg.sizing.training_needs import Shape, training_needs

__all__ = [
    "Machine",
    "Plan",
    "codec_values",
    "default_preset",
    "fit",
    "in_minutes",
    "recipe_values",
    "this_machine",
]

MANY_CORES = 8  # from here on an hour is the default on a CPU
RATE = 60e9  # operations per second of one thread where nothing is measured; 95e9 in bf16 (docs/benchmarks.md)
SHARED = 0.8  # what a second thread brings
EPOCHS = 1000  # more passes over the data are hardly worth their time
FEWEST_STEPS = 100
VALIDATIONS, VALIDATED = 10, 0.1  # during a training, and the share of its time they may take
ROOM = 0.7  # share of the free memory that a training may take
SIDES = re.compile(r"(^|[^a-z])(left|right|l|r)([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Machine:
    """What a training can have here."""

    cores: int
    memory: int | None  # bytes that are free
    gpu: str | None  # name of the first GPU that can be used
    gpu_memory: int | None = None
    bf16: bool = False  # the CPU computes in bfloat16


@dataclass(frozen=True)
class Plan:
    """A preset with the values that data and machine decide."""

    name: str
    preset: Preset
    threads: int
    shape: FittedShape
    batch: Reasoned
    accumulate: int
    steps: Reasoned
    augmentation: Reasoned
    precision: Reasoned
    validate_every: int
    validate_slices: int
    workers: int
    seconds: float | None  # of the training here; None where that is not known
    parameters: int


def this_machine(*, gpu: bool) -> Machine:
    """Cores, free memory and, with `gpu`, the first GPU of the machine this runs on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name, memory = None, None
    if gpu:
        import torch

        if torch.cuda.is_available():
            properties = torch.cuda.get_device_properties(0)
            name, memory = properties.name, int(properties.total_memory)
    return Machine(cores, available_memory(), name, memory, computes_in_bf16())


def default_preset(machine: Machine) -> tuple[str, str]:
    """The preset for a machine, and why."""
    if machine.gpu is not None:
        return "gpu", f"there is a GPU ({machine.gpu})"
    if machine.cores >= MANY_CORES:
        return "cpu-1h", f"no usable GPU, and {machine.cores} cores"
    return "cpu-10min", f"no usable GPU, and {machine.cores} core{'s' if machine.cores > 1 else ''}"


def codec_values(preset: Preset) -> dict[str, Any]:
    """The codec's section of a configuration."""
    return {
        "latent_channels": preset.latent_channels,
        "block_out_channels": list(preset.codec_channels),
        "layers_per_block": preset.layers_per_block,
        "norm_num_groups": preset.norm_num_groups,
        "mid_block_attention": False,
        "training": dict(preset.codec_training),
    }


def recipe_values(plan: Plan) -> dict[str, Any]:
    """What is laid over the recipe `sdseg`."""
    preset, steps = plan.preset, int(plan.steps.value)
    return {
        "network": {
            "codec": "masks",
            "condition": {"architecture": "unet", "block_out_channels": list(preset.condition_channels)},
            "denoiser": {"architecture": "unet", "block_out_channels": list(preset.denoiser_channels)},
        },
        "optimiser": {"learning_rate": preset.learning_rate, "warmup_steps": max(1, min(500, steps // 20))},
        "training": {
            "steps": steps,
            "batch": plan.batch.value,
            **({"accumulate": plan.accumulate} if plan.accumulate > 1 else {}),
            "precision": plan.precision.value,
            "ema_decay": preset.ema_decay,
            "augmentation": plan.augmentation.value,
            "validate_every": plan.validate_every,
            "validate_slices": plan.validate_slices,
            "checkpoint_every": plan.validate_every,
            "log_every": max(1, min(50, steps // 20)),
            "workers": plan.workers,
        },
    }


def fit(data: OwnData, name: str, machine: Machine, *, probed: bool) -> Plan:
    """The preset's values for these data on this machine; `probed` makes some training steps to time them."""
    preset = PRESETS[name]
    threads = min(machine.cores, 16)
    cuda = preset.device == "cuda"
    fitted = fit_shape(data, preset)
    precision = _precision(preset, machine)
    batch = _batch(data, preset, fitted)
    plan = Plan(
        name=name,
        preset=preset,
        threads=threads,
        shape=fitted,
        batch=batch,
        accumulate=1,
        steps=Reasoned(FEWEST_STEPS, ""),
        augmentation=_augmentation(data, preset),
        precision=precision,
        validate_every=FEWEST_STEPS,
        validate_slices=1,
        workers=max(1, min(8, machine.cores - 1)) if cuda else 0,
        seconds=None,
        parameters=0,
    )
    codec = made_from(parse(Codec, codec_values(preset), where="codecs.masks"))
    size = fitted.size.value
    shape = Shape(size if isinstance(size, int) else tuple(size), len(data.structures))
    free = machine.gpu_memory if cuda else machine.memory
    recipe = _recipe(plan)
    needs = training_needs(recipe, codec, shape, cuda=cuda)
    while free and (needs.gpu_bytes if cuda else needs.process_bytes) > ROOM * free and plan.accumulate < batch.value:
        plan = replace(plan, accumulate=2 * plan.accumulate)
        recipe = _recipe(plan)
        needs = training_needs(recipe, codec, shape, cuda=cuda)
    if fitted.tiles is not None:  # their masks are encoded at every step, as those that are turned and zoomed are
        recipe = _recipe(replace(plan, augmentation=Reasoned("affine", "")))
        needs = training_needs(recipe, codec, shape, cuda=cuda)
    seconds, source = _seconds_per_step(plan, recipe, codec, shape, data, machine, needs.step_flops, probed)
    steps = _steps(data, preset, fitted, int(batch.value), seconds, source)
    every = max(1, int(steps.value) // VALIDATIONS)
    slices = max(16, min(512, fitted.rows))
    if seconds:
        image = needs.image_flops / needs.step_flops * seconds
        slices = max(16, min(slices, int(VALIDATED * seconds * steps.value / VALIDATIONS / image)))
    return replace(
        plan,
        steps=steps,
        validate_every=every,
        validate_slices=slices,
        seconds=seconds * steps.value if seconds else None,
        parameters=needs.parameters,
    )


def _recipe(plan: Plan) -> Recipe:
    return load_recipe(shipped(Path("config/recipes/sdseg.yaml")), recipe_values(plan))


def _batch(data: OwnData, preset: Preset, fitted: FittedShape) -> Reasoned:
    training = 0.8 * fitted.rows
    batch = preset.batch
    while batch > 2 and batch > training / 2:
        batch //= 2
    what = "slices" if data.volumes else fitted.unit
    if batch < preset.batch:
        return Reasoned(batch, f"small, since there are only about {training:.0f} {what} to train on")
    return Reasoned(batch, f"{what} in one step")


def _precision(preset: Preset, machine: Machine) -> Reasoned:
    if preset.device == "cuda":
        return Reasoned("bf16", "about half the memory and time; GPUs before 2020 want fp16")
    if machine.bf16:
        return Reasoned("bf16", "this processor computes in bfloat16, about 1.5 times as fast")
    return Reasoned("no", "this processor has no bfloat16")


def _augmentation(data: OwnData, preset: Preset) -> Reasoned:
    sided = sorted(name for name in data.structures if SIDES.search(name))
    if len(data.structures) > 1 and len(sided) > 1:
        return Reasoned(
            "none", f"every other choice mirrors, and {sided[0]} and {sided[1]} would be one another's mirror image"
        )
    chosen = preset.volumes if data.volumes else preset.images
    words = {
        "flips": "mirror images; the patients lie the same way",
        "dihedral": "mirror images and quarter turns, which cost no time",
        "affine": "turns, zoom, shift, contrast and mirror images: worth their time in a longer training",
    }
    return Reasoned(chosen, words[chosen])


def _seconds_per_step(
    plan: Plan,
    recipe: Recipe,
    codec: Codec,
    shape: Shape,
    data: OwnData,
    machine: Machine,
    flops: int,
    probed: bool,
) -> tuple[float | None, str]:
    """Of one step here, and how that is known; None on a GPU that is not there."""
    device = plan.preset.device
    if device == "cuda" and machine.gpu is None:
        return None, "not measured: there is no GPU here"
    if probed:
        import torch

        from sdseg.training.probe import probe

        before = torch.get_num_threads()
        if device == "cpu":
            torch.set_num_threads(plan.threads)
        try:
            measured = probe(recipe, codec, shape, data.n_channels, device).seconds_per_step
        except (UserError, RuntimeError) as error:
            reason = error.what if isinstance(error, UserError) else first_line(error)
            return None, f"not measured: {reason}"
        finally:
            torch.set_num_threads(before)
        return measured, f"measured here: {measured:.2g} s a step with {plan.threads} thread(s)"
    if device == "cuda":
        return None, "not measured"
    rate = RATE * (1.5 if machine.bf16 else 1.0) * (1 + SHARED * (plan.threads - 1))
    return flops / rate, f"estimated: {flops / rate:.2g} s a step with {plan.threads} thread(s)"


def _steps(
    data: OwnData, preset: Preset, fitted: FittedShape, batch: int, seconds: float | None, source: str
) -> Reasoned:
    slices = max(1.0, 0.8 * fitted.rows)
    enough = max(FEWEST_STEPS, int(EPOCHS * slices / batch))
    most = min(preset.most_steps, enough)
    passes = f"{EPOCHS} passes over about {slices:.0f} training {'slices' if data.volumes else fitted.unit}"
    capped = passes if enough < preset.most_steps else "the most of this preset"
    if seconds is None:
        return Reasoned(_round(most), f"{capped}; {source}")
    fitting = max(FEWEST_STEPS, int(preset.seconds / seconds))
    if fitting >= most:
        return Reasoned(_round(most), f"{capped}; {source}, about {in_minutes(most * seconds)}")
    steps = _round(fitting)
    return Reasoned(
        steps, f"what fits into {in_minutes(preset.seconds)}; {source}, about {in_minutes(steps * seconds)}"
    )


def _round(steps: int) -> int:
    """Two digits."""
    scale = int(10 ** max(0, len(str(steps)) - 2))
    return steps // scale * scale


def in_minutes(seconds: float) -> str:
    """A duration in words."""
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"
