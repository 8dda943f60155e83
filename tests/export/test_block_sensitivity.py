"""Which blocks stay in single precision: those whose 8 bits the masks do not survive, and no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sdseg.backends.graph_precision import read_graph
from sdseg.core.errors import UserError
from sdseg.data.mask_rule import MaskRule
from sdseg.export.block_sensitivity import graph_blocks, sensitive_layers
from sdseg.export.quantise import ActivationRanges, quantise
from tests.helpers.tiny import describe

IDENTITY = np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1)


def kernels(*weights: float) -> np.ndarray:
    return IDENTITY * np.array(weights, np.float32).reshape(2, 1, 1, 1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """[n,2,8,8] -> the second channel, a probability, which one block carries beside values of thousands in the first.

    A byte for both channels has steps of 4000 / 255 there, which is more than the second channel ever is.
    """
    weights = {
        "first.weight": kernels(1, 1),
        "fine.a.weight": kernels(1, 1),
        "coarse.a.weight": kernels(4000, 1),
        "coarse.b.weight": kernels(1 / 4000, 1),
        "last.weight": np.array([0, 1], np.float32).reshape(1, 2, 1, 1),
    }
    outputs = [name.removesuffix(".weight") for name in weights][:-1]
    nodes = [
        helper.make_node("Conv", [before, name], [after], name=f"node of {name}")
        for before, name, after in zip(["image", *outputs], weights, [*outputs, "probability"], strict=True)
    ]
    sizes = dict.fromkeys(outputs, 2)
    graph = helper.make_graph(
        nodes,
        "two blocks",
        [helper.make_tensor_value_info("image", 1, ["n", 2, 8, 8])],
        [helper.make_tensor_value_info("probability", 1, ["n", 1, 8, 8])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
        value_info=[helper.make_tensor_value_info(name, 1, ["n", size, 8, 8]) for name, size in sizes.items()],
    )
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), str(path))
    return path


@pytest.fixture
def feeds() -> list[dict[str, np.ndarray]]:
    return [{"image": np.random.default_rng(seed).random((3, 2, 8, 8), np.float32)} for seed in range(2)]


def test_blocks_are_parts_of_the_network_without_its_ends(source: Path) -> None:
    blocks = graph_blocks(onnx.load(str(source)).graph)
    assert [(block.name, len(block.layers)) for block in blocks] == [("fine.a", 1), ("coarse.a", 1), ("coarse.b", 1)]
    assert [block.products for block in blocks] == [2 * 2 * 8 * 8] * 3
    assert blocks[0].layers == ("node of fine.a.weight",)


def test_what_the_masks_do_not_survive_stays(source: Path, feeds: list[dict[str, np.ndarray]], tmp_path: Path) -> None:
    calibration = ActivationRanges(source, feeds, tmp_path / "ranges.json")
    kept = sensitive_layers(source, calibration, feeds, MaskRule().masks, least_dice=0.97)
    assert set(kept) == {"node of coarse.a.weight", "node of coarse.b.weight"}
    assert sorted(path.name for path in source.parent.iterdir()) == ["model.onnx"]


def test_the_graph_keeps_them(source: Path, feeds: list[dict[str, np.ndarray]], tmp_path: Path) -> None:
    target = tmp_path / "model.int8_mixed.onnx"
    described = describe().model_copy(update={"precision": "int8_mixed"})
    quantise(source, target, feeds, described, lambda ranges: ["node of coarse.a.weight", "node of coarse.b.weight"])
    assert read_graph(target)[1] == "int8_mixed"
    held = {each.name for each in onnx.load(str(target)).graph.initializer}
    assert {"first.weight", "coarse.a.weight", "coarse.b.weight", "last.weight"} <= held
    assert "fine.a.weight" not in held  # it is there in bytes
    assert [path.name for path in tmp_path.iterdir()] == ["model.int8_mixed.onnx"]


def test_where_nothing_survives(source: Path, feeds: list[dict[str, np.ndarray]], tmp_path: Path) -> None:
    calibration = ActivationRanges(source, feeds, tmp_path / "ranges.json")
    with pytest.raises(UserError, match="no block of the network keeps its masks in 8 bits") as caught:
        sensitive_layers(source, calibration, feeds, lambda values: (1e5 * values).astype(int) % 2 == 1, 0.995)
    assert "min_mask_dice" in str(caught.value)
