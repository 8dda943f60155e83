"""Graphs as their files have them and as sdseg changes them for OpenVINO: latency, and the masks of int8.

    python benchmarks/openvino_graph.py --full [--recipe config/recipes/sdseg-paper.yaml] [--rounds 5]
    python benchmarks/openvino_graph.py --model R/model --prepared R/../prepared [--rounds 20]

The first exports random weights at full size (256×256) in fp32 and int8, the second a trained model, whose masks of all
test images it also compares with those of the fp32 graph. Both ways of a graph take turns, one thread; a call's CPU
time, the least of all. Where the processor has no VNNI, int8 is computed in single precision, rounded as ever; where it
has bfloat16, that is measured too. Rows are added to those of other subjects.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before any runtime is loaded
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figure_file import joined, machine, write_figures  # noqa: E402
from benchmarks.latency_subjects import SIZE, all_answers, write_untrained  # noqa: E402
from benchmarks.pareto import interleaved  # noqa: E402
from sdseg.backends.openvino_support import Arithmetic  # noqa: E402
from sdseg.core.processor import adds_up_bytes, bf16_instructions  # noqa: E402
from sdseg.core.provenance import provenance, version_of  # noqa: E402

NAME = "openvino_graph.json"
PATIENCE = 120.0  # seconds after which a graph is not called again
CALIBRATION = 64  # training images that int8 has its ranges from


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a trained model")
    parser.add_argument("--prepared", type=Path, help="folder made by 'sdseg prepare'")
    parser.add_argument("--full", action="store_true", help="random weights at full size in their place")
    parser.add_argument("--recipe", type=Path, help="of --full (config/recipes/sdseg.yaml)")
    parser.add_argument("--rounds", type=int, help="calls of each (20; with --full 5)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/figures", help="folder for the file")
    chosen = parser.parse_args()
    if chosen.full == (chosen.model is not None) or (chosen.model is None) != (chosen.prepared is None):
        parser.error("give --full, or --model and --prepared")
    if chosen.recipe is not None and not chosen.full:
        parser.error("--recipe does nothing without --full")
    return write_figures(lambda: figures(chosen), chosen.output / NAME)


def figures(chosen: argparse.Namespace) -> dict[str, Any]:
    """A row for each graph and arithmetic, after those of other subjects and kinds of processor."""
    processor = bf16_instructions() or ("VNNI" if adds_up_bytes() else "no VNNI")
    recipe = chosen.recipe or ROOT / "config/recipes/sdseg.yaml"
    subject = f"`{recipe.stem}`, random" if chosen.full else _trained_name(chosen.model)
    words = f"--full --recipe config/recipes/{recipe.name}" if chosen.full else f"--model {chosen.model.name}"
    words += "" if chosen.full else f" --prepared {chosen.prepared.name}"
    words += f" --rounds {chosen.rounds}" if chosen.rounds else ""
    made = provenance(("torch", "openvino"), stage="export.onnx")
    head = {
        "command": f"python benchmarks/openvino_graph.py {words}",
        "commit": made["commit"],
        "date": made["time"][:10],
        "machine": f"{machine()}, one thread, openvino {version_of('openvino')}",
    }
    with tempfile.TemporaryDirectory(prefix="sdseg-openvino-graph-") as folder:
        rows = measured(chosen, recipe, Path(folder))
    for row in rows:
        row |= {"subject": subject, "processor": processor}
    return joined(chosen.output / NAME, f"{subject}, {processor}", head, rows, ("subject", "processor"))


def measured(chosen: argparse.Namespace, recipe: Path, folder: Path) -> list[dict[str, Any]]:
    """A row for each graph and arithmetic: milliseconds of both ways, and of a trained model masks."""
    from benchmarks.inference import dice
    from benchmarks.latency_subjects import Subject
    from sdseg.backends.graph import feed_of
    from sdseg.backends.graph_checksum import open_manifest
    from sdseg.backends.openvino_support import computes_in_bf16
    from sdseg.export.quantise import quantise

    images, seen, rule = subjects(chosen, recipe, folder)
    single, integers = folder / "model.onnx", folder / "model.int8.onnx"
    manifest = open_manifest(single)
    feeds = [feed_of(manifest, image[None], 0) for image in seen]
    quantise(single, integers, feeds, manifest.model_copy(update={"precision": "int8"}))
    graphs = {"fp32": single, "int8": integers}
    kinds: list[Arithmetic] = ["f32", "bf16"] if computes_in_bf16() else ["f32"]
    calls = {
        (graph, kind, changed): call(file, kind, changed=changed)
        for graph, file in graphs.items()
        for kind in kinds
        for changed in (False, True)
    }
    subject = Subject({}, images[:1], {" ".join(map(str, key)): run for key, run in calls.items()})
    rounds = chosen.rounds or (5 if chosen.full else 20)
    seconds = interleaved([subject], rounds, 1, PATIENCE, time.process_time)
    least = {name: round(1e3 * min(each), 3) for (_, name), each in seconds.items()}
    masks = {} if rule is None else {key: rule.masks(all_answers(run, images)) for key, run in calls.items()}
    expected = masks.get(("fp32", "f32", False))
    rows = []
    for graph in graphs:
        for kind in kinds:
            before, after = (least[f"{graph} {kind} {changed}"] for changed in (False, True))
            row = {"graph": graph, "arithmetic": kind, "before_ms": before, "after_ms": after}
            if expected is not None:
                row |= {
                    "cases": len(images),
                    "masks_before": round(dice(masks[graph, kind, False], expected), 4),
                    "masks_after": round(dice(masks[graph, kind, True], expected), 4),
                }
            rows.append(row)
    return rows


def subjects(chosen: argparse.Namespace, recipe: Path, folder: Path) -> tuple[Any, Any, Any]:
    """Write model.onnx into a folder: images to run it on, those to calibrate on, and the rule of masks, if any."""
    import numpy as np

    if chosen.full:
        write_untrained(recipe, folder, graphs=True)
        image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
        return image, image, None
    from sdseg.artifacts.manifests import ModelManifest
    from sdseg.config.export import Export
    from sdseg.core.files import read_json
    from sdseg.data.batches import evenly_spread
    from sdseg.data.mask_rule import MaskRule
    from sdseg.data.store import SliceStore
    from sdseg.export.onnx import export

    store, rule = SliceStore.open(chosen.prepared), MaskRule.of(read_json(chosen.model / "config.json", ModelManifest))
    export(chosen.model, chosen.prepared, folder / "export", Export(parity_cases=2))
    for file in (folder / "export").glob("model.onnx*"):
        file.rename(folder / file.name)
    seen = list(evenly_spread(store.rows_of("train").tolist(), CALIBRATION))
    return store.images[store.rows_of("test")], store.images[seen], rule


def call(path: Path, arithmetic: Arithmetic, *, changed: bool) -> Any:
    """Images [N,H,W,C] to probability, by the graph as it is or as sdseg changes it."""
    from sdseg.backends.graph import feed_of
    from sdseg.backends.graph_checksum import open_manifest
    from sdseg.backends.openvino_graph import openvino_model
    from sdseg.backends.openvino_support import compile_properties, openvino_core

    manifest, core = open_manifest(path), openvino_core()
    model = openvino_model(path, arithmetic) if changed else core.read_model(str(path))
    properties = compile_properties(arithmetic, 1, manifest)
    request = core.compile_model(model, "CPU", properties).create_infer_request()
    return lambda images: request.infer(feed_of(manifest, images, 0))["probability"].copy()


def _trained_name(folder: Path) -> str:
    from sdseg.artifacts.manifests import ModelManifest
    from sdseg.core.files import read_json

    model = read_json(folder / "config.json", ModelManifest)
    return f"`{model.recipe_name}`, trained on {model.dataset}, {model.image.sides[0]}×{model.image.sides[1]}"


if __name__ == "__main__":
    sys.exit(main())
