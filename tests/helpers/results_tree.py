"""Writes a small results folder as the stages would: real manifests, logs, scores and pictures, made from a seed."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.artifacts.manifests import (
    GraphManifest,
    GraphPort,
    ImageContract,
    ModelManifest,
    PreparedManifest,
    Structure,
)
from sdseg.artifacts.results.evaluation import EvaluationSummary
from sdseg.artifacts.results.parity import Parity
from sdseg.artifacts.results.training import EVENTS, TrainingRecord
from sdseg.core.files import sha256_text, write_json, write_text
from sdseg.core.provenance import provenance
from tests.helpers.study_files import calibration, scored, write_studies, write_volume

__all__ = ["edit_json", "write_prepared", "write_results", "write_run"]

Edited = dict[str, Any]
RECIPES = {
    "sdseg": {
        "description": "Latent diffusion with one reverse step that predicts the clean mask latent.",
        "network": {
            "kind": "latent-diffusion",
            "codec": "small",
            "condition": {"block_out_channels": [16, 32, 32], "latent_channels": 4, "init": "codec"},
            "denoiser": {"block_out_channels": [32, 64], "attention": [False, True], "heads": 4},
        },
        "diffusion": {"timesteps": 1000, "prediction": "x0", "loss_latent": 1.0, "sample_latents": False},
        "optimiser": {"learning_rate": 0.0005, "weight_decay": 0.01, "betas": [0.9, 0.999], "clip_norm": 1.0},
        "training": {"steps": 1000, "batch": 16, "precision": "no", "ema_decay": 0.99},
        "inference": {"threshold": 0.5, "batch": 8},
    },
    "unet": {
        "description": "A plain U-Net from image to mask: the baseline.",
        "network": {"kind": "direct", "channels": [16, 32, 64], "residual_units": 2, "norm": "instance"},
        "diffusion": None,
        "optimiser": {"learning_rate": 0.001, "schedule": "cosine"},
        "training": {"steps": 1000, "batch": 16, "precision": "no", "ema_decay": 0.99},
        "inference": {"threshold": 0.5, "batch": 8},
    },
}
VOLUMES = ("btcv", "sts")


def write_results(
    folder: Path,
    datasets: Sequence[str] = ("cvc", "kseg"),
    recipes: Sequence[str] = ("sdseg", "unet"),
    *,
    origin: str = "phantom",
    n_cases: int = 12,
) -> Path:
    """Every recipe on every dataset, complete. Returns the folder."""
    for number, dataset in enumerate(datasets):
        structures = ("disc", "cup") if dataset == "refuge2" else ("polyp",)
        write_prepared(folder / dataset, structures, origin=origin, n_cases=n_cases)
        for place, recipe in enumerate(recipes):
            write_run(folder / dataset / recipe, structures, origin=origin, n_cases=n_cases, seed=10 * number + place)
    return folder


def write_prepared(folder: Path, structures: Sequence[str], *, origin: str = "phantom", n_cases: int = 12) -> None:
    """`<dataset>/prepared/manifest.json`."""
    files = ("images.npy", "masks.npy", "cases.csv", "slices.csv")
    checksums = {name: sha256_text(f"{folder.name}/{name}") for name in files}
    counts = {"train": 6 * n_cases, "val": n_cases, "test": n_cases}
    write_json(
        folder / "prepared" / "manifest.json",
        PreparedManifest(
            dataset=folder.name,
            source=folder.name if folder.name in ("cvc", "kseg", "refuge2", "btcv", "sts") else "kseg",
            origin=origin,
            protocol="clean",
            target="-".join(structures),
            image=_contract(),
            structures=_structures(structures),
            labels=dict(enumerate(structures, start=1)),
            n_cases=counts,
            n_slices=counts,
            checksums=checksums,
            data_checksum=_data_checksum(folder.name),
            provenance=_made_by(),
        ),
    )


def write_run(
    folder: Path, structures: Sequence[str] = ("polyp",), *, origin: str = "phantom", n_cases: int = 12, seed: int = 0
) -> None:
    """One recipe on one dataset: model, evaluation and export."""
    random = np.random.default_rng(seed)
    recipe = RECIPES.get(folder.name, RECIPES["sdseg"])
    latent = recipe["diffusion"] is not None
    dice = np.clip(0.97 - random.gamma(1.5, 0.025, size=(n_cases, len(structures))), 0.2, 1.0)
    names = [f"case-{index:03d}" for index in range(n_cases)]
    ceiling = {"dice": 0.981, "split": "val"} if latent else None
    _write_model(folder, structures, recipe, ceiling, origin=origin, random=random)
    _write_evaluation(folder, structures, dice, names, ceiling, origin=origin)
    _write_overlays(folder / "evaluation" / "overlays", dice.mean(axis=1), names, random)
    if folder.parent.name in VOLUMES:
        for rank, index in (("best", 1), ("worst", 0)):
            write_volume(folder / "evaluation" / "volumes", names[index], rank=rank, slices=7 + 2 * index)
    _write_export(folder, structures, float(dice.mean()), n_cases, origin=origin)


def edit_json(path: Path, **changes: Any) -> None:
    """Set top-level keys of a JSON file; None removes a key."""
    data: Edited = json.loads(path.read_text(encoding="utf-8"))
    merged = {key: value for key, value in {**data, **changes}.items() if value is not None}
    path.write_text(json.dumps(merged), encoding="utf-8")


@functools.cache
def _made_by(*packages: str) -> dict[str, Any]:
    return provenance(packages)  # asks git, which takes its time


def _contract() -> ImageContract:
    return ImageContract(modality="rgb", size=64, channels=3, window=(0.0, 255.0))


def _structures(names: Sequence[str]) -> tuple[Structure, ...]:
    return tuple(Structure(name=name, values=(index,)) for index, name in enumerate(names, start=1))


def _data_checksum(dataset: str) -> str:
    return sha256_text(f"{dataset}/data")


def _write_model(
    folder: Path,
    structures: Sequence[str],
    recipe: dict[str, Any],
    ceiling: dict[str, Any] | None,
    *,
    origin: str,
    random: np.random.Generator,
) -> None:
    lines: list[dict[str, Any]] = []
    best, best_step = 0.0, 0
    for step in range(10, 1001, 10):
        loss = (0.9 * math.exp(-step / 180) + 0.03) * float(random.lognormal(0, 0.18))
        lines.append({"event": "step", "step": step, "loss": loss, "losses": {"latent": loss}, "learning_rate": 5e-4})
        if step % 100 == 0:
            dice = 0.95 - 0.6 * math.exp(-step / 200) + float(random.normal(0, 0.006))
            lines.append({"event": "validation", "step": step, "dice": dice, "best": dice > best})
            if dice > best:
                best, best_step = dice, step
    lines.append({"event": "done", "step": 1000})
    write_text(
        folder / "model" / "training.jsonl",
        "".join(json.dumps(EVENTS[line["event"]].checked(**line).content()) + "\n" for line in lines),
    )
    parameters = {"denoiser": 1_204_516, "condition": 92_114, "codec": 88_301} if ceiling else {"network": 622_013}
    write_json(
        folder / "model" / "config.json",
        ModelManifest(
            dataset=folder.parent.name,
            origin=origin,
            protocol="clean",
            recipe_name=folder.name,
            recipe=recipe,
            codec={"latent_channels": 4} if ceiling else None,
            latent_scale=0.8 if ceiling else None,
            image=_contract(),
            structures=_structures(structures),
            threshold=0.5,
            training=TrainingRecord.checked(
                steps=1000,
                best_step=best_step,
                best_dice=best,
                seconds=84.2,
                batch=16,
                memory={"bytes": 1_250_000_000, "of": "memory of the whole process"},
                data_checksum=_data_checksum(folder.parent.name),
                codec_ceiling=ceiling,
                parameters=parameters,
            ).content(),
            files={"weights.safetensors": sha256_text(str(folder.name))},
            provenance=_made_by("torch", "diffusers"),
        ),
    )


def _write_evaluation(
    folder: Path,
    structures: Sequence[str],
    dice: npt.NDArray[np.float64],
    names: Sequence[str],
    ceiling: dict[str, Any] | None,
    *,
    origin: str,
) -> None:
    iou = dice / (2 - dice)
    rows = ["case,dice,iou,group,split,slices,pixels_predicted,pixels_labelled,undefined"]
    rows += [f"{name},{d.mean():.6f},{i.mean():.6f},g{index},test,1,{900 + index},1000,hd95: no spacing"
             for index, (name, d, i) in enumerate(zip(names, dice, iou, strict=True))]  # fmt: skip
    write_text(folder / "evaluation" / "cases.csv", "\n".join(rows) + "\n")
    n, volumes = len(names), folder.parent.name in VOLUMES
    metrics = {
        "dice": _spread(dice.mean(axis=1)),
        "iou": _spread(iou.mean(axis=1)),
        "precision": scored(0.93, n - 1, undefined={"nothing predicted": 1}),
        "recall": scored(0.91, n),
        "hd95": scored(3.25, n, sd=1.5) if volumes else scored(None, n, undefined={"no spacing": n}),
        "nsd": scored(0.88, n) if volumes else scored(None, n, undefined={"no spacing": n}),
    }
    summary = {
        "format": 1,
        "dataset": folder.parent.name,
        "source": folder.parent.name,
        "origin": origin,
        "recipe": folder.name,
        "protocol": "clean",
        "split": "test",
        "backend": "torch-cpu",
        "n_cases": len(names),
        "n_slices": len(names),
        "native": None,
        "native_missing": "no raw folder was given (--raw)",
        "working": {"metrics": metrics, "structures": {}},
        "dice_official": _spread(dice.mean(axis=1)),
        "nsd_tolerance_mm": 2.0,
        "calibration": calibration(),
        "threshold_chosen": None,
        "dice": _spread(dice.mean(axis=1)),
        "iou": _spread(iou.mean(axis=1)),
        "structures": {
            name: {"dice": _spread(dice[:, index]), "iou": _spread(iou[:, index])}
            for index, name in enumerate(structures)
        },
        "seconds_per_image": 0.0123 if ceiling else 0.0041,
        "codec_ceiling": ceiling,
        "threshold": 0.5,
        "size": 64,
        "scored_at": "working size",
        "target": "-".join(structures),
        "data_checksum": _data_checksum(folder.parent.name),
        "model_checksum": sha256_text(f"{folder}/model"),
        "trained_on": {"dataset": folder.parent.name, "origin": origin, "data_checksum": None},
        "provenance": _made_by("torch"),
    }
    write_json(folder / "evaluation" / "summary.json", EvaluationSummary.checked(**summary).content())
    write_studies(folder / "evaluation", summary)


def _spread(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "minimum": float(values.min()),
        "median": float(np.median(values)),
        "maximum": float(values.max()),
        "ci95": [float(values.min()), float(values.max())] if len(values) > 1 else None,
        "n": len(values),
        "undefined": {},
    }


def _write_overlays(
    folder: Path, dice: npt.NDArray[np.float64], names: Sequence[str], random: np.random.Generator
) -> None:
    folder.mkdir(parents=True)
    order = np.argsort(dice)
    for rank, index in (("worst", order[0]), ("median", order[len(order) // 2]), ("best", order[-1])):
        coarse = random.uniform(60, 200, size=(4, 4, 3)).astype(np.uint8)
        image = cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC)
        cv2.circle(image, (46, 50), 22, (255, 200, 0), 2)
        cv2.circle(image, (48, 50), 21 if rank == "best" else 15, (0, 225, 255), 1)
        (folder / f"{rank}_{names[index]}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())


def _write_export(folder: Path, structures: Sequence[str], dice: float, n_cases: int, *, origin: str) -> None:
    image = GraphPort(name="image", dtype="uint8", axes=("batch", 64, 64, 3), range=(0.0, 255.0))
    probability = GraphPort(name="probability", dtype="float32", axes=("batch", len(structures), 64, 64), range=(0, 1))
    write_json(
        folder / "export" / "io.json",
        GraphManifest(
            dataset=folder.parent.name,
            origin=origin,
            recipe=folder.name,
            inputs=(image,),
            outputs=(probability,),
            image=_contract(),
            structures=_structures(structures),
            threshold=0.5,
            opset=21,
            provenance=_made_by("onnx", "onnxruntime"),
        ),
    )
    parity = Parity.checked(
        backend="onnxruntime-cpu",
        reference="torch-cpu",
        precision="fp32",
        n_cases=n_cases,
        n_slices=n_cases,
        max_abs_difference=3.1e-6,
        mean_abs_difference=1.2e-8,
        dice_reference=dice,
        dice_exported=dice,
        dice_difference=0.0,
        mask_dice=1.0,
        tolerances={"max_abs_difference": 1e-3, "max_dice_difference": 2e-3},
        passed=True,
    )
    write_json(folder / "export" / "parity.json", parity.content())
