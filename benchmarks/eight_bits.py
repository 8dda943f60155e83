"""The same weights in 8 bits: bytes, masks and latency of every graph of `sdseg export`, and what each block costs.

    python benchmarks/eight_bits.py --model R/model --prepared R/../prepared [--graphs fp32 int8]
    python benchmarks/eight_bits.py --full [--recipe config/recipes/sdseg-paper.yaml]
    python benchmarks/eight_bits.py --full --model R/model --prepared R/../prepared [--threads 8] [--images 64]

The first exports a trained model in fp32, int8, int8_mixed and int8_weights, without a gate, and runs every graph on
all test images: Dice with the masks of the fp32 graph and with the labels. It writes eight_bits.json and, of the
blocks that int8_mixed chooses from, eight_bits_blocks.json. The second does so with random weights at full size
(256×256, KL-f8), latency alone, and writes eight_bits_full.json; it takes 10 GB of memory and minutes. The third takes
a model that was trained at that size: its masks of test images, with whole networks of it in 8 bits in place of
blocks. It writes eight_bits_masks.json.

Latency is that of one thread; a call's CPU time, the least of some that take turns, so that a busy machine gives the
same as an idle one.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before any runtime is loaded
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import joined, machine, write_figures  # noqa: E402
from benchmarks.latency_subjects import SIZE, all_answers, opened, write_untrained  # noqa: E402
from benchmarks.pareto import interleaved  # noqa: E402
from sdseg.config.export import Precision  # noqa: E402
from sdseg.core.errors import UserError  # noqa: E402
from sdseg.core.processor import adds_up_bytes, bf16_instructions  # noqa: E402
from sdseg.core.provenance import provenance, version_of  # noqa: E402

FIGURES = ROOT / "benchmarks/figures"
FULL_FILE = "eight_bits_full.json"
GRAPHS: tuple[Precision, ...] = ("fp32", "int8", "int8_mixed", "int8_weights")
RUNTIMES = {"onnxruntime": "cpu", "openvino": "openvino", "openvino bf16": "openvino-bf16"}
ANY = {"max_abs_difference": 1.0, "max_mean_difference": 1.0, "max_dice_difference": 1.0, "min_mask_dice": 0.0}
QUANTISED = {"model.int8.onnx": "", "model.decoder.onnx": "decoder"}  # of --full: what the blocks in int8 begin with
WAYS: dict[str, tuple[str | None, str]] = {
    "PyTorch, fp32": (None, "cpu"),
    "ONNX Runtime, fp32": ("model.onnx", "cpu"),
    "ONNX Runtime, the decoder in int8": ("model.decoder.onnx", "cpu"),
    "ONNX Runtime, `int8`": ("model.int8.onnx", "cpu"),
    "OpenVINO fp32": ("model.onnx", "openvino"),
    "OpenVINO, the decoder in int8": ("model.decoder.onnx", "openvino"),
    "OpenVINO, `int8`": ("model.int8.onnx", "openvino"),
    "OpenVINO bf16": ("model.onnx", "openvino-bf16"),
    "OpenVINO bf16, the decoder in int8": ("model.decoder.onnx", "openvino-bf16"),
    "OpenVINO bf16, `int8`": ("model.int8.onnx", "openvino-bf16"),
}
CALIBRATION = 8  # training images of --full
PATIENCE, FULL_PATIENCE = 10.0, 20.0  # seconds after which a graph is not called again


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a trained model")
    parser.add_argument("--prepared", type=Path, help="folder made by 'sdseg prepare'")
    parser.add_argument("--full", action="store_true", help="random weights at full size in their place")
    parser.add_argument("--recipe", type=Path, help="of --full without a model (config/recipes/sdseg-paper.yaml)")
    parser.add_argument("--threads", type=int, help="of --full with a model (1)")
    parser.add_argument("--images", type=int, help="of --full with a model: test images whose masks are compared (all)")
    parser.add_argument("--rounds", type=int, help="calls of each graph in each runtime (20; with --full 2)")
    parser.add_argument("--graphs", nargs="+", choices=GRAPHS, help="of --model without --full (all; fp32 always)")
    parser.add_argument("--output", type=Path, default=FIGURES, help="folder for the files (benchmarks/figures)")
    chosen = parser.parse_args()
    if (chosen.model is None) != (chosen.prepared is None) or not (chosen.full or chosen.model):
        parser.error("give --model and --prepared, or --full, or all three")
    _refuse_unused(parser, chosen)
    if chosen.full:
        if chosen.model is None:
            chosen.recipe = chosen.recipe or ROOT / "config/recipes/sdseg-paper.yaml"
            return write_figures(lambda: full(chosen), chosen.output / FULL_FILE)
        return write_figures(lambda: full_masks(chosen), chosen.output / "eight_bits_masks.json")
    with tempfile.TemporaryDirectory(prefix="sdseg-eight-bits-") as folder:
        blocks: list[dict[str, Any]] = []
        graphs = f" --graphs {' '.join(chosen.graphs)}" if chosen.graphs else ""
        head = origin(f"--model {'/'.join(chosen.model.parts[-2:])} --prepared {chosen.prepared.name}{graphs}")
        write_figures(lambda: head | trained(chosen, Path(folder), blocks), chosen.output / "eight_bits.json")
    if not blocks:  # int8_mixed was left out
        return 0
    return write_figures(lambda: head | {"rows": blocks}, chosen.output / "eight_bits_blocks.json")


def _refuse_unused(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> None:
    masks = chosen.full and chosen.model is not None
    unused = {"recipe": masks or not chosen.full, "rounds": masks, "threads": not masks, "images": not masks}
    unused["graphs"] = chosen.full
    for name, idle in unused.items():
        if idle and getattr(chosen, name) is not None:
            parser.error(f"--{name} does nothing here: see --help")


def origin(words: str, threads: int = 1) -> dict[str, Any]:
    """Where the figures come from."""
    made = provenance(("torch", "onnxruntime", "openvino"), stage="export.onnx")
    versions = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "onnxruntime", "openvino"))
    return {
        "command": f"python benchmarks/eight_bits.py {words}",
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": f"{machine()}, {'one thread' if threads == 1 else f'{threads} threads'}, {versions}",
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
    graphs = tuple(name for name in GRAPHS if name == "fp32" or name in (chosen.graphs or GRAPHS))
    settings = Export(precisions=graphs, tolerances=tolerances, parity_cases=None)
    log = logging.getLogger("sdseg.export.block_sensitivity")
    heard = _Blocks(blocks)
    log.addHandler(heard)
    log.setLevel(logging.INFO)
    export(chosen.model, chosen.prepared, folder / "export", settings)
    files = {name: folder / "export" / graph_name(name) for name in graphs}
    answers = {"torch": opened(chosen.model, chosen.model, None, "cpu")} | {
        f"{name} {runtime}": opened(chosen.model, file.parent, file.name, device)
        for name, file in files.items()
        for runtime, device in RUNTIMES.items()
    }
    own = {name: answer for name, answer in answers.items() if answer is not None}
    seconds = _least(own, images[:1], chosen.rounds or 20, PATIENCE)
    masks = {name: rule.masks(all_answers(answer, images)) for name, answer in own.items()}
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
    """A row for each way to run random weights at full size, after those of other recipes and kinds of processor."""
    import numpy as np

    recipe, rounds = chosen.recipe.stem, f" --rounds {chosen.rounds}" if chosen.rounds else ""
    processor = bf16_instructions() or ("VNNI" if adds_up_bytes() else "no VNNI")
    head = origin(f"--full --recipe config/recipes/{chosen.recipe.name}{rounds}")
    with tempfile.TemporaryDirectory(prefix="sdseg-eight-bits-") as name:
        folder = Path(name)
        os.environ["SDSEG_CACHE"] = str(folder / "cache")
        image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
        write_untrained(chosen.recipe, folder, graphs=True)
        share = quantised_parts(folder / "model.onnx", image)
        answers = {each: opened(folder / "model", folder, *way) for each, way in WAYS.items()}
        present = {each: answer for each, answer in answers.items() if answer is not None}
        milliseconds = _least(present, image, chosen.rounds or 2, FULL_PATIENCE)
    eager = milliseconds["PyTorch, fp32"]
    rows = [
        {
            "recipe": recipe,
            "processor": processor,
            "decoder_share": share,
            "runtime": each,
            "seconds": round(value / 1e3, 3),
            "times_eager": round(eager / value, 2),
        }
        for each, value in milliseconds.items()
    ]
    run = f"{recipe}, {processor}"
    return joined(chosen.output / FULL_FILE, run, head, rows, ("recipe", "processor"))


def full_masks(chosen: argparse.Namespace) -> dict[str, Any]:
    """A row for each way that computes in fewer bits than the fp32 graph in ONNX Runtime: Dice with its masks."""
    import torch

    from sdseg.artifacts.manifests import ModelManifest
    from sdseg.config.export import Export
    from sdseg.core.files import read_json
    from sdseg.data.batches import evenly_spread
    from sdseg.data.mask_rule import MaskRule
    from sdseg.data.store import SliceStore
    from sdseg.export.onnx import export

    threads = chosen.threads or 1
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # which runtimes heed when a graph is opened
    model, store = read_json(chosen.model / "config.json", ModelManifest), SliceStore.open(chosen.prepared)
    rule, images = MaskRule.of(model), store.images[list(evenly_spread(store.rows_of("test").tolist(), chosen.images))]
    rows: list[dict[str, Any]] = []
    expected = None
    with tempfile.TemporaryDirectory(prefix="sdseg-eight-bits-") as name:
        folder = Path(name) / "export"
        export(chosen.model, chosen.prepared, folder, Export(parity_cases=2))
        seen = list(evenly_spread(store.rows_of("train").tolist(), CALIBRATION))
        quantised_parts(folder / "model.onnx", store.images[seen])
        for way, (file, device) in WAYS.items():
            answer = None if file is None or way == "OpenVINO fp32" else opened(chosen.model, folder, file, device)
            if answer is not None:
                masks = rule.masks(all_answers(answer, images))
                expected = masks if expected is None else expected  # the first is fp32
                rows.append({"runtime": way, "mask_dice": _dice(masks, expected)})
                print(rows[-1], file=sys.stderr, flush=True)
    words = f"--full --model {'/'.join(chosen.model.parts[-2:])} --prepared {chosen.prepared.name}"
    return origin(f"{words} --threads {threads} --images {len(images)}", threads) | {
        "recipe": model.recipe_name,
        "cases": len(images),
        "size": model.image.sides[0],
        "rows": rows[1:],
    }


def quantised_parts(source: Path, images: Any) -> float:
    """Write each graph of QUANTISED beside `source`, calibrated on images; the decoder's share of the products."""
    import onnx

    from sdseg.backends.graph import feed_of
    from sdseg.backends.graph_checksum import open_manifest
    from sdseg.export.block_sensitivity import graph_blocks
    from sdseg.export.quantise import ActivationRanges, quantise

    manifest, blocks = open_manifest(source), graph_blocks(onnx.load(str(source), load_external_data=False).graph)
    feeds, described = [feed_of(manifest, image[None], 0) for image in images], {"precision": "int8"}
    if not any(block.name.startswith("decoder") for block in blocks):
        raise UserError("the network has no decoder to quantise", remedy="name a recipe whose codec decodes its masks")

    def but(beginning: str) -> Callable[[ActivationRanges], list[str]]:
        """The layers of all other blocks, whatever their activations are."""
        kept = [layer for block in blocks if not block.name.startswith(beginning) for layer in block.layers]
        return lambda _: kept

    for file, beginning in QUANTISED.items():
        quantise(source, source.with_name(file), feeds, manifest.model_copy(update=described), but(beginning))
    decoder = sum(block.products for block in blocks if block.name.startswith("decoder"))
    return round(decoder / sum(block.products for block in blocks), 3)


def _least(answers: dict[str, Any], images: Any, rounds: int, patience: float) -> dict[str, float]:
    """Milliseconds of a call of each, which take turns."""
    from benchmarks.latency_subjects import Subject

    seconds = interleaved([Subject({}, images, answers)], rounds, 1, patience, time.process_time)
    return {name: round(1e3 * min(each), 3) for (_, name), each in seconds.items()}


def _dice(masks: Any, others: Any) -> float:
    from benchmarks.inference import dice

    return round(dice(masks, others), 4)


if __name__ == "__main__":
    sys.exit(main())
