"""Opening a model, whatever it is; refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from sdseg.artifacts.manifests import ModelManifest
from sdseg.backends.open_model import open_model
from sdseg.cli.commands import main
from sdseg.core.errors import UserError
from sdseg.core.files import read_json, write_json
from sdseg.data.mask_rule import MaskRule
from sdseg.export.tracing import METADATA_KEY
from tests.helpers.installed import skip_without_openvino
from tests.helpers.raw_files import encode
from tests.helpers.tiny import CT, DISC_CUP, POLYP, RGB, describe, picture, write_model, write_store


def test_opens_a_folder(tmp_path: Path) -> None:
    served = open_model(write_model(tmp_path / "a model é"))
    assert served.backend.name == "torch-cpu"
    assert (served.dataset, served.recipe, served.protocol, served.origin) == ("tiny", "unet", "clean", "phantom")
    assert (served.image, served.structures, served.rule) == (RGB, POLYP, MaskRule(0.5))
    assert served.training["steps"] == 1
    assert served.backend.probability(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 1, 32, 32)


def test_opens_a_graph(bright_ct: Path) -> None:
    served = open_model(bright_ct)
    assert served.backend.name == "onnxruntime-cpu"
    assert (served.dataset, served.recipe, served.protocol) == ("tiny", "bright", None)
    assert (served.image, served.structures, served.rule) == (CT, DISC_CUP, MaskRule(0.5))


@pytest.mark.parametrize("suffix", [".onnx", ".engine"])
def test_a_graph_is_not_told_which_gpu(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"model{suffix}").write_bytes(b"")
    with pytest.raises(UserError, match=r"not on 'cuda:1'(.|\n)*CUDA_VISIBLE_DEVICES=1, and say 'cuda'"):
        open_model(tmp_path / f"model{suffix}", "cuda:1")


@pytest.mark.parametrize("protocol", ["official", None])
def test_a_graph_tells_its_protocol(bright_rgb: Path, tmp_path: Path, protocol: str | None) -> None:
    model = onnx.load(str(bright_rgb))
    told = describe().model_copy(update={"protocol": protocol}).model_dump_json()
    onnx.helper.set_model_props(model, {METADATA_KEY: told})
    onnx.save(model, str(tmp_path / "model.onnx"))
    assert open_model(tmp_path / "model.onnx").protocol == protocol


def test_openvino_opens_a_graph_and_nothing_else(bright_rgb: Path, tmp_path: Path) -> None:
    skip_without_openvino()
    ours, theirs = open_model(bright_rgb, "openvino"), open_model(bright_rgb)
    assert ours.backend.name == "openvino"
    assert ours.checksum == theirs.checksum
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(ours.backend.probability(images), theirs.backend.probability(images), atol=1e-5)
    (tmp_path / "model.fp32.engine").write_bytes(b"a plan")
    for other in (write_model(tmp_path / "a model"), tmp_path / "model.fp32.engine"):
        for device in ("openvino", "openvino-bf16"):
            with pytest.raises(UserError, match=r"OpenVINO runs exported graphs alone, \.onnx files"):
                open_model(other, device)


def test_a_graph_needs_no_torch(bright_rgb: Path) -> None:
    code = (
        "import sys, pathlib; from sdseg.backends.open_model import open_model; import sdseg.inference.predict;"
        "open_model(pathlib.Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(bright_rgb)], check=True)


def test_checksums_name_the_model(tmp_path: Path, bright_rgb: Path) -> None:
    first, again, other = (
        open_model(write_model(tmp_path / name, seed=seed)).checksum for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again
    assert len({first, other, open_model(bright_rgb).checksum}) == 3
    graph = tmp_path / "model.onnx"
    graph.write_bytes(bright_rgb.read_bytes())
    alone = open_model(graph).checksum
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    assert open_model(graph).checksum != alone


@pytest.mark.parametrize("name", ["weights.pt", "model.onnx.txt"])
def test_files_of_another_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"?")
    with pytest.raises(UserError, match=r"is neither a model folder nor an \.onnx or \.engine file"):
        open_model(tmp_path / name)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such model"):
        open_model(tmp_path / "model")


def test_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the ModelManifest file is missing"):
        open_model(write_store(tmp_path / "s"))


def test_missing_weights(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"'weights.safetensors' is missing"):
        open_model(folder)


def test_truncated_and_foreign_weights(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    weights = folder / "weights.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-10])
    with pytest.raises(UserError, match="damaged or foreign"):
        open_model(folder)
    weights.write_bytes(data)
    (folder / "other.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"foreign file 'other.safetensors'"):
        open_model(folder)


def test_newer_format(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    manifest = read_json(folder / "config.json", ModelManifest)
    write_json(folder / "config.json", manifest.model_copy(update={"format": 2}))
    with pytest.raises(UserError, match="format 2 is newer"):
        open_model(folder)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="CUDA GPU"):
        open_model(write_model(tmp_path / "m"), device="cuda")


def test_evaluate_and_predict_on_openvino(bright_rgb: Path, tmp_path: Path) -> None:
    """The two verbs from the command line, and the same figures and masks as on ONNX Runtime."""
    skip_without_openvino()
    store, image = write_store(tmp_path / "prepared"), tmp_path / "image.png"
    encode(image, picture(RGB, 5)[0])
    scores, masks = [], []
    for device in ("cpu", "openvino"):
        scored, found = tmp_path / f"scored {device}", tmp_path / f"found {device}"
        words = ["--model", str(bright_rgb), "--device", device]
        assert main(["evaluate", "--prepared", str(store), "--output", str(scored), *words]) == 0
        assert main(["predict", str(image), "--output", str(found), *words]) == 0
        summary = json.loads((scored / "summary.json").read_text("utf-8"))
        assert summary["backend"] == ("openvino" if device == "openvino" else "onnxruntime-cpu")
        assert json.loads((found / "predict.json").read_text("utf-8"))["device"] == device
        scores.append((scored / "cases.csv").read_text("utf-8"))
        masks.append((found / "image_mask.png").read_bytes())
    assert scores[0] == scores[1]
    assert masks[0] == masks[1]
