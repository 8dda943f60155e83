"""How `sdseg predict` does on many images: peak memory by their number, images per second, what overlapping gains.

    OMP_NUM_THREADS=1 python benchmarks/predict.py --model R/export/model.onnx

Images are generated. Memory: one process for each of --counts, small images, `sdseg.inference.predict` as the command
runs it. Overlap: larger images, as cameras make them, in one process, turn by turn: the three stages one after the
other, and at the same time as `predict` has them; seconds of each stage are those of the turns one after the other.
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
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a model for RGB images: folder, .onnx or .engine")
    parser.add_argument("--counts", type=int, nargs="+", default=[200, 2000], help="images for memory (200 2000)")
    parser.add_argument("--size", type=int, default=64, help="their side in pixels (default: 64)")
    parser.add_argument("--images", type=int, default=96, help="images for overlap (default: 96)")
    parser.add_argument("--large", type=int, default=640, help="their side in pixels (default: 640)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way (default: 3)")
    parser.add_argument("--batch", type=int, default=8, help="as of the command (default: 8)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # the process of one count of images
    chosen = parser.parse_args()
    if chosen.folder:
        print(json.dumps(memory(chosen.model, chosen.folder, chosen.batch)))
        return 0
    print(f"load before: {os.getloadavg()[0]:.1f}")
    print("| images | peak memory, MB | with the model open, MB | images/s |\n|---|---|---|---|")
    for count in chosen.counts:
        with tempfile.TemporaryDirectory(prefix="sdseg-") as place:
            generate(Path(place, "in"), count, chosen.size)
            command = [sys.executable, __file__, "--model", chosen.model, "--folder", place]
            done = subprocess.run([*command, "--batch", str(chosen.batch)], stdout=subprocess.PIPE, check=True)
            found = json.loads(done.stdout)
        print(f"| {count} | {found['peak']:.0f} | {found['open']:.0f} | {count / found['seconds']:.0f} |", flush=True)
    with tempfile.TemporaryDirectory(prefix="sdseg-") as place:
        generate(Path(place, "in"), chosen.images, chosen.large)
        print(overlap(chosen, Path(place)))
    print(f"load after: {os.getloadavg()[0]:.1f}")
    return 0


def generate(folder: Path, count: int, size: int) -> None:
    """Smooth colours with some grain: they compress about as photos do."""
    import cv2
    import numpy as np

    folder.mkdir(parents=True)
    drawn = np.random.default_rng(0)
    for number in range(count):
        coarse = drawn.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        grain = drawn.integers(0, 12, (size, size, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number:05d}.png"), cv2.add(smooth, grain))


def memory(model: Path, folder: Path, batch: int) -> dict[str, float]:
    """Peak memory of this process before and after all images, and the seconds they took."""
    from sdseg.inference.choose_model import choose_model
    from sdseg.inference.predict import PredictOptions, predict

    choose_model(model)  # what every run has in memory, however few images it is given
    opened = peak()
    start = time.perf_counter()
    if predict(model, [folder / "in"], folder / "out", options=PredictOptions(batch=batch)):
        raise SystemExit("some images failed")
    return {"open": opened, "peak": peak(), "seconds": time.perf_counter() - start}


def peak() -> float:
    """Megabytes of memory this process held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def overlap(chosen: argparse.Namespace, place: Path) -> str:
    """Seconds one after the other and at the same time, and where the first go."""
    from sdseg.inference.choose_model import choose_model
    from sdseg.inference.find_inputs import find_inputs
    from sdseg.inference.pipeline import PredictOptions, Stages, input_groups
    from sdseg.inference.run_record import RunLog
    from sdseg.inference.threads import overlapped

    model, wanted = choose_model(chosen.model), PredictOptions(batch=chosen.batch)
    times: dict[str, list[float]] = {name: [] for name in ("read", "compute", "write", "together")}
    for turn in range(chosen.repeats + 1):
        outputs = [place / f"{way}{turn}" for way in ("one", "all")]
        for output in outputs:
            output.mkdir()
        alone, together = (Stages(model, output, wanted, RunLog(output)) for output in outputs)
        work = list(input_groups(find_inputs([place / "in"], outputs[0]).inputs, chosen.batch))
        once = one_by_one(alone, work)
        start = time.perf_counter()
        for _ in overlapped(work, together.read, together.compute, together.write):
            pass
        once["together"] = time.perf_counter() - start
        if turn:  # the first warms up files and libraries
            for name, seconds in once.items():
                times[name].append(seconds)
    middle = {name: statistics.median(values) for name, values in times.items()}
    apart = sum(middle[name] for name in ("read", "compute", "write"))
    shares = ", ".join(f"{name} {middle[name] / apart:.0%}" for name in ("read", "compute", "write"))
    ratios = sorted((read + compute + write) / both for read, compute, write, both in zip(*times.values(), strict=True))
    return (
        f"{chosen.images} images of {chosen.large}×{chosen.large}, {chosen.repeats} turns: one stage after the other "
        f"{apart:.2f} s ({shares}), overlapped {middle['together']:.2f} s: {apart / middle['together']:.2f}× "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}), {chosen.images / middle['together']:.0f} images/s"
    )


def one_by_one(stages: Any, work: list[Any]) -> dict[str, float]:
    """Seconds of each stage when no two go on at the same time."""
    seconds = dict.fromkeys(("read", "compute", "write"), 0.0)
    for files in work:
        start = time.perf_counter()
        group = stages.read(files)
        read = time.perf_counter()
        stages.compute(group)
        computed = time.perf_counter()
        stages.write(group)
        for name, value in (
            ("read", read - start),
            ("compute", computed - read),
            ("write", time.perf_counter() - computed),
        ):
            seconds[name] += value
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
