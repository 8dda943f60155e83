"""What a training step takes on a GPU, on paper: operations and bytes of every operator against peak and bandwidth.

    python benchmarks/roofline.py [--gpus V100 A100 H100] [--output benchmarks/figures/roofline.json]

The step of each recipe at 256×256 (KL-f8, random weights) runs with tensors that have shapes and no numbers, in half
precision as CUDA's autocast would have it, so that it needs neither GPU nor memory. An operator takes the longer of
its operations at a share of the peak and its bytes, read and written, at a share of the bandwidth; the step is the
longer of their sum and of what the processor takes to start them. Where there is a GPU,
benchmarks/training_step.py measures the same steps; the file of its figures is set beside the estimate.

Peaks and bandwidths are those of NVIDIA's data sheets: V100 SXM2 (125 TFLOP/s fp16, 0.9 TB/s), A100 80 GB SXM (312
TFLOP/s dense, 2.039 TB/s), H100 SXM (989 TFLOP/s dense, 3.35 TB/s). The shares are assumptions, the
same for all; what the processor takes to start an operator is taken from two of the steps that were measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import write_figures  # noqa: E402
from sdseg.core.provenance import provenance  # noqa: E402

SIZE = 256
STEPS = (("sdseg-paper", 4), ("sdseg-e2e", 4), ("sdseg", 16), ("unet", 8))  # recipe, batch
BANDWIDTHS = {"V100": 0.9e12, "A100": 2.039e12, "H100": 3.35e12}
OF_PEAK, OF_BANDWIDTH = 0.4, 0.7
# Seconds of the processor for one operator: Python, autograd, autocast, and its share of optimiser and average. 10 µs
# were assumed first; two hosts of an H100 take 36 to 71 (docs/benchmarks.md), the arithmetic being done long before.
# The first host's `sdseg` and `unet` played a part in choosing it: for these two the estimate is no check.
START = 50e-6
# Numbers of four bytes that clipping, AdamW (PyTorch's default on a GPU, one pass per operation) and the average
# read and write for each parameter: norm 1, scaling 2; AdamW 20; average 3.
UPDATE_BYTES = 4 * (1 + 2 + 20 + 3)
NO_DATA = ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided")


@dataclass
class Counts:
    """Of every operator of a step: operations, bytes and how often it was called."""

    calls: list[tuple[str, float, float]] = field(default_factory=list)
    parameters: int = 0

    def seconds(self, peak: float, bandwidth: float, of_peak: float = 1.0, of_bandwidth: float = 1.0) -> float:
        """Of all operators one after the other, each as fast as its operations or its bytes let it be."""
        each = (max(flops / (of_peak * peak), size / (of_bandwidth * bandwidth)) for _, flops, size in self.calls)
        return sum(each) + UPDATE_BYTES * self.parameters / (of_bandwidth * bandwidth)

    @property
    def flops(self) -> float:
        return sum(flops for _, flops, _ in self.calls)

    @property
    def bytes(self) -> float:
        return sum(size for *_, size in self.calls) + UPDATE_BYTES * self.parameters

    def largest(self, count: int) -> list[dict[str, Any]]:
        """The operators that move most."""
        sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
        for name, flops, size in self.calls:
            sums[name] = [sums[name][0] + 1, sums[name][1] + flops, sums[name][2] + size]
        ordered = sorted(sums.items(), key=lambda item: -item[1][2])[:count]
        return [
            {"operator": name, "calls": int(calls), "gflop": round(flops / 1e9, 1), "gb": round(size / 1e9, 3)}
            for name, (calls, flops, size) in ordered
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", nargs="+", choices=tuple(BANDWIDTHS), default=list(BANDWIDTHS))
    parser.add_argument(
        "--recipes", nargs="+", choices=[name for name, _ in STEPS], default=[name for name, _ in STEPS]
    )
    parser.add_argument("--measured", type=Path, default=ROOT / "benchmarks/figures/training_step.json")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/roofline.json")
    chosen = parser.parse_args()
    return write_figures(lambda: figures(chosen), chosen.output)


def figures(chosen: argparse.Namespace) -> dict[str, Any]:
    """A row for each recipe and GPU."""
    import torch

    measured = json.loads(chosen.measured.read_text("utf-8")) if chosen.measured.exists() else {"rows": []}
    rows = []
    for name, batch in STEPS:
        if name in chosen.recipes:
            print(f"{name}, batch {batch}", file=sys.stderr)
            rows += [estimated(name, batch, counted(name, batch), gpu, measured) for gpu in chosen.gpus]
    made = provenance(("torch",))
    return {
        "command": "python benchmarks/roofline.py",
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": f"on paper, PyTorch {torch.__version__}",
        "of_peak": OF_PEAK,
        "of_bandwidth": OF_BANDWIDTH,
        "start_seconds": START,
        "rows": rows,
    }


def estimated(name: str, batch: int, counts: Counts, gpu: str, measured: dict[str, Any]) -> dict[str, Any]:
    """One recipe on one GPU: its bound, what is expected, and what was measured on a card of that name."""
    from sdseg.config.recipe import load_recipe
    from sdseg.sizing.gpus import GPUS

    peak, bandwidth = next(each.half for each in GPUS if each.name == gpu) * 1e12, BANDWIDTHS[gpu]
    started = START * len(counts.calls)
    expected = max(counts.seconds(peak, bandwidth, OF_PEAK, OF_BANDWIDTH), started)
    steps = load_recipe(ROOT / f"config/recipes/{name}.yaml").training.steps
    same = [
        each["seconds_per_step"]
        for each in measured["rows"]
        if gpu in measured["machine"]
        and (each["recipe"], each["batch"], each["gradient_checkpointing"]) == (name, batch, False)
    ]
    return {
        "recipe": name,
        "batch": batch,
        "gpu": gpu,
        "gflop": round(counts.flops / 1e9, 1),
        "gb": round(counts.bytes / 1e9, 2),
        "operators": len(counts.calls),
        "bound_seconds": round(counts.seconds(peak, bandwidth), 5),
        "expected_seconds": round(expected, 5),
        "limited_by": "the processor" if expected == started else "the GPU",
        "measured_seconds": same[0] if same else None,
        "steps": steps,
        "hours": round(expected * steps / 3600, 2),
        "largest": counts.largest(6),
    }


def counted(name: str, batch: int) -> Counts:
    """Forward and backward of a recipe's losses, operator by operator."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from sdseg.artifacts.image_contract import ImageContract
    from sdseg.config.codec import Codec
    from sdseg.config.recipe import load_recipe
    from sdseg.models.build_segmenter import attach_training_parts, build_segmenter
    from sdseg.models.joined_norms import join_norms

    recipe = load_recipe(ROOT / f"config/recipes/{name}.yaml", {"start_from": None})
    image = ImageContract(modality="rgb", size=SIZE, channels=3, window=(0.0, 255.0))
    counts = Counts()
    with FakeTensorMode(), _as_autocast_on_cuda():
        segmenter = build_segmenter(recipe, image, 1, Codec() if recipe.diffusion else None, 0.18)
        attach_training_parts(segmenter, recipe.network, 1)
        join_norms(segmenter)
        trained = [each for each in segmenter.parameters() if each.requires_grad]
        counts.parameters = sum(each.numel() for each in trained)
        sample = _batch(batch, recipe.training.steps, recipe.diffusion is not None)
        with _counting(counts):
            with torch.autocast("cpu", torch.bfloat16):
                losses = segmenter.train().losses(sample)
            torch.autograd.backward(torch.stack(list(losses.values())).sum())
    return counts


def _batch(count: int, step: int, latents: bool) -> Any:
    """Pixels, masks, latents and noise as training gets them, of shapes alone."""
    import torch

    from sdseg.models.segmenter import Batch

    latent, uniform = (4, SIZE // 8, SIZE // 8), None
    return Batch(
        image=torch.zeros(count, SIZE, SIZE, 3, dtype=torch.uint8),
        mask=torch.zeros(count, 1, SIZE, SIZE),
        structure=torch.zeros(count, dtype=torch.int64),
        latent=torch.zeros(count, *latent) if latents else None,
        noise=torch.zeros(count, *latent) if latents else None,
        uniform=torch.zeros(count) if latents else uniform,
        step=step,
    )


@contextmanager
def _counting(counts: Counts) -> Iterator[None]:
    """Every operator that moves data, called while this is open, is added to the counts."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import flop_registry

    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

    def flops_of(packet: Any, args: Any, named: Any, out: Any) -> float:
        if packet in flop_registry:
            return float(flop_registry[packet](*args, **named, out_val=out))
        if packet in (attention, backward):  # queries [N,H,T,D] and keys [N,H,S,D]; the way back makes five products
            query, key = args[:2] if packet is attention else args[1:3]
            return float((2 if packet is attention else 5) * 2.0 * query.numel() * key.shape[2])
        return 0.0

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's base has no types
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named = kwargs or {}
            packet = func._overloadpacket
            out = func(*args, **named)
            entering, leaving = (
                [each for each in tree_leaves(tree) if isinstance(each, torch.Tensor)] for tree in ((args, named), out)
            )
            view = func.is_view or not leaving or packet.__name__ in NO_DATA
            if not view:
                size = sum(each.numel() * each.element_size() for each in (*entering, *leaving))
                counts.calls.append((packet.__name__, flops_of(packet, args, named, out), float(size)))
            return out

    with Counter():  # type: ignore[no-untyped-call]
        yield


@contextmanager
def _as_autocast_on_cuda() -> Iterator[None]:
    """Norms over groups compute in single precision, as they do on a GPU; on a CPU autocast leaves them in half.

    The Dice loss is written out: MONAI's asks tensors for numbers, and these have none.
    """
    import torch

    from sdseg.models import losses

    kept, monais = torch.nn.functional.group_norm, losses._dice

    def dice(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        inside, places = logits.sigmoid(), (0, *range(2, logits.ndim))
        both, either = (inside * truth).sum(places), inside.sum(places) + truth.sum(places)
        return (1.0 - (2.0 * both + 1e-5) / (either + 1e-5)).mean()

    def in_single(
        input: torch.Tensor,
        num_groups: int,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        eps: float = 1e-5,
    ) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return kept(input.float(), num_groups, weight, bias, eps)

    torch.nn.functional.group_norm, losses._dice = in_single, dice
    try:
        yield
    finally:
        torch.nn.functional.group_norm, losses._dice = kept, monais


if __name__ == "__main__":
    sys.exit(main())
