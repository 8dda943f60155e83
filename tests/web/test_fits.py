"""Slices resampled to a spacing as the page does it: those of Python, and the way back."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.shape import Resampling
from sdseg.data.fit import SliceFit, fit_of
from tests.helpers.page_readers import run_script

NATIVE = [(40, 31), (64, 50), (20, 90), (45, 45)]
SPACINGS = [(3.0, 0.7, 0.7), (1.0, 1.9, 0.55), (5.0, 0.3, 2.5)]  # between slices, rows, columns
TYPES = {"uint8": -175.5, "int16": -175.5, "uint16": 3.0, "float32": -0.25}  # and what lies around a slice
SIZE, SPACING = (32, 40), (1.4, 1.1)


def test_slices_at_a_common_spacing_are_those_of_python(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    cases, expected = [], dict[str, tuple[SliceFit, np.ndarray, np.ndarray]]()
    for native, spacing, kind, fit in itertools.product(NATIVE, SPACINGS, TYPES, ("crop", "shrink")):
        name = f"{len(cases)}"
        how = Resampling(spacing=SPACING, fit=fit)
        image = ImageContract(modality="ct", size=SIZE, channels=1, window=(-175, 250), resampling=how)
        python = fit_of(image, native, spacing[::-1])  # which are the patient's x, y, z of axial slices
        values = (random.normal(size=native) if kind == "float32" else random.integers(0, 250, native)).astype(kind)
        probability = random.random(SIZE, dtype=np.float32)
        values.tofile(tmp_path / f"{name}.in")
        probability.tofile(tmp_path / f"{name}.probability")
        seen = python.images(values[None, ..., None], TYPES[kind])[0, ..., 0]
        expected[name] = python, seen, python.restore(probability[None])[0]
        contract = {"width": SIZE[1], "height": SIZE[0], "resampling": how.model_dump(mode="json"), "tiles": None}
        outside = TYPES[kind]
        cases.append(
            {"name": name, "type": kind, "contract": contract, "native": native, "spacing": spacing, "outside": outside}
        )
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    run_script("model/fit_arrays.ts", str(tmp_path / "cases.json"), str(tmp_path))
    fits = json.loads((tmp_path / "fits.json").read_text())
    for case in cases:
        name, kind = str(case["name"]), str(case["type"])
        python, seen, restored = expected[name]
        assert fits[name]["resampled"] == list(python.resampled), case
        assert bool(fits[name]["notes"]) == (python.cut or python.shrunk < 1), case
        page = np.fromfile(tmp_path / f"{name}.working", dtype=kind).reshape(SIZE)
        back = np.fromfile(tmp_path / f"{name}.native", dtype=np.float32).reshape(python.native)
        np.testing.assert_allclose(back, restored, atol=1e-5)
        if kind in ("uint8", "float32"):
            np.testing.assert_allclose(page, seen, atol=1e-5, err_msg=str(case))
        else:
            apart = np.abs(page.astype(int) - seen)
            assert apart.max() <= 1, case
            assert np.mean(apart > 0) < 0.03, case
