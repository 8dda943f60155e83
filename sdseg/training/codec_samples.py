"""What a codec of a dataset learns from and is measured on: the label maps of a prepared dataset."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sdseg.config.codec import CodecTraining
from sdseg.core.array_types import MaskArray, RawImages
from sdseg.core.bounded_types import in_pixels
from sdseg.core.errors import UserError
from sdseg.data.batches import evenly_spread
from sdseg.data.store import SliceStore, structure_masks
from sdseg.data.training_samples import orient, orientations_of
from sdseg.data.transforms import resize_labels
from sdseg.models.label_classes import LabelClasses
from sdseg.models.normaliser import Normaliser
from sdseg.models.random_shapes import random_shapes

__all__ = ["CodecSamples"]

MEASURED = 256  # label maps that measure the scale, and as many the ceiling
PAINTED = 4  # random shapes laid over each other, at most, in one made-up label map


class CodecSamples:
    """Slices of the training split in any of eight orientations, with a share of made-up label maps among them."""

    def __init__(self, store: SliceStore, encodes: str, training: CodecTraining) -> None:
        """Raises UserError for a store without training cases, or with images smaller than the crop."""
        self.store, self.training, self.sides = store, training, store.manifest.image.sides
        self.encodes, self.normaliser = encodes, Normaliser(store.manifest.image).eval()
        self.rows = store.rows_of("train")
        if not len(self.rows):
            raise UserError(
                "the prepared data have no case in the split 'train', and a codec would learn from them",
                where=store.folder,
                remedy="use a split file with 'train' cases and prepare again",
            )
        if training.crop is not None and training.crop > min(self.sides):
            raise UserError(
                f"the codec learns on windows of {training.crop} pixels, and the images have {in_pixels(self.sides)}",
                where="training.crop of the codec",
                remedy=f"set it to {min(self.sides)} or less, or leave it out",
            )
        self.annotators, self.drew = store.manifest.annotators or ("",), store.annotators_of(self.rows)
        self.structures = store.manifest.structures
        self.orientations = orientations_of("dihedral", self.sides)
        self.classes = LabelClasses.of(self.structures)

    def draw(self, rng: np.random.Generator) -> Tensor:
        """One batch: masks [N,K,H,W] float in {0,1} of all structures."""
        count = self.training.batch
        made_up = int(rng.binomial(count, self.training.shapes)) if self.training.shapes else 0
        masks = [self._oriented(rng) for _ in range(count - made_up)]
        masks += [self._painted(rng) for _ in range(made_up)]
        return torch.from_numpy(np.stack(masks)).float()

    def draw_images(self, rng: np.random.Generator) -> Tensor:
        """One batch of images [N,3,H,W] in [-1,1]."""
        rows = [int(self.rows[number]) for number in rng.integers(len(self.rows), size=self.training.batch)]
        turns = rng.choice(self.orientations, size=len(rows))
        images = [orient(self.store.images[row], int(turn), (0, 1)) for row, turn in zip(rows, turns, strict=True)]
        return self._normalised(np.stack(images))

    def class_weights(self) -> Tensor | None:
        """Weight of each class in cross entropy, [C], the most frequent one's being 1; None where all are equal.

        A class that no training pixel has weighs as much as the cap allows.
        """
        if self.training.class_weights == "none":
            return None
        table, pixels = self.classes.table(self.structures), np.zeros(self.classes.count, dtype=np.int64)
        for row, drew in zip(self.rows, self.drew, strict=True):
            for number in drew:
                labels = self.store.drawn_by(self.annotators[number], [row])
                pixels += np.bincount(table[labels].ravel(), minlength=self.classes.count)
        rarer = pixels.max() / np.maximum(pixels, 1)
        return torch.from_numpy(np.minimum(rarer, self.training.class_weight_cap)).float()

    def measured(self, split: str) -> MaskArray:
        """Masks [N,K,H,W] of some rows, evenly spread over a split."""
        rows = evenly_spread(list(self.store.rows_of(split)), MEASURED)
        return structure_masks(self.store.masks[rows], self.structures)

    def images(self, split: str) -> Tensor:
        """Images [N,3,H,W] in [-1,1] of as many."""
        return self._normalised(self.store.images[list(evenly_spread(list(self.store.rows_of(split)), MEASURED))])

    @property
    def held_out(self) -> str:
        """The split that the ceiling is measured on: training cases where there are no others."""
        return "val" if self.store.cases_of("val") else "train"

    def _normalised(self, raw: RawImages) -> Tensor:
        wide = raw.astype(np.int32) if raw.dtype == np.uint16 else np.array(raw)
        return self.normaliser.as_colours(self.normaliser(torch.from_numpy(wide)))

    def _oriented(self, rng: np.random.Generator) -> MaskArray:
        """Of a slice of the training split, [K,H,W]."""
        place = int(rng.integers(len(self.rows)))
        drew = self.drew[place]
        annotator = self.annotators[drew[int(rng.integers(len(drew)))] if len(drew) > 1 else drew[0]]
        masks = structure_masks(self.store.drawn_by(annotator, self.rows[place : place + 1]), self.structures)[0]
        return orient(masks, int(rng.choice(self.orientations)), (1, 2))

    def _painted(self, rng: np.random.Generator) -> MaskArray:
        """Random shapes laid over each other, each of a class of its own, [K,H,W]."""
        masks = np.zeros((len(self.structures), *self.sides), dtype=np.bool_)
        drawn: npt.NDArray[np.int64] = rng.permutation(len(self.classes.members))[:PAINTED]
        drawn = drawn[: int(rng.integers(1, len(drawn) + 1))]
        for number, shape in zip(drawn, self._shapes(rng, len(drawn)), strict=True):
            masks[:, shape] = False
            for structure in self.classes.members[number]:
                masks[structure, shape] = True
        return masks

    def _shapes(self, rng: np.random.Generator, count: int) -> MaskArray:
        """Random shapes [count,H,W]; of images that are not square, stretched like them."""
        squares = random_shapes(rng, count, max(self.sides))
        return resize_labels(squares.view(np.uint8), self.sides).view(np.bool_)
