"""The paper's configuration at full size with random weights: what training, saving, loading and inference cost.

    python benchmarks/full_scale.py [--recipe config/recipes/sdseg-paper.yaml] [--device cuda] [--json FILE]
    python benchmarks/full_scale.py --memory --recipe config/recipes/sdseg-e2e.yaml --batch 4
    python benchmarks/full_scale.py --export [--untrained] [--keep FOLDER]

Builds KL-f8, the condition encoder and the 295 M UNet for 256×256 images, makes two training steps of batch 1 through
`sdseg.training.train`, saves and loads the model folder in both number formats, and segments one image. Each stage
runs in a process of its own, so that its peak memory is its own. On a GPU it makes `--steps` steps of batch 4 in bf16
instead, and counts steps and images per second.

`--memory` measures nothing and takes a second: what each network takes of the memory of a step, counted from the layers
(`sdseg/sizing`), with and without gradient checkpointing.

`--export` also writes the ONNX graph, in fp32 and int8, and starts benchmarks/inference.py on them: every runtime that
is installed, with an empty and with a warm cache. `--untrained` leaves training out, `--keep` keeps model and graphs.
Prints Markdown tables; `--json FILE` writes every figure. The weights mean nothing.
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
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.figure_tables import TABLES  # noqa: E402

SIZE = 256
CODEC = {"weights": "random", "latent_scale": 0.18}  # KL-f8 is the layout's default
TRAINED = ("prepare", "train", "save", "infer")
UNTRAINED = ("prepare", "build")
EXPORTED = ("export", "quantise")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recipe", type=Path, default=ROOT / "config/recipes/sdseg-paper.yaml", help="default: the paper's"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, help="training steps (default: 2 on the CPU, 40 on a GPU)")
    parser.add_argument("--batch", type=int, help="default: 1 on the CPU, 4 on a GPU")
    parser.add_argument("--size", type=int, default=SIZE, help=f"of the images (default: {SIZE})")
    parser.add_argument("--memory", action="store_true", help="count the memory of a step by part, and measure nothing")
    parser.add_argument("--export", action="store_true", help="also write the ONNX graphs, and measure every runtime")
    parser.add_argument("--untrained", action="store_true", help="no training, saving and inference: only --export")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write there, and leave everything there")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the recipe's")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--stage", choices=tuple(STAGES), help=argparse.SUPPRESS)  # one stage, in its own process
    chosen = parser.parse_args()
    if chosen.keep and chosen.keep.exists() and not chosen.stage:
        parser.error(f"{chosen.keep} is there already: --keep wants a new folder")
    chosen.steps = chosen.steps or (40 if chosen.device == "cuda" else 2)
    chosen.batch = chosen.batch or (4 if chosen.device == "cuda" else 1)
    if chosen.memory:
        counted = _memory(chosen)
        print(TABLES["full_scale_memory"](counted))
        if chosen.json:
            chosen.json.write_text(json.dumps(counted, indent=2) + "\n", encoding="utf-8")
        return 0
    if chosen.stage:
        figures = STAGES[chosen.stage](chosen)
        used = resource.getrusage(resource.RUSAGE_SELF)
        figures |= {"peak_bytes": used.ru_maxrss * 1024, "cpu_seconds": round(used.ru_utime + used.ru_stime, 1)}
        (chosen.folder / f"{chosen.stage}.json").write_text(json.dumps(figures), encoding="utf-8")
        return 0
    if chosen.keep:
        chosen.keep.mkdir(parents=True)
    place = nullcontext(str(chosen.keep)) if chosen.keep else tempfile.TemporaryDirectory(dir=chosen.folder)
    with place as folder:
        figures = _stages(chosen, Path(folder).resolve(), sys.argv[1:])
        table = _runtimes(chosen, Path(folder).resolve(), figures) if chosen.export else ""
    _show(figures)
    print(f"\n{table}" if table else "")
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
    for stage in (*(UNTRAINED if chosen.untrained else TRAINED), *(EXPORTED if chosen.export else ())):
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

    from sdseg.artifacts.image_contract import ImageContract
    from sdseg.config.codec import Codec
    from sdseg.models.codec import MaskCodec
    from sdseg.models.model_folder import save_codec_folder
    from tests.helpers.tiny import write_store

    torch.manual_seed(0)
    codec = MaskCodec(Codec.model_validate(CODEC), float(str(CODEC["latent_scale"])))
    (chosen.folder / "codec").mkdir()
    seconds = _timed(lambda: save_codec_folder(chosen.folder / "codec", codec, 0.0, {}))
    image = ImageContract(modality="rgb", size=chosen.size, channels=3, window=(0.0, 255.0))
    write_store(chosen.folder / "prepared", image, cases={"train": (1,) * chosen.batch, "val": (1,), "test": (1,)})
    return {"save_codec_seconds": seconds, "codec_bytes": _bytes(chosen.folder / "codec")}


def _train(chosen: argparse.Namespace) -> dict[str, Any]:
    import torch

    from sdseg.training.train import train

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
    manifest = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))
    found = {
        "seconds": round(seconds, 1),
        "seconds_first_step": at[0],
        "seconds_per_step": statistics.median(each[len(each) // 4 :]) if each else None,
        "parameters": manifest["training"]["parameters"],
        "model_bytes": _bytes(folder / "model"),
    }
    shutil.rmtree(folder / "last")
    shutil.rmtree(folder / "state")
    if chosen.device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        found["gpu_peak_bytes"] = torch.cuda.max_memory_allocated()
    return found


def _build(chosen: argparse.Namespace) -> dict[str, Any]:
    """A model folder as training begins with: random weights."""
    import torch

    from sdseg.artifacts.manifests import ModelManifest
    from sdseg.models.model_folder import save_model
    from sdseg.models.start_from import new_segmenter, open_inputs

    torch.manual_seed(0)
    begun, folder, recipe = time.perf_counter(), chosen.folder, _recipe(chosen)
    inputs = open_inputs(folder / "prepared", recipe, folder / "codec", None, torch.device("cpu"))
    segmenter = new_segmenter(recipe, inputs).eval()
    store, used = inputs.store.manifest, inputs.codec
    manifest = ModelManifest(
        dataset=store.dataset,
        origin=store.origin,
        protocol=store.protocol,
        recipe_name=chosen.recipe.stem,
        recipe=recipe.model_dump(mode="json"),
        codec=used.manifest.settings.model_dump(mode="json") if used else None,
        latent_scale=used.manifest.latent_scale if used else None,
        image=store.image,
        structures=store.structures,
        exclusive=store.exclusive,
        training={"steps": 0, "codec_ceiling": None, "data_checksum": store.data_checksum},
        files={},
        provenance={},
    )
    (folder / "model").mkdir()
    save_model(folder / "model", segmenter, manifest)
    parameters = {name: sum(each.numel() for each in part.parameters()) for name, part in segmenter.parts().items()}
    seconds = round(time.perf_counter() - begun, 1)
    return {"seconds": seconds, "parameters": parameters, "model_bytes": _bytes(folder / "model")}


def _save(chosen: argparse.Namespace) -> dict[str, Any]:
    """The model folder written and read in both number formats."""
    from sdseg.models.model_folder import load_model, save_model

    begun = time.perf_counter()
    segmenter, manifest = load_model(chosen.folder / "model")
    found: dict[str, Any] = {"load_seconds": round(time.perf_counter() - begun, 2)}
    for weights in ("fp32", "fp16"):
        recipe = manifest.recipe | {"training": manifest.recipe["training"] | {"weights": weights}}
        described = manifest.model_copy(update={"recipe": recipe})
        place = chosen.folder / f"model-{weights}"
        place.mkdir()
        found[f"save_{weights}_seconds"] = _timed(partial(save_model, place, segmenter, described))
        found[f"load_{weights}_seconds"] = _timed(partial(load_model, place))
        found[f"{weights}_bytes"] = _bytes(place)
        shutil.rmtree(place)
    return found


def _infer(chosen: argparse.Namespace) -> dict[str, Any]:
    import torch

    from sdseg.models.model_folder import load_model

    segmenter, manifest = load_model(chosen.folder / "model")
    device = torch.device(chosen.device)
    segmenter.to(device)
    images = torch.randint(
        0, 255, (chosen.batch, chosen.size, chosen.size, manifest.image.channels), dtype=torch.uint8, device=device
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
    from sdseg.config.export import Export
    from sdseg.export.onnx import export

    output = chosen.folder / "export"
    # Of random weights the probability is compared as of any; its masks mean nothing.
    settings = Export(parity_cases=1, max_dice_difference=1.0, min_mask_dice=0.0)
    begun = time.perf_counter()
    export(chosen.folder / "model", chosen.folder / "prepared", output, settings)
    seconds = round(time.perf_counter() - begun, 1)
    parity = json.loads((output / "parity.json").read_text(encoding="utf-8"))
    return {"seconds": seconds, **_graph(output / "model.onnx"), "parity": parity}


def _quantise(chosen: argparse.Namespace) -> dict[str, Any]:
    """The graph in int8. Not through the gate: masks of random weights turn over at the slightest change."""
    from sdseg.backends.graph import feed_of
    from sdseg.backends.graph_precision import read_graph
    from sdseg.data.store import SliceStore
    from sdseg.export.quantise import quantise

    source, target = (chosen.folder / "export" / name for name in ("model.onnx", "model.int8.onnx"))
    manifest, _ = read_graph(source)
    store = SliceStore.open(chosen.folder / "prepared")
    begun = time.perf_counter()
    quantise(
        source, target, [feed_of(manifest, store.images[:1], 0)], manifest.model_copy(update={"precision": "int8"})
    )
    return {"seconds": round(time.perf_counter() - begun, 1), **_graph(target)}


def _graph(path: Path) -> dict[str, Any]:
    """Bytes of a graph and its weights, and its nodes by operator."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    operators = Counter(node.op_type for node in graph.node)
    sizes = {each.name: each.stat().st_size for each in sorted(path.parent.glob(f"{path.name}*"))}
    return {"nodes": len(graph.node), "operators": dict(operators.most_common()), "bytes": sizes}


def _runtimes(chosen: argparse.Namespace, folder: Path, figures: dict[str, Any]) -> str:
    """The table of benchmarks/inference.py; its figures become part of `figures`."""
    script, output = Path(__file__).with_name("inference.py"), folder / "inference.json"
    command = [sys.executable, str(script), "--model", str(folder / "model"), "--export", str(folder / "export")]
    command += ["--prepared", str(folder / "prepared"), "--output", str(output), "--random", "--images", "1"]
    command += ["--batches", "1", "--repeats", "5", "--seconds", "15"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    figures["inference"] = json.loads(output.read_text(encoding="utf-8"))
    return done.stdout


def _recipe(chosen: argparse.Namespace) -> Any:
    from sdseg.cli.assignments import assignments
    from sdseg.config.recipe import load_recipe
    from sdseg.core.settings import merge

    length = {"steps": chosen.steps, "batch": chosen.batch, "validate_every": chosen.steps, "log_every": 1}
    length |= {"checkpoint_every": chosen.steps, "workers": 0}
    precision = {"precision": "bf16" if chosen.device == "cuda" else "no"}
    return load_recipe(chosen.recipe, merge({"training": length | precision}, assignments(chosen.set)))


def _memory(chosen: argparse.Namespace) -> dict[str, Any]:
    """Bytes by part, of weights (with average, gradients, AdamW's moments) and of what the backward pass waits for."""
    from sdseg.config.codec import Codec
    from sdseg.config.network import LatentNetwork
    from sdseg.core.settings import merge
    from sdseg.sizing.training_needs import Shape, memory_by_part, training_needs

    recipe, shape = _recipe(chosen), Shape(chosen.size)
    codec = Codec.model_validate(CODEC) if isinstance(recipe.network, LatentNetwork) else None
    both = [
        recipe.model_validate(merge(recipe.model_dump(), {"training": {"gradient_checkpointing": again}}))
        for again in (False, True)
    ]
    images = recipe.training.batch // recipe.training.accumulate
    plain, fewer = ({each.part: each for each in memory_by_part(changed, codec, shape, images)} for changed in both)
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8")
    return {
        "command": f"python benchmarks/full_scale.py --memory --recipe {chosen.recipe} --batch {recipe.training.batch} "
        f"--device {chosen.device} --json FILE",
        "commit": head.stdout.strip() or "unknown",
        "machine": "counted from the layers on paper",
        "recipe": chosen.recipe.stem,
        "size": chosen.size,
        "batch": recipe.training.batch,
        "precision": recipe.training.precision,
        "parts": [
            {
                "part": name,
                "parameters": each.parameters,
                "weights_bytes": each.weights_bytes,
                "kept_bytes": plain[name].kept_bytes if name in plain else None,
                "kept_bytes_checkpointed": each.kept_bytes,
            }
            for name, each in fewer.items()
        ],
        "gpu_bytes": [training_needs(changed, codec, shape, cuda=True).gpu_bytes for changed in both],
    }


def _show(figures: dict[str, Any]) -> None:
    """A Markdown table of what was measured."""
    gb = 1e9
    rows = [(*row, "") if len(row) == 3 else row for row in (*_rows_of_training(figures), *_rows_of_export(figures))]
    print(
        f"{figures['recipe']}, {figures['device']}, {figures['machine']}, threads {figures['threads']}, "
        f"{figures['time']}\n"
    )
    print("| part | what | seconds | CPU seconds of its process | peak memory |\n|---|---|---|---|---|")
    for name, what, seconds, stage in rows:
        peak = f"{figures[stage]['peak_bytes'] / gb:.1f} GB" if stage else ""
        cpu = figures[stage]["cpu_seconds"] if stage else ""
        print(f"| {name} | {what} | {seconds} | {cpu} | {peak} |")
    train = figures.get("train", {})
    if "gpu_peak_bytes" in train:
        print(f"\n{train['gpu']}: {train['gpu_peak_bytes'] / gb:.1f} GB of GPU memory in training")


def _rows_of_training(figures: dict[str, Any]) -> list[tuple[Any, ...]]:
    gb = 1e9
    begun = figures.get("train") or figures["build"]
    parts = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in begun["parameters"].items() if count)
    codec = f"{figures['prepare']['codec_bytes'] / gb:.2f} GB"
    rows: list[tuple[Any, ...]] = [("parameters", parts, "")]
    rows += [("codec folder", codec, figures["prepare"]["save_codec_seconds"], "prepare")]
    if "train" not in figures:
        return [*rows, ("model folder", f"{begun['model_bytes'] / gb:.2f} GB", begun["seconds"], "build")]
    train, save, infer = figures["train"], figures["save"], figures["infer"]
    steps = f"{figures['steps']} steps of batch {figures['batch']}, all of `sdseg train`"
    per_step = train["seconds_per_step"] or train["seconds_first_step"]
    rows += [
        ("training", steps, train["seconds"], "train"),
        ("one training step", f"{1 / per_step:.3g} steps/s", round(per_step, 2), "train"),
        ("inference", f"{infer['images_per_second']} images/s", infer["seconds_per_batch"], "infer"),
    ]
    for weights in ("fp32", "fp16"):
        size = f"{save[f'{weights}_bytes'] / gb:.2f} GB, save"
        rows += [(f"model folder, {weights}", size, save[f"save_{weights}_seconds"], "save")]
        rows += [("", "load", save[f"load_{weights}_seconds"])]
    return rows


def _rows_of_export(figures: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for stage, name in (("export", "ONNX export and parity"), ("quantise", "int8 of it")):
        if stage not in figures:
            continue
        found = figures[stage]
        size = f"{sum(found['bytes'].values()) / 1e9:.2f} GB, {found['nodes']} nodes"
        operators = ", ".join(f"{operator} {count}" for operator, count in list(found["operators"].items())[:12])
        rows += [(name, size, found["seconds"], stage), ("", operators, "")]
    return rows


def _timed(action: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    action()
    return round(time.perf_counter() - begun, 2)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


STAGES = {
    "prepare": _prepare,
    "train": _train,
    "build": _build,
    "save": _save,
    "infer": _infer,
    "export": _export,
    "quantise": _quantise,
}

if __name__ == "__main__":
    sys.exit(main())
