"""Memory and time to ask a cluster for, per stage, from what its recipe and its data need."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sdseg.config.codec import Codec
from sdseg.config.recipe import Recipe
from sdseg.sizing import network_layouts
from sdseg.sizing.training_needs import AT_ONCE, GPU_PROCESS, PROCESS, Shape, TrainingNeeds

__all__ = [
    "STAGES",
    "JobMachine",
    "ResourceRequest",
    "Stage",
    "ask_for_codec",
    "ask_for_prepare",
    "ask_for_stage",
    "ask_for_training",
]

MARGIN = 1.4  # of memory, over the estimate: 1.0 to 1.2 of what was measured
CPU_RATE = 20e9  # operations per second and thread that any processor of the last ten years keeps up
GPU_RATE = 8e12  # per second, of a V100 in single precision; later ones are faster
SLICES = 1600  # of the largest test split that was published
LONGEST = 3 * 24 * 60  # minutes; what is not done by then goes on where it was, as often as it is sent again
STARTING = 20  # minutes for reading, imports, a shared disk, and everything that is not counted


@dataclass(frozen=True)
class JobMachine:
    """What a job runs on."""

    cuda: bool = False
    threads: int = 1
    processes: int = 1

    def minutes(self, flops: float) -> float:
        """Of so many operations, on a slow machine of this kind."""
        rate = GPU_RATE * self.processes if self.cuda else CPU_RATE * self.threads
        return flops / rate / 60


@dataclass(frozen=True)
class Stage:
    """How a stage's needs follow from those of the model it is about."""

    weights: float  # copies of the model in memory
    passes: float  # over the test slices
    cuda: bool  # it uses a GPU where there is one


STAGES = {
    "scores": Stage(weights=2.5, passes=2, cuda=True),
    "studies": Stage(weights=5, passes=40, cuda=True),
    "graph": Stage(weights=5, passes=2, cuda=False),  # fp32 and int8 of them: 3.5 and 5.5 (docs/benchmarks.md)
    "engine": Stage(weights=6, passes=2, cuda=True),
}


@dataclass(frozen=True)
class ResourceRequest:
    """What is asked for one job. A second try gets as much again: what failed may have been for want of it."""

    memory: int  # GB of 10^9 bytes
    minutes: int

    def again(self, attempt: int) -> ResourceRequest:
        return ResourceRequest(self.memory * attempt, min(self.minutes * attempt, max(LONGEST, self.minutes)))


def ask_for_training(needs: TrainingNeeds, steps: int, machine: JobMachine) -> ResourceRequest:
    """Validation and saving are taken as a quarter of the steps' time."""
    minutes = 1.25 * machine.minutes(needs.step_flops * steps)
    return _ask(needs.process_bytes * machine.processes, minutes)


def ask_for_stage(
    stage: Stage, needs: TrainingNeeds, recipe: Recipe, machine: JobMachine, voxels: int = 0, structures: int = 1
) -> ResourceRequest:
    """`voxels` of the largest volume, which is scored at its native size; 0 for images."""
    machine = JobMachine(machine.cuda and stage.cuda, machine.threads)
    base = GPU_PROCESS if machine.cuda else PROCESS
    native = voxels * (6 + 4 * structures)  # values and labels; per structure a probability
    at_once = 1 if recipe.patches is not None else recipe.inference.batch
    answers = 0 if machine.cuda else needs.answer_bytes * at_once
    flops = needs.image_flops * SLICES * stage.passes
    return _ask(base + stage.weights * needs.model_bytes + answers + native, machine.minutes(flops))


def ask_for_codec(codec: Codec, machine: JobMachine, data: Shape | None = None) -> ResourceRequest:
    """A pretrained one is measured on a few masks, a small one trained on shapes, or on `data` of a dataset."""
    training = codec.training
    size, batch, steps = (training.size, training.batch, training.steps) if training else (256, 8, 8)
    size = data.square if data else size
    one = network_layouts.autoencoder(codec, codec.latent_channels, size, data.encoded(codec) if data else 3)
    alive = 4 * batch * (one.kept if training else AT_ONCE * one.largest)
    base = GPU_PROCESS if machine.cuda else PROCESS
    return _ask(base + 20 * one.parameters + alive, machine.minutes(3 * one.flops * batch * steps))


def ask_for_prepare(voxels: int, jobs: int) -> ResourceRequest:
    """Readers run side by side; each has one image, or one volume of so many `voxels`, open with its labels."""
    each = 10 * voxels if voxels else 0.1e9
    return _ask(0.5e9 + jobs * each, 180 if voxels else 30)


def _ask(memory: float, minutes: float) -> ResourceRequest:
    rounded = 60 * math.ceil((STARTING + minutes) / 60)
    return ResourceRequest(max(2, math.ceil(MARGIN * memory / 1e9)), min(rounded, LONGEST))
