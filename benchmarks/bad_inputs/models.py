"""Our own files, altered: slice stores, model folders and exported graphs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from benchmarks.bad_inputs.case import Bad, Ready, noise
from tests.helpers.raw_files import encode

__all__ = ["graphs", "models", "stores"]


def stores(ready: Ready) -> Iterator[Bad]:
    def words(store: Path) -> list[object]:
        return ["evaluate", "--prepared", store, "--model", ready.rgb, "--output", ready.scratch / "out" / "e"]

    manifest = json.loads((ready.store / "manifest.json").read_text("utf-8"))
    for name, text in _manifests(manifest):
        store = ready.copy(ready.store, "store")
        (store / "manifest.json").write_text(text, encoding="utf-8")
        yield Bad(f"manifest.json: {name}", words(store), ("manifest.json", str(store)), made=(store,))
    edits: dict[str, Callable[[Path], object]] = {
        "cases.csv emptied": lambda store: (store / "cases.csv").write_text(""),
        "cases.csv cut": lambda store: _edit(store / "cases.csv", lambda text: text[:-40]),
        "cases.csv: val and test swapped": lambda store: _edit(
            store / "cases.csv",
            lambda text: text.replace(",val,", ",#,").replace(",test,", ",val,").replace(",#,", ",test,"),
        ),
        "cases.csv: a line less": lambda store: _edit(store / "cases.csv", lambda text: text.rsplit("\n", 2)[0] + "\n"),
        "cases.csv missing": lambda store: (store / "cases.csv").unlink(),
        "slices.csv emptied": lambda store: (store / "slices.csv").write_text(""),
        "slices.csv missing": lambda store: (store / "slices.csv").unlink(),
        "images.npy inverted": _inverted,
        "images.npy cut": lambda store: _cut(store / "images.npy"),
        "images.npy missing": lambda store: (store / "images.npy").unlink(),
        "images.npy of another type": lambda store: np.save(store / "images.npy", np.zeros((3, 4))),
        "images.npy pickled": lambda store: np.save(store / "images.npy", np.array([{"a": 1}]), allow_pickle=True),
        "masks.npy cut": lambda store: _cut(store / "masks.npy"),
        "masks.npy missing": lambda store: (store / "masks.npy").unlink(),
        "mask_ends.npy of zeros": lambda store: np.save(store / "mask_ends.npy", np.zeros(6, np.int64)),
        "mask_ends.npy missing": lambda store: (store / "mask_ends.npy").unlink(),
    }
    for name, edit in edits.items():
        store = ready.copy(ready.store, "store")
        edit(store)
        yield Bad(name, words(store), (name.split()[0].rstrip(":"), str(store)), made=(store,))
    for name, store in {"none": ready.scratch / "none", "a file": ready.split, "empty": ready.scratch / "void"}.items():
        (ready.scratch / "void").mkdir(exist_ok=True)
        yield Bad(name, words(store), (str(store),))
    yield Bad(
        "of another kind than the model",
        ["evaluate", "--prepared", ready.volumes, "--model", ready.rgb, "--output", ready.scratch / "out" / "e"],
        ("modality", str(ready.volumes)),
    )


def models(ready: Ready) -> Iterator[Bad]:
    photo = encode(ready.scratch / "photo.png", noise(40, 40, 3))

    def words(model: Path) -> list[object]:
        return ["predict", photo, "--model", model, "--output", ready.scratch / "predicted"]

    config = json.loads((ready.model / "config.json").read_text("utf-8"))
    about = ("config.json", "threshold", "window")
    for name, text in _manifests(config):
        model = ready.copy(ready.model, "model")
        (model / "config.json").write_text(text, encoding="utf-8")
        yield Bad(f"config.json: {name}", words(model), (*about, str(model)), made=(model, ready.scratch / "predicted"))
    edits: dict[str, Callable[[Path], object]] = {
        "cut": _cut,
        "empty": lambda path: path.write_bytes(b""),
        "text": lambda path: path.write_text("weights"),
        "a bit flipped": lambda path: _flip(path, -100),
        "a pickle": lambda path: torch.save({"a": torch.zeros(1)}, path),
        "missing": lambda path: path.unlink(),
        "a header of 2^62 bytes": lambda path: path.write_bytes((2**62).to_bytes(8, "little") + b"{}"),
    }
    for name, edit in edits.items():
        model = ready.copy(ready.model, "model")
        edit(model / "weights.safetensors")
        yield Bad(f"weights: {name}", words(model), ("weights.safetensors", str(model)), made=(model,))


def graphs(ready: Ready) -> Iterator[Bad]:
    photo = encode(ready.scratch / "photo.png", noise(40, 40, 3))
    path = ready.scratch / "graph" / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    content = ready.rgb.read_bytes()
    made = (ready.scratch / "predicted",)

    def words() -> list[object]:
        return ["predict", photo, "--model", path, "--output", ready.scratch / "predicted"]

    for number in range(24):
        place = (number * 2 + 1) * len(content) // 48
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << (number % 8)
        path.write_bytes(bytes(spoilt))
        yield Bad(f"a bit of byte {place} flipped", words(), (str(path), path.name), made=made)
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        yield Bad(f"cut at {share:g}", words(), (str(path), path.name), made=made)
    path.write_bytes(content + b"more")
    yield Bad("bytes behind it", words(), (str(path), path.name), made=made)
    manifest = json.loads({one.key: one.value for one in onnx.load(ready.rgb).metadata_props}["sdseg"])
    for name, text in _manifests(manifest):
        model = onnx.load(ready.rgb)
        for one in model.metadata_props:
            if one.key == "sdseg":
                one.value = text
        onnx.save(model, path)
        yield Bad(f"metadata: {name}", words(), (str(path), path.name), made=made)
    model = onnx.load(ready.rgb)
    del model.metadata_props[:]
    onnx.save(model, path)
    yield Bad("no metadata", words(), (str(path), path.name), made=made)


def _manifests(good: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The text of a manifest with keys taken away, of another type, or of values that cannot be."""
    for key in good:
        if key not in _OPTIONAL:
            yield f"without '{key}'", json.dumps({name: value for name, value in good.items() if name != key})
        yield f"'{key}' is a deep list", json.dumps({**good, key: [[[1]]]})
    yield "a further key", json.dumps({**good, "no_such_key": 1})
    for name, text in {"empty": "", "a list": "[1]", "cut": json.dumps(good)[:-9], "binary": "\x00\x01"}.items():
        yield name, text
    yield "another format", json.dumps({**good, "format": 99})
    if "threshold" in good:
        for value in (5, -1):
            yield f"threshold {value}", json.dumps({**good, "threshold": value})
        yield "threshold NaN", json.dumps({**good, "threshold": float("nan")})
    image = good["image"]
    contracts: dict[str, dict[str, object]] = {
        "window reversed": {"window": [255.0, 0.0]},
        "window empty": {"window": [3.0, 3.0]},
        "window without end": {"window": [0.0, float("inf")]},
        "size 0": {"size": 0},
        "size negative": {"size": -32},
        "no channels": {"channels": 0},
        "another modality": {"modality": "smell"},
    }
    for name, changes in contracts.items():
        yield name, json.dumps({**good, "image": {**image, **changes}})
    yield "no structures", json.dumps({**good, "structures": []})
    yield "a structure twice", json.dumps({**good, "structures": good["structures"] * 2})


# What may be missing: files of earlier versions lack it, or it only tells where they come from.
_OPTIONAL = {
    *(
        "format",
        "kind",
        "version",
        "precision",
        "protocol",
        "labels",
        "interpolation",
        "data_checksum",
        "model_checksum",
    ),
    *("postprocessing", "postprocessing_chosen", "members", "fold", "flips"),
    *("graph_checksum", "weights_checksum", "checksum", "exclusive", "intensities", "hash", "hashes", "fast_checksums"),
}


def _edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text("utf-8")), encoding="utf-8")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x40
    path.write_bytes(bytes(content))


def _inverted(store: Path) -> None:
    images = np.load(store / "images.npy")
    np.save(store / "images.npy", 255 - images)
