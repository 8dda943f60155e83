"""The paper's configuration at full size with random weights: what training, saving, loading and inference cost.

python benchmarks/full_scale.py [--recipe config/recipes/sdseg-paper.yaml] [--device cuda] [--export] [--folder /tmp/…]

Builds KL-f8, the condition encoder and the 295 M UNet for 256×256 images, makes two training steps of batch 1 through
`sdseg.train`, saves and loads the model folder in both number formats, and segments one image; with `--export` it also
writes the ONNX graph. Each stage runs in a process of its own, so that its peak memory is its own. On a GPU it makes
`--steps` steps of batch 4 in bf16 instead, and counts steps and images per second. Prints a Markdown table;
`--json FILE` writes every figure. The weights mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SIZE = 256
CODEC = {"weights": "random", "latent_scale": 0.18}  # KL-f8 is the layout's default
TRAINED = ("prepare", "train", "save", "infer")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recipe", type=Path, default=ROOT / "config/recipes/sdseg-paper.yaml", help="default: the paper's"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, help="training steps (default: 2 on the CPU, 40 on a GPU)")
    parser.add_argument("--batch", type=int, help="default: 1 on the CPU, 4 on a GPU")
    parser.add_argument("--export", action="store_true", help="also write the ONNX graph")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the recipe's")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--stage", choices=tuple(STAGES), help=argparse.SUPPRESS)  # one stage, in its own process
    chosen = parser.parse_args()
    chosen.steps = chosen.steps or (40 if chosen.device == "cuda" else 2)
    chosen.batch = chosen.batch or (4 if chosen.device == "cuda" else 1)
    if chosen.stage:
        figures = STAGES[chosen.stage](chosen)
        used = resource.getrusage(resource.RUSAGE_SELF)
        figures |= {"peak_bytes": used.ru_maxrss * 1024, "cpu_seconds": round(used.ru_utime + used.ru_stime, 1)}
        (chosen.folder / f"{chosen.stage}.json").write_text(json.dumps(figures), encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory(prefix="sdseg full scale ", dir=chosen.folder) as folder:
        figures = _stages(chosen, Path(folder), sys.argv[1:])
    _show(figures)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _stages(chosen: argparse.Namespace, folder: Path, words: list[str]) -> dict[str, Any]:
    """Every stage in a process of its own, and the bytes it left."""
    figures: dict[str, Any] = {
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "recipe": chosen.recipe.stem,
        "device": chosen.device,
        "batch": chosen.batch,
        "steps": chosen.steps,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "time": time.strftime("%F %T"),
    }
    for stage in (*TRAINED, *(["export"] if chosen.export else [])):
        begun = time.perf_counter()
        command = [sys.executable, __file__, *words, "--stage", stage, "--folder", str(folder)]
        subprocess.run(command, check=True)
        figures[stage] = json.loads((folder / f"{stage}.json").read_text(encoding="utf-8"))
        figures[stage]["process_seconds"] = round(time.perf_counter() - begun, 1)
        print(f"{stage}: {figures[stage]}", file=sys.stderr)
    return figures


def _prepare(chosen: argparse.Namespace) -> dict[str, Any]:
    """A codec folder with random weights and a slice store of three images."""
    import torch

    from sdseg.artifacts import ImageContract
    from sdseg.model.checkpoint import save_codec_folder
    from sdseg.model.codecs import MaskCodec
    from sdseg.networks import Codec
    from tests.tiny import write_store

    torch.manual_seed(0)
    codec = MaskCodec(Codec.model_validate(CODEC), float(str(CODEC["latent_scale"])))
    (chosen.folder / "codec").mkdir()
    seconds = _timed(lambda: save_codec_folder(chosen.folder / "codec", codec, 0.0, {}))
    image = ImageContract(modality="rgb", size=SIZE, channels=3, window=(0.0, 255.0))
    write_store(chosen.folder / "prepared", image, cases={"train": (1,) * chosen.batch, "val": (1,), "test": (1,)})
    return {"save_codec_seconds": seconds, "codec_bytes": _bytes(chosen.folder / "codec")}


def _train(chosen: argparse.Namespace) -> dict[str, Any]:
    import torch

    from sdseg.train import train

    folder = chosen.folder
    begun = time.perf_counter()
    train(
        prepared=folder / "prepared",
        recipe_name=chosen.recipe.stem,
        recipe=_recipe(chosen),
        codec=folder / "codec",
        output=folder / "model",
        last=folder / "last",
        state=folder / "state",
        device=chosen.device,
        quiet=True,
    )
    seconds = time.perf_counter() - begun
    lines = (folder / "model" / "training.jsonl").read_text(encoding="utf-8").splitlines()
    at = [event["seconds"] for event in map(json.loads, lines) if event["event"] == "step"]
    each = [after - before for before, after in pairwise(at)]
    state = max((folder / "state").rglob("step-*"), key=lambda path: path.name)
    manifest = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))
    found = {
        "seconds": round(seconds, 1),
        "seconds_first_step": at[0],
        "seconds_per_step": statistics.median(each[len(each) // 4 :]) if each else None,
        "parameters": manifest["training"]["parameters"],
        "state_bytes": {path.name: path.stat().st_size for path in sorted(state.iterdir())},
        "model_bytes": _bytes(folder / "model"),
    }
    shutil.rmtree(folder / "last")
    shutil.rmtree(folder / "state")
    if chosen.device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        found["gpu_peak_bytes"] = torch.cuda.max_memory_allocated()
    return found


def _save(chosen: argparse.Namespace) -> dict[str, Any]:
    """The model folder written and read in both number formats."""
    from sdseg.model.checkpoint import load_model, save_model

    begun = time.perf_counter()
    segmenter, manifest = load_model(chosen.folder / "model")
    found: dict[str, Any] = {"load_seconds": round(time.perf_counter() - begun, 2)}
    for weights in ("fp32", "fp16"):
        recipe = manifest.recipe | {"training": manifest.recipe["training"] | {"weights": weights}}
        described = manifest.model_copy(update={"recipe": recipe})
        place = chosen.folder / f"model-{weights}"
        place.mkdir()
        found[f"save_{weights}_seconds"] = _timed(lambda p=place, d=described: save_model(p, segmenter, d))
        found[f"load_{weights}_seconds"] = _timed(lambda p=place: load_model(p))
        found[f"{weights}_bytes"] = _bytes(place)
        shutil.rmtree(place)
    return found


def _infer(chosen: argparse.Namespace) -> dict[str, Any]:
    import torch

    from sdseg.model.checkpoint import load_model

    segmenter, manifest = load_model(chosen.folder / "model")
    device = torch.device(chosen.device)
    segmenter.to(device)
    images = torch.randint(
        0, 255, (chosen.batch, SIZE, SIZE, manifest.image.channels), dtype=torch.uint8, device=device
    )
    shape = segmenter.noise_shape
    noise = None if shape is None else torch.randn((chosen.batch, *shape), device=device)
    times = []
    with torch.inference_mode(), torch.autocast(chosen.device, torch.bfloat16, enabled=chosen.device == "cuda"):
        for _ in range(30 if chosen.device == "cuda" else 2):
            begun = time.perf_counter()
            segmenter(images, noise)
            if chosen.device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begun)
    seconds = statistics.median(times[len(times) // 3 :])
    return {"seconds_per_batch": round(seconds, 4), "images_per_second": round(chosen.batch / seconds, 3)}


def _export(chosen: argparse.Namespace) -> dict[str, Any]:
    import onnx

    from sdseg.config import Export
    from sdseg.export import export

    output = chosen.folder / "export"
    begun = time.perf_counter()
    export(chosen.folder / "model", chosen.folder / "prepared", output, Export(parity_cases=1))
    seconds = round(time.perf_counter() - begun, 1)
    graph = onnx.load(output / "model.onnx", load_external_data=False).graph
    parity = json.loads((output / "parity.json").read_text(encoding="utf-8"))
    sizes = {path.name: path.stat().st_size for path in sorted(output.glob("model.onnx*"))}
    return {"seconds": seconds, "nodes": len(graph.node), "bytes": sizes, "parity": parity}


def _recipe(chosen: argparse.Namespace) -> Any:
    from sdseg.__main__ import _assignments
    from sdseg.recipes import load_recipe
    from sdseg.settings import merge

    length = {"steps": chosen.steps, "batch": chosen.batch, "validate_every": chosen.steps, "log_every": 1}
    length |= {"checkpoint_every": chosen.steps, "workers": 0}
    precision = {"precision": "bf16" if chosen.device == "cuda" else "no"}
    return load_recipe(chosen.recipe, merge({"training": length | precision}, _assignments(chosen.set)))


def _show(figures: dict[str, Any]) -> None:
    """A Markdown table of what was measured."""
    train, save, infer, gb = figures["train"], figures["save"], figures["infer"], 1e9
    state = train["state_bytes"]
    parts = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in train["parameters"].items() if count)
    kept = ", ".join(f"{name} {size / gb:.2f} GB" for name, size in state.items() if name.endswith(".safetensors"))
    per_step = train["seconds_per_step"] or train["seconds_first_step"]
    rows = [
        ("parameters", parts, "", ""),
        (
            "training",
            f"{figures['steps']} steps of batch {figures['batch']}, all of `sdseg train`",
            train["seconds"],
            "train",
        ),
        ("one training step", f"{1 / per_step:.3g} steps/s", round(per_step, 2), "train"),
        ("training state", kept, "", ""),
        ("inference", f"{infer['images_per_second']} images/s", infer["seconds_per_batch"], "infer"),
        ("model folder, fp32", f"{save['fp32_bytes'] / gb:.2f} GB, save", save["save_fp32_seconds"], "save"),
        ("", "load", save["load_fp32_seconds"], ""),
        ("model folder, fp16", f"{save['fp16_bytes'] / gb:.2f} GB, save", save["save_fp16_seconds"], "save"),
        ("", "load", save["load_fp16_seconds"], ""),
        (
            "codec folder",
            f"{figures['prepare']['codec_bytes'] / gb:.2f} GB",
            figures["prepare"]["save_codec_seconds"],
            "",
        ),
    ]
    if "export" in figures:
        export = figures["export"]
        size = sum(export["bytes"].values()) / gb
        rows.append(("ONNX export and parity", f"{size:.2f} GB, {export['nodes']} nodes", export["seconds"], "export"))
    print(
        f"{figures['recipe']}, {figures['device']}, {figures['machine']}, threads {figures['threads']}, "
        f"{figures['time']}\n"
    )
    print("| part | what | seconds | CPU seconds of its process | peak memory |\n|---|---|---|---|---|")
    for name, what, seconds, stage in rows:
        peak = f"{figures[stage]['peak_bytes'] / gb:.1f} GB" if stage else ""
        cpu = figures[stage]["cpu_seconds"] if stage else ""
        print(f"| {name} | {what} | {seconds} | {cpu} | {peak} |")
    if "gpu_peak_bytes" in train:
        print(f"\n{train['gpu']}: {train['gpu_peak_bytes'] / gb:.1f} GB of GPU memory in training")


def _timed(action: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    action()
    return round(time.perf_counter() - begun, 2)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


STAGES = {"prepare": _prepare, "train": _train, "save": _save, "infer": _infer, "export": _export}

if __name__ == "__main__":
    sys.exit(main())
