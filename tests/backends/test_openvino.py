"""OpenVINO computes what PyTorch and ONNX Runtime compute, refuses what they refuse, and starts faster once more."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from sdseg.backends import cache
from sdseg.backends.base import Backend, Reseedable
from sdseg.backends.cache_checksums import seal
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.openvino import OpenvinoBackend
from sdseg.backends.openvino_cache import cached_model
from sdseg.backends.openvino_graph import openvino_model
from sdseg.backends.openvino_support import Arithmetic, computes_in_bf16, openvino_core
from sdseg.backends.torch import TorchBackend
from sdseg.core.errors import UserError
from sdseg.export.tracing import METADATA_KEY
from sdseg.models.segmenter import Segmenter
from tests.backends.test_backends import edited
from tests.helpers.tiny import CT, DISC_CUP, RGB, Brightness, describe, picture, write_graph

OLD = describe().model_dump_json()  # what a graph of an earlier version says: no checksum

if find_spec("openvino") is None:
    pytest.skip("OpenVINO is not installed: nothing of it was run", allow_module_level=True)


def pictures(count: int) -> np.ndarray:
    return np.stack([picture(CT, seed)[0] for seed in range(count)]).astype(np.float32)


def test_is_a_backend(bright_rgb: Path) -> None:
    backend: Backend = OpenvinoBackend(bright_rgb)
    assert isinstance(backend, Reseedable)
    assert backend.name == "openvino"


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_agrees_with_pytorch_on_rgb(bright_rgb: Path, count: int) -> None:
    images = np.stack([picture(RGB, seed)[0] for seed in range(count)])
    expected = TorchBackend(Brightness(RGB), RGB).probability(images)
    np.testing.assert_allclose(OpenvinoBackend(bright_rgb).probability(images), expected, atol=1e-5)


def test_agrees_with_pytorch_on_ct(bright_ct: Path) -> None:
    images = np.stack([picture(CT, seed, labels=2)[0] for seed in range(2)])
    images.flags.writeable = False  # as a memory-mapped store gives them
    found = OpenvinoBackend(bright_ct).probability(images)
    assert (found.shape, found.dtype) == ((2, 2, 32, 32), np.float32)
    np.testing.assert_allclose(found, TorchBackend(Brightness(CT, 2), CT).probability(images), atol=1e-5)


@pytest.mark.parametrize(("precision", "within"), [("fp32", 2e-5), ("fp16", 0.02), ("bf16", 0.15), ("int8", 0.3)])
def test_runs_every_precision(
    latent_segmenter: Segmenter, exported: dict[str, Path], precision: str, within: float
) -> None:
    backend = OpenvinoBackend(exported[precision])  # opened once: compiling a graph takes longer than running it
    for count in (1, 2, 3, 5):
        images = pictures(count)
        expected = TorchBackend(latent_segmenter, CT).probability(images)
        assert np.ptp(expected) > 0.01
        difference = np.abs(backend.probability(images) - expected)
        assert difference.max() < within, f"{count} images"
        assert difference.mean() < within / 4, f"{count} images"


def test_single_precision_is_single_precision(latent_segmenter: Segmenter, exported: dict[str, Path]) -> None:
    """A processor with bfloat16 would use it by default: that must be asked for."""
    images = pictures(2)
    expected = TorchBackend(latent_segmenter, CT).probability(images)
    exact = np.abs(OpenvinoBackend(exported["fp32"]).probability(images) - expected).max()
    assert exact < 2e-5
    if not computes_in_bf16():
        with pytest.raises(UserError, match="this processor does not compute in bfloat16"):
            OpenvinoBackend(exported["fp32"], arithmetic="bf16")
        return
    rounded = OpenvinoBackend(exported["fp32"], arithmetic="bf16")
    assert rounded.name == "openvino-bf16"
    assert 10 * exact < np.abs(rounded.probability(images) - expected).max() < 0.15


def test_without_bfloat16_every_option_that_asks_for_it_is_named(
    bright_rgb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdseg.backends.openvino.computes_in_bf16", lambda: False)
    with pytest.raises(
        UserError, match=r"(?s)not compute in bfloat16.*'openvino-bf16': --device, or of an export --providers"
    ):
        OpenvinoBackend(bright_rgb, arithmetic="bf16")


def test_noise_is_the_same_as_elsewhere(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "model.onnx", noise_shape=(2, 4, 4))
    images = np.stack([picture(RGB, 0)[0]] * 3)
    ours, theirs = OpenvinoBackend(path, seed=7), OnnxBackend(path, seed=7)
    np.testing.assert_allclose(ours.probability(images), theirs.probability(images), atol=1e-5)
    other = ours.with_seed(8)
    np.testing.assert_allclose(other.probability(images), theirs.with_seed(8).probability(images), atol=1e-5)
    assert np.abs(other.probability(images) - ours.probability(images)).max() > 1e-5


def test_threads_do_not_disturb_each_other(exported: dict[str, Path]) -> None:
    backend = OpenvinoBackend(exported["fp32"], threads=1)
    batches = [pictures(6)[start : start + 1 + start % 3] for start in range(4)] * 4
    expected = [backend.probability(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(backend.probability, batches), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_answers_stay_as_they_are(bright_rgb: Path) -> None:
    """The memory of an infer request is used again; an answer that was given must not change."""
    backend = OpenvinoBackend(bright_rgb)
    first = backend.probability(picture(RGB, 0)[0][None])
    kept = first.copy()
    backend.probability(picture(RGB, 1)[0][None])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 16, 32, 3), np.uint8), r"shape \(2, 16, 32, 3\).*wants \(N, 32, 32, 3\)"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"N ≥ 1"),
        (np.zeros((1, 32, 32, 3), np.float32), "type float32; the model wants uint8"),
    ],
)
def test_wrong_input(bright_rgb: Path, images: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        OpenvinoBackend(bright_rgb).probability(images)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (describe(CT), r"input 'image' is \[any, 32, 32, 3\] of uint8; expected \[any, 32, 32, 1\] of float32"),
        (describe(structures=DISC_CUP), "output 'probability' is"),
        (describe(noise_shape=(1, 2, 2)), r"no input 'noise' \(it has: image\)"),
        (describe().model_copy(update={"kind": "other"}), "this is a 'other'"),
    ],
)
def test_graph_that_is_not_what_it_says(bright_rgb: Path, tmp_path: Path, declared: object, message: str) -> None:
    text = declared.model_dump_json()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=message):
        OpenvinoBackend(edited(bright_rgb, tmp_path / "model.onnx", **{METADATA_KEY: text}))


def test_files_that_cannot_be_used(bright_rgb: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(UserError, match="the ONNX file is missing"):
        OpenvinoBackend(path)
    path.write_text("<html>Please log in</html>", encoding="utf-8")
    with pytest.raises(UserError, match="not an ONNX graph"):
        OpenvinoBackend(path)
    with pytest.raises(UserError, match="a foreign ONNX file"):
        OpenvinoBackend(edited(bright_rgb, path, **{METADATA_KEY: None}))
    with pytest.raises(UserError, match="format 99 is newer"):
        OpenvinoBackend(edited(bright_rgb, path, **{METADATA_KEY: json.dumps({"format": 99})}))
    data = bright_rgb.read_bytes()
    for share in (0.0, 0.3, 0.9):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(UserError, match=r"not an ONNX graph that can be run|a foreign ONNX file"):
            OpenvinoBackend(path)
    # Metadata that are whole, and a graph that is none.
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    onnx.helper.set_model_props(empty, {METADATA_KEY: describe().model_dump_json()})
    onnx.save(empty, str(path))
    with pytest.raises(UserError, match=r"not an ONNX graph that can be run|no input 'image'"):
        OpenvinoBackend(path)
    assert capfd.readouterr().err == ""


def test_missing_external_data(bright_rgb: Path, tmp_path: Path) -> None:
    path = edited(bright_rgb, tmp_path / "model.onnx", **{METADATA_KEY: OLD})
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="w.data", size_threshold=30)
    images = picture(RGB, 0)[0][None]
    found = OpenvinoBackend(path).probability(images)
    np.testing.assert_allclose(found, OnnxBackend(bright_rgb).probability(images), atol=1e-5)
    (tmp_path / "w.data").unlink()
    with pytest.raises(UserError, match="not an ONNX graph that can be run"):
        OpenvinoBackend(path)


def test_missing_package(bright_rgb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match="OpenVINO is not installed") as caught:
        OpenvinoBackend(bright_rgb)
    assert "pip install 'sdseg[openvino]'" in str(caught.value)


def test_nothing_is_sent_by_importing_it(tmp_path: Path, root: Path) -> None:
    """OpenVINO's telemetry stays out, and so leaves no identification in the home folder."""
    code = (
        "import sys; from sdseg.backends.openvino_support import openvino_core; openvino_core();"
        "sys.exit(any(name.startswith('openvino_telemetry') for name in sys.modules))"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_is_survived_after_two_were_open(exported: dict[str, Path], root: Path) -> None:
    """Handlers of signals run on a stack of their own, which must not be one that OpenVINO has freed."""
    code = (
        "import signal, sys; from pathlib import Path; from sdseg.backends.openvino import OpenvinoBackend;"
        "signal.signal(signal.SIGINT, lambda *_: print('heeded'));"
        "first, second = (OpenvinoBackend(Path(sys.argv[1])) for _ in range(2));"
        "del first; del second; signal.raise_signal(signal.SIGINT)"
    )
    command = [sys.executable, "-c", code, exported["fp32"]]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=root)
    assert (done.returncode, done.stdout) == (0, "heeded\n"), done.stderr


def test_threads_follow_the_environment(bright_rgb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert OpenvinoBackend(bright_rgb).threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert OpenvinoBackend(bright_rgb).threads == 0


# What was compiled is kept


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of compiled graphs, for graphs of any size."""
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path / "cache é"))
    monkeypatch.setattr(cache, "CACHED_FROM", 0)
    return tmp_path / "cache é" / "openvino"


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[OpenvinoBackend, bool]]:
    """Opens a graph, and says whether it was compiled: it is read and changed for OpenVINO then, and only then."""
    read: list[Path] = []

    def noted(path: Path, arithmetic: Arithmetic) -> object:
        read.append(path)
        return openvino_model(path, arithmetic)

    def start(path: Path, threads: int | None = None) -> tuple[OpenvinoBackend, bool]:
        before = len(read)
        backend = OpenvinoBackend(path, threads=threads)
        return backend, len(read) > before

    monkeypatch.setattr("sdseg.backends.openvino.openvino_model", noted)
    return start


def test_second_start_uses_the_first_ones_work(
    bright_rgb: Path, kept: Path, starts: Callable[..., tuple[OpenvinoBackend, bool]]
) -> None:
    image = picture(RGB, 0)[0][None]
    (first, compiled), (second, again) = (starts(bright_rgb, threads=1) for _ in range(2))
    assert (compiled, again) == (True, False)
    assert len(list(kept.iterdir())) == 1
    np.testing.assert_array_equal(second.probability(image), first.probability(image))
    assert starts(bright_rgb, threads=2)[1]  # compiled for other settings: an entry of its own
    assert len(list(kept.iterdir())) == 2


def test_another_graph_in_the_same_place_is_compiled(
    tmp_path: Path, kept: Path, starts: Callable[..., tuple[OpenvinoBackend, bool]]
) -> None:
    path = edited(write_graph(tmp_path / "new.onnx"), tmp_path / "model.onnx", **{METADATA_KEY: OLD})
    starts(path)
    model = onnx.load(str(path))
    for weights in model.graph.initializer:
        if weights.dims and np.prod(weights.dims) == 9:
            weights.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tuple(weights.dims), np.float32), weights.name))
    onnx.save(model, str(path))
    changed, compiled = starts(path)
    assert compiled
    assert np.ptp(changed.probability(picture(RGB, 0)[0][None])) == 0


@pytest.mark.parametrize("sealed", [False, True])
def test_a_damaged_entry_is_made_again(
    bright_rgb: Path,
    kept: Path,
    starts: Callable[..., tuple[OpenvinoBackend, bool]],
    caplog: pytest.LogCaptureFixture,
    sealed: bool,
) -> None:
    """By its checksums, or, where those are right, by OpenVINO."""
    starts(bright_rgb)
    (blob,) = kept.rglob("*.blob")
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[:100])
    if sealed:
        seal(blob.parent)
    with caplog.at_level(logging.WARNING):
        assert starts(bright_rgb)[1]
    reason = "OpenVINO does not take it" if sealed else r"its file 'model\.blob' is not the one that was kept"
    assert re.search(rf"it is made again \({reason}\)", caplog.text)
    assert not starts(bright_rgb)[1]


def test_a_cache_that_cannot_be_written(bright_rgb: Path, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept.parent.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert OpenvinoBackend(bright_rgb).probability(picture(RGB, 0)[0][None]).shape == (1, 1, 32, 32)
    assert "is not kept" in caplog.text


def test_what_cannot_be_kept_is_used_all_the_same(
    bright_rgb: Path, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Compiled:
        def export_model(self) -> object:
            raise RuntimeError("no room")

    compiled = Compiled()
    with caplog.at_level(logging.WARNING):
        assert cached_model(bright_rgb, ("a",), lambda: compiled, lambda _: None) is compiled
    assert "what OpenVINO compiled is not kept: no room" in caplog.text
    assert list(kept.rglob("*.blob")) == []


def test_an_entry_that_goes_while_it_is_opened(bright_rgb: Path, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another process may have pruned it: a warning, and the graph is compiled again."""

    def gone(_: object) -> object:
        raise FileNotFoundError("model.blob")

    compiled = openvino_core().compile_model(openvino_model(bright_rgb), "CPU")
    assert cached_model(bright_rgb, ("a",), lambda: compiled, gone) is compiled  # the first start, which leaves it
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        assert cached_model(bright_rgb, ("a",), lambda: compiled, gone) is compiled
    assert "it is made again (it cannot be read: model.blob)" in caplog.text
