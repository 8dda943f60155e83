"""Memory and time that each rule asks of a cluster: functions of the recipe and the dataset (docs/cluster.md)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from sdseg.datasets.source_lookup import known_source
from sdseg.sizing.run_needs import needs_of_training, shape_of
from sdseg.sizing.stage_needs import (
    STAGES,
    JobMachine,
    ResourceRequest,
    ask_for_codec,
    ask_for_prepare,
    ask_for_stage,
    ask_for_training,
)
from sdseg.sizing.training_needs import Shape, TrainingNeeds

if TYPE_CHECKING:
    from plan import Plan

__all__ = ["Asks"]

SCAN = 512 * 512 * 700  # voxels of the largest volume of the known datasets
PHANTOM = 96 * 96 * 33


class Asks:
    """What the rules' `resources` are filled with: `memory(stage)` and `runtime(stage)`, by wildcards and attempt."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.settings = plan, plan.settings
        self._training = cache(self._training_needs)

    def memory(self, stage: str) -> Callable[..., str]:
        """Function of a rule's wildcards and attempt that gives its memory."""
        return lambda wildcards, attempt: f"{self.ask(stage, wildcards).again(attempt).memory}GB"

    def runtime(self, stage: str) -> Callable[..., int]:
        """The same for its time, in minutes."""
        return lambda wildcards, attempt: self.ask(stage, wildcards).again(attempt).minutes

    def ask(self, stage: str, wildcards: Any) -> ResourceRequest:
        """What one job of a stage asks for at its first try."""
        machine = JobMachine(self.settings.device == "cuda", self.settings.threads, self.settings.processes)
        if stage == "codec":
            codec = self.settings.codecs[wildcards.codec]
            return ask_for_codec(codec, machine, self._shape(wildcards.dataset) if codec.of_dataset else None)
        voxels = self._voxels(wildcards.dataset)
        if stage == "prepare":
            return ask_for_prepare(voxels, machine.threads)
        recipe = self.plan.recipes[wildcards.dataset, wildcards.recipe]
        needs = self._training(wildcards.dataset, wildcards.recipe)
        if stage == "train":
            return ask_for_training(needs, recipe.training.steps, machine)
        return ask_for_stage(STAGES[stage], needs, recipe, machine, voxels, self._shape(wildcards.dataset).structures)

    def _training_needs(self, dataset: str, name: str) -> TrainingNeeds:
        return needs_of_training(self.settings, dataset, self.plan.recipes[dataset, name], self._shape(dataset))

    def _shape(self, dataset: str) -> Shape:
        return shape_of(self.settings, dataset)

    def _voxels(self, dataset: str) -> int:
        """Of the largest volume; 0 for images."""
        source = known_source(self.settings.datasets[dataset])
        if source is not None and source.modality == "rgb":
            return 0
        return PHANTOM if self.plan.is_phantom(dataset) else SCAN
