"""Which model of a results folder suits this machine: an engine that fits, else the ONNX graph, else the folder."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sdseg.backends.averaged_models import averaged
from sdseg.backends.base import samples_of, why_mean_alone
from sdseg.backends.open_model import Served, open_model
from sdseg.core.errors import ListedError, UserError
from sdseg.core.extras import needing
from sdseg.datasets.sources import shared_labels
from sdseg.inference.choose_recipe import model_folders, recipes_in_order, weights_checksum
from sdseg.inference.hypotheses import hypotheses_given

__all__ = ["ChosenModel", "choose_model", "choose_models", "warn_of_origin", "with_masks_by"]

log = logging.getLogger("sdseg.inference.predict")
MEANINGLESS = {
    "phantom": "this model was trained on phantoms, drawn images: its masks of real ones mean nothing",
    "none": "this model has seen no masks, it is there to start training from: what it finds means nothing",
}

PRECISIONS = ("fp16", "bf16", "fp32")  # of engines, fastest first; each has passed the parity check of its export


@dataclass(frozen=True)
class ChosenModel:
    """An open model, the device it runs on, and why it was taken."""

    served: Served
    device: str
    reason: str


def choose_model(
    path: Path, device: str = "auto", samples: int | None = None, *, hypotheses: bool = False
) -> ChosenModel:
    """Open `path`: a model folder, an .onnx or .engine file, or a results folder with some of them.

    A results folder is results/<dataset>/<recipe> or its export/. In it, what runs fastest on this machine is
    taken: an engine that can be opened on its GPU, then model.onnx, then the model folder; engines and graphs of other
    weights than the folder has by now are passed over. In results/<dataset> or
    results with several recipes the table of Dice and latency chooses one (choose_recipe.py), the first that opens
    with what is wanted. `device` 'auto' is the GPU where the model's runtime can use one, else the CPU; OpenVINO is
    used only when it is named. `samples` replaces the recipe's number of hypotheses, which a graph has built in;
    with `hypotheses` a model that knows their mean alone is passed over. Raises UserError where nothing can be
    opened, and what `open_model` raises for a path that names one model.
    """
    if _several_recipes(path) and (chosen := _by_table(path, device, samples, hypotheses)) is not None:
        return chosen
    candidates = _candidates(path)
    attempts = [(each, on) for each in candidates or [path] for on in _devices(each, device)]
    refused: list[str] = []
    for place, (candidate, on) in enumerate(attempts, start=1):
        name = (
            candidate.relative_to(path).as_posix() if candidates and candidate.is_relative_to(path) else candidate.name
        )
        if candidates and candidate.suffix == ".engine" and (obstacle := _no_engines(on)):
            refused.append(f"{name}: {obstacle}")
            continue
        try:
            served = open_model(candidate, on, samples=samples)
        except UserError as error:
            if candidates is None and place == len(attempts):
                raise
            refused.append(f"{name} on {on}: {error.what}")
            continue
        if candidates and served.made_from not in (None, weights_checksum(candidates[-1]) or served.made_from):
            refused.append(f"{name}: made from other weights than those of {candidates[-1].name}/ (export it again)")
            continue
        if candidates and hypotheses and not samples_of(served.backend):
            refused.append(f"{name} on {on}: {why_mean_alone(served.backend)}")
            continue
        kind = {".engine": "the TensorRT engine", ".onnx": "the ONNX graph"}.get(candidate.suffix, "the model folder")
        why = f"{kind} {name} is the fastest that runs on '{on}' here" if candidates else "it was named"
        return ChosenModel(served, on, "; not taken: ".join([why, *refused]))
    if hypotheses:
        what, remedy = "opened for its hypotheses", "train it again, or export it with 'hypotheses: true'"
    else:
        what, remedy = "opened", "train or export it again"
    raise ListedError(f"no model of this results folder can be {what}:", refused, where=path, remedy=remedy)


def _by_table(path: Path, device: str, samples: int | None, hypotheses: bool) -> ChosenModel | None:
    """The first recipe in the order of the table that opens with what is wanted; None where no table ranks any.

    Raises ListedError where none does.
    """
    ranked = recipes_in_order(path, device)
    refused: list[str] = []
    for recipe in ranked.recipes:
        try:
            chosen = choose_model(recipe.folder, device, samples, hypotheses=hypotheses)
            if hypotheses:
                hypotheses_given(chosen.served)  # one answer alone is none
        except UserError as error:
            problems = error.problems if isinstance(error, ListedError) else (error.what,)
            refused.append(f"{recipe.name} ({' '.join(', '.join(problems).split())})")  # on one line
            continue
        for other in ranked.recipes:
            if other.newer:
                log.warning("%s", other.newer)
        passed = [f"passed over: {', '.join(refused)}"] if refused else []
        return replace(chosen, reason="; ".join([recipe.reason, *passed, *ranked.notes, chosen.reason]))
    if not refused:
        return None
    wanted = " for its hypotheses" if hypotheses else ""
    raise ListedError(
        f"no recipe that the table ranks can be opened{wanted}:",
        [*refused, *ranked.notes],
        where=path,
        remedy="name another model folder, or train a recipe that can do it",
    )


def choose_models(
    paths: Sequence[Path], device: str = "auto", samples: int | None = None, *, hypotheses: bool = False
) -> ChosenModel:
    """`choose_model` of each path; several are averaged. Raises ListedError where they do not go together."""
    chosen = [choose_model(path, device, samples, hypotheses=hypotheses) for path in paths]
    reasons, devices = dict.fromkeys(one.reason for one in chosen), dict.fromkeys(one.device for one in chosen)
    return ChosenModel(averaged([one.served for one in chosen]), " and ".join(devices), "; ".join(reasons))


def with_masks_by(chosen: ChosenModel, **wanted: bool | None) -> ChosenModel:
    """The model with `exclusive`, `largest_component`, `fill_holes` of its masks as wanted; None: as it was made.

    Says where that is another rule than the model was scored with. Raises UserError where structures that share labels
    shall exclude each other.
    """
    served = chosen.served
    rule = replace(served.rule, **{key: value for key, value in wanted.items() if value is not None})
    shared = shared_labels(served.structures)
    if wanted.get("exclusive") and shared is not None:
        raise UserError(
            f"structures {shared}, so they cannot exclude each other",
            where="--exclusive",
            remedy="leave it out: of structures that overlap the label map shows the inner one",
        )
    own = asdict(served.rule)
    others = [f"{key.replace('_', ' ')}: {value}" for key, value in asdict(rule).items() if value != own[key]]
    if others:
        log.warning("masks are made by another rule than the model was scored with (%s)", ", ".join(others))
    return replace(chosen, served=replace(served, rule=rule))


def warn_of_origin(served: Served) -> None:
    """Say it where a model has seen no real image: nothing in its masks shows it."""
    if served.origin in MEANINGLESS:
        log.warning("%s", MEANINGLESS[served.origin])


def _candidates(path: Path) -> list[Path] | None:
    """Models of a results folder, best first; None for a path that names one model."""
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    export = path if path.name == "export" else path / "export"
    model = path.parent / "model" if path.name == "export" else path / "model"
    engines = sorted(export.glob("*.engine"), key=_rank)
    candidates = [*engines, *(each for each in (export / "model.onnx",) if each.is_file())]
    candidates += [model] if (model / "config.json").is_file() else []
    if candidates:
        return candidates
    recipes = model_folders(path)
    if len(recipes) == 1:
        return _candidates(recipes[0])
    if not recipes:
        raise UserError(
            "no model in this folder",
            where=path,
            remedy="name a folder made by 'sdseg train' (…/model), a file made by 'sdseg export', or a results folder",
        )
    raise ListedError(
        f"{len(recipes)} models in this results folder:",
        (recipe.relative_to(path).as_posix() for recipe in recipes),
        where=path,
        remedy=f"name one, for example {recipes[0]}",
    )


def _several_recipes(path: Path) -> bool:
    """Whether a folder holds models of several recipes, and none of its own."""
    own = (path / "config.json", path / "model" / "config.json", path / "export" / "model.onnx")
    return path.is_dir() and not any(file.is_file() for file in own) and len(model_folders(path)) > 1


def _rank(engine: Path) -> tuple[int, str]:
    words = engine.name.split(".")
    return next((place for place, name in enumerate(PRECISIONS) if name in words), len(PRECISIONS)), engine.name


def _no_engines(device: str) -> str | None:
    if device != "cuda":
        return "engines need a GPU (--device cuda)"
    if importlib.util.find_spec("tensorrt") is None:
        return "TensorRT is not installed"
    return None


def _devices(path: Path, device: str) -> tuple[str, ...]:
    """What to try in turn; for 'auto' the GPU first where the model's own runtime may have one."""
    if device != "auto":
        return (device,)
    suffix = path.suffix.lower()
    if suffix == ".engine":
        return ("cuda",)
    if suffix == ".onnx":
        if importlib.util.find_spec("onnxruntime") is None and importlib.util.find_spec("openvino") is not None:
            return ("openvino",)
        with needing("running an exported graph"):
            import onnxruntime

        return ("cuda", "cpu") if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else ("cpu",)
    try:
        import torch
    except ModuleNotFoundError:  # opening it says what is missing; a graph beside it may do without
        return ("cpu",)
    return ("cuda",) if torch.cuda.is_available() else ("cpu",)
