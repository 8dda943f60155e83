"""Metadata are read as `onnx.load` reads them, without the weights; anything else is one clear error."""

from __future__ import annotations

import contextlib
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdseg.backends.graph_file import read_metadata
from sdseg.core.errors import UserError


def test_agrees_with_onnx(bright_rgb: Path, bright_ct: Path) -> None:
    for path in (bright_rgb, bright_ct):
        assert read_metadata(path) == {each.key: each.value for each in onnx.load(str(path)).metadata_props}


@settings(max_examples=30)
@given(values=st.dictionaries(st.text(), st.text(), max_size=4), size=st.integers(0, 300))
def test_whatever_the_values_are(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str], size: int) -> None:
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [size], [0.5] * size)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [weights]), producer_name="x" * size)
    onnx.helper.set_model_props(model, values)
    path = tmp_path_factory.mktemp("graphs") / "model.onnx"
    onnx.save(model, str(path))
    assert read_metadata(path) == values


@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True), data=st.binary(max_size=40))
def test_damaged_files(bright_rgb: Path, tmp_path_factory: pytest.TempPathFactory, share: float, data: bytes) -> None:
    """Cut off anywhere, and garbage: the one error there is, or no metadata of ours."""
    whole = bright_rgb.read_bytes()
    path = tmp_path_factory.mktemp("graphs") / "model.onnx"
    for content in (whole[: int(share * len(whole))], data):
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            assert "sdseg" not in read_metadata(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the ONNX file is missing"):
        read_metadata(tmp_path / "model.onnx")
