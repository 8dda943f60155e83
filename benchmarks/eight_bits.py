"""The same weights in 8 bits: bytes, masks and latency of every graph of `sdseg export`, and what each block costs.

    python benchmarks/eight_bits.py --model R/model --prepared R/../prepared
    python benchmarks/eight_bits.py --full [--recipe config/recipes/sdseg-paper.yaml]
    python benchmarks/eight_bits.py --full --model R/model --prepared R/../prepared [--threads 8] [--images 64]

The first exports a trained model in fp32, int8, int8_mixed and int8_weights, without a gate, and runs every graph on
all test images: Dice with the masks of the fp32 graph and with the labels. It writes eight_bits.json and, of the
blocks that int8_mixed chooses from, eight_bits_blocks.json. The second does so with random weights at full size
(256×256, KL-f8), latency alone, and writes eight_bits_full.json; it takes 10 GB of memory and minutes. The third takes
a model that was trained at that size, with whole networks of it in 8 bits, not blocks: latency, and the masks of test
images, which --threads are for. It writes eight_bits_trained.json.

One thread; a call's CPU time, the least of some that take turns, so that a busy machine gives the same as an idle one.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before any runtime is loaded
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import machine, write_figures  # noqa: E402
from benchmarks.pareto import SIZE, interleaved, opened, write_untrained  # noqa: E402
from sdseg.core.provenance import provenance, version_of  # noqa: E402

FIGURES = ROOT / "benchmarks/figures"
GRAPHS = ("fp32", "int8", "int8_mixed", "int8_weights")
RUNTIMES = {"onnxruntime": "cpu", "openvino": "openvino", "openvino bf16": "openvino-bf16"}
ANY = {"max_abs_difference": 1.0, "max_mean_difference": 1.0, "max_dice_difference": 1.0, "min_mask_dice": 0.0}
QUANTISED = {  # of --full: graph -> the networks whose layers are in int8
    "model.int8.onnx": ("condition_encoder", "denoiser", "decoder"),
    "model.decoder.onnx": ("decoder",),
}
WAYS: dict[str, tuple[str | None, str]] = {
    "PyTorch, fp32": (None, "cpu"),
    "ONNX Runtime, fp32": ("model.onnx", "cpu"),
    "ONNX Runtime, the decoder in int8": ("model.decoder.onnx", "cpu"),
    "ONNX Runtime, `int8`": ("model.int8.onnx", "cpu"),
    "OpenVINO fp32": ("model.onnx", "openvino"),
    "OpenVINO bf16": ("model.onnx", "openvino-bf16"),
    "OpenVINO bf16, the decoder in int8": ("model.decoder.onnx", "openvino-bf16"),
    "OpenVINO bf16, `int8`": ("model.int8.onnx", "openvino-bf16"),
}
CALIBRATION = 8  # training images of --full
BATCH, PATIENCE, FULL_PATIENCE = 8, 10.0, 20.0  # seconds after which a graph is not called again


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a trained model")
    parser.add_argument("--prepared", type=Path, help="folder made by 'sdseg prepare'")
    parser.add_argument("--full", action="store_true", help="random weights at full size in their place")
    parser.add_argument("--recipe", type=Path, default=ROOT / "config/recipes/sdseg-paper.yaml", help="of --full")
    parser.add_argument("--threads", type=int, default=1, help="of --full with a model: for all but latency (1)")
    parser.add_argument("--images", type=int, help="of --full with a model: test images whose masks are compared (all)")
    parser.add_argument("--rounds", type=int, help="calls of each graph in each runtime (20; with --full 2)")
    parser.add_argument("--output", type=Path, default=FIGURES, help="folder for the files (benchmarks/figures)")
    chosen = parser.parse_args()
    if (chosen.model is None) != (chosen.prepared is None) or not (chosen.full or chosen.model):
        parser.error("give --model and --prepared, or --full, or all three")
    if chosen.full:
        file = "eight_bits_trained.json" if chosen.model else "eight_bits_full.json"
        return write_figures(lambda: full(chosen), chosen.output / file)
    with tempfile.TemporaryDirectory(prefix="sdseg-eight-bits-") as folder:
        blocks: list[dict[str, Any]] = []
        head = origin(f"--model {'/'.join(chosen.model.parts[-2:])} --prepared {chosen.prepared.name}")
        write_figures(lambda: head | trained(chosen, Path(folder), blocks), chosen.output / "eight_bits.json")
    return write_figures(lambda: head | {"rows": blocks}, chosen.output / "eight_bits_blocks.json")


def origin(words: str) -> dict[str, Any]:
    """Where the figures come from."""
    made = provenance(("torch", "onnxruntime", "openvino"), stage="export.onnx")
    versions = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "onnxruntime", "openvino"))
    return {
        "command": f"python benchmarks/eight_bits.py {words}",
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": f"{machine()}, one thread, {versions}",
    }


def trained(chosen: argparse.Namespace, folder: Path, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """A row for each graph of a trained model; `blocks` gets what each block costs, in the order of `sdseg export`."""
    from sdseg.artifacts.manifests import ModelManifest
    from sdseg.config.export import Export, Tolerance, Tolerances
    from sdseg.core.files import read_json
    from sdseg.data.mask_rule import MaskRule
    from sdseg.data.store import SliceStore, structure_masks
    from sdseg.export.onnx import export, graph_name

    model = read_json(chosen.model / "config.json", ModelManifest)
    rule, store = MaskRule.of(model), SliceStore.open(chosen.prepared)
    rows = store.rows_of("test")
    images, labels = store.images[rows], structure_masks(store.masks[rows], store.manifest.structures)
    tolerances = Tolerances(int8=Tolerance(**ANY), int8_weights=Tolerance(**ANY))
    # Nothing is refused here but what int8_mixed would lose: its blocks are chosen by its own tolerance.
    settings = Export(precisions=GRAPHS, tolerances=tolerances, parity_cases=None)
    log = logging.getLogger("sdseg.export.block_sensitivity")
    heard = _Blocks(blocks)
    log.addHandler(heard)
    log.setLevel(logging.INFO)
    export(chosen.model, chosen.prepared, folder / "export", settings)
    files = {name: folder / "export" / graph_name(name) for name in GRAPHS}
    answers = {
        (name, runtime): opened(chosen.model, file.parent, file.name, device)
        for name, file in files.items()
        for runtime, device in RUNTIMES.items()
    }
    eager = opened(chosen.model, chosen.model, None, "cpu")
    own = {"torch": eager, **{" ".join(key): answer for key, answer in answers.items() if answer is not None}}
    seconds = _least(own, images[:1], chosen.rounds or 20, PATIENCE)
    masks = {name: rule.masks(_all(answer, images)) for name, answer in own.items()}
    expected = masks["fp32 onnxruntime"]
    return {
        "cases": len(images),
        "size": model.image.sides[0],
        "torch_ms": seconds["torch"],
        "torch_dice": _dice(masks["torch"], labels),
        "rows": [
            {
                "graph": name,
                "bytes": sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*")),
                "dice": _dice(masks[f"{name} onnxruntime"], labels),
                "mask_dice": {
                    runtime: _dice(masks[f"{name} {runtime}"], expected)
                    for runtime in RUNTIMES
                    if f"{name} {runtime}" in masks
                },
                "latency_ms": {
                    runtime: seconds[f"{name} {runtime}"] for runtime in RUNTIMES if f"{name} {runtime}" in seconds
                },
            }
            for name, file in files.items()
        ],
    }


class _Blocks(logging.Handler):
    """What the choice of int8_mixed says of each block."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__()
        self.rows = rows

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and len(record.args) == 4:
            name, share, masks, stays = record.args
            self.rows.append(
                {
                    "block": name,
                    "share": round(float(str(share)) / 100, 4),
                    "mask_dice": round(float(str(masks)), 4),
                    "in_int8_mixed": str(stays) == "int8",
                }
            )


def full(chosen: argparse.Namespace) -> dict[str, Any]:
    """A row for each way to run a network of full size: random weights, or a trained model and its masks."""
    import numpy as np
    import onnx

    from sdseg.backends.graph import feed_of
    from sdseg.backends.graph_checksum import open_manifest
    from sdseg.export.block_sensitivity import graph_blocks
    from sdseg.export.quantise import quantise

    with tempfile.TemporaryDirectory(prefix="sdseg-eight-bits-") as name:
        folder = Path(name)
        os.environ["SDSEG_CACHE"] = str(folder / "cache")
        _threads(chosen.threads)
        if chosen.model:
            model, source, images = chosen.model, folder / "export/model.onnx", _exported(chosen, folder)
        else:
            model, source = folder / "model", folder / "model.onnx"
            image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
            images = {"train": image, "test": image}
            write_untrained(chosen.recipe, folder, graphs=True)
        manifest, blocks = open_manifest(source), graph_blocks(onnx.load(str(source), load_external_data=False).graph)
        feeds = [feed_of(manifest, image[None], 0) for image in images["train"]]
        for file, parts in QUANTISED.items():
            kept = [layer for block in blocks if not block.name.startswith(parts) for layer in block.layers]
            described = manifest.model_copy(update={"precision": "int8"})
            quantise(source, source.with_name(file), feeds, described, lambda _, k=kept: k)
            print(f"written: {file}", file=sys.stderr, flush=True)
        scores = _masks_kept(model, source.parent, images["test"]) if chosen.model else {}
        _threads(1)
        answers = {each: opened(model, source.parent, *way) for each, way in WAYS.items()}
        present = {each: answer for each, answer in answers.items() if answer is not None}
        milliseconds = _least(present, images["test"][:1], chosen.rounds or 2, FULL_PATIENCE)
    eager = milliseconds["PyTorch, fp32"]
    decoder = sum(block.products for block in blocks if block.name.startswith("decoder"))
    words = "/".join(chosen.model.parts[-3:]) if chosen.model else ""
    return origin(
        f"--full --model {words} --prepared {chosen.prepared.name}"
        if chosen.model
        else f"--full --recipe config/recipes/{chosen.recipe.name}"
    ) | {
        "recipe": manifest.recipe,
        "decoder_share": round(decoder / sum(block.products for block in blocks), 3),
        **({"cases": len(images["test"])} if chosen.model else {}),
        "rows": [
            {
                "runtime": each,
                "seconds": round(value / 1e3, 3),
                "times_eager": round(eager / value, 2),
                **({"mask_dice": scores[each]} if each in scores else {}),
            }
            for each, value in milliseconds.items()
        ],
    }


def _exported(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write the fp32 graph of a trained model; images of its splits: those to calibrate on, and those to compare on."""
    from sdseg.config.export import Export
    from sdseg.data.store import SliceStore
    from sdseg.export.onnx import export

    export(chosen.model, chosen.prepared, folder / "export", Export(parity_cases=2))
    store = SliceStore.open(chosen.prepared)
    return {
        split: store.images[evenly(store.rows_of(split), most)]
        for split, most in (("train", CALIBRATION), ("test", chosen.images))
    }


def evenly(rows: Any, most: int | None) -> Any:
    """As many of `rows`, spread over them; all without a number."""
    import numpy as np

    return rows if most is None else rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]


def _threads(count: int) -> None:
    """Of PyTorch, and of what is opened from now on."""
    import torch

    torch.set_num_threads(count)
    os.environ["OMP_NUM_THREADS"] = str(count)


def _masks_kept(model: Path, graphs: Path, images: Any) -> dict[str, float]:
    """Mean Dice with the masks of the fp32 graph in ONNX Runtime, of every way that computes in fewer bits."""
    from sdseg.artifacts.manifests import ModelManifest
    from sdseg.core.files import read_json
    from sdseg.data.mask_rule import MaskRule

    rule = MaskRule.of(read_json(model / "config.json", ModelManifest))
    expected: Any = None
    kept: dict[str, float] = {}
    for name, (file, device) in WAYS.items():
        answer = None if file is None or device == "openvino" else opened(model, graphs, file, device)
        if answer is not None:
            masks = rule.masks(_all(answer, images))
            expected = masks if expected is None else expected  # the first is fp32
            kept[name] = _dice(masks, expected)
            print(f"{name}: masks {kept[name]}", file=sys.stderr, flush=True)
    return kept


def _least(answers: dict[str, Any], images: Any, rounds: int, patience: float) -> dict[str, float]:
    """Milliseconds of a call of each, which take turns."""
    from benchmarks.pareto import Subject

    seconds = interleaved([Subject({}, images, answers)], rounds, 1, patience, time.process_time)
    return {name: round(1e3 * min(each), 3) for (_, name), each in seconds.items()}


def _all(answer: Any, images: Any) -> Any:
    import numpy as np

    return np.concatenate([answer(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])


def _dice(masks: Any, others: Any) -> float:
    from benchmarks.inference import dice

    return round(dice(masks, others), 4)


if __name__ == "__main__":
    sys.exit(main())
