"""What a configuration is going to need: per dataset, per training, and in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Recipe
from sdseg.config.run import Config
from sdseg.core.bounded_types import sides_of
from sdseg.datasets.source_lookup import known_source
from sdseg.sizing.case_counts import Count, count
from sdseg.sizing.planned_size import planned_size
from sdseg.sizing.training_needs import Shape, TrainingNeeds, training_needs

__all__ = [
    "DatasetNeeds",
    "RunNeeds",
    "TrainingEstimate",
    "millions",
    "needs_of",
    "needs_of_training",
    "one_line",
    "shape_of",
    "size_in_words",
]

STATES = 2  # training states that are kept
PACKED = 0.02  # bytes a label map takes per pixel, deflated


@dataclass(frozen=True)
class DatasetNeeds:
    """One dataset: its cases and slices, and the bytes of its slice store (None where not known)."""

    name: str
    source: str
    origin: str
    size: int | tuple[int, int]
    structures: int
    count: Count
    store_bytes: int | None
    annotators: int = 1


@dataclass(frozen=True)
class TrainingEstimate:
    """One dataset × recipe. `disk_bytes`: models, states and cached latents; None where the slices are not known.

    Of tiles no latents are kept.
    """

    dataset: str
    recipe: str
    steps: int
    batch: int
    precision: str
    needs: TrainingNeeds
    validation_flops: int
    disk_bytes: int | None

    @property
    def flops(self) -> int:
        """Of the whole training, validation included."""
        return self.needs.step_flops * self.steps + self.validation_flops


@dataclass(frozen=True)
class RunNeeds:
    """A whole configuration."""

    datasets: dict[str, DatasetNeeds]
    trainings: tuple[TrainingEstimate, ...]

    @property
    def disk_bytes(self) -> int:
        """Of the results, as far as it is known."""
        stores = sum(each.store_bytes or 0 for each in self.datasets.values())
        return stores + sum(each.disk_bytes or 0 for each in self.trainings)

    @property
    def complete(self) -> bool:
        """Whether every part of the disk's figure is known."""
        return all(each.store_bytes is not None for each in self.datasets.values())


def needs_of(config: Config, recipes: Mapping[tuple[str, str], Recipe] | None = None) -> RunNeeds:
    """Of every dataset and training of a configuration; `recipes`: those already resolved, by dataset and name."""
    datasets = {name: _dataset(config, name) for name in config.datasets}
    resolved = recipes or {}
    trainings = tuple(
        _training(config, datasets[name], recipe, resolved.get((name, recipe)) or config.resolve_recipe(name, recipe))
        for name in config.datasets
        for recipe in config.recipes_of(name)
        if not config.trainings[recipe].members
    )
    return RunNeeds(datasets, trainings)


def one_line(needs: RunNeeds) -> str:
    """For the start of a run: sizes alone, no time."""
    cases = [each.count.n_cases for each in needs.datasets.values()]
    slices = [each.count.n_slices for each in needs.datasets.values()]
    largest = max(needs.trainings, key=lambda each: each.needs.parameters)
    gpu = max(each.needs.gpu_bytes for each in needs.trainings)
    memory = f"{size_in_words(gpu)} of GPU memory" if gpu else f"{size_in_words(_memory(needs))} of memory"
    return (
        f"{_number(len(cases), 'dataset')} ({_sum(cases)} cases, {_sum(slices)} slices), "
        f"{_number(len(needs.trainings), 'training')} of up to {millions(largest.needs.parameters)} parameters and "
        f"{memory}, {'' if needs.complete else 'at least '}{size_in_words(needs.disk_bytes)} of results"
    )


def size_in_words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def millions(count: int) -> str:
    """A number of parameters: 378.6 M, or 4.2 k."""
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count / 1e3:.1f} k"


def shape_of(config: Config, name: str) -> Shape:
    """Size and structures of a dataset; one structure where only the raw files tell."""
    settings, (size, _) = config.datasets[name], planned_size(config, name)
    source = known_source(settings)
    if source is None:
        return Shape(size)
    return Shape(size, len(source.target(settings.target)[1]), source.annotators)


def _dataset(config: Config, name: str) -> DatasetNeeds:
    settings, shape, counts = config.datasets[name], shape_of(config, name), count(config, name)
    source = known_source(settings)
    images = source is not None and source.modality == "rgb"
    annotators = source.annotators if source is not None else 1
    maps = 1 if annotators == 1 else 1 + annotators  # their majority's, and each one's own
    channels = len(source.channels) if source is not None and source.channels else 3 if images else 1
    pixel = channels * (1 if images else 2) + PACKED * maps  # uint8 each, or int16; and the labels
    store = None if counts.n_slices is None else int(counts.n_slices * prod(shape.sides) * pixel)
    return DatasetNeeds(
        *(name, settings.source, settings.origin, shape.size, shape.structures, counts, store, annotators)
    )


def needs_of_training(config: Config, dataset: str, recipe: Recipe, shape: Shape) -> TrainingNeeds:
    """Of one training, with the teacher it has, where that is another recipe of the run: a model folder is not counted.

    Of an ensemble every member answers, one after the other.
    """

    def alone(chosen: Recipe) -> TrainingNeeds:
        codec = config.codecs[chosen.network.codec] if isinstance(chosen.network, LatentNetwork) else None
        return training_needs(chosen, codec, shape, cuda=config.device == "cuda", processes=config.processes)

    teacher, training = recipe.builds_on.get("distillation.teacher"), recipe.training
    if teacher is None or teacher.recipe is None:
        return alone(recipe)
    images = training.batch // (training.accumulate * config.processes)
    chosen, members = config.resolve_recipe(dataset, teacher.recipe), config.trainings[teacher.recipe].members
    unflipped = chosen.model_copy(update={"inference": chosen.inference.model_copy(update={"flips": "none"})})
    one, count = alone(unflipped), len(members) or 1
    whole = replace(one, image_flops=count * one.image_flops, model_bytes=count * one.model_bytes)
    return alone(recipe).taught_by(whole, training.batch, images)


def _training(config: Config, dataset: DatasetNeeds, name: str, recipe: Recipe) -> TrainingEstimate:
    codec = config.codecs[recipe.network.codec] if isinstance(recipe.network, LatentNetwork) else None
    needs = needs_of_training(config, dataset.name, recipe, shape_of(config, dataset.name))
    training, slices = recipe.training, dataset.count.slices
    validated = min(slices["val"], training.validate_slices or slices["val"]) if slices else 0
    times = -(-training.steps // training.validate_every)
    answer = needs.image_flops / recipe.inference.passes  # validation flips nothing
    if recipe.patches is not None:
        window, sides = recipe.patches, sides_of(dataset.size)
        answer *= window.common.patches_per_slice(sides) / window.patches_per_slice(sides)
    latents, tiled = 0, config.datasets[dataset.name].tiles is not None
    if slices and codec is not None and not tiled:  # tiles are moved at random: no end of latents to keep
        sides, moments = sides_of(dataset.size), 2 if recipe.diffusion and recipe.diffusion.sample_latents else 1
        joint = isinstance(recipe.network, LatentNetwork) and recipe.network.classes == "joint"
        kept = training.kept_views if sides[0] == sides[1] else min(training.kept_views, 4)  # no turns by 90°
        views = kept * (1 if joint else dataset.structures) * dataset.annotators
        pixels = prod(side // codec.factor for side in sides)
        latents = 4 * slices["train"] * views * moments * codec.latent_channels * pixels
    halved = 2 if training.weights == "fp16" else 1
    models = 2 * needs.model_bytes // halved + 2 * needs.model_bytes  # best and last; the best weights, the graph
    return TrainingEstimate(
        dataset=dataset.name,
        recipe=name,
        steps=training.steps,
        batch=training.batch,
        precision=training.precision,
        needs=needs,
        validation_flops=round(times * validated * answer),
        disk_bytes=models + STATES * needs.state_bytes + latents if slices or tiled else None,
    )


def _memory(needs: RunNeeds) -> int:
    return max(each.needs.process_bytes for each in needs.trainings)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _sum(numbers: list[Any]) -> str:
    """Of what is known; says so where something is not."""
    known = [number for number in numbers if number is not None]
    return f"{'' if len(known) == len(numbers) else 'at least '}{sum(known):,}"
