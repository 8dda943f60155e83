"""Both backends give the same figures and refuse the same input; ONNX files that cannot be used are one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdseg.backends.inputs import check_images, draw_noise
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.torch import TorchBackend
from sdseg.core.errors import UserError
from sdseg.export.tracing import METADATA_KEY
from tests.helpers.tiny import CT, DISC_CUP, RGB, Brightness, describe, picture, write_graph


def edited(source: Path, target: Path, **values: str | None) -> Path:
    """A copy of a graph with other metadata; None removes a value."""
    model = onnx.load(str(source))
    kept = {value.key: value.value for value in model.metadata_props} | values
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: value for key, value in kept.items() if value is not None})
    onnx.save(model, str(target))
    return target


def test_both_backends_agree_on_rgb(bright_rgb: Path) -> None:
    images = np.stack([picture(RGB, seed)[0] for seed in range(3)])
    ours, theirs = OnnxBackend(bright_rgb), TorchBackend(Brightness(RGB), RGB)
    assert (ours.name, theirs.name) == ("onnxruntime-cpu", "torch-cpu")
    np.testing.assert_allclose(ours.probability(images), theirs.probability(images), atol=1e-5)


def test_both_backends_agree_on_ct_of_either_type(bright_ct: Path) -> None:
    images = np.stack([picture(CT, seed, labels=2)[0] for seed in range(2)])
    found = OnnxBackend(bright_ct).probability(images)
    assert found.shape == (2, 2, 32, 32)
    assert found.dtype == np.float32
    expected = TorchBackend(Brightness(CT, 2), CT).probability(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(OnnxBackend(bright_ct).probability(images.astype(np.float32)), found)


def test_read_only_images_are_welcome() -> None:
    images = picture(RGB, 0)[0][None]
    images.flags.writeable = False  # as a memory-mapped store gives them
    assert TorchBackend(Brightness(RGB), RGB).probability(images).shape == (1, 1, 32, 32)


def test_noise_is_the_same_everywhere(tmp_path: Path) -> None:
    shape = (2, 4, 4)
    path = write_graph(tmp_path / "model.onnx", noise_shape=shape)
    images = np.stack([picture(RGB, 0)[0]] * 3)
    module = Brightness(RGB, noise_shape=shape)
    ours, theirs = OnnxBackend(path, seed=7), TorchBackend(module, RGB, noise_shape=shape, seed=7)
    np.testing.assert_allclose(ours.probability(images), theirs.probability(images), atol=1e-5)
    np.testing.assert_array_equal(ours.probability(images)[2], ours.probability(images[:1])[0])
    assert np.abs(OnnxBackend(path, seed=8).probability(images) - ours.probability(images)).max() > 1e-5


@given(count=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_noise_depends_on_the_seed_alone(count: int, seed: int) -> None:
    noise = draw_noise(count, (2, 3, 4), seed)
    assert noise.shape == (count, 2, 3, 4)
    assert noise.dtype == np.float32
    np.testing.assert_array_equal(noise, np.repeat(draw_noise(1, (2, 3, 4), seed), count, axis=0))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 16, 32, 3), np.uint8), r"shape \(2, 16, 32, 3\).*wants \(N, 32, 32, 3\)"),
        (np.zeros((2, 3, 32, 32), np.uint8), r"shape \(2, 3, 32, 32\)"),
        (np.zeros((32, 32, 3), np.uint8), r"shape \(32, 32, 3\)"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"N ≥ 1"),
        (np.zeros((1, 32, 32, 3), np.float32), "type float32; the model wants uint8"),
    ],
)
def test_wrong_rgb_input(bright_rgb: Path, images: np.ndarray, message: str) -> None:
    for backend in (OnnxBackend(bright_rgb), TorchBackend(Brightness(RGB), RGB)):
        with pytest.raises(UserError, match=message):
            backend.probability(images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 32, 32, 1), np.uint8), "type uint8; the model wants the values of the volume as int16"),
        (np.zeros((1, 32, 32, 3), np.int16), r"wants \(N, 32, 32, 1\)"),
        (np.full((1, 32, 32, 1), np.nan, np.float32), "NaN or infinite"),
        (np.full((1, 32, 32, 1), -np.inf, np.float32), "NaN or infinite"),
    ],
)
def test_wrong_ct_input(images: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_images(images, CT)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_an_error(bright_rgb: Path) -> None:
    with pytest.raises(UserError, match="CUDA"):
        TorchBackend(Brightness(RGB), RGB, device="cuda")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(UserError, match=r"(?s)CUDAExecutionProvider is not among its.*of an export --providers"):
            OnnxBackend(bright_rgb, provider="cuda")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the ONNX file is missing"):
        OnnxBackend(tmp_path / "model.onnx")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file(bright_rgb: Path, tmp_path: Path, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    data = bright_rgb.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"not an ONNX graph that can be run|foreign ONNX file"):
        OnnxBackend(path)
    assert capfd.readouterr().err == ""


def test_text_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("<html>Please log in</html>", encoding="utf-8")
    with pytest.raises(UserError, match="not an ONNX graph"):
        OnnxBackend(path)


def test_foreign_graph(bright_rgb: Path, tmp_path: Path) -> None:
    path = edited(bright_rgb, tmp_path / "model.onnx", **{METADATA_KEY: None})
    with pytest.raises(UserError, match="a foreign ONNX file"):
        OnnxBackend(path)


def test_newer_format(bright_rgb: Path, tmp_path: Path) -> None:
    newer = json.dumps({"format": 99, "surprise": True})
    with pytest.raises(UserError, match="format 99 is newer"):
        OnnxBackend(edited(bright_rgb, tmp_path / "model.onnx", **{METADATA_KEY: newer}))


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "x"}', '{"kind": "sdseg-graph"}'])
def test_damaged_metadata(bright_rgb: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"not valid JSON|not a GraphManifest"):
        OnnxBackend(edited(bright_rgb, tmp_path / "model.onnx", **{METADATA_KEY: text}))


def test_metadata_of_another_kind(bright_rgb: Path, tmp_path: Path) -> None:
    text = describe().model_copy(update={"kind": "other"}).model_dump_json()
    with pytest.raises(UserError, match="this is a 'other'"):
        OnnxBackend(edited(bright_rgb, tmp_path / "model.onnx", **{METADATA_KEY: text}))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (describe(CT), r"input 'image' is \[any, 32, 32, 3\] of uint8; expected \[any, 32, 32, 1\] of float32"),
        (describe(RGB.model_copy(update={"size": 64})), "input 'image' is"),
        (describe(structures=DISC_CUP), "output 'probability' is"),
        (describe(noise_shape=(1, 2, 2)), r"no input 'noise' \(it has: image\)"),
        (describe().model_copy(update={"outputs": ()}), "an output 'probability' that it does not declare"),
    ],
)
def test_graph_that_is_not_what_it_says(bright_rgb: Path, tmp_path: Path, declared: object, message: str) -> None:
    text = declared.model_dump_json()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=message):
        OnnxBackend(edited(bright_rgb, tmp_path / "model.onnx", **{METADATA_KEY: text}))


def test_missing_external_data(bright_rgb: Path, tmp_path: Path) -> None:
    """As of a graph of an earlier version: it carries no checksum that would miss the file first."""
    path = edited(bright_rgb, tmp_path / "model.onnx", **{METADATA_KEY: describe().model_dump_json()})
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="w.data", size_threshold=60)
    OnnxBackend(path)
    (tmp_path / "w.data").unlink()
    with pytest.raises(UserError, match="not an ONNX graph that can be run"):
        OnnxBackend(path)


def test_threads_follow_the_environment(bright_rgb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in (("3", 3), ("2,1", 2), ("", 0), ("many", 0)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert OnnxBackend(bright_rgb).threads == expected
    assert OnnxBackend(bright_rgb, threads=1).threads == 1
