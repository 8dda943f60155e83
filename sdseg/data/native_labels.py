"""The labels of a store's cases at their native size, read from the raw files they were prepared from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdseg.core.array_types import LabelArray
from sdseg.core.errors import UserError
from sdseg.data.store import Case, SliceStore
from sdseg.data.transforms import resize_labels, to_axial
from sdseg.datasets.mask_values import ExactValues, MaskCoding
from sdseg.io.images import read_mask
from sdseg.io.limits import LIMITS
from sdseg.io.volumes import read_labels

__all__ = ["NativeLabels"]


@dataclass(frozen=True)
class NativeLabels:
    """Where the raw labels of a store lie, and what their values mean."""

    store: SliceStore
    raw: Path
    coding: MaskCoding | ExactValues | None  # None: the values are the label ids

    def read(self, case: Case) -> LabelArray:
        """Label ids of one case at its native size, [Z,H,W]; Z is 1 for an image.

        Raises UserError for a file that is missing or damaged, and where the label, resized, is not the one in the
        store: the raw files have changed since.
        """
        path, deep = self.raw / case.label, self.coding is not None and self.coding.deep
        limits = LIMITS.at_least(case.height * case.width * case.depth)  # prepare may have been allowed more
        if self.store.manifest.image.modality == "rgb":
            labels = read_mask(path, limits, deep=deep)[None]  # [1,H,W]
        else:
            volume, _ = read_labels(path, limits, deep=deep)
            labels = to_axial(volume)  # [Z,H,W]
        if self.coding is not None:
            labels = self.coding.decode(labels, path)
        size = self.store.manifest.image.size
        if labels.shape != (case.slices, case.height, case.width) or not np.array_equal(
            resize_labels(labels, (size, size)), self.store.masks[case.rows]
        ):
            raise UserError(
                f"not the label that case '{case.case}' was prepared with: the file has changed, or this is another "
                "folder",
                where=path,
                remedy="name the raw folder the store was made from, or prepare the dataset again",
            )
        return labels
