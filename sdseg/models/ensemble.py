"""Several networks as one: the mean of their probabilities, in one forward pass and so in one graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sdseg.core.errors import UserError
from sdseg.models.equal_shares import UNEQUAL, equal_shares
from sdseg.models.segmenter import Segmenter

__all__ = ["EnsembleSegmenter"]


class EnsembleSegmenter(Segmenter):
    """The mean over members, each with its own flips, steps and hypotheses.

    Members that start from Gaussian noise all take the same noise, as several models given one seed do. Raises
    UserError for members that want noise of different shapes.
    """

    def __init__(self, members: Sequence[Segmenter]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        shapes = {shape for member in members if (shape := member.noise_shape) is not None}
        if len(shapes) > 1:
            raise UserError(
                f"the members of an ensemble start from noise of different shapes: {sorted(shapes)}",
                where="inference.samples and the codec of their recipes",
                remedy="put models with the same number of samples and the same codec together",
            )
        self.noise_shape = next(iter(shapes), None)
        windows = {member.sliding_window for member in members}
        if len(windows) > 1:
            raise UserError(
                "the members of an ensemble see volumes through different windows, or some see slices",
                where="'patches' and 'network.dimensions' of their recipes",
                remedy="put models with the same 'patches' together, or name them side by side: --model A --model B",
            )
        self.sliding_window = next(iter(windows))
        counts = [member.samples for member in members]
        self.repeats = equal_shares(counts)
        self.samples = 0 if self.repeats is None else len(counts) * max(counts)

    def one_pass(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        total: Tensor | None = None
        for member in self.members:
            answer = member(image, noise if getattr(member, "noise_shape", None) is not None else None)
            total = answer if total is None else total + answer
        if total is None:
            raise UserError("an ensemble without members", remedy="name two models or more")
        return total / len(self.members)

    def one_pass_hypotheses(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """The hypotheses of every member, one member after the other: as many for each. Raises UserError without."""
        if self.repeats is None:
            raise UserError(UNEQUAL, where="inference.samples", remedy="put models with the same number together")
        answers = []
        for member, repeats in zip(self.members, self.repeats, strict=True):
            if not isinstance(member, Segmenter):
                raise TypeError(f"a member is a {type(member).__name__}")
            answer = member.hypotheses(image, noise if member.noise_shape is not None else None)
            answers.append(answer.repeat(1, repeats, *[1] * (answer.ndim - 2)))
        return torch.cat(answers, dim=1)

    def parts(self) -> dict[str, nn.Module]:
        return {f"members.{index}": member for index, member in enumerate(self.members)}
