"""How fast one trained model is in every runtime this machine has, and what that costs in Dice.

    sdseg export --model R/model --prepared R/../prepared --output E --precisions fp32,int8
    OMP_NUM_THREADS=1 python benchmarks/inference.py --model R/model --export E --prepared R/../prepared

Each runtime is measured in a process of its own, on the same test images: seconds until the first answer (imports left
out), latency of one image (median and 95th percentile), images per second by batch, peak memory, bytes on disk, and the
Dice of its masks against the labels and against those of PyTorch in fp32 (the official way). What is not installed
here is named, not left out in silence.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

REFERENCE = "torch fp32"
RUNTIMES = (
    *(REFERENCE, "torch bf16", "torch compiled", "onnxruntime fp32", "onnxruntime int8"),
    *(
        "openvino fp32",
        "openvino bf16",
        "torch cuda",
        "onnxruntime cuda fp32",
        "onnxruntime cuda fp16",
        "tensorrt fp16",
    ),
)
Answer = Callable[[Any], Any]  # images [N,H,W,C] -> probability [N,K,H,W]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--export", type=Path, required=True, help="folder made by 'sdseg export'")
    parser.add_argument("--prepared", type=Path, required=True, help="folder made by 'sdseg prepare'")
    parser.add_argument("--images", type=int, default=32, help="test images (default: 32)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="batch sizes (default: 1 8)")
    parser.add_argument("--repeats", type=int, default=30, help="calls per batch size (default: 30)")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=RUNTIMES)
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    parser.add_argument("--one", choices=RUNTIMES, help=argparse.SUPPRESS)  # the process of a single runtime
    parser.add_argument("--masks", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen)))
        return 0
    found = {}
    masks = chosen.export.parent / f".inference-{os.getpid()}.npy"
    try:
        for name in dict.fromkeys((REFERENCE, *chosen.runtimes)):
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name, "--masks", str(masks)]
            done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False)
            lines = done.stdout.strip().splitlines()
            found[name] = json.loads(lines[-1]) if lines and not done.returncode else {"absent": "it failed, see above"}
    finally:
        masks.unlink(missing_ok=True)
    print(table(found, chosen.batches))
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """All figures of one runtime, or why there are none."""
    from sdseg.data.store import SliceStore, structure_masks

    store = SliceStore.open(chosen.prepared)
    rows = [row for case in store.cases_of("test") for row in range(case.rows.start, case.rows.stop)][: chosen.images]
    images, labels = store.images[rows], structure_masks(store.masks[rows], store.manifest.structures)
    start = time.perf_counter()
    try:
        answer, size = opened(chosen.one, chosen, images)
    except MissingError as error:
        return {"absent": str(error)}
    answer(images[:1])
    result: dict[str, Any] = {"load_s": time.perf_counter() - start, "bytes": size}
    result["latency_ms"], result["p95_ms"], result["per_s"] = latency(answer, images, chosen)
    probability = np.concatenate([answer(images[i : i + 8]) for i in range(0, len(images), 8)])
    masks = probability > 0.5
    if chosen.one == REFERENCE:
        np.save(chosen.masks, masks)
    result["dice"], result["mask_dice"] = dice(masks, labels), dice(masks, np.load(chosen.masks))
    result["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def latency(answer: Answer, images: Any, chosen: argparse.Namespace) -> tuple[float, float, dict[str, float]]:
    """Median and 95th percentile of one image in milliseconds, and images per second by batch size."""
    seconds = {}
    for batch in sorted({1, *chosen.batches}):
        fed = np.resize(images, (batch, *images.shape[1:]))
        for _ in range(3):
            answer(fed)
        seconds[batch] = []
        for _ in range(chosen.repeats):
            start = time.perf_counter()
            answer(fed)
            seconds[batch].append(time.perf_counter() - start)
    single = np.array(seconds[1]) * 1e3
    rates = {str(batch): batch / float(np.median(seconds[batch])) for batch in seconds}
    return float(np.median(single)), float(np.quantile(single, 0.95)), rates


def dice(masks: Any, others: Any) -> float:
    """Mean over images; two empty masks agree."""
    axes = (1, 2, 3)
    both, total = (masks & others).sum(axes), masks.sum(axes) + others.sum(axes)
    return float(np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1)).mean())


class MissingError(Exception):
    """This machine, or this export, does not have a runtime."""


def opened(name: str, chosen: argparse.Namespace, images: Any) -> tuple[Answer, int]:
    """A runtime ready to answer, and how many bytes its files take."""
    if name.startswith("torch"):
        return _torch(name, chosen)
    if name.startswith("tensorrt"):
        path = chosen.export / "model.fp16.engine"
    else:
        kind = "fp32" if name.startswith("openvino") else name.split()[-1]
        path = chosen.export / ("model.onnx" if kind == "fp32" else f"model.{kind}.onnx")
    if not path.is_file():
        raise MissingError(f"{path.name} was not exported")
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    if name.startswith("openvino"):
        return _openvino(path, name), size
    from sdseg.errors import UserError
    from sdseg.serving import open_model

    device = "cuda" if "cuda" in name or "tensorrt" in name else "cpu"
    try:
        return open_model(path, device).backend.probability, size
    except UserError as error:
        raise MissingError(error.what) from None


def _torch(name: str, chosen: argparse.Namespace) -> tuple[Answer, int]:
    import torch

    from sdseg.model.checkpoint import load_model
    from sdseg.runtime.backends import TorchBackend
    from sdseg.runtime.device import torch_device
    from sdseg.runtime.precision import in_precision

    device = "cuda" if "cuda" in name else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingError("PyTorch finds no GPU")
    segmenter, manifest = load_model(chosen.model)
    module = in_precision(segmenter, "bf16" if "bf16" in name else "fp32").to(memory_format=torch.channels_last)
    size = sum(file.stat().st_size for file in chosen.model.glob("*.safetensors"))
    if "compiled" in name:
        module = module.to(torch_device(device))
        forward = torch.compile(module)
        return TorchBackend(forward, manifest.image, device, segmenter.noise_shape).probability, size
    if name == REFERENCE:  # as the official code runs it
        module = segmenter.to(memory_format=torch.contiguous_format)
    return TorchBackend(module, manifest.image, device, segmenter.noise_shape).probability, size


def _openvino(path: Path, name: str) -> Answer:
    try:
        import openvino
    except ImportError:
        raise MissingError("the package openvino is not installed") from None
    core = openvino.Core()
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    # On processors that have it OpenVINO computes in bf16 unless it is told not to.
    hint = {"INFERENCE_PRECISION_HINT": "f32" if name.endswith("fp32") else "bf16", "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(core.read_model(path), "CPU", hint)
    if len(compiled.inputs) > 1:
        raise MissingError("recipes with noise are not measured with OpenVINO")
    kind = np.uint8 if compiled.inputs[0].element_type.get_type_name() == "u8" else np.float32
    return lambda images: compiled({"image": np.ascontiguousarray(images, dtype=kind)})["probability"]


def table(found: dict[str, dict[str, Any]], batches: list[int]) -> str:
    """Everything as Markdown."""
    columns = [f"{batch} at a time, /s" for batch in batches]
    names = ["runtime", "one image, ms", "p95, ms", "× eager", *columns, "ready after s", "MB disk", "MB memory"]
    head = [*names, "Dice", "Dice of masks"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    eager = found[REFERENCE].get("latency_ms", float("nan"))
    for name, each in found.items():
        if "absent" in each:
            lines.append(f"| {name} | not run: {each['absent']} |" + " |" * (len(head) - 2))
            continue
        rates = [f"{each['per_s'][str(batch)]:.1f}" for batch in batches]
        cells = [f"{each['latency_ms']:.1f}", f"{each['p95_ms']:.1f}", f"{eager / each['latency_ms']:.2f}", *rates]
        cells += [f"{each['load_s']:.2f}", f"{each['bytes'] / 1e6:.1f}", f"{each['memory_mb']:.0f}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {each['dice']:.4f} | {each['mask_dice']:.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
