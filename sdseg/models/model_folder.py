"""Save and load of codecs, models and training states, side by side: safetensors, strict, checked against checksums."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sdseg.artifacts.manifests import CodecManifest, EnsembleMember, ModelManifest
from sdseg.config.codec import Codec
from sdseg.config.recipe import Recipe
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import atomic_file, read_json, sha256_file, write_json
from sdseg.core.settings import merge, parse
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.codec import MaskCodec, load_strictly
from sdseg.models.ensemble import EnsembleSegmenter
from sdseg.models.label_classes import LabelClasses
from sdseg.models.segmenter import Segmenter

__all__ = [
    "CODEC_WEIGHTS",
    "MODEL_WEIGHTS",
    "OWNED",
    "count_parameters",
    "load_codec_folder",
    "load_model",
    "read_manifest",
    "read_tensors",
    "save_codec_folder",
    "save_model",
    "write_tensors",
]

CODEC_WEIGHTS = "codec.safetensors"
MODEL_WEIGHTS = "weights.safetensors"
OWNED = (CODEC_WEIGHTS, MODEL_WEIGHTS, "config.json", "training.jsonl")  # what a codec or model folder may hold


def save_codec_folder(
    folder: Path,
    codec: MaskCodec,
    dice: float | None,
    provenance: dict[str, Any],
    of_dataset: dict[str, Any] | None = None,
) -> None:
    """Write codec.safetensors and config.json into an existing folder; `of_dataset`: whose masks it knows, by key."""
    write_tensors(folder / CODEC_WEIGHTS, codec.autoencoder.state_dict())
    manifest = CodecManifest(
        settings=codec.settings,
        latent_scale=codec.scale,
        dice=dice,
        **(of_dataset or {}),
        files={CODEC_WEIGHTS: sha256_file(folder / CODEC_WEIGHTS)},
        provenance=provenance,
    )
    write_json(folder / "config.json", manifest)


def load_codec_folder(folder: Path) -> tuple[MaskCodec, CodecManifest]:
    """A frozen codec in evaluation mode, on the CPU, with its manifest."""
    manifest = read_json(folder / "config.json", CodecManifest)
    _check_files(folder, manifest.files, "sdseg codec")
    labels = manifest.settings.encodes == "labels"
    if labels and manifest.structures is None:
        what = "the codec encodes label maps, and its config.json names no 'structures'"
        raise UserError(what, where=folder / "config.json", remedy="make it again with 'sdseg codec'")
    classes = LabelClasses.of(manifest.structures) if labels and manifest.structures else None
    codec = MaskCodec(manifest.settings, manifest.latent_scale, classes)
    load_strictly(codec.autoencoder, read_tensors(folder / CODEC_WEIGHTS), folder / CODEC_WEIGHTS)
    return codec.eval().requires_grad_(False), manifest


def save_model(folder: Path, segmenter: Segmenter, manifest: ModelManifest) -> None:
    """Write weights.safetensors and config.json into an existing folder; the manifest's `files` is filled in.

    With `training.weights: fp16` in the manifest's recipe the parameters are stored in half precision.
    """
    half = manifest.recipe.get("training", {}).get("weights") == "fp16"
    write_tensors(folder / MODEL_WEIGHTS, _halved(segmenter) if half else segmenter.weights())
    files = {MODEL_WEIGHTS: sha256_file(folder / MODEL_WEIGHTS)}
    write_json(folder / "config.json", manifest.model_copy(update={"files": files}))


def load_model(folder: Path, inference: dict[str, Any] | None = None) -> tuple[Segmenter, ModelManifest]:
    """The segmenter of a model folder: float32, on the CPU, in evaluation mode. Raises UserError for a foreign one.

    `inference` lays values over the recipe's section of that name, such as `steps` and `samples`; the recipe of the
    manifest returned has them too. Raises ListedError for values that the recipe does not allow.
    """
    manifest = read_manifest(folder)
    if inference:
        over = {"inference": inference}
        members = [one.model_copy(update={"recipe": merge(one.recipe, over)}) for one in manifest.members]
        changed = {"recipe": merge(manifest.recipe, over), "members": tuple(members)}
        manifest = manifest.model_copy(update=changed)
    _check_files(folder, manifest.files, "sdseg train")
    where = str(folder / "config.json")
    try:
        networks = [_networks(one, manifest, where) for one in manifest.members or (manifest,)]
    except ListedError as error:
        if not inference:
            raise
        wanted = ", ".join(f"{key}: {value}" for key, value in inference.items())
        raise ListedError(
            f"the recipe of {'a member of ' if manifest.members else ''}this model does not allow '{wanted}':",
            error.problems,
            where=folder,
            remedy="leave the number out, or name a model of a recipe that allows it",
        ) from None
    segmenter = EnsembleSegmenter(networks) if manifest.members else networks[0]
    load_strictly(segmenter, read_tensors(folder / MODEL_WEIGHTS), folder / MODEL_WEIGHTS)
    return segmenter.eval().requires_grad_(False), manifest


def _networks(one: ModelManifest | EnsembleMember, whole: ModelManifest, where: str) -> Segmenter:
    """The untrained networks of a model, or of a member of one."""
    recipe = parse(Recipe, one.recipe, where=where)
    codec = parse(Codec, one.codec, where=where) if one.codec is not None else None
    classes = LabelClasses.of(whole.structures)
    return build_segmenter(recipe, whole.image, len(whole.structures), codec, one.latent_scale, classes)


def read_manifest(folder: Path) -> ModelManifest:
    """What a model folder says about itself; the weights are not looked at. Raises UserError where it is no model."""
    if not folder.is_dir():
        raise UserError("the model folder is missing", where=folder, remedy="train first, or name another folder")
    manifest = read_json(folder / "config.json", ModelManifest)
    if manifest.kind != "sdseg-model":
        raise UserError(f"this is a '{manifest.kind}', not a model", where=folder, remedy="name a model folder")
    return manifest


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, atomically."""
    with atomic_file(path) as temporary:
        try:
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, temporary)
        except SafetensorError as error:  # of a full disk it says so in words alone
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; a missing, truncated or foreign one is a UserError."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot read the weights: {error}", where=path, remedy="the file is damaged or foreign: get it again"
        ) from None


def _halved(segmenter: Segmenter) -> dict[str, Tensor]:
    """Parameters in half precision; buffers (the noise of a graph, a window) as they are."""
    tensors = segmenter.weights()
    parameters = dict(segmenter.named_parameters())
    for name in tensors.keys() & parameters.keys():
        tensors[name] = parameters[name].detach().half()
        if not bool(tensors[name].isfinite().all()):
            raise UserError(
                f"'{name}' does not fit into half precision: a weight exceeds 65504 or is not finite",
                where="training.weights of the recipe",
                remedy="set it to fp32; if that model is no good either, training has diverged",
            )
    return tensors


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _check_files(folder: Path, files: dict[str, str], maker: str) -> None:
    """Every listed file is there with its checksum, and no other weights lie beside them."""
    for name, checksum in files.items():
        path = folder / name
        if not path.is_file():
            raise UserError(
                f"the file '{name}' is missing", where=folder, remedy=f"copy the whole folder, or run {maker}"
            )
        if sha256_file(path) != checksum:
            raise UserError(
                f"the file '{name}' is damaged or foreign: its SHA-256 is not the one in config.json",
                where=folder,
                remedy=f"copy the whole folder again, or run {maker}",
            )
    foreign = sorted(path.name for path in folder.glob("*.safetensors") if path.name not in files)
    if foreign:
        raise UserError(
            f"foreign file '{foreign[0]}': config.json does not list it",
            where=folder,
            remedy="remove it, so that it is clear which weights are meant",
        )
