"""Several opened models as one: the mean of their probabilities; which models go together, and which do not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.artifacts.manifests import ModelManifest
from sdseg.backends.base import Backend, OneAtATime, Reseedable, hypotheses_of, samples_of, why_mean_alone, window_of
from sdseg.backends.open_model import Served, open_model
from sdseg.config.patches import SlidingWindow
from sdseg.core.array_types import FloatArray, RawImages
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import sha256_text
from sdseg.data.batches import FREE, same_field
from sdseg.data.mask_rule import MaskRule
from sdseg.models.equal_shares import UNEQUAL, equal_shares

__all__ = ["EnsembleBackend", "averaged", "common_rule", "facts_of", "joined_name", "open_models"]

log = logging.getLogger(__name__)
SLICES = 8  # of a volume, that a two-dimensional member of a mixed ensemble computes at a time
Facts = tuple[Path, ImageContract, tuple[Structure, ...], MaskRule]


class EnsembleBackend:
    """The mean over several backends, which are asked one after the other."""

    def __init__(self, members: Sequence[Backend]) -> None:
        self.members = tuple(members)
        self.name = " and ".join(dict.fromkeys(member.name for member in members))

    def probability(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] -> probability [N,K,H,W]; see Backend."""
        total = self._asked(self.members[0].probability, self.members[0], images).astype(np.float32)  # a copy
        for member in self.members[1:]:
            total += self._asked(member.probability, member, images)
        return total / np.float32(len(self.members))

    @property
    def sliding_window(self) -> SlidingWindow | None:
        """That of a three-dimensional member, where there is one: then images are a volume, for all of them."""
        return next((window for member in self.members if (window := window_of(member)) is not None), None)

    def _asked(self, compute: Callable[[RawImages], FloatArray], member: Backend, images: RawImages) -> FloatArray:
        """What a member gives; of a volume a two-dimensional one gets some slices at a time."""
        if self.sliding_window is None or window_of(member) is not None:
            return compute(images)
        return np.concatenate([compute(images[start : start + SLICES]) for start in range(0, len(images), SLICES)])

    @property
    def one_at_a_time(self) -> bool:
        """Whether members take images whole, in tiles: all of them do, or none."""
        return any(isinstance(member, OneAtATime) and member.one_at_a_time for member in self.members)

    @property
    def samples(self) -> int:
        return 0 if self._repeats is None else len(self.members) * max(self._counts)

    @property
    def mean_alone(self) -> str:
        missing = [why_mean_alone(member) for member in self.members if not samples_of(member)]
        return missing[0] if missing else f"{UNEQUAL} ({', '.join(map(str, self._counts))})"

    @property
    def _counts(self) -> list[int]:
        return [samples_of(member) for member in self.members]

    @property
    def _repeats(self) -> tuple[int, ...] | None:
        return equal_shares(self._counts)

    def hypotheses(self, images: RawImages) -> FloatArray:
        """The hypotheses of every model, one after the other, as many for each. Raises UserError without `samples`."""
        if self._repeats is None:
            raise UserError(self.mean_alone, where="--model", remedy="name models that draw as many hypotheses")
        answers = [
            self._asked(own, member, images) for member in self.members if (own := hypotheses_of(member)) is not None
        ]
        repeated = [np.repeat(one, often, axis=1) for one, often in zip(answers, self._repeats, strict=True)]
        return np.concatenate(repeated, axis=1)

    def with_seed(self, seed: int) -> EnsembleBackend:
        """The same models with noise from another seed. Raises UserError where one cannot draw it anew."""
        for member in self.members:
            if not isinstance(member, Reseedable):
                raise UserError(f"'{member.name}' cannot draw its noise from another seed", remedy="leave it out")
        return EnsembleBackend([member.with_seed(seed) for member in self.members if isinstance(member, Reseedable)])


def open_models(paths: Sequence[Path], device: str = "cpu") -> Served:
    """Open one model, or several whose probabilities are averaged; see `open_model` and `averaged`."""
    return averaged([open_model(path, device) for path in paths])


def averaged(models: Sequence[Served]) -> Served:
    """Several opened models as one. Raises ListedError for models that do not go together; one alone stays itself."""
    first = models[0]
    if len(models) == 1:
        return first
    rule = common_rule([(one.path, one.image, one.structures, one.rule) for one in models])
    spacing = next((one.image.spacing for one in models if one.image.spacing is not None), None)
    trained_on = {one.training.get("data_checksum") for one in models}
    return replace(
        first,
        backend=EnsembleBackend([one.backend for one in models]),
        image=first.image.model_copy(update={"intensities": None, "channel_intensities": (), "spacing": spacing}),
        rule=rule,
        dataset=joined_name([one.dataset for one in models]),
        origin=next((one.origin for one in models if one.origin != "real"), "real"),
        recipe=joined_name([one.recipe for one in models]),
        protocol=first.protocol if len({one.protocol for one in models}) == 1 else None,
        training={"data_checksum": trained_on.pop() if len(trained_on) == 1 else None},
        checksum=sha256_text("\n".join(sorted(one.checksum for one in models))),
        path=Path(" and ".join(str(one.path) for one in models)),
    )


def common_rule(models: Sequence[Facts]) -> MaskRule:
    """How masks are made of the mean: as all members say. Raises ListedError where they disagree, with every value.

    Members may differ in their post-processing, which each may have chosen for itself: the mean has what more than
    half of them have.
    """
    path, image, structures, rule = models[0]
    problems = []
    for other_path, other_image, other_structures, other_rule in models[1:]:
        pairs = [
            *(
                (name, getattr(image, name), getattr(other_image, name))
                for name in ImageContract.model_fields
                if not same_field(name, image, other_image)
            ),
            ("structures", _named(structures), _named(other_structures)),
            *((name, getattr(rule, name), getattr(other_rule, name)) for name in ("threshold", "exclusive")),
        ]
        problems += [
            f"{name}: {theirs} in {other_path}, {ours} in {path}"
            for name, ours, theirs in pairs
            if name not in FREE and ours != theirs
        ]
    if len({each.resolve() for each, *_ in models}) < len(models):
        problems.append("the same model is named twice")
    if problems:
        raise ListedError(
            f"these {len(models)} models cannot be averaged:",
            problems,
            where="--model",
            remedy="name models of the same structures, made for the same images, with the same threshold",
        )
    rules = [each for *_, each in models]
    switches = ("largest_component", "fill_holes")
    chosen = {name: 2 * sum(getattr(each, name) for each in rules) > len(rules) for name in switches}
    if any(getattr(each, name) != on for each in rules for name, on in chosen.items()):
        settings_listed = ", ".join(f"{name} {'on' if on else 'off'}" for name, on in chosen.items())
        log.warning(
            "the members post-process their masks differently; the ensemble does what most do: %s", settings_listed
        )
    return replace(rule, **chosen)


def joined_name(names: Sequence[str]) -> str:
    """One name where all have it, else all of them."""
    return "+".join(dict.fromkeys(names))


def facts_of(path: Path, manifest: ModelManifest) -> Facts:
    """What a model folder is asked for before it may be averaged with others."""
    return path, manifest.image, manifest.structures, MaskRule.of(manifest)


def _named(structures: Sequence[Structure]) -> str:
    return ", ".join(f"{one.name} ({'+'.join(map(str, one.values))})" for one in structures)
