"""Any trained model, a folder or one ONNX file, as a backend with what is needed to feed it and to read its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from sdseg.artifacts.manifests import GraphManifest, ImageContract, Structure, model_checksum
from sdseg.core.array_types import MaskArray, RawImages
from sdseg.core.errors import ListedError, UserError
from sdseg.data.store import Case, SliceStore, structure_masks
from sdseg.mask_rule import MaskRule
from sdseg.runtime.backends import Backend, TorchBackend
from sdseg.runtime.providers import open_graph
from sdseg.runtime.tensorrt_graph import graph_checksum

__all__ = ["Served", "SliceBatch", "check_store", "open_model", "slice_batches"]


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
    training: dict[str, Any]  # the training record of a model folder; empty for ONNX
    checksum: str  # names this very model
    path: Path

    @property
    def words(self) -> str:
        """What the model is and what it was made for."""
        made_for = "images" if self.image.modality == "rgb" else f"volumes of 'modality: {self.image.modality}'"
        return f"the model is {self.recipe} of dataset '{self.dataset}', made for {made_for}"


def open_model(
    path: Path, device: str = "cpu", seed: int = 0, *, steps: int | None = None, samples: int | None = None
) -> Served:
    """Open a model folder (PyTorch), an .onnx file (ONNX Runtime) or an .engine file (TensorRT) on 'cpu' or 'cuda'.

    An .onnx file runs on 'openvino' and 'openvino-bf16' as well. `seed` is that of the noise, for recipes that sample.
    `steps` and `samples` replace the recipe's reverse steps and hypotheses; a graph has its own built in. Raises
    UserError for anything else, for a recipe that does not allow these numbers, and for a device that this machine does
    not have.
    """
    if device.startswith("openvino") and path.exists() and path.suffix.lower() != ".onnx":
        raise UserError(
            "OpenVINO runs exported graphs alone, .onnx files",
            where=path,
            remedy="name …/export/model.onnx, or --device cpu",
        )
    if path.is_dir():
        wanted = {"steps": steps, "samples": samples}
        return _open_folder(path, device, seed, {key: value for key, value in wanted.items() if value is not None})
    if not path.exists():
        raise UserError(
            "there is no such model", where=path, remedy="name a folder made by 'sdseg train' or a file model.onnx"
        )
    if steps is not None or samples is not None:
        raise UserError(
            "an exported graph has its number of steps and samples built in",
            where=path,
            remedy="name the model folder, or export a recipe with other 'inference' values",
        )
    if path.suffix.lower() == ".onnx":
        return _open_graph(path, device, seed)
    if path.suffix.lower() == ".engine":
        return _open_engine(path, device, seed)
    raise UserError(
        f"'{path.name}' is neither a model folder nor an .onnx or .engine file",
        where=path,
        remedy="name a folder made by 'sdseg train' (…/model) or a file made by 'sdseg export' (…/export/model.onnx)",
    )


# Data of another number type or with other values are still what the model wants.
FREE = ("dtype", "intensities")


@dataclass(frozen=True)
class SliceBatch:
    """Slices of a store, ready for a backend. A batch may span cases, and a case may span batches."""

    cases: tuple[str, ...]  # the case of each of the N slices
    rows: tuple[int, ...]  # their rows in the store
    images: RawImages  # [N,H,W,C]
    labelled: MaskArray  # [N,K,H,W]


def slice_batches(store: SliceStore, cases: Sequence[Case], sizes: Sequence[int]) -> Iterator[SliceBatch]:
    """The slices of `cases` in batches whose sizes go round through `sizes`; the last one is what remains."""
    slices = [(case.case, row) for case in cases for row in range(case.rows.start, case.rows.stop)]
    start = 0
    for size in cycle(sizes):
        if start >= len(slices):
            return
        names, rows = zip(*slices[start : start + size], strict=True)
        chosen = list(rows)
        labelled = structure_masks(store.masks[chosen], store.manifest.structures)
        yield SliceBatch(names, rows, store.images[chosen], labelled)
        start += size


def check_store(
    store: SliceStore, model: Path, image: ImageContract, structures: tuple[Structure, ...], split: str
) -> tuple[Case, ...]:
    """The cases of a split. Raises ListedError unless the store holds the images and labels the model was made for."""
    held = store.manifest
    problems = [
        f"{field}: the data have {_shown(getattr(held.image, field))}, the model wants {_shown(getattr(image, field))}"
        for field in ImageContract.model_fields
        if field not in FREE and getattr(held.image, field) != getattr(image, field)
    ]
    if held.structures != structures:
        problems.append(f"structures: the data have {_named(held.structures)}, the model finds {_named(structures)}")
    if problems:
        raise ListedError(
            f"the model {model} does not fit the prepared data:",
            problems,
            where=store.folder,
            remedy="name the prepared folder the model was trained on, or prepare the data with the same settings",
        )
    cases = store.cases_of(split)
    if not cases:
        raise UserError(
            f"the prepared data have no case in the split '{split}'",
            where=store.folder,
            remedy=f"choose another --split, or a split file with '{split}' cases and prepare again",
        )
    return cases


def _open_folder(path: Path, device: str, seed: int, inference: dict[str, Any]) -> Served:
    from sdseg.model.checkpoint import load_model

    segmenter, manifest = load_model(path, inference)
    return Served(
        backend=TorchBackend(segmenter, manifest.image, device, segmenter.noise_shape, seed),
        image=manifest.image,
        structures=manifest.structures,
        rule=MaskRule(manifest.threshold, manifest.exclusive),
        dataset=manifest.dataset,
        origin=manifest.origin,
        recipe=manifest.recipe_name,
        protocol=manifest.protocol,
        training=manifest.training,
        checksum=model_checksum(manifest),
        path=path,
    )


def _open_graph(path: Path, device: str, seed: int) -> Served:
    backend = open_graph(path, device, seed)
    return _exported(backend, backend.manifest, graph_checksum(path), path)


def _open_engine(path: Path, device: str, seed: int) -> Served:
    from sdseg.runtime.tensorrt_support import require_tensorrt

    if device != "cuda":
        raise UserError("a TensorRT engine runs on a GPU alone", where=path, remedy="say --device cuda")
    require_tensorrt()
    from sdseg.runtime.tensorrt_backend import TensorrtBackend

    backend = TensorrtBackend(path, seed)
    return _exported(backend, backend.manifest.graph, backend.manifest.engine_checksum, path)


def _exported(backend: Backend, manifest: GraphManifest, checksum: str, path: Path) -> Served:
    return Served(
        backend=backend,
        image=manifest.image,
        structures=manifest.structures,
        rule=MaskRule(manifest.threshold, manifest.exclusive),
        dataset=manifest.dataset,
        origin=manifest.origin,
        recipe=manifest.recipe,
        protocol=manifest.protocol,
        training={},
        checksum=checksum,
        path=path,
    )


def _named(structures: tuple[Structure, ...]) -> str:
    return ", ".join(f"{one.name} ({'+'.join(str(value) for value in one.values)})" for one in structures)


def _shown(value: object) -> str:
    return " to ".join(f"{bound:g}" for bound in value) if isinstance(value, tuple) else str(value)
