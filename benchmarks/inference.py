"""How fast one trained model is in every runtime this machine has, and what that costs in Dice.

    sdseg export --model R/model --prepared R/../prepared --output E --precisions fp32,int8
    OMP_NUM_THREADS=1 python benchmarks/inference.py --model R/model --export E --prepared R/../prepared

Each runtime is measured in a process of its own, on the same test images: latency of one image (median and 95th
percentile), images per second by batch, peak memory, bytes on disk, the Dice of its masks against the labels and
against those of PyTorch in fp32 (the official way), and the largest difference of the probability from PyTorch's. It
is started twice: `open` is the time until the model is open, imports left out, first with an empty cache of sdseg, then
with what the first start left there (graphs below 20 MB are not cached); the first answer takes longer than later ones.
What is not installed here is named, not left out in silence. For full size see benchmarks/full_scale.py --export.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

REFERENCE = "torch fp32"
TORCH = (REFERENCE, "torch bf16", "torch bf16 autocast", "torch compiled", "torch cuda")
EXPORTED = {  # file of the export, device
    "onnxruntime fp32": ("model.onnx", "cpu"),
    "onnxruntime int8": ("model.int8.onnx", "cpu"),
    "openvino fp32": ("model.onnx", "openvino"),
    "openvino bf16": ("model.onnx", "openvino-bf16"),
    "openvino int8": ("model.int8.onnx", "openvino"),
    "openvino int8, rest bf16": ("model.int8.onnx", "openvino-bf16"),
    "onnxruntime cuda fp32": ("model.onnx", "cuda"),
    "onnxruntime cuda fp16": ("model.fp16.onnx", "cuda"),
    "tensorrt fp32": ("model.fp32.engine", "cuda"),
    "tensorrt fp16": ("model.fp16.engine", "cuda"),
}
RUNTIMES = (*TORCH, *EXPORTED)
USUAL = tuple(name for name in RUNTIMES if name != "torch compiled")  # compiling takes longer than all others together
FEWEST = 3  # calls, however long one takes
Answer = Callable[[Any], Any]  # images [N,H,W,C] -> probability [N,K,H,W]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--export", type=Path, required=True, help="folder made by 'sdseg export'")
    parser.add_argument("--prepared", type=Path, required=True, help="folder made by 'sdseg prepare'")
    parser.add_argument("--images", type=int, default=32, help="test images (default: 32)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="batch sizes (default: 1 8)")
    parser.add_argument("--repeats", type=int, default=30, help="calls per batch size, at most (default: 30)")
    parser.add_argument("--seconds", type=float, default=10, help=f"per batch size, after {FEWEST} calls (default: 10)")
    parser.add_argument("--limit", type=float, default=900, help="seconds for one start of a runtime (default: 900)")
    parser.add_argument("--random", action="store_true", help="the weights are random: no Dice")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=USUAL, help="default: not torch compiled")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    parser.add_argument("--one", choices=RUNTIMES, help=argparse.SUPPRESS)  # the process of a single runtime
    parser.add_argument("--again", action="store_true", help=argparse.SUPPRESS)  # its second start
    parser.add_argument("--answers", type=Path, help=argparse.SUPPRESS)  # PyTorch's probability
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen)))
        return 0
    found = {}
    with tempfile.TemporaryDirectory(prefix="sdseg-inference-") as folder:
        for name in dict.fromkeys((REFERENCE, *chosen.runtimes)):
            found[name] = twice(name, chosen, Path(folder))
            print(f"{name}: {found[name]}", file=sys.stderr)
    print(f"{machine()}\n\n{table(found, chosen.batches)}")
    if chosen.output:
        record = {"machine": machine(), "runtimes": found}
        chosen.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def twice(name: str, chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures of one runtime, from two processes that share a cache which is empty for the first."""
    environment = os.environ | {"SDSEG_CACHE": str(folder / "cache" / name.replace(" ", "-"))}
    command = [sys.executable, __file__, *sys.argv[1:], "--one", name, "--answers", str(folder / "answers.npy")]
    found = started(command, environment, chosen.limit)
    if "absent" not in found:
        again = started([*command, "--again"], environment, chosen.limit)
        found["open_again_s"] = again.get("open_s")
    return found


def started(command: list[str], environment: dict[str, str], limit: float) -> dict[str, Any]:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, encoding="utf-8", check=False, env=environment, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {"absent": f"it took longer than {limit:g} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"absent": f"it ended with status {done.returncode}, see above"}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """The figures of one start of one runtime, or why there are none."""
    from sdseg.data.store import SliceStore, structure_masks

    store, rule = SliceStore.open(chosen.prepared), rule_of(chosen.model)
    rows = [row for case in store.cases_of("test") for row in range(case.rows.start, case.rows.stop)][: chosen.images]
    images, labels = store.images[rows], structure_masks(store.masks[rows], store.manifest.structures)
    load_libraries(chosen.one)
    start = time.perf_counter()
    try:
        answer, size = opened(chosen.one, chosen)
    except MissingError as error:
        return {"absent": str(error)}
    result: dict[str, Any] = {"open_s": time.perf_counter() - start, "bytes": size}
    start = time.perf_counter()
    answer(images[:1])
    result["first_s"] = time.perf_counter() - start
    if chosen.again:
        return result
    result["latency_ms"], result["p95_ms"], result["per_s"], result["calls"] = latency(answer, images, chosen)
    probability = np.concatenate([answer(images[i : i + 8]) for i in range(0, len(images), 8)])
    if chosen.one == REFERENCE:
        np.save(chosen.answers, probability)
    reference = np.load(chosen.answers)
    result["max_difference"] = float(np.abs(probability - reference).max())
    if not chosen.random:
        masks = rule.masks(probability)
        result["dice"], result["mask_dice"] = dice(masks, labels), dice(masks, rule.masks(reference))
    result["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def rule_of(model: Path) -> Any:
    """How the trained model's probabilities become masks."""
    from sdseg.artifacts.manifests import ModelManifest
    from sdseg.core.files import read_json
    from sdseg.data.mask_rule import MaskRule

    manifest = read_json(model / "config.json", ModelManifest)
    return MaskRule.of(manifest)


def load_libraries(name: str) -> None:
    """Imports are no part of the time until the first answer."""
    import sdseg.backends.open_model  # noqa: F401
    from sdseg.backends.openvino_support import load_openvino
    from sdseg.core.errors import UserError

    if name.startswith("openvino"):
        with contextlib.suppress(UserError):  # named when it is opened
            load_openvino()
    else:
        __import__("sdseg.models.model_folder" if name.startswith("torch") else "onnxruntime")


def latency(
    answer: Answer, images: Any, chosen: argparse.Namespace
) -> tuple[float, float, dict[str, float], dict[str, int]]:
    """Median and 95th percentile of one image in milliseconds, images per second and number of calls by batch size."""
    seconds: dict[int, list[float]] = {}
    for batch in sorted({1, *chosen.batches}):
        fed = np.resize(images, (batch, *images.shape[1:]))
        for _ in range(3):  # the first calls of a shape compile and allocate
            start = time.perf_counter()
            answer(fed)
            if time.perf_counter() - start > 1:
                break
        seconds[batch] = []
        begun = time.perf_counter()
        while len(seconds[batch]) < chosen.repeats:
            start = time.perf_counter()
            answer(fed)
            seconds[batch].append(time.perf_counter() - start)
            if len(seconds[batch]) >= FEWEST and time.perf_counter() - begun > chosen.seconds:
                break
    single = np.array(seconds[1]) * 1e3
    rates = {str(batch): batch / float(np.median(each)) for batch, each in seconds.items()}
    calls = {str(batch): len(each) for batch, each in seconds.items()}
    return float(np.median(single)), float(np.quantile(single, 0.95)), rates, calls


def dice(masks: Any, others: Any) -> float:
    """Mean over images; two empty masks agree."""
    axes = (1, 2, 3)
    both, total = (masks & others).sum(axes), masks.sum(axes) + others.sum(axes)
    return float(np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1)).mean())


class MissingError(Exception):
    """This machine, or this export, does not have a runtime."""


def opened(name: str, chosen: argparse.Namespace) -> tuple[Answer, int]:
    """A runtime ready to answer, and how many bytes its files take."""
    if name in TORCH:
        return _torch(name, chosen)
    from sdseg.backends.open_model import open_model
    from sdseg.core.errors import UserError

    file, device = EXPORTED[name]
    path = chosen.export / file
    if not path.is_file():
        raise MissingError(f"{path.name} was not exported")
    size = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))
    try:
        return open_model(path, device).backend.probability, size
    except UserError as error:
        raise MissingError(error.what) from None


def _torch(name: str, chosen: argparse.Namespace) -> tuple[Answer, int]:
    import torch

    from sdseg.backends.torch import TorchBackend
    from sdseg.export.precision import in_precision
    from sdseg.models.model_folder import load_model

    device = "cuda" if name == "torch cuda" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingError("PyTorch finds no GPU")
    segmenter, manifest = load_model(chosen.model)
    size = sum(file.stat().st_size for file in chosen.model.glob("*.safetensors"))
    forward: Any = segmenter  # in fp32 as the official code runs it
    if name != REFERENCE:
        forward = in_precision(segmenter, "bf16" if name == "torch bf16" else "fp32")
        forward.to(device=device, memory_format=torch.channels_last)
    if name == "torch compiled":
        forward = torch.compile(forward)
    if name == "torch bf16 autocast":
        forward = torch.autocast(device, torch.bfloat16)(forward.forward)
    return TorchBackend(forward, manifest.image, device, segmenter.noise_shape).probability, size


def machine() -> str:
    """One line above the table: processor, threads, versions, time."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    versions = []
    for package in ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt-cu13"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    load = f"load {os.getloadavg()[0]:.1f}"
    parts = [processor or platform.processor(), f"{os.cpu_count()} cores", f"threads {threads}", *versions, load]
    return ", ".join([*parts, time.strftime("%F %T")])


def table(found: dict[str, dict[str, Any]], batches: list[int]) -> str:
    """Everything as Markdown."""
    columns = [f"{batch} at a time, /s" for batch in batches]
    names = ["runtime", "one image, ms", "p95, ms", "× eager", *columns, "open s, first / again", "first answer, s"]
    head = [*names, "MB disk", "MB memory", "largest Δp", "Dice", "Dice of masks"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    eager = found[REFERENCE].get("latency_ms", float("nan"))
    for name, each in found.items():
        if "absent" in each:
            lines.append(f"| {name} | not run: {each['absent']} |" + " |" * (len(head) - 2))
            continue
        rates = [_digits(each["per_s"][str(batch)]) for batch in batches]
        cells = [_digits(each["latency_ms"]), _digits(each["p95_ms"]), f"{eager / each['latency_ms']:.2f}", *rates]
        again = "failed" if each["open_again_s"] is None else f"{each['open_again_s']:.2f}"
        cells += [f"{each['open_s']:.2f} / {again}", f"{each['first_s']:.2f}"]
        cells += [f"{each['bytes'] / 1e6:.1f}", f"{each['memory_mb']:.0f}"]
        cells += ["0" if name == REFERENCE else f"{each['max_difference']:.2g}"]
        cells += [f"{each[key]:.4f}" if key in each else "n/a" for key in ("dice", "mask_dice")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _digits(value: float) -> str:
    """Three digits: 0.182, 5.54, 184."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    raise SystemExit(main())
