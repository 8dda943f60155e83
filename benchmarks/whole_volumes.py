"""From a user's file to its mask: seconds by part and peak memory of whole CT volumes, and of many endoscopy images.

    OMP_NUM_THREADS=1 python benchmarks/whole_volumes.py --ct R/btcv/sdseg/export/model.onnx \\
        --rgb R/kseg/sdseg/export/model.onnx [--slices 300 100] [--images 2000] [--repeats 2]

The files are generated: a body of ellipsoids with the noise of a scanner, 512 × 512 × slices, as NIfTI (.nii.gz) and
as a DICOM series, and images of 1280 × 1024 as JPEG. Every turn is two processes: one works part after part (reading;
window and resizing; inference; resizing back; writing) and clocks each, the other is `sdseg.inference.predict` as the
command runs it. Wall seconds depend on what else the machine does; CPU seconds, which are told too, much less. Medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402

PARTS = ("read", "window and resize", "infer", "resize back", "write")
DIFFERENT = 20  # images that are drawn; the others are copies of them
SIDE = 512
UID = "1.2.826.0.1.3680043.2.1125"
# Centre and radius as shares of the side, and Hounsfield units: the body first.
ORGANS = ((0, 0, 0.42, 20), (0.12, -0.05, 0.16, 110), (-0.15, 0.1, 0.09, 160), (0, 0.25, 0.06, 400))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", type=Path, required=True, help="a model of CT volumes: folder or .onnx")
    parser.add_argument("--rgb", type=Path, required=True, help="a model of images: folder or .onnx")
    parser.add_argument("--slices", type=int, nargs="+", default=[300, 100], help="of the volumes (default: 300 100)")
    parser.add_argument("--side", type=int, default=SIDE, help=f"rows and columns of a slice (default: {SIDE})")
    parser.add_argument("--images", type=int, default=2000, help="of 1280 × 1024 (default: 2000)")
    parser.add_argument("--repeats", type=int, default=2, help="turns (default: 2)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/whole_volumes.json")
    parser.add_argument("--turn", nargs=2, metavar=("WAY", "INPUT"), help=argparse.SUPPRESS)  # the process of one
    chosen = parser.parse_args(arguments)
    if chosen.turn:
        way, given = chosen.turn
        print(json.dumps({"parts": in_parts, "command": as_command}[way](chosen.ct, Path(given))))
        return 0
    return write_figures(lambda: figures(chosen), chosen.output)


def figures(chosen: argparse.Namespace) -> dict[str, Any]:
    """A row for each kind of input."""
    from sdseg.core.provenance import provenance

    load, rows = os.getloadavg()[0], []
    for name, count, model, write in inputs(chosen):
        with tempfile.TemporaryDirectory(prefix="sdseg-") as place:
            write(Path(place))
            rows.append({"input": name, "count": count} | measured(model, Path(place), chosen.repeats))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    made = provenance(("onnxruntime", "nibabel", "opencv-python-headless"))
    options = f"--slices {' '.join(map(str, chosen.slices))} --images {chosen.images} --repeats {chosen.repeats}"
    return {
        "command": f"python benchmarks/whole_volumes.py {options}",
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": f"{machine()}, {os.environ.get('OMP_NUM_THREADS', 'every')} thread, "
        f"load {load:.0f} before and {os.getloadavg()[0]:.0f} after",
        "rows": rows,
    }


def inputs(chosen: argparse.Namespace) -> Iterator[tuple[str, int, Path, Callable[[Path], None]]]:
    """What is measured: its name, how many slices or images, by which model, and what writes it into a folder."""
    side = chosen.side
    for slices in chosen.slices:
        shape = f"{side} × {side} × {slices}"
        yield f"CT {shape}, NIfTI", slices, chosen.ct, partial(write_nifti, side=side, slices=slices)
    slices = chosen.slices[0]
    name = f"CT {side} × {side} × {slices}, DICOM series"
    yield name, slices, chosen.ct, partial(write_dicom, side=side, slices=slices)
    count = chosen.images
    yield f"{count} images 1280 × 1024, JPEG", count, chosen.rgb, partial(write_images, count=count)


def measured(model: Path, place: Path, repeats: int) -> dict[str, Any]:
    """Medians over the turns; memory is the largest."""
    turns: dict[str, list[dict[str, Any]]] = {"parts": [], "command": []}
    for _ in range(repeats):
        for way, answers in turns.items():
            words = [sys.executable, __file__, "--ct", str(model), "--rgb", str(model), "--turn", way, str(place)]
            answers.append(json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout))
    row: dict[str, Any] = {
        kind: {part: middle(one[kind][part] for one in turns["parts"]) for part in PARTS} for kind in ("seconds", "cpu")
    }
    row["sum_seconds"], row["sum_cpu"] = (round(sum(row[kind].values()), 2) for kind in ("seconds", "cpu"))
    for kind in ("seconds", "cpu"):
        row[f"command_{kind}"] = middle(one[kind] for one in turns["command"])
    row["peak_mb"] = max(one["peak_mb"] for one in turns["command"])
    row["open_mb"] = max(one["open_mb"] for one in turns["command"])
    return row


def middle(values: Iterator[float]) -> float:
    return round(statistics.median(values), 2)


def as_command(model: Path, place: Path) -> dict[str, float]:
    """Seconds of `predict` on all inputs, and peak memory before, with the model open, and after."""
    from sdseg.inference.choose_model import choose_model
    from sdseg.inference.predict import predict

    choose_model(model)
    opened, started, cpu = peak_mb(), time.perf_counter(), time.process_time()
    if predict(model, [place / "in"], place / "out"):
        raise SystemExit("some inputs failed")
    used = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    remove(place / "out")
    return used | {"open_mb": opened, "peak_mb": peak_mb()}


def in_parts(model: Path, place: Path) -> dict[str, dict[str, float]]:
    """Wall and CPU seconds of each part, one after the other, as the stages of `predict` do it."""
    from sdseg.inference import load_input
    from sdseg.inference.choose_model import choose_model
    from sdseg.inference.find_inputs import find_inputs
    from sdseg.inference.pipeline import PredictOptions, Stages, input_groups
    from sdseg.inference.run_record import RunLog

    clock, chosen = Clock(), choose_model(model)
    served = replace(chosen.served, backend=Clocked(chosen.served.backend, clock))
    (place / "out").mkdir()
    run_log, options = RunLog(place / "out"), PredictOptions()
    stages = Stages(replace(chosen, served=served), place / "out", options, run_log)
    files = find_inputs([place / "in"], place / "out", modality=served.image.modality).inputs
    readers = ("read_volume_noted", "read_slices", "read_image_noted")
    plain = {name: getattr(load_input, name) for name in readers}
    for name, read in plain.items():
        setattr(load_input, name, clock.clocked("read", read))
    for group in input_groups(files, options.batch):
        with clock.of("window and resize"):
            opened = stages.read(group)
        with clock.of("resize back"):
            stages.compute(opened)
        with clock.of("write"):
            stages.write(opened)
    for name, read in plain.items():
        setattr(load_input, name, read)
    if run_log.failures:
        raise SystemExit(str(run_log.failures[0]))
    remove(place / "out")
    return {"seconds": dict(clock.seconds), "cpu": dict(clock.cpu)}


class Clock:
    """Seconds by part; a part within another is not counted twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self._within = [[0.0, 0.0]]

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        began, self._within = (time.perf_counter(), time.process_time()), [*self._within, [0.0, 0.0]]
        yield
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        inner = self._within.pop()
        self.seconds[part] += wall - inner[0]
        self.cpu[part] += cpu - inner[1]
        self._within[-1][0] += wall
        self._within[-1][1] += cpu

    def clocked(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            with self.of(part):
                return call(*given, **named)

        return timed


class Clocked:
    """A backend whose computation is clocked."""

    def __init__(self, backend: Any, clock: Clock) -> None:
        self.name, self.probability = backend.name, clock.clocked("infer", backend.probability)


def write_nifti(folder: Path, side: int, slices: int) -> None:
    import nibabel as nib
    import numpy as np

    (folder / "in").mkdir()
    image = nib.Nifti1Image(body(side, slices), np.diag([-0.8, -0.8, 1.5, 1.0]))
    nib.save(image, folder / "in" / "scan.nii.gz")


def write_dicom(folder: Path, side: int, slices: int) -> None:
    from tests.helpers.raw_files import write_series

    write_series(
        folder / "in" / "scan",
        body(side, slices) + 1024,
        spacing=(0.8, 0.8, 1.5),
        t0020_000d=f"{UID}.9",  # study
        t0020_0052=f"{UID}.8",  # frame of reference
    )


def body(side: int, slices: int) -> Any:
    """Hounsfield units [i,j,k], int16: air, a body, organs in it, with noise."""
    import numpy as np

    x, y = np.mgrid[:side, :side] / side - 0.5
    drawn, voxels = np.random.default_rng(0), np.empty((side, side, slices), dtype=np.int16)
    for number in range(slices):
        z = number / slices - 0.5
        plane = np.full((side, side), -1000.0)
        for cx, cy, r, value in ORGANS:
            plane[((x - cx) / r) ** 2 + ((y - cy) / (0.75 * r)) ** 2 + (z / 0.6) ** 2 < 1] = value
        voxels[..., number] = plane + drawn.normal(0, 12, plane.shape)
    return voxels


def write_images(folder: Path, count: int) -> None:
    import cv2
    import numpy as np

    (folder / "in").mkdir()
    drawn = np.random.default_rng(0)
    for number in range(min(DIFFERENT, count)):
        coarse = drawn.integers(40, 200, (8, 8, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (1280, 1024), interpolation=cv2.INTER_CUBIC)
        cv2.circle(smooth, tuple(int(one) for one in drawn.integers(300, 700, 2)), 160, (90, 90, 220), -1)
        grained = cv2.add(smooth, drawn.integers(0, 14, (1024, 1280, 3), dtype=np.uint8))
        cv2.imwrite(str(folder / "in" / f"{number:05d}.jpg"), grained, [cv2.IMWRITE_JPEG_QUALITY, 90])
    for number in range(DIFFERENT, count):
        source = folder / "in" / f"{number % DIFFERENT:05d}.jpg"
        (folder / "in" / f"{number:05d}.jpg").write_bytes(source.read_bytes())


def remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


def peak_mb() -> float:
    """Megabytes that this process held at most so far; those of the one that started it are not counted."""
    status = Path("/proc/self/status")
    for line in status.read_text("utf-8").splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    raise SystemExit(main())
