"""Any trained model, a folder or one ONNX file, as a backend with what is needed to feed it and to read its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.artifacts.manifests import GraphManifest, ModelManifest, model_checksum
from sdseg.backends.base import Backend, samples_of
from sdseg.backends.graph_checksum import graph_checksum
from sdseg.backends.providers import open_graph
from sdseg.backends.tiled import tiled
from sdseg.backends.torch import TorchBackend
from sdseg.core.errors import UserError
from sdseg.core.extras import needing
from sdseg.data.mask_rule import MaskRule

__all__ = ["Served", "open_model"]

NUMBERED = r"cuda:\d+"  # one GPU of several


@dataclass(frozen=True)
class Served:
    """A model that is ready to compute, and what it says about itself."""

    backend: Backend
    image: ImageContract
    structures: tuple[Structure, ...]
    rule: MaskRule  # how its probabilities become masks
    dataset: str
    origin: str  # "real", "sample" or "phantom": what it was trained on
    recipe: str
    protocol: str | None  # None where the file does not tell
    training: dict[str, Any]  # the training record of a model folder; of a graph or engine its `data_checksum` alone
    checksum: str  # names this very model
    path: Path
    made_from: str | None = None  # of a graph or engine: `checksum` of the model folder it was made from, where known

    @property
    def words(self) -> str:
        """What the model is and what it was made for."""
        made_for = "images" if self.image.modality == "rgb" else f"volumes of 'modality: {self.image.modality}'"
        return f"the model is {self.recipe} of dataset '{self.dataset}', made for {made_for}"


def open_model(
    path: Path, device: str = "cpu", seed: int = 0, *, steps: int | None = None, samples: int | None = None
) -> Served:
    """Open a model folder (PyTorch), an .onnx file (ONNX Runtime) or an .engine file (TensorRT) on 'cpu' or 'cuda'.

    A model folder runs on 'cuda:1' as well, an .onnx file on 'openvino' and 'openvino-bf16'. `seed` is that of the
    noise, for recipes that sample.
    `steps` and `samples` replace the recipe's reverse steps and hypotheses; a graph has its own built in, and opens
    where it gives as many hypotheses as `samples` says. Raises UserError for anything else, for a recipe that does not
    allow these numbers, and for a device that this machine does not have.
    """
    if device.startswith("openvino") and path.exists() and path.suffix.lower() != ".onnx":
        raise UserError(
            "OpenVINO runs exported graphs alone, .onnx files",
            where=path,
            remedy="name …/export/model.onnx, or --device cpu",
        )
    if path.is_dir():
        inference = {"steps": steps, "samples": samples}
        return _open_folder(path, device, seed, {key: value for key, value in inference.items() if value is not None})
    if not path.exists():
        raise UserError(
            "there is no such model", where=path, remedy="name a folder made by 'sdseg train' or a file model.onnx"
        )
    built_in = UserError(
        "an exported graph has its number of steps and samples built in",
        where=path,
        remedy="name the model folder, or export a recipe with other 'inference' values",
    )
    if steps is not None:
        raise built_in
    if re.fullmatch(NUMBERED, device) and path.suffix.lower() in (".onnx", ".engine"):
        raise UserError(
            f"graphs and engines run on the first GPU that a process sees, and not on '{device}'",
            where=path,
            remedy=f"start Python with CUDA_VISIBLE_DEVICES={device.partition(':')[2]}, and say 'cuda'",
        )
    openers = {".onnx": _open_graph, ".engine": _open_engine}
    if opener := openers.get(path.suffix.lower()):
        served = opener(path, device, seed)
        if samples not in (None, samples_of(served.backend)):
            raise built_in
        return served
    raise UserError(
        f"'{path.name}' is neither a model folder nor an .onnx or .engine file",
        where=path,
        remedy="name a folder made by 'sdseg train' (…/model) or a file made by 'sdseg export' (…/export/model.onnx)",
    )


def _open_folder(path: Path, device: str, seed: int, inference: dict[str, Any]) -> Served:
    with needing("a model folder (exported graphs, .onnx files, do without)"):
        from sdseg.models.model_folder import load_model

    segmenter, manifest = load_model(path, inference)
    backend = TorchBackend(segmenter, manifest.image, device, segmenter.noise_shape, seed, segmenter.sliding_window)
    served = _served(backend, manifest, manifest.recipe_name, model_checksum(manifest), path)
    return replace(served, training=manifest.training)


def _open_graph(path: Path, device: str, seed: int) -> Served:
    backend = open_graph(path, device, seed)
    manifest = backend.manifest
    served = _served(backend, manifest, manifest.recipe, graph_checksum(path), path)
    return replace(served, made_from=manifest.model_checksum, training=_told(manifest))


def _open_engine(path: Path, device: str, seed: int) -> Served:
    from sdseg.backends.tensorrt_support import require_tensorrt

    if device != "cuda":
        raise UserError("a TensorRT engine runs on a GPU alone", where=path, remedy="say --device cuda")
    require_tensorrt()
    from sdseg.backends.tensorrt import TensorrtBackend

    backend = TensorrtBackend(path, seed)
    manifest = backend.manifest
    served = _served(backend, manifest, manifest.recipe, backend.engine_manifest.engine_checksum, path)
    return replace(served, made_from=manifest.model_checksum, training=_told(manifest))


def _told(manifest: GraphManifest) -> dict[str, Any]:
    """What a graph says of its model's training."""
    return {"data_checksum": manifest.data_checksum}


def _served(
    backend: Backend, manifest: ModelManifest | GraphManifest, recipe: str, checksum: str, path: Path
) -> Served:
    return Served(
        backend=tiled(backend, manifest.image),
        image=manifest.image,
        structures=manifest.structures,
        rule=MaskRule.of(manifest),
        dataset=manifest.dataset,
        origin=manifest.origin,
        recipe=recipe,
        protocol=manifest.protocol,
        training={},
        checksum=checksum,
        path=path,
    )
