"""A label map's classes: structures taken apart into pieces that exclude each other, and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sdseg.artifacts.image_contract import Structure

__all__ = ["LabelClasses"]


@dataclass(frozen=True)
class LabelClasses:
    """For each class its structures, by number. The background is class 0 and not listed.

    Every pixel has one class. Disc (labels 1, 2) and the cup within it (2) have two: the rim, which is disc alone, and
    the cup, which is both. The probability of a structure is the sum over its classes, so that a nested one is never
    likelier than the one around it.
    """

    members: tuple[tuple[int, ...], ...]  # of class 1, 2, …
    structures: int

    @classmethod
    def of(cls, structures: Sequence[Structure]) -> Self:
        """One class for each combination of structures that some label id belongs to, in the order of the ids."""
        values = dict.fromkeys(value for structure in structures for value in structure.values)
        members = dict.fromkeys(_holders(value, structures) for value in values)
        return cls(tuple(members), len(structures))

    @classmethod
    def separate(cls, structures: int) -> Self:
        """Of so many structures that do not overlap."""
        return cls(tuple((number,) for number in range(structures)), structures)

    @property
    def count(self) -> int:
        """Classes, the background among them: channels of the map."""
        return len(self.members) + 1

    def table(self, structures: Sequence[Structure]) -> npt.NDArray[np.uint8]:
        """The class of each label id, [256]; ids of no structure are background."""
        table = np.zeros(256, dtype=np.uint8)
        for value in {value for structure in structures for value in structure.values}:
            table[value] = 1 + self.members.index(_holders(value, structures))
        return table

    def one_hot(self, masks: Tensor) -> Tensor:
        """Masks [N,K,…] in {0,1} as a float map [N,C,…] of classes; what belongs to no class is background."""
        inside = masks > 0.5
        classes = []
        for members in self.members:
            wanted = torch.zeros(self.structures, dtype=torch.bool, device=masks.device)
            wanted[list(members)] = True
            classes.append((inside == wanted.view(1, -1, *[1] * (masks.ndim - 2))).all(dim=1))
        background = ~torch.stack(classes).any(dim=0)
        return torch.stack([background, *classes], dim=1).float()

    def probability(self, logits: Tensor) -> Tensor:
        """Probability [N,K,H,W] in [0,1] of every structure, of the classes' logits [N,C,H,W]."""
        shares = logits.float().softmax(dim=1)
        if self.members == tuple((number,) for number in range(self.structures)):
            return shares[:, 1:]
        # Slices and sums alone: every runtime of graphs has them.
        sums = []
        for channels in self._channels():
            total = shares[:, channels[0] : channels[0] + 1]
            for channel in channels[1:]:
                total = total + shares[:, channel : channel + 1]
            sums.append(total)
        return torch.cat(sums, dim=1).clamp(max=1.0)  # a sum may round to a little more

    def logits(self, logits: Tensor) -> Tensor:
        """The logits [N,K,H,W] of those probabilities: what losses on masks take, with a gradient everywhere."""
        logits, every = logits.float(), range(self.count)
        return torch.stack(
            [
                logits[:, list(channels)].logsumexp(dim=1)
                - logits[:, [channel for channel in every if channel not in channels]].logsumexp(dim=1)
                for channels in self._channels()
            ],
            dim=1,
        )

    def _channels(self) -> tuple[tuple[int, ...], ...]:
        """For each structure the channels of its classes."""
        return tuple(
            tuple(channel for channel, members in enumerate(self.members, start=1) if number in members)
            for number in range(self.structures)
        )


def _holders(value: int, structures: Sequence[Structure]) -> tuple[int, ...]:
    """Numbers of the structures that a label id belongs to."""
    return tuple(number for number, structure in enumerate(structures) if value in structure.values)
