"""Preparing CT volumes: `sdseg prepare` beside the obvious loop, on synthetic volumes of BTCV's size.

python benchmarks/prepare.py [--volumes 6 24] [--repeats 3] [--jobs 2] [--folder /tmp/…]

The obvious loop reads each volume with nibabel's `get_fdata`, resizes slice by slice and writes one `.npy` of three
equal float32 channels and one PNG per slice. Both start from the same compressed files, lying in the page cache, and
run in a process of their own, turn by turn, so that whatever else the machine does falls on both. Prints one line per
number of volumes; `--json FILE` also writes the figures of every turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SIDE, DEPTH, SIZE = 512, 128, 256
WINDOW = (-175.0, 250.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, nargs="+", default=[6, 24], help="numbers of volumes (default: 6 24)")
    parser.add_argument("--repeats", type=int, default=3, help="turns for the first number; the others take one")
    parser.add_argument("--jobs", type=int, default=2, help="parallel readers of sdseg (default: 2)")
    parser.add_argument("--folder", type=Path, help="where to write, about 3 GB for 24 volumes (default: temporary)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--run", choices=("sdseg", "loop"), help=argparse.SUPPRESS)  # one turn, in its own process
    chosen = parser.parse_args()
    if chosen.run:
        print(json.dumps(_turn(chosen.run, chosen.folder, chosen.volumes[0], chosen.jobs)))
        return 0
    with tempfile.TemporaryDirectory(prefix="sdseg benchmark ", dir=chosen.folder) as folder:
        figures = _compare(Path(folder), chosen.volumes, chosen.repeats, chosen.jobs)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _compare(folder: Path, numbers: list[int], repeats: int, jobs: int) -> dict[str, Any]:
    """Both ways for every number of volumes; the figures of all turns and their medians."""
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%F %T')}"
    )
    _write_volumes(folder / "all", max(numbers))
    figures: dict[str, Any] = {"machine": platform.platform(), "cores": os.cpu_count(), "jobs": jobs, "runs": []}
    for place, number in enumerate(numbers):
        _select(folder / "all", folder / "raw", number)
        turns: dict[str, list[dict[str, float]]] = {"sdseg": [], "loop": []}
        for _ in range(repeats if place == 0 else 1):
            for way, done in turns.items():
                done.append(_process(way, folder, number, jobs))
        ours, theirs = ({key: statistics.median(t[key] for t in turns[way]) for key in turns[way][0]} for way in turns)
        ratio = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(*turns.values(), strict=True))
        load = " ".join(f"{value:.1f}" for value in os.getloadavg())
        print(
            f"{number} volumes: sdseg {ours['seconds']:.1f} s, loop {theirs['seconds']:.1f} s, {ratio:.2f}× faster; "
            f"{ours['bytes'] / 1e6:.0f} and {theirs['bytes'] / 1e6:.0f} MB, "
            f"{theirs['bytes'] / ours['bytes']:.2f}× smaller; "
            f"peak {ours['peak'] / 1e6:.0f} and {theirs['peak'] / 1e6:.0f} MB (load {load})",
            flush=True,
        )
        figures["runs"].append({"volumes": number, "ratio": ratio, "sdseg": turns["sdseg"], "loop": turns["loop"]})
    return figures


def _process(way: str, folder: Path, number: int, jobs: int) -> dict[str, float]:
    words = [sys.executable, __file__, "--run", way, "--folder", str(folder), "--volumes", str(number)]
    done = subprocess.run([*words, "--jobs", str(jobs)], stdout=subprocess.PIPE, text=True, check=True)
    return {key: float(value) for key, value in json.loads(done.stdout.splitlines()[-1]).items()}


def _turn(way: str, folder: Path, number: int, jobs: int) -> dict[str, float]:
    """Prepare once: seconds (imports left out), bytes written, peak resident memory of this process in bytes."""
    output = folder / f"out {way}"
    if way == "sdseg":
        from sdseg.config.dataset import Dataset
        from sdseg.data.prepare import prepare

        started = time.perf_counter()
        raw, settings = folder / "raw", Dataset(source="btcv", origin="phantom", size=SIZE)
        prepare(name="btcv", settings=settings, raw=raw, split=raw / "split.csv", output=output, jobs=jobs)
    else:
        import cv2  # noqa: F401
        import nibabel as nib  # noqa: F401

        started = time.perf_counter()
        _obvious_loop(folder / "raw", output)
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    shutil.rmtree(output)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "bytes": size, "peak": peak, "volumes": number}


def _obvious_loop(raw: Path, output: Path) -> None:
    """What a first script does."""
    import cv2
    import nibabel as nib
    import numpy as np

    output.mkdir()
    low, high = WINDOW
    for path in sorted((raw / "RawData/Training/img").iterdir()):
        image = nib.Nifti1Image.from_filename(path).get_fdata()
        label = nib.Nifti1Image.from_filename(str(path).replace("img", "label")).get_fdata()
        image = (np.clip(image, low, high) - low) / (high - low) * 2 - 1
        for k in range(image.shape[2]):
            slice_ = cv2.resize(image[:, :, k], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
            mask = cv2.resize(label[:, :, k], (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
            name = f"{path.name.split('.')[0]}_{k:03d}"
            np.save(output / f"{name}.npy", np.stack([slice_] * 3, axis=-1).astype(np.float32))
            cv2.imwrite(str(output / f"{name}.png"), mask.astype(np.uint8))


def _write_volumes(folder: Path, number: int) -> None:
    """Compressed int16 volumes with a body, organs and noise as a scanner has it, and uint8 labels of 13 organs."""
    import nibabel as nib
    import numpy as np

    y, x, z = np.ogrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j, -1 : 1 : DEPTH * 1j]
    affine = np.diag([-0.8, -0.8, 3.0, 1.0])
    for kind in ("img", "label"):
        (folder / "RawData/Training" / kind).mkdir(parents=True)
    names = [f"{index:04d}" for index in range(1, number + 1)]
    for name in names:
        generator = np.random.default_rng(int(name))
        labels = np.zeros((SIDE, SIDE, DEPTH), np.uint8)
        voxels = np.where(x**2 / 0.7 + y**2 / 0.5 + 0 * z < 1, np.int16(-80), np.int16(-1000))
        for organ in range(1, 14):
            cy, cx, cz = generator.uniform(-0.45, 0.45, 3)
            ry, rx, rz = generator.uniform(0.05, 0.2, 3)
            inside = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 + ((z - cz) / (2 * rz)) ** 2 < 1
            labels[inside], voxels[inside] = organ, 20 + 10 * organ
        noise = generator.standard_normal(voxels.shape, dtype=np.float32)
        voxels += np.rint(noise * 12).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, affine), folder / "RawData/Training/img" / f"img{name}.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), folder / "RawData/Training/label" / f"label{name}.nii.gz")


def _select(source: Path, target: Path, number: int) -> None:
    """The first volumes of `source`, linked, and a split of them."""
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(source.rglob("*.nii.gz")):
        if int(path.name[-11:-7]) <= number:
            linked = target / path.relative_to(source)
            linked.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, linked)
    splits = ["test", "val", *["train"] * (number - 2)]
    lines = [f"{index:04d},{index:04d},{split}" for index, split in enumerate(splits, start=1)]
    (target / "split.csv").write_text("\n".join(["id,group,split", *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
