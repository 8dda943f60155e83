"""What caching mask latents saves: training steps with cached latents beside steps that encode every mask anew.

python benchmarks/latents.py [--steps 30] [--repeats 3] [--skip-kl-f8]

Turn by turn in one process: the demo's recipe and codec on the same small images; the only difference is whether the
batch carries its latents. Then one mask goes through an encoder of KL-f8's size (random weights, 256×256), which
is what each sample of each step would cost at full scale. Prints the medians and their ratio.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402

from sdseg.config.codec import Codec  # noqa: E402
from sdseg.config.recipe import Recipe  # noqa: E402
from sdseg.config.recipe_overrides import lay_over  # noqa: E402
from sdseg.config.run import load_config  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.core.settings import merge  # noqa: E402
from sdseg.data.store import SliceStore  # noqa: E402
from sdseg.data.training_samples import TrainingSamples  # noqa: E402
from sdseg.models.codec import MaskCodec  # noqa: E402
from sdseg.models.frozen_codec import open_codec  # noqa: E402
from sdseg.models.start_from import Inputs  # noqa: E402
from sdseg.training.codec import build_codec  # noqa: E402
from sdseg.training.loop import training_step  # noqa: E402
from sdseg.training.setup import TrainingRun, build_run, new_accelerator  # noqa: E402
from tests.helpers.tiny import write_store  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30, help="training steps of a turn (default: 30)")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default: 3)")
    parser.add_argument("--skip-kl-f8", action="store_true", help="leave out the encoder of full size")
    chosen = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, PyTorch {torch.__version__}, {time.strftime('%F %T')}")
    with tempfile.TemporaryDirectory() as folder:
        _small(Path(folder), chosen.steps, chosen.repeats)
    if not chosen.skip_kl_f8:
        _full_size(chosen.repeats)
    print(f"load {' '.join(f'{value:.1f}' for value in os.getloadavg())}")
    return 0


PLAIN = {"training": {"workers": 0, "precision": "no"}}


def _small(folder: Path, count: int, repeats: int) -> None:
    """The demo's recipe and codec, untrained: the time of a step does not depend on what was learnt."""
    settings = load_config(ROOT / "config/demo.yaml")
    codec = Codec.model_validate(merge(settings.codecs["small"].model_dump(), {"training": {"steps": 1}}))
    text = yaml.safe_load((ROOT / "config/recipes/sdseg-multistep.yaml").read_text("utf-8"))
    text = merge(lay_over(text, settings.recipes["sdseg-multistep"].overrides), PLAIN)
    recipe = Recipe.model_validate(merge(text, {"training": {"steps": count * (repeats + 1)}}))
    write_store(folder / "prepared", cases={"train": (1,) * 16, "val": (1,)})
    build_codec(settings=codec, output=folder / "codec")
    runs = {way: _run(folder, way, recipe) for way in ("cached", "encoded")}
    batches = {way: iter(run.data.loader(0)) for way, run in runs.items()}
    figures: dict[str, list[float]] = {way: [] for way in runs}
    for turn in range(repeats + 1):  # the first warms up
        for way, run in runs.items():
            began = time.perf_counter()
            for step in range(turn * count, (turn + 1) * count):
                parts = islice(batches[way], recipe.training.accumulate)
                training_step(run, step + 1, recipe.optimiser.learning_rate, parts)
            if turn:
                figures[way].append((time.perf_counter() - began) / count)
    ratio = statistics.median(b / a for a, b in zip(figures["cached"], figures["encoded"], strict=True))
    cached, encoded = (1e3 * statistics.median(figures[way]) for way in ("cached", "encoded"))
    batch = recipe.training.batch
    print(
        f"small codec, 32×32, batch {batch}: {cached:.1f} ms a step cached, {encoded:.1f} ms encoded, ratio {ratio:.2f}"
    )


def _run(folder: Path, way: str, recipe: Recipe) -> TrainingRun:
    accelerator = new_accelerator(recipe, "cpu")
    store = SliceStore.open(folder / "prepared")
    codec = open_codec(recipe, folder / "codec", accelerator.device, store)
    (folder / way).mkdir()
    run = build_run(recipe, Inputs(store, codec, None), accelerator, folder / way)
    if way == "encoded":
        encode_at_every_step(run)
    return run


def encode_at_every_step(run: TrainingRun) -> None:
    """Take the cached latents from a run. Raises UserError for one of patches, which never has any."""
    samples = run.data.samples
    if not isinstance(samples, TrainingSamples):
        raise UserError(
            "a run of patches has no cached latents: it encodes its masks at every step anyway",
            remedy="name a recipe of whole slices",
        )
    samples.latents = None


@torch.inference_mode()
def _full_size(repeats: int) -> None:
    """Seconds of one mask through an encoder of KL-f8's size."""
    settings = load_config(ROOT / "config/config.yaml").codecs["kl-f8"]
    codec = MaskCodec(settings, 1.0).eval()
    mask = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (1, 1, 256, 256), dtype=np.uint8))
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        codec.moments(mask)
        taken.append(time.perf_counter() - began)
    print(f"encoder of KL-f8's size, 256×256: {statistics.median(taken[1:]):.2f} s a mask")


if __name__ == "__main__":
    sys.exit(main())
