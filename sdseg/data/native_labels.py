"""The labels of a store's cases at their native size, read from the raw files they were prepared from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdseg.core.array_types import LabelArray
from sdseg.core.errors import UserError
from sdseg.data.fit import fit_of
from sdseg.data.read_label import LabelFile, merged
from sdseg.data.store import Case, SliceStore
from sdseg.datasets.mask_values import ExactValues, MaskCoding
from sdseg.io.limits import LIMITS

__all__ = ["NativeLabels"]


@dataclass(frozen=True)
class NativeLabels:
    """Where the raw labels of a store lie, and what their values mean."""

    store: SliceStore
    raw: Path
    coding: MaskCoding | ExactValues | None  # None: the values are the label ids

    def read(self, case: Case) -> LabelArray:
        """Label ids of one case at its native size, [Z,H,W]; Z is 1 for an image.

        Of several annotators it is what their majority says.

        Raises UserError for a file that is missing or damaged, and where the label, resized, is not the one in the
        store: the raw files have changed since.
        """
        limits = LIMITS.at_least(case.height * case.width * case.depth)  # prepare may have been allowed more
        image, path = self.store.manifest.image, self.raw / case.label
        files = [LabelFile(self.raw / place, self.raw / case.image, name) for name, place in case.labels]
        labels = merged([file.read(image, self.coding, limits) for file in files])
        if labels.shape != (case.slices, case.height, case.width) or not np.array_equal(
            fit_of(image, (case.height, case.width), case.spacing).labels(labels), self.store.masks[case.rows]
        ):
            raise UserError(
                f"not the label that case '{case.case}' was prepared with: the file has changed, or this is another "
                "folder",
                where=path,
                remedy="name the raw folder the store was made from, or prepare the dataset again",
            )
        return labels
