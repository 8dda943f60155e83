"""What shapes a run's weights, kept beside its states, so that an edit is noticed and named."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sdseg.config.recipe import Recipe
from sdseg.config.run import OnEdit
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import json_or_empty, write_json
from sdseg.core.fingerprint import code_of

__all__ = [
    "NEUTRAL",
    "describe_run",
    "differences",
    "is_finished",
    "made_by",
    "mark_finished",
    "settle",
    "start_anew",
    "training_begun_with",
]

log = logging.getLogger("sdseg.training.train")

SETTINGS = "settings.json"
LISTED = 5  # changed modules that a message names
# Values that change neither the weights nor which of them are kept.
NEUTRAL = frozenset(
    {
        "recipe.description",
        "recipe.inference.batch",
        "recipe.inference.flips",
        "recipe.inference.postprocessing",  # made anew of the finished weights
        "recipe.inference.postprocessing.fill_holes",
        "recipe.inference.postprocessing.largest_component",
        "recipe.patches.blending",
        "recipe.patches.overlap",
        "recipe.training.checkpoint_every",
        "recipe.training.log_every",
        "recipe.training.loss_limit",
        "recipe.training.weights",
        "recipe.training.workers",
    }
)
OURS = ("step-*", "finished", ".step-*", "best-*.safetensors", "training.jsonl", "tensorboard", SETTINGS)


def describe_run(
    recipe: Recipe, data: str, codec: dict[str, str] | None, start_from: str | None, *, exclusive: bool = False
) -> dict[str, Any]:
    """All that shapes the weights of a run: recipe, and checksums of data, codec, first weights and the code itself.

    `exclusive` decides on the masks that validation scores, and so on which weights are kept.
    """
    recipe_values, code = recipe.model_dump(mode="json"), dict(code_of("training.train"))
    settings = {"recipe": recipe_values, "data": data, "codec": codec, "start_from": start_from, "code": code}
    return settings | ({"exclusive": True} if exclusive else {})  # earlier versions knew no such key


def settle(folder: Path, settings: dict[str, Any], on_edit: OnEdit) -> tuple[str, ...]:
    """Make `folder` the state of a run with these settings; return the differences to the states that are kept in it.

    States of a finished run with other settings are removed, those of an unfinished one as `on_edit` says. Raises
    ListedError where it says `refuse`: hours of training are not dropped for an edit that may be a mistake.
    """
    _check_ours(folder)
    earlier, started = json_or_empty(folder / SETTINGS), _started(folder)
    changes = differences(earlier.get("settings"), settings) if started else ()
    finished = bool(earlier.get("finished"))
    if changes and not finished and on_edit == "refuse":
        raise ListedError(
            "the settings or the code of this unfinished run were changed:",
            changes,
            where=folder,
            remedy="change them back; or allow the edit with '--on-edit' ('on_edit' of the configuration): "
            "'restart' drops what was trained so far, 'continue' goes on from there with what is new",
        )
    if started and changes and not finished and on_edit == "continue":
        for each in changes:
            log.warning("going on, though changed: %s", each)
    elif changes or not started:
        for each in changes:
            log.info("starting anew, since changed: %s", each)
        clear(folder)
        changes, finished = (), False
    finished = finished and not changes
    provenance = {"made_by": earlier.get("made_by")} if finished else {}
    write_json(folder / SETTINGS, {"finished": finished, "settings": settings, **provenance})
    return changes


def _check_ours(folder: Path) -> None:
    """Raise UserError for a folder that holds files by the names of ours and is no state: they would be removed."""
    names = sorted(path.name for pattern in OURS for path in folder.glob(pattern))
    if not names or "settings" in json_or_empty(folder / SETTINGS) or any(folder.glob("step-*/state.json")):
        return
    if (folder / "training.jsonl").is_file() and SETTINGS not in names:  # of an earlier version, ended early
        return
    raise UserError(
        f"the state folder holds '{names[0]}', which training did not write; it would be replaced",
        where=folder,
        remedy="name a new folder with --state, or one that training wrote",
    )


def is_finished(folder: Path) -> bool:
    """Whether both models of the run in this folder are written, and it was shrunk to what a rerun needs."""
    return bool(json_or_empty(folder / SETTINGS).get("finished")) and (folder / "finished").is_dir()


def mark_finished(folder: Path, provenance: dict[str, Any]) -> None:
    """Say that both models of this run are written: an edit from now on is a new run, and starts one."""
    write_json(folder / SETTINGS, json_or_empty(folder / SETTINGS) | {"finished": True, "made_by": provenance})


def made_by(folder: Path) -> dict[str, Any] | None:
    """Provenance of the finished run in `folder`, which stays that of its weights; None where there is none."""
    settings = json_or_empty(folder / SETTINGS)
    return settings.get("made_by") if settings.get("finished") else None


def training_begun_with(folder: Path) -> dict[str, Any]:
    """Values of `training` of the run whose states are kept in `folder`, as they were settled; empty where none is."""
    values: Any = json_or_empty(folder / SETTINGS) if _started(folder) else {}
    for key in ("settings", "recipe", "training"):
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def start_anew(folder: Path) -> None:
    """Drop what is kept of a run, under the same settings."""
    settings = json_or_empty(folder / SETTINGS) | {"finished": False}
    clear(folder)
    write_json(folder / SETTINGS, settings)


def _started(folder: Path) -> bool:
    return any(folder.glob("step-*")) or is_finished(folder)


def clear(folder: Path) -> None:
    """Remove what training wrote into a state folder, but for the cached latents, which name what they are of."""
    for pattern in OURS:  # states first: a folder without one is as good as new
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def differences(old: dict[str, Any] | None, new: dict[str, Any]) -> tuple[str, ...]:
    """Each value that differs, as 'optimiser.learning_rate: 0.001 -> 0.002'; those of NEUTRAL keys do not count."""
    if old is None:
        return (f"{SETTINGS} is missing or damaged: it is not known what the states were trained with",)
    before, after = (_flat({**each, "code": None}) for each in (_completed(old), new))
    keys = [key for key in (*after, *(key for key in before if key not in after)) if key not in NEUTRAL]
    edited = tuple(
        f"{key.removeprefix('recipe.')}: {_shown(before, key)} -> {_shown(after, key)}"
        for key in keys
        if before.get(key) != after.get(key)
    )
    return edited + _edited_code(old.get("code"), new.get("code"))


def _edited_code(old: dict[str, str] | None, new: dict[str, str] | None) -> tuple[str, ...]:
    """The modules that compute otherwise than before, in one line; a change of comments is none."""
    if old == new:
        return ()
    if not old or not new:
        return ("code: it is not known what the states were trained with, an earlier version did not record it",)
    changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    more = f" and {len(changed) - LISTED} more" if len(changed) > LISTED else ""
    return (f"code: changed in {', '.join(changed[:LISTED])}{more}",)


def _completed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the defaults of keys that were unknown when they were written."""
    try:
        return settings | {"recipe": Recipe.model_validate(settings.get("recipe")).model_dump(mode="json")}
    except ValidationError:
        return settings


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return leaves


def _shown(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)  # a checksum
