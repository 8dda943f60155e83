"""A graph carries a checksum of itself: whatever changed in it is one clear error, in every runtime."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdseg.backends.graph_checksum import open_manifest
from sdseg.backends.graph_precision import read_graph
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.openvino import OpenvinoBackend
from sdseg.core.errors import UserError
from sdseg.export.tracing import METADATA_KEY
from tests.helpers.installed import skip_without_openvino
from tests.helpers.tiny import describe

REFUSED = (
    r"has changed|not an ONNX graph|a foreign ONNX file|not a GraphManifest|not valid JSON|is newer than|this is a '"
)


def test_the_checksum_is_that_of_all_other_bytes(bright_rgb: Path) -> None:
    data, told = bright_rgb.read_bytes(), open_manifest(bright_rgb).content_sha256
    assert told is not None
    before, after = data.split(told.encode())
    assert hashlib.sha256(before + after).hexdigest() == told


@settings(max_examples=200)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(
    bright_rgb: Path, tmp_path_factory: pytest.TempPathFactory, share: float, bit: int
) -> None:
    data = bytearray(bright_rgb.read_bytes())
    data[int(share * len(data))] ^= 1 << bit
    path = tmp_path_factory.mktemp("flipped") / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(UserError, match=REFUSED):
        open_manifest(path)


def damaged(source: Path, target: Path, change: str) -> Path:
    """A copy of a graph with one weight, one attribute or one metadata value changed, all else as it was."""
    model = onnx.load(str(source))
    if change == "weight":
        weights = next(each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT)
        weights.raw_data = weights.raw_data[:-4] + bytes(4)
    elif change == "attribute":
        attribute = next(each for node in model.graph.node for each in node.attribute if each.ints)
        attribute.ints[0] += 1
    else:
        (entry,) = model.metadata_props
        entry.value = entry.value.replace('"threshold":0.5', '"threshold":0.7')
    onnx.save(model, str(target))
    return target


@pytest.mark.parametrize("change", ["weight", "attribute", "metadata"])
def test_every_runtime_refuses_it(bright_rgb: Path, tmp_path: Path, change: str) -> None:
    path = damaged(bright_rgb, tmp_path / "model.onnx", change)
    for opened in (OnnxBackend, read_graph):
        with pytest.raises(UserError, match=r"(?s)the graph has changed since it was exported.*run 'sdseg export'"):
            opened(path)
    skip_without_openvino()
    with pytest.raises(UserError, match="the graph has changed since it was exported"):
        OpenvinoBackend(path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"threshold":0.5', '"threshold":5', r"'threshold' input should be less than or equal to 1 \(it is 5\)"),
        ('"threshold":0.5', '"threshold":NaN', r"'threshold' input should be .* \(it is nan\)"),
        ('"provenance":{}', '"provenance":{"seconds":NaN}', "NaN in it, which is no number of JSON"),
        ('"threshold":0.5', '"threshold":1e999', "'threshold' input should be"),
        ('"window":[0.0,255.0]', '"window":[255.0,0.0]', "'image.window' must grow, and goes from 255 to 0"),
        ('"size":32', '"size":0', r"'image.size' a number of pixels from 1 to 16384 is expected, or two.*\(it is 0\)"),
        ('"size":32', f'"size":{"9" * 5000}', "not valid JSON"),
        ('"structures":[', '"structures":[{"name":"polyp","values":[2]},', "'structures' names 'polyp' twice"),
        ('"modality":"rgb"', '"modality":"rgc"', "'image.modality' string should match pattern"),
    ],
)
def test_metadata_that_mean_nothing_are_one_error(
    bright_rgb: Path, tmp_path: Path, before: str, after: str, message: str
) -> None:
    model = onnx.load(str(bright_rgb))
    (entry,) = model.metadata_props
    assert before in entry.value
    entry.value = entry.value.replace(before, after)
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(UserError, match=message):
        OnnxBackend(tmp_path / "model.onnx")


def test_a_graph_of_an_earlier_version_is_taken_with_a_note(
    bright_rgb: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = onnx.load(str(bright_rgb))
    onnx.helper.set_model_props(model, {METADATA_KEY: describe().model_dump_json(exclude={"content_sha256"})})
    onnx.save(model, str(tmp_path / "model.onnx"))
    with caplog.at_level(logging.WARNING):
        assert OnnxBackend(tmp_path / "model.onnx").manifest == describe()
    assert "carries no checksum (exported by an earlier version)" in caplog.text
