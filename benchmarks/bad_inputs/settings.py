"""Settings that cannot be: every key of every section with values of another type or beyond its bounds."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bad_inputs.case import LAYOUT, MINI, Bad, Ready, write_yaml
from sdseg.config.codec import Codec
from sdseg.config.dataset import Dataset
from sdseg.config.recipe import Recipe, read_recipe
from sdseg.config.run import Config

__all__ = ["codecs", "configurations", "datasets", "recipes", "yaml_files"]

ROOT = Path(__file__).resolve().parent.parent.parent
Keys = tuple[str, ...]


def configurations(ready: Ready) -> Iterator[Bad]:
    path = ready.scratch / "config.yaml"
    sections = {"export": {}, "studies": {}, "engines": {}, "ablation": {"recipes": {"less": MINI["recipes"]["unet"]}}}
    for keys, value in spoilt(Config.model_json_schema(), MINI | sections):
        write_yaml(path, with_value(MINI | sections, keys, value))
        yield Bad(f"{'.'.join(keys)}: {value!r}"[:80], ["doctor", "--config", path], (keys[-1],))
    contradictions: dict[str, tuple[Keys, Any, str]] = {
        "results in raw": (("results",), "raw data/results", "results"),
        "results are raw": (("results",), "raw data", "results"),
        "results are a file": (("results",), "/etc/passwd", "results"),
        "results with a wildcard": (("results",), "/tmp/{dataset}", "results"),
        "dataset called all": (("datasets", "all"), {"source": "kseg"}, "all"),
        "dataset called train": (("datasets", "train"), {"source": "kseg"}, "train"),
        "dataset called report": (("datasets", "report"), {"source": "kseg"}, "report"),
        "dataset called model": (("datasets", "model"), {"source": "kseg"}, "model"),
        "dataset called codecs": (("datasets", "codecs"), {"source": "kseg"}, "codecs"),
        "dataset of 300 letters": (("datasets", "x" * 300), {"source": "kseg"}, "xxx"),
        "dataset with a slash": (("datasets", "a/b"), {"source": "kseg"}, "a/b"),
        "dataset with a capital": (("datasets", "Kseg"), {"source": "kseg"}, "Kseg"),
        "recipe called prepared": (("recipes", "prepared"), MINI["recipes"]["unet"], "prepared"),
        "recipe of 300 letters": (("recipes", "x" * 300), MINI["recipes"]["unet"], "xxx"),
        "unknown source": (("datasets", "kseg", "source"), "kvasirr", "kvasirr"),
        "unknown target": (("datasets", "kseg", "target"), "nothing", "nothing"),
        "unknown window": (("datasets", "btcv", "window"), "bright", "bright"),
        "unknown recipe": (("datasets", "kseg", "recipes"), ["sdsegg"], "sdsegg"),
        "unknown codec": (("recipes", "sdseg", "overrides", "network", "codec"), "big", "big"),
        "recipe file that is missing": (("recipes", "unet", "file"), "config/recipes/none.yaml", "none.yaml"),
        "recipe file that is a folder": (("recipes", "unet", "file"), "config", "config"),
        "size that cannot be halved": (("datasets", "kseg", "size"), 33, "size"),
        "seed twice": (("recipes", "unet", "seeds"), [1, 1], "seed"),
        "phantoms without their section": (("phantoms",), None, "phantoms"),
        "raw of its own with phantoms": (("datasets", "kseg", "raw"), "mine", "raw"),
        "codec with weights and training": (("codecs", "tiny", "weights"), "w", "tiny"),
        "engine without a graph": (("engines", "precisions"), ["fp16"], "precisions"),
        "start from itself": (("recipes", "sdseg", "overrides", "start_from"), {"recipe": "sdseg"}, "start_from"),
        "start from a stranger": (("recipes", "sdseg", "overrides", "start_from"), {"recipe": "unset"}, "unset"),
        "start from a model that is missing": (
            ("recipes", "sdseg", "overrides", "start_from"),
            {"model": "nowhere/model"},
            "nowhere",
        ),
        "second stage without a first": (
            ("recipes", "sdseg", "overrides", "diffusion"),
            {"loss_mask": 1.0, "loss_latent": 0.0, "loss_mask_from": 1},
            "first stage is missing",
        ),
        "second stage behind the last step": (
            ("recipes", "sdseg", "overrides", "diffusion"),
            {"loss_mask": 1.0, "loss_mask_from": 10**8},
            "loss_mask_from",
        ),
        "decoder that nothing teaches": (
            ("recipes", "sdseg", "overrides", "network", "decoder"),
            "trained",
            "loss_mask",
        ),
        "mask loss that is not weighed": (
            ("recipes", "sdseg", "overrides", "training", "mask_loss"),
            "lovasz_ce",
            "loss_mask",
        ),
        "key of another architecture": (
            ("recipes", "unet", "overrides"),
            {"network": {"architecture": "dynunet", "residual_units": 2}},
            "residual_units",
        ),
        "size that an architecture cannot halve": (
            ("recipes", "unet", "overrides"),
            {"network": {"architecture": "dynunet", "channels": [4] * 7}},
            "multiple of 64",
        ),
        "accumulate that does not divide": (
            ("recipes", "unet", "overrides"),
            {"training": {"batch": 3, "accumulate": 2}},
            "batch",
        ),
        "learning rate without end": (
            ("recipes", "unet", "overrides"),
            {"optimiser": {"learning_rate": math.inf}},
            "learning_rate",
        ),
        "batch of 1e12": (("recipes", "unet", "overrides"), {"training": {"batch": 10**12}}, "batch"),
        "seed of 30 digits": (("recipes", "unet", "overrides"), {"training": {"seed": 10**30}}, "seed"),
        "split of a source that has its own": (("datasets", "kseg", "split"), {"seed": 0}, "split"),
        "own without its section": (("datasets", "mine"), {"source": "own"}, "own"),
        "ablation of an unknown dataset": (
            ("ablation",),
            {"recipes": {"l": MINI["recipes"]["unet"]}, "datasets": ["x"]},
            "x",
        ),
    }
    for name, (keys, value, about) in contradictions.items():
        write_yaml(path, with_value(MINI, keys, value))
        yield Bad(name, ["doctor", "--config", path], (about,))


def yaml_files(ready: Ready) -> Iterator[Bad]:
    """Files that are no YAML mapping, in every place where one is read."""
    text = yaml.safe_dump(MINI)
    contents: dict[str, bytes] = {
        "empty": b"",
        "binary": bytes(range(256)),
        "latin-1": "raw: données\n".encode("latin-1"),
        "utf-16": text.encode("utf-16"),
        "a list": b"[1, 2]\n",
        "a word": b"raw\n",
        "tabs": b"raw:\n\t- x\n",
        "cut off": text.encode()[: len(text) // 2] + b"\n  {",
        "an object": b"!!python/object/apply:os.system ['true']\n",
        "a key twice": b"raw: a\nraw: b\n" + text.encode(),
        "a deep key twice": text.encode() + b"export: {opset: 21, opset: 20}\n",
        "an unknown alias": b"raw: *nowhere\n",
        "a null character": b"raw: a\x00b\n",
    }
    places: dict[str, list[object]] = {
        "config": ["doctor", "--config"],
        "recipe": ["train", "--prepared", ready.store, "--output", ready.scratch / "out" / "model", "--recipe"],
        "codec": ["codec", "--output", ready.scratch / "out" / "codec", "--settings"],
        "dataset": _prepare(ready, "--settings"),
    }
    for place, words in places.items():
        for name, content in contents.items():
            path = ready.scratch / f"{place}.yaml"
            path.write_bytes(content)
            yield Bad(f"{place}: {name}", [*words, path], (str(path), path.name))
        yield Bad(f"{place}: missing", [*words, ready.scratch / "none.yaml"], ("none.yaml",))
        yield Bad(f"{place}: a folder", [*words, ready.scratch], (str(ready.scratch),))
        path.unlink()
        path.symlink_to(path)
        yield Bad(f"{place}: a link to itself", [*words, path], (path.name,), made=(path,))


def recipes(ready: Ready) -> Iterator[Bad]:
    path = ready.scratch / "recipe.yaml"
    for file in ("unet", "sdseg"):
        good = read_recipe(ROOT / "config" / "recipes" / f"{file}.yaml")
        for keys, value in spoilt(Recipe.model_json_schema(), good):
            write_yaml(path, with_value(good, keys, value))
            words = ["train", "--prepared", ready.store, "--recipe", path, "--output", ready.scratch / "out" / "model"]
            yield Bad(f"{file} {'.'.join(keys)}: {value!r}"[:80], words, (keys[-1],))


def codecs(ready: Ready) -> Iterator[Bad]:
    path, good = ready.scratch / "codec.yaml", MINI["codecs"]["tiny"]
    for keys, value in spoilt(Codec.model_json_schema(), good):
        write_yaml(path, with_value(good, keys, value))
        words = ["codec", "--settings", path, "--output", ready.scratch / "out" / "codec"]
        yield Bad(f"{'.'.join(keys)}: {value!r}"[:80], words, (keys[-1],))
    for name, values in {
        "neither weights nor training": LAYOUT,
        "weights that are missing": {**LAYOUT, "weights": str(ready.scratch / "nowhere")},
        "groups that do not divide": {**good, "norm_num_groups": 7},
    }.items():
        write_yaml(path, values)
        words = ["codec", "--settings", path, "--output", ready.scratch / "out" / "codec"]
        yield Bad(name, words, ("weights", "nowhere", "norm_num_groups"))


def datasets(ready: Ready) -> Iterator[Bad]:
    path = ready.scratch / "dataset.yaml"
    own = {
        "layout": "folders",
        "modality": "rgb",
        "images": "i",
        "masks": "m",
        "labels": {1: "x"},
        "mask_values": {255: 1},
    }
    good = {"source": "own", "size": 32, "own": own}
    for keys, value in spoilt(Dataset.model_json_schema(), good):
        write_yaml(path, with_value(good, keys, value))
        yield Bad(f"{'.'.join(keys)}: {value!r}"[:80], [*_prepare(ready, "--settings"), path], (keys[-1],))


def spoilt(schema: dict[str, Any], good: dict[str, Any]) -> Iterator[tuple[Keys, Any]]:
    """Keys of the schema with a value that it does not allow, section by section, as far as `good` has sections."""
    definitions = schema.get("$defs", {})

    def walk(node: dict[str, Any], held: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
        for option in _options(node, definitions):
            inner = option.get("additionalProperties")
            if "properties" in option and isinstance(held, dict):
                if option.get("discriminator"):
                    continue
                kinds = option["properties"].get("kind", {})
                if "const" in kinds and held.get("kind") != kinds["const"]:
                    continue
                yield (*keys, "no_such_key"), 1
                for name, child in option["properties"].items():
                    if name in held or _leaf(child, definitions):
                        yield from walk(child, held.get(name), (*keys, name))
            elif isinstance(inner, dict) and isinstance(held, dict):
                for name in list(held)[:1]:
                    yield from walk(inner, held[name], (*keys, str(name)))
        if keys and _leaf(node, definitions):
            yield from ((keys, value) for value in _wrong(node, definitions))

    yield from walk(schema, good, ())


def _options(node: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _options(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in node:
            return [option for each in node[key] for option in _options(each, definitions)]
    return [node]


def _leaf(node: dict[str, Any], definitions: dict[str, Any]) -> bool:
    options = _options(node, definitions)
    return not any("properties" in option or "additionalProperties" in option for option in options)


def _wrong(node: dict[str, Any], definitions: dict[str, Any]) -> Iterator[Any]:
    options = _options(node, definitions)
    types = {option.get("type") for option in options}
    if not any(option for option in options):  # anything goes
        return
    yield {"a": {"b": 1}}
    if types & {"number", "integer"}:
        yield math.nan
        yield math.inf
        for option in options:
            if "minimum" in option:
                yield option["minimum"] - 1
            if "exclusiveMinimum" in option:
                yield option["exclusiveMinimum"]
            if "maximum" in option:
                yield option["maximum"] * 2 + 1
    if "array" in types:
        yield "word"
        yield [{"a": 1}]
    if any("enum" in option or "const" in option for option in options):
        yield "nonsense"
    if "boolean" in types:
        yield "perhaps"
    if "string" in types and not types & {"number", "integer", "array"}:
        yield ["a", "list"]


def with_value(tree: dict[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    """A copy of the tree with one value laid into it."""
    changed = copy.deepcopy(tree)
    place = changed
    for key in keys[:-1]:
        if not isinstance(place.get(key), dict):
            place[key] = {}
        place = place[key]
    place[keys[-1]] = value
    return changed


def _prepare(ready: Ready, *more: object) -> list[object]:
    words = [
        "prepare",
        "--name",
        "x",
        "--raw",
        ready.raw,
        "--split",
        ready.split,
        "--output",
        ready.scratch / "out" / "p",
    ]
    return [*words, *more]
