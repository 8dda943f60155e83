"""Every committed recipe, at a tiny width: it trains, resumes to the bit, is evaluated, and exports with parity.

Recipes that differ in what they train by alone have the same graph: of those the first is exported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.shape_inference import infer_shapes
from torch import nn

from sdseg.artifacts.results.parity import Parity
from sdseg.artifacts.results.training import TrainingRecord
from sdseg.config.codec import Codec
from sdseg.config.export import Export
from sdseg.config.network import LatentNetwork, UnetDenoiser
from sdseg.config.recipe import Recipe, load_recipe
from sdseg.core.settings import merge
from sdseg.evaluation.evaluate import evaluate
from sdseg.export.onnx import export
from sdseg.inference.predictor import load_predictor
from sdseg.models.build_segmenter import build_segmenter
from sdseg.training.codec import build_codec
from tests.export.test_tensorrt_operators import beyond
from tests.helpers.end_to_end import SMALLEST
from tests.helpers.end_to_end import TRAINING as EVERY
from tests.helpers.networks import CODEC, recipe
from tests.helpers.settled_graphs import settled, what_settles_the_graph
from tests.helpers.tiny import DISC_CUP, POLYP, RGB, picture, write_store
from tests.helpers.training import events, rewind
from tests.helpers.training import run as train_in

WIDTHS_ALONE = {"sdseg-faster"}  # differ from another recipe in what is made tiny here
COMMITTED = sorted((Path(__file__).resolve().parents[2] / "config" / "recipes").glob("*.yaml"))
FILES = [  # those of volumes: test_volumes.py
    file for file in COMMITTED if file.stem not in WIDTHS_ALONE and load_recipe(file).patches is None
]
TRAINING = {**EVERY, "steps": 2, "checkpoint_every": 1}
LAYOUT = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4, "mid_block_attention": False}
DENOISER = {
    "block_out_channels": [8],
    "attention": [False],  # but in the middle block
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "heads": 2,
    "context_channels": 8,
    "context_tokens": 3,
}
CLASSIC = {"condition": {"block_out_channels": [4, 6]}, "denoiser": {"block_out_channels": [6, 8]}}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slice store, a codec, a vision encoder and a trained `sdseg-multistep` to start from."""
    folder = tmp_path_factory.mktemp("every é")
    cases = {"train": (1,) * 4, "val": (1,), "test": (1, 1, 1)}
    write_store(folder / "prepared", cases=cases)
    write_store(folder / "eyes", structures=DISC_CUP, cases=cases)
    build_codec(settings=CODEC, output=folder / "codec")
    labels = merge(CODEC.model_dump(mode="json"), {"encodes": "labels", "training": {"data": "dataset", "crop": 16}})
    build_codec(settings=Codec.model_validate(labels), output=folder / "labels", prepared=folder / "eyes")
    images = Codec.model_validate(labels | {"encodes": "image"})
    build_codec(settings=images, output=folder / "images", prepared=folder / "eyes")
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.GELU()).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(encoder, (torch.zeros(2, 3, 16, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "encoder.pt2")
    run(folder, folder / "first", small(folder, FILES[[file.stem for file in FILES].index("sdseg-multistep")]))
    return folder


@pytest.fixture(scope="module")
def written_graphs() -> set[str]:
    """What settled each graph that was exported."""
    return set()


def small(ready: Path, file: Path) -> Recipe:
    """The recipe at a width that takes seconds; what makes the method is left as it is."""
    overrides: dict[str, Any] = {"training": dict(TRAINING), "optimiser": {"warmup_steps": 0}}
    made = load_recipe(file)
    if made.diffusion is not None and made.diffusion.loss_mask_from:  # a step of each stage
        overrides["diffusion"] = {"loss_mask_from": 1}
    inference = made.inference
    if inference.steps > 1:  # a graph holds every step: one is enough where nothing is drawn or done between them
        steps = 1 if (inference.samples, inference.standardise) == (1, "none") else 2
        overrides["inference"] = {"steps": steps, "samples": min(2, inference.samples)}
    if made.network.kind == "direct":
        overrides["network"] = {"channels": [4, 8, 8]}
    elif made.network.kind == "end-to-end-diffusion":
        overrides["network"] = SMALLEST
    else:
        classic = isinstance(made.network.denoiser, UnetDenoiser)
        overrides["network"] = {"codec": "small"} | (
            CLASSIC if classic else {"condition": LAYOUT, "denoiser": DENOISER}
        )
        if made.network.mask_head is not None:
            overrides["network"]["mask_head"] = {"channels": [4, 3]}
        if made.network.alignment is not None:
            overrides["network"]["alignment"] = {"encoder": str(ready / "encoder.pt2"), "size": 16}
    return load_recipe(file, overrides)


def run(ready: Path, place: Path, chosen: Recipe) -> Path:
    network = chosen.network
    return train_in(
        ready,
        place,
        chosen,
        prepared=data_of(ready, chosen),
        codec=codec_of(ready, chosen),
        image_codec=ready / "images" if isinstance(network, LatentNetwork) and network.image_codec else None,
        start_from=ready / "first" / "model" if chosen.start_from is not None else None,
    )


def data_of(ready: Path, chosen: Recipe) -> Path:
    return ready / ("eyes" if chosen.joint else "prepared")


def codec_of(ready: Path, chosen: Recipe) -> Path | None:
    if not isinstance(chosen.network, LatentNetwork):
        return None
    return ready / ("labels" if chosen.joint else "codec")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_trains_resumes_evaluates_and_exports(
    ready: Path, written_graphs: set[str], tmp_path: Path, file: Path
) -> None:
    chosen = small(ready, file)
    model = run(ready, tmp_path, chosen)
    lines = [json.loads(line) for line in (model / "training.jsonl").read_text("utf-8").splitlines()]
    last = [line for line in lines if line["event"] == "step"][-1]
    assert set(last["losses"]) == expected_losses(chosen)
    assert all(np.isfinite(line["loss"]) for line in lines if line["event"] == "step")

    written = [tmp_path / name / "weights.safetensors" for name in ("model", "last")]
    whole = [path.read_bytes() for path in written]
    rewind(tmp_path)
    assert [event["step"] for event in events(run(ready, tmp_path, chosen), "resumed")] == [1]
    assert [path.read_bytes() for path in written] == whole

    prepared = data_of(ready, chosen)
    evaluate(prepared, model, tmp_path / "evaluation")
    assert json.loads((tmp_path / "evaluation" / "summary.json").read_text("utf-8"))["n_cases"] == 3

    training = json.loads((model / "config.json").read_text("utf-8"))["training"]
    assert TrainingRecord.checked(**training).content() == training  # what the page's records hold, key for key

    graph = what_settles_the_graph(model)
    if graph not in written_graphs:
        check_export(model, prepared, tmp_path / "export", joint=chosen.joint)
        written_graphs.add(graph)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"diffusion": {"prediction": "v", "loss_velocity": 1.0}}, False),
        ({"network": {"denoiser": {"heads": 1}}}, False),
        ({"network": {"denoiser": {"layers_per_block": 2}}}, False),
        ({"network": {"decoder": "skips"}, "diffusion": {"loss_mask": 1.0}}, False),
        ({"inference": {"steps": 2}}, False),
        ({"inference": {"flips": "horizontal"}}, False),
        ({"diffusion": {"inference_noise": "gaussian"}}, False),
        ({"diffusion": {"distance": "l2", "loss_noise": 0.5, "train_timesteps": "last"}}, True),
        ({"network": {"condition": {"trainable": False}}, "training": {"steps": 9}}, True),
    ],
    ids=str,
)
def test_recipes_with_other_graphs_are_told_apart(changes: dict[str, Any], same: bool) -> None:
    def of(**overrides: Any) -> str:
        made = recipe(**overrides)
        return settled(build_segmenter(made, RGB, 1, CODEC, 0.7), made, RGB, POLYP)

    assert (of(**changes) == of()) is same


def check_export(model: Path, prepared: Path, output: Path, *, joint: bool) -> None:
    export(model, prepared, output, Export(parity_cases=2))
    parity = json.loads((output / "parity.json").read_text("utf-8"))
    assert parity["passed"] is True
    graph = infer_shapes(onnx.load(output / "model.onnx"), data_prop=True).graph
    assert beyond(graph) == set(), "not among what TensorRT's ONNX parser documents"

    image = picture(RGB, 7)[0]
    by_model, by_graph = (load_predictor(path, "cpu").predict(image) for path in (model, output))
    assert by_model.masks.shape == by_graph.masks.shape == (2 if joint else 1, 32, 32)
    np.testing.assert_allclose(by_graph.probability, by_model.probability, atol=1e-3)
    if joint:
        assert (by_graph.probability[1] <= by_graph.probability[0] + 1e-6).all()  # the cup lies within its disc
    assert Parity.checked(**parity).content() == parity  # what the page's records hold, key for key


def expected_losses(chosen: Recipe) -> set[str]:
    if chosen.diffusion is None or chosen.network.kind == "direct":
        return {"dice_ce"}
    process = chosen.diffusion
    weights = {
        "noise": process.loss_noise,
        "latent": process.loss_latent,
        "velocity": process.loss_velocity,
        "mask": process.loss_mask,
        "head": process.loss_head,
        "alignment": isinstance(chosen.network, LatentNetwork) and chosen.network.alignment is not None,
    }
    return {name for name, weight in weights.items() if weight}
