"""Phantoms of MR: nnU-Net's layout, two sequences on one grid, scanners without a common scale."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK

from sdseg.config.dataset import Dataset
from sdseg.core.settings import parse
from sdseg.datasets.phantoms import write_phantoms
from sdseg.datasets.raw_cases import open_raw
from sdseg.io.volumes import read_volume


def test_heads_are_own_data_whose_scales_differ_fourfold(tmp_path: Path) -> None:
    for folder in ("one", "again"):
        (tmp_path / folder).mkdir()
        assert write_phantoms("mr", tmp_path / folder, seed=5, scale=0.35) == {"train": 3, "val": 2, "test": 2}
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.nii.gz")]
    assert len(files) == 21
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    settings = parse(Dataset, {"source": "own", "own": {"layout": "nnunet", "modality": "mr"}}, where="my.yaml")
    source, cases = open_raw(settings, tmp_path / "one")
    assert (source.channels, dict(source.labels)) == (("T1", "T2"), {1: "lesion", 2: "ventricle"})
    widths, contrasts = [], []
    for case in cases:
        (first, second), label = (
            [read_volume(path)[0].astype(float) for path in case.images],
            read_volume(case.label)[0],
        )
        itk = [SimpleITK.ReadImage(str(path)) for path in (*case.images, case.label)]
        assert len({(one.GetSize(), one.GetOrigin(), one.GetSpacing(), one.GetDirection()) for one in itk}) == 1
        assert set(np.unique(label)) == {0, 1, 2}
        widths.append(np.percentile(first, 99))
        lesion, ventricle = ((one[label == 1].mean(), one[label == 2].mean()) for one in (first, second))
        contrasts.append((lesion[0] / lesion[1], ventricle[0] / ventricle[1]))
    assert 3.3 < max(widths) / min(widths) < 6
    t1, t2 = np.mean(contrasts, axis=0)
    assert t1 > 1.8  # T1 tells a lesion from liquor,
    assert 0.9 < t2 < 1.1  # T2 does not
    assert json.loads((tmp_path / "one" / "phantom.json").read_text("utf-8"))["source"] == "mr"
