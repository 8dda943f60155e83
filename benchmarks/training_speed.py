"""What makes a training step on a CPU faster: each way alone and together, turn by turn in one process.

    OMP_NUM_THREADS=1 python benchmarks/training_speed.py [--scales small full] [--recipes sdseg unet] [--rounds 4]

A step is whole: its batch is loaded, with cached mask latents, and goes through `sdseg.training.loop.training_step`:
forward, backward, clipping, optimiser, average. `small` is the demo's scale (64×64, batch 16, config/demo.yaml),
`full` the recipes' own (256×256, layout of KL-f8, batch 1). Every way has the same seeds, weights and samples; each
turn makes `--steps` steps, and the first round warms up. `before` is single precision, norms and activations apart
and AdamW parameter by parameter.

Seconds are those of the process (`time.process_time`) unless there are several threads, which are measured by the
clock: the least of the rounds counts, what else the machine does makes the others longer. `loss_difference` is the
largest relative difference to the loss of `before` over all steps. `--batches` adds rows of other batch sizes, and
`--compile` torch.compile of the networks, alone and with the rest, whose first step is counted apart. Rows that the
output has of other scales, recipes, ways, batches and threads stay, with their commit.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from sdseg.core.provenance import provenance  # noqa: E402
from sdseg.core.settings import merge  # noqa: E402

IMAGES = 32  # in the store
KL_F8 = {"weights": "random", "latent_scale": 0.18}  # KL-f8 is the layout's default
FULL = {"training": {"batch": 1, "augmentation": "none", "workers": 0}}
WAYS: dict[str, frozenset[str]] = {  # what each of them changes
    "before": frozenset(),
    "norms together": frozenset({"norms"}),
    "AdamW in one pass": frozenset({"adamw"}),
    "both: single precision today": frozenset({"norms", "adamw"}),
    "bf16": frozenset({"bf16"}),
    "bf16 and both: bf16 today": frozenset({"norms", "adamw", "bf16"}),
    "channels-last": frozenset({"channels-last"}),
    "bf16, both and channels-last": frozenset({"norms", "adamw", "bf16", "channels-last"}),
    "oneDNN: bf16 within convolutions": frozenset({"onednn-bf16"}),
    "no oneDNN": frozenset({"no-onednn"}),
    "latents encoded at every step": frozenset({"encoded"}),
    "torch.compile": frozenset({"compile"}),
    "bf16, both and torch.compile": frozenset({"norms", "adamw", "bf16", "compile"}),
}
FEW = ("before", "norms together", "AdamW in one pass", "both: single precision today", "bf16")
COMPILED = tuple(way for way, changes in WAYS.items() if "compile" in changes)
FULL_WAYS = (*FEW, "bf16 and both: bf16 today", *COMPILED)
PAIR = ("before", "bf16 and both: bf16 today")
KEY = ("scale", "recipe", "way", "batch", "threads")  # what tells rows apart


@dataclass
class Turns:
    """The steps of one way."""

    run: Any
    changes: frozenset[str]
    loaded: Iterator[Any] = field(init=False)
    seconds: list[float] = field(default_factory=list)  # per step, of every turn
    loading: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loaded = iter(self.run.data.loader(0))

    def turn(self, steps: int, clock: Callable[[], float]) -> None:
        from sdseg.training.loop import training_step

        begun, loading = clock(), 0.0
        with _onednn(self.changes):
            for _ in range(steps):
                asked = clock()
                samples = [next(self.loaded)]
                loading += clock() - asked
                losses = training_step(self.run, len(self.losses) + 1, 1e-3, samples)
                self.losses.append(float(sum(losses.values())))
        self.seconds.append((clock() - begun) / steps)
        self.loading.append(loading / steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", nargs="+", choices=("small", "full"), default=["small", "full"])
    parser.add_argument("--recipes", nargs="+", default=["sdseg", "unet"], help="files of config/recipes")
    usual = [way for way in WAYS if way not in COMPILED]
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=usual, help="beside 'before'")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each way that count (default: 4)")
    parser.add_argument(
        "--steps", type=int, default=2, help="of a turn at the small scale; 1 at full size (default: 2)"
    )
    parser.add_argument("--batches", nargs="*", type=int, default=[4, 32], help="further ones at the small scale")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which needs a C++ compiler")
    parser.add_argument(
        "--pair", action="store_true", help="of the recipe's own batch, too, the first and the last way alone"
    )
    parser.add_argument("--busy", default="nothing else", help="what else the machine did, for the file")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures/training_speed.json")
    chosen = parser.parse_args()
    chosen.ways += COMPILED if chosen.compile else ()
    return write_figures(lambda: joined(figures(chosen), chosen.output), chosen.output)


def joined(figures: dict[str, Any], output: Path) -> dict[str, Any]:
    """The figures, with what the file has had of other rows, and where those come from."""
    if not output.exists():
        return figures
    earlier = json.loads(output.read_text("utf-8"))
    rows = {tuple(row[key] for key in KEY): row for each in (earlier, figures) for row in each["rows"]}
    commands = [*earlier["command"].split("; "), figures["command"]]
    ordered = sorted(rows.values(), key=lambda row: (row["scale"] != "small", row["recipe"], row["threads"]))
    return figures | {
        "commit": ", ".join(sorted({row["commit"] for row in ordered})),
        "command": "; ".join(dict.fromkeys(commands)),
        "rows": ordered,
    }


def figures(chosen: argparse.Namespace) -> dict[str, Any]:
    """The rows of all scales, recipes and ways."""
    import torch

    made, rows = provenance(("torch",)), []
    with tempfile.TemporaryDirectory() as folder:
        for scale in chosen.scales:
            place = Path(folder) / scale
            prepare(place, scale)
            for name in chosen.recipes:
                rows += compared(place, scale, name, chosen)
    told = [word for word in sys.argv[1:] if word not in ("--output", str(chosen.output))]
    words = shlex.join(["python", "benchmarks/training_speed.py", *told])
    return {
        "command": f"OMP_NUM_THREADS={torch.get_num_threads()} {words}",
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": f"{machine()}, PyTorch {torch.__version__}, bf16 in the processor: {_has_bf16()}",
        "rows": [row | {"commit": made["commit"], "busy": chosen.busy} for row in rows],
    }


def prepare(folder: Path, scale: str) -> None:
    """A store of made-up images, and a codec that was hardly trained: neither decides what a step takes."""
    import torch

    from sdseg.artifacts.image_contract import ImageContract
    from sdseg.config.codec import Codec
    from sdseg.config.run import load_config
    from sdseg.models.codec import MaskCodec
    from sdseg.models.model_folder import save_codec_folder
    from tests.helpers.tiny import write_store

    size, images = (64, IMAGES) if scale == "small" else (256, 1)
    folder.mkdir()
    image = ImageContract(modality="rgb", size=size, channels=3, window=(0.0, 255.0))
    write_store(folder / "prepared", image, cases={"train": (1,) * images, "val": (1,)})
    settings = load_config(ROOT / "config/demo.yaml").codecs["small"] if scale == "small" else Codec(**KL_F8)
    torch.manual_seed(0)
    (folder / "codec").mkdir()
    save_codec_folder(folder / "codec", MaskCodec(settings, 0.18), 0.0, {})


def compared(folder: Path, scale: str, name: str, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one recipe: every way by itself and together, then the first and the last at other batch sizes."""
    ways = [way for way in (WAYS if scale == "small" else FULL_WAYS) if way in ("before", *chosen.ways)]
    if name == "unet":
        ways = [way for way in ways if "encoded" not in WAYS[way]]
    if chosen.pair:
        ways = list(PAIR)
    rows = measured(folder, scale, name, ways, chosen, None)
    for batch in chosen.batches if scale == "small" else ():
        rows += measured(folder, scale, name, list(PAIR), chosen, batch)
    return rows


def measured(
    folder: Path, scale: str, name: str, ways: list[str], chosen: argparse.Namespace, batch: int | None
) -> list[dict[str, Any]]:
    """Rows of some ways, which take turns."""
    import torch

    threads = torch.get_num_threads()
    clock = time.process_time if threads == 1 else time.perf_counter
    runs = {way: Turns(build(folder, scale, name, WAYS[way], batch), WAYS[way]) for way in ways}
    first = {}
    for count in range(chosen.rounds + 1):
        print(f"{scale}, {name}, batch {batch or 'of the recipe'}: round {count} of {chosen.rounds}", file=sys.stderr)
        for way, turns in runs.items():
            turns.turn(chosen.steps if scale == "small" else 1, clock)
            if not count:
                first[way] = turns.seconds.pop()
                turns.loading.pop()
    base = runs["before"]
    return [row(scale, name, way, turns, base, threads, first[way]) for way, turns in runs.items()]


def row(scale: str, name: str, way: str, turns: Turns, base: Turns, threads: int, first: float) -> dict[str, Any]:
    least, batch = min(turns.seconds), turns.run.recipe.training.batch
    differences = [abs(own / other - 1.0) for own, other in zip(turns.losses, base.losses, strict=True)]
    return {
        "scale": scale,
        "recipe": name,
        "way": way,
        "batch": batch,
        "threads": threads,
        "turns": len(turns.seconds),
        "seconds_per_step": round(least, 4),
        "median": round(statistics.median(turns.seconds), 4),
        "loading": round(min(turns.loading), 4),
        "images_per_second": round(batch / least, 3),
        "times_before": round(min(base.seconds) / least, 3),
        "loss_difference": float(f"{max(differences):.2g}"),
        **({"first_step": round(first, 1)} if "compile" in WAYS[way] else {}),
    }


def build(folder: Path, scale: str, name: str, changes: frozenset[str], batch: int | None) -> Any:
    """A run of the recipe that makes its steps in a given way."""
    import torch

    from sdseg.config.recipe import load_recipe
    from sdseg.config.run import load_config
    from sdseg.models.start_from import open_inputs
    from sdseg.training.setup import build_run, new_accelerator

    values = load_config(ROOT / "config/demo.yaml").recipes[name].overrides if scale == "small" else FULL
    precision = "bf16" if "bf16" in changes else "no"
    training = {"precision": precision, "steps": 10_000} | ({"batch": batch} if batch else {})
    recipe = load_recipe(
        ROOT / f"config/recipes/{name}.yaml", merge(values, {"training": training, "start_from": None})
    )
    accelerator = new_accelerator(recipe, "cpu")
    codec = folder / "codec" if recipe.diffusion else None
    inputs = open_inputs(folder / "prepared", recipe, codec, None, accelerator.device, None, None)
    run = build_run(recipe, inputs, accelerator, Path(tempfile.mkdtemp(dir=folder)))
    if "norms" not in changes:
        for module in run.segmenter.modules():
            vars(module).pop("forward", None)
    if "adamw" not in changes:
        for group in run.optimiser.param_groups:
            group.update(fused=False, foreach=False)
    if "channels-last" in changes:
        run.segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no overload has it
    if "encoded" in changes:
        from benchmarks.latents import encode_at_every_step

        encode_at_every_step(run)
    if "compile" in changes:
        for part in run.segmenter.children():  # the losses around them are few operators
            part.compile()
    return run


@contextmanager
def _onednn(changes: frozenset[str]) -> Iterator[None]:
    """oneDNN switched off, or told to compute convolutions in bf16, for as long as this is open."""
    import torch

    convolutions: Any = torch.backends.mkldnn.conv  # type: ignore[attr-defined]
    kept = convolutions.fp32_precision
    if "onednn-bf16" in changes:
        convolutions.fp32_precision = "bf16"
    try:
        with torch.backends.mkldnn.flags(enabled=False) if "no-onednn" in changes else nullcontext():
            yield
    finally:
        convolutions.fp32_precision = kept


def _has_bf16() -> str:
    from sdseg.core.processor import computes_in_bf16

    return "yes" if computes_in_bf16() else "no"


if __name__ == "__main__":
    sys.exit(main())
