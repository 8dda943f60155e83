"""Seconds and memory of one training step at full size on a GPU, recipe by recipe, with random weights.

python benchmarks/training_step.py [--steps 16] [--output benchmarks/figures/training_step.json]

256×256, KL-f8, bf16, each recipe's own losses and optimiser, with and without gradient checkpointing where it matters.
A step is `sdseg.training.loop.training_step` on one batch that stays: no data is loaded. Three steps warm up. Memory is
PyTorch's own, at its highest over the steps: the tensors, and what its allocator holds of the card.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.core.provenance import provenance  # noqa: E402

SIZE, IMAGES, WARM_UP = 256, 16, 3
LATENT_SCALE = 0.18
CODEC = {"weights": "random", "latent_scale": LATENT_SCALE}  # KL-f8 is the layout's default
STEPS = (  # recipe, batch, gradient checkpointing
    ("sdseg", 16, False),
    ("sdseg", 16, True),
    ("sdseg-e2e", 4, False),
    ("sdseg-e2e", 4, True),
    ("sdseg-paper", 4, False),
    ("unet", 8, False),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=16, help="counted steps of each recipe (default: 16)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/training_step.json")
    chosen = parser.parse_args()
    return write_figures(lambda: figures(chosen.steps), chosen.output)


def figures(steps: int) -> dict[str, Any]:
    """The rows of all recipes. Raises UserError without a GPU."""
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            "no GPU is to be seen", where="benchmarks/training_step.py", remedy="benchmarks/full_scale.py measures CPUs"
        )
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        rows = [measured(Path(folder), *each, steps) for each in STEPS]
    made = provenance(("torch",))
    return {
        "command": "python benchmarks/training_step.py",
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {machine()}",
        "rows": rows,
    }


def prepare(folder: Path) -> None:
    """A codec folder with random weights, and a store of as many images as the largest batch."""
    import torch

    from sdseg.artifacts.image_contract import ImageContract
    from sdseg.config.codec import Codec
    from sdseg.models.codec import MaskCodec
    from sdseg.models.model_folder import save_codec_folder
    from tests.helpers.tiny import write_store

    torch.manual_seed(0)
    (folder / "codec").mkdir()
    save_codec_folder(folder / "codec", MaskCodec(Codec.model_validate(CODEC), LATENT_SCALE), 0.0, {})
    image = ImageContract(modality="rgb", size=SIZE, channels=3, window=(0.0, 255.0))
    write_store(folder / "prepared", image, cases={"train": (1,) * IMAGES, "val": (1,), "test": (1,)})


def measured(folder: Path, name: str, batch: int, checkpointed: bool, steps: int) -> dict[str, Any]:
    """Steps of one recipe."""
    import torch

    from sdseg.config.recipe import load_recipe
    from sdseg.models.start_from import open_inputs
    from sdseg.training.loop import training_step
    from sdseg.training.setup import build_run, new_accelerator

    training = {"batch": batch, "workers": 0, "precision": "bf16", "gradient_checkpointing": checkpointed}
    recipe = load_recipe(ROOT / f"config/recipes/{name}.yaml", {"training": training, "start_from": None})
    accelerator = new_accelerator(recipe, "cuda")
    codec = folder / "codec" if recipe.diffusion else None
    inputs = open_inputs(folder / "prepared", recipe, codec, None, accelerator.device, None, None)
    run = build_run(recipe, inputs, accelerator, Path(tempfile.mkdtemp(dir=folder)))
    sample = next(iter(run.data.loader(0)))
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for step in range(1, WARM_UP + steps + 1):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        training_step(run, step, 1e-4, [sample])
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    counted = seconds[WARM_UP:]
    row = {
        "recipe": name,
        "batch": batch,
        "gradient_checkpointing": checkpointed,
        "steps": len(counted),
        "seconds_per_step": round(statistics.median(counted), 5),
        "fastest": round(min(counted), 5),
        "slowest": round(max(counted), 5),
        "images_per_second": round(batch / statistics.median(counted), 1),
        "peak_allocated_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
        "peak_reserved_gb": round(torch.cuda.max_memory_reserved() / 1e9, 2),
    }
    del run, inputs, accelerator, sample
    torch.cuda.empty_cache()
    return row


if __name__ == "__main__":
    sys.exit(main())
