"""Untrained latent-diffusion models for the studies' tests, and the store they fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.artifacts.manifests import ModelManifest
from sdseg.evaluation.studies.studied_model import Scope, Subject, open_subject
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.label_classes import LabelClasses
from sdseg.models.model_folder import save_model
from tests.helpers.networks import CODEC, quick_recipe
from tests.helpers.tiny import POLYP, RGB, write_store

GAUSSIAN = {"diffusion": {"inference_noise": "gaussian", "prediction": "v"}}


def write_latent_model(
    folder: Path, image: ImageContract = RGB, structures: tuple[Structure, ...] = POLYP, **overrides: Any
) -> Path:
    """A model folder with random weights; keyword values are laid over the recipe. Joint classes have their codec."""
    chosen = quick_recipe(**overrides)
    joint = getattr(chosen.network, "classes", None) == "joint"
    codec = CODEC.model_copy(update={"encodes": "labels"}) if joint else CODEC
    torch.manual_seed(0)
    segmenter = build_segmenter(chosen, image, len(structures), codec, 0.7, LabelClasses.of(structures))
    manifest = ModelManifest(
        dataset="tiny",
        origin="phantom",
        protocol="clean",
        recipe_name="latent",
        recipe=chosen.model_dump(mode="json"),
        codec=codec.model_dump(mode="json"),
        latent_scale=0.7,
        image=image,
        structures=structures,
        training={"steps": 8, "seconds": 1.5, "device": "cpu"},
        files={},
        provenance={},
    )
    folder.mkdir(parents=True)
    save_model(folder, segmenter, manifest)
    return folder


def subject_of(place: Path, model: Path, **scope: Any) -> Subject:
    """The model and a store of three test images, open."""
    store = place / "prepared"
    return open_subject(store if store.exists() else write_store(store), model, Scope(**scope))
