"""The page mends masks as Python does."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from sdseg.data.postprocessing import StackedMasks, postprocess
from tests.helpers.page_readers import run_script

# An image and volumes; in half of the cases a structure lies in one slice. Holes are as likely as not.
GRIDS = [(1, 6, 7), (3, 4, 5), (5, 4, 4), (4, 5, 5), (2, 5, 6)]


def test_masks_are_mended_as_in_python(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases, expected = [], []
    for grid, flat, largest, holes, exclusive in itertools.product(GRIDS, *[(False, True)] * 4):
        for _ in range(4):
            if exclusive:
                numbers = rng.choice(3, grid, p=[0.4, 0.4, 0.2])
                masks = np.stack([numbers == 1, numbers == 2], axis=1)
            else:
                masks = rng.random((grid[0], 2, *grid[1:])) < 0.55
            if flat:
                masks[1:] = False
            cases.append(
                {
                    "bits": (masks[:, 0] + 2 * masks[:, 1]).ravel().tolist(),
                    "structures": 2,
                    "grid": dict(zip(("count", "rows", "columns"), grid, strict=True)),
                    "mending": {"largest": largest, "holes": holes, "exclusive": exclusive},
                }
            )
            mended = StackedMasks(masks.copy())
            postprocess(mended, 2, largest=largest, holes=holes, exclusive=exclusive)
            expected.append((mended.array[:, 0] + 2 * mended.array[:, 1]).ravel().tolist())
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    run_script("model/postprocess_arrays.ts", str(tmp_path / "cases.json"), str(tmp_path / "mended.json"))
    mended_by_page = json.loads((tmp_path / "mended.json").read_text())
    wrong = [case for case, ours, theirs in zip(cases, mended_by_page, expected, strict=True) if ours != theirs]
    assert not wrong, f"{len(wrong)} of {len(cases)}, the first: {wrong[0]}"
