"""The labels of one case at the native size, slice by slice, from whatever file holds them: one label or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.array_types import LabelArray
from sdseg.data.fit import SliceFit
from sdseg.data.slicing import to_slices
from sdseg.datasets.lidc_xml import is_markup, read_outlined
from sdseg.datasets.mask_values import ExactValues, MaskCoding
from sdseg.io.images import read_mask
from sdseg.io.limits import Limits
from sdseg.io.volumes import read_geometry, read_labels
from sdseg.metrics.annotators import consensus

__all__ = ["LabelFile", "merged", "resized"]


@dataclass(frozen=True)
class LabelFile:
    """The label of one annotator, "" where nobody tells annotators apart."""

    path: Path
    image: Path  # it was drawn on
    annotator: str = ""

    def read(self, image: ImageContract, coding: MaskCoding | ExactValues | None, limits: Limits) -> LabelArray:
        """Label ids [N,H,W] in the slices that `image` asks for; N is 1 for an image.

        Raises UserError for a file that is missing, damaged or foreign.
        """
        deep = coding is not None and coding.deep
        if is_markup(self.path):
            geometry = read_geometry(self.image)
            outlined = read_outlined(self.path, self.image, self.annotator)
            labels = to_slices(geometry.to_canonical(outlined), image.slicing)
        elif image.modality == "rgb":
            labels = read_mask(self.path, limits, deep=deep)[None]
        else:
            labels = to_slices(read_labels(self.path, limits, deep=deep)[0], image.slicing)
        return labels if coding is None else coding.decode(labels, self.path)


def merged(labels: Sequence[LabelArray]) -> LabelArray:
    """The label of a case: that of its only annotator, or what the majority of several says."""
    return labels[0] if len(labels) == 1 else consensus(labels)


def resized(labels: Mapping[str, LabelArray], fit: SliceFit) -> dict[str, LabelArray]:
    """Labels [Z,H,W] by annotator at the working size."""
    return {name: np.asarray(fit.labels(one)) for name, one in labels.items()}
