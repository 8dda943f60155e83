"""Trained models to one model folder that holds them all: their mean, which every later stage takes as one model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdseg.artifacts.manifests import EnsembleMember, ModelManifest, model_checksum
from sdseg.artifacts.results.training import TrainingRecord
from sdseg.backends.averaged_models import common_rule, facts_of, joined_name
from sdseg.config.inference import Postprocessing
from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder
from sdseg.core.locks import writes
from sdseg.core.overwrite_checks import check_apart
from sdseg.core.provenance import provenance
from sdseg.models.ensemble import EnsembleSegmenter
from sdseg.models.model_folder import OWNED, count_parameters, load_model, save_model

__all__ = ["make_ensemble"]

log = logging.getLogger(__name__)


@writes("output")
def make_ensemble(models: Sequence[Path], output: Path, name: str | None = None) -> None:
    """Write the model folder `output`: the mean of the model folders `models`, called `name`.

    It is as large as all of them together, and needs none of them any more. Raises UserError for fewer than two
    and for an output that is, holds or lies in one of them, ListedError for models that do not go together.
    """
    if len(models) < 2:
        raise UserError(
            f"{len(models)} model cannot be averaged", where="--model", remedy="name two or more: --model A --model B"
        )
    for folder in models:
        check_apart(output, folder, read="the member")
    loaded = [load_model(folder) for folder in models]
    manifests = [manifest for _, manifest in loaded]
    for folder, manifest in zip(models, manifests, strict=True):
        if manifest.members:
            raise UserError("this is an ensemble already", where=folder, remedy="name its members instead")
    rule = common_rule([facts_of(folder, manifest) for folder, manifest in zip(models, manifests, strict=True)])
    whole = EnsembleSegmenter([segmenter for segmenter, _ in loaded])
    first = manifests[0]
    described = first.model_copy(
        update={
            "dataset": joined_name([each.dataset for each in manifests]),
            "origin": next((each.origin for each in manifests if each.origin != "real"), "real"),
            "recipe_name": name or joined_name([each.recipe_name for each in manifests]),
            "recipe": {**first.recipe, "description": f"The mean of {len(models)} models: {_listed(manifests)}"},
            "postprocessing": Postprocessing(largest_component=rule.largest_component, fill_holes=rule.fill_holes),
            "postprocessing_chosen": None,
            "members": tuple(_member(each) for each in manifests),
            "training": _training(manifests, whole),
            "files": {},
            "provenance": provenance(("torch", "safetensors"), stage="training.make_ensemble"),
        }
    )
    with atomic_folder(output, OWNED) as folder:
        save_model(folder, whole, described)
    log.info("%s: the mean of %s", described.recipe_name, _listed(manifests))


def _listed(manifests: Sequence[ModelManifest]) -> str:
    return ", ".join(each.recipe_name for each in manifests)


def _member(manifest: ModelManifest) -> EnsembleMember:
    return EnsembleMember(
        recipe_name=manifest.recipe_name,
        recipe=manifest.recipe,
        codec=manifest.codec,
        latent_scale=manifest.latent_scale,
        checksum=model_checksum(manifest),
        training=manifest.training,
    )


def _training(manifests: Sequence[ModelManifest], whole: EnsembleSegmenter) -> dict[str, Any]:
    """The work of all members together."""
    records = [each.training for each in manifests]

    def same(key: str) -> Any:
        values = [record.get(key) for record in records]
        return values[0] if all(value == values[0] for value in values) else None

    cpu: list[float] = [value for record in records if (value := record.get("cpu_seconds")) is not None]
    return TrainingRecord.checked(
        steps=sum(record.get("steps", 0) for record in records),
        stopped="steps",
        batch=max(record.get("batch", 1) for record in records),
        seconds=round(sum(record.get("seconds", 0.0) for record in records), 1),
        cpu_seconds=None if len(cpu) < len(records) else round(sum(cpu), 1),
        device=same("device"),
        data_checksum=same("data_checksum"),
        codec_ceiling=same("codec_ceiling"),
        parameters={name: count_parameters(part) for name, part in whole.parts().items()},
    ).content()
