"""Graphs as OpenVINO gets them: group norms where values lie, int8 layers that answer in floats, the same answers."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm

from sdseg.backends.graph import feed_of
from sdseg.backends.graph_checksum import open_manifest
from sdseg.backends.openvino_nodes import kind
from sdseg.backends.openvino_support import load_openvino, openvino_core
from sdseg.export.quantise import quantise
from sdseg.export.tracing import export_graph
from tests.helpers.tiny import CT, RGB, describe, picture

if find_spec("openvino") is None:
    pytest.skip("OpenVINO is not installed: nothing of it was run", allow_module_level=True)

from sdseg.backends.openvino_graph import openvino_model
from sdseg.backends.openvino_group_norm import normalise_in_place
from sdseg.backends.openvino_rounding import round_for_layers_alone

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}  # 8 bits as rounded floats, on any processor
EPSILON = 1e-6


def normalising(channels: int, groups: int, sizes: tuple[int, ...], affine: tuple[Any, Any] | None) -> Any:
    """A graph that normalises [N,channels,*sizes] as exported graphs do: each group a row, [N,groups,row]."""
    load_openvino()
    from openvino import opset13 as ops

    values = ops.parameter([-1, channels, *sizes], np.float32)
    rows = ops.reshape(values, ops.constant(np.array([0, groups, -1])), True)
    normal = ops.mvn(rows, ops.constant(np.array([2])), True, EPSILON, "inside_sqrt")
    normal = ops.add(ops.multiply(normal, ops.constant(np.ones((groups, 1), np.float32))), ops.constant(np.float32(0)))
    answer = ops.reshape(normal, ops.constant(np.array([0, channels, *sizes])), True)
    if affine is not None:
        scale, shift = (ops.constant(each.reshape(channels, *(1 for _ in sizes))) for each in affine)
        answer = ops.add(ops.multiply(answer, scale), shift)
    return load_openvino().Model([answer], [values], "normalising")


def answer(model: Any, values: np.ndarray) -> np.ndarray:
    (found,) = openvino_core().compile_model(model, "CPU", EXACT)([values]).values()
    return np.array(found)


def operators(model: Any) -> set[str]:
    return {kind(node) for node in model.get_ops()}


@pytest.mark.parametrize(
    ("channels", "groups", "sizes"), [(8, 4, (6, 5)), (12, 12, (3, 4)), (6, 1, (2, 2)), (8, 2, (3, 4, 5))]
)
@pytest.mark.parametrize("with_affine", [False, True])
def test_groups_are_normalised_as_pytorch_does(
    channels: int, groups: int, sizes: tuple[int, ...], with_affine: bool
) -> None:
    random = np.random.default_rng(0)
    values = (3 * random.standard_normal((2, channels, *sizes)) + 5).astype(np.float32)
    affine = tuple(random.standard_normal(channels).astype(np.float32) for _ in range(2)) if with_affine else None
    model = normalising(channels, groups, sizes, affine)
    assert normalise_in_place(model) == 1
    assert "MVN" not in operators(model)
    assert {"ReduceMean", "ReduceL2"} <= operators(model)
    parts = [torch.from_numpy(each).double() for each in affine or ()]
    expected = group_norm(torch.from_numpy(values).double(), groups, *parts, eps=EPSILON)
    np.testing.assert_allclose(answer(model, values), expected.numpy(), atol=2e-5)


@pytest.mark.parametrize(("times", "within"), [(0, 1e-6), (3, 2e-5), (30, 5e-4), (300, 0.1), (3000, 4.0), (1e5, 4.0)])
def test_a_mean_far_from_zero(times: float, within: float) -> None:
    """What the square of a mean of so many standard deviations costs; where it costs all, nothing explodes."""
    values = (np.random.default_rng(0).standard_normal((1, 8, 32, 32)) + times).astype(np.float32)
    model = normalising(8, 4, (32, 32), None)
    assert normalise_in_place(model) == 1
    expected = group_norm(torch.from_numpy(values).double(), 4, eps=EPSILON)
    found = answer(model, values)
    np.testing.assert_allclose(found, expected.numpy(), atol=within)
    assert np.abs(found).max() < 5


@pytest.mark.parametrize("value", [0.0, 0.3, 300.0])
def test_equal_values_do_not_divide_by_zero(value: float) -> None:
    model = normalising(4, 2, (8, 8), None)
    assert normalise_in_place(model) == 1
    assert np.abs(answer(model, np.full((1, 4, 8, 8), value, np.float32))).max() < 1e-3


@pytest.mark.parametrize(
    ("rows", "axes", "kind_of_float"),
    [
        ([0, 2, 72], [1, 2], np.float32),  # other axes
        ([0, 2, 72], [1], np.float32),
        ([1, 4, 72], [2], np.float32),  # rows of two images
        ([-1, 2, 36], [2], np.float32),  # halves of an image
        ([0, 2, 72], [2], np.float16),
    ],
)
def test_what_looks_like_a_group_norm_stays(rows: list[int], axes: list[int], kind_of_float: type) -> None:
    from openvino import opset13 as ops

    values = ops.parameter([-1, 4, 6, 6], kind_of_float)
    flat = ops.reshape(values, ops.constant(np.array(rows)), True)
    normal = ops.mvn(flat, ops.constant(np.array(axes)), True, EPSILON, "inside_sqrt")
    maps = ops.reshape(normal, ops.constant(np.array([-1, 4, 6, 6])), True)
    assert normalise_in_place(load_openvino().Model([maps], [values], "look-alike")) == 0


def test_sequences_and_instances_stay() -> None:
    """A sequence [N,C,L] has no layout to keep; what is normalised as it lies needs no change."""
    sequence = normalising(4, 2, (6,), None)
    assert normalise_in_place(sequence) == 0
    from openvino import opset13 as ops

    values = ops.parameter([-1, 4, 6, 6], np.float32)
    normal = ops.mvn(values, ops.constant(np.array([2, 3])), True, EPSILON, "inside_sqrt")
    assert normalise_in_place(load_openvino().Model([normal], [values], "instances")) == 0


def test_a_product_along_columns_is_none_of_a_channel() -> None:
    from openvino import opset13 as ops

    values = ops.parameter([-1, 6, 6, 6], np.float32)
    rows = ops.reshape(values, ops.constant(np.array([0, 2, -1])), True)
    normal = ops.mvn(rows, ops.constant(np.array([2])), True, EPSILON, "inside_sqrt")
    maps = ops.reshape(normal, ops.constant(np.array([0, 6, 6, 6])), True)
    along_columns = np.arange(6, dtype=np.float32)
    model = load_openvino().Model([ops.multiply(maps, ops.constant(along_columns))], [values], "columns")
    numbers = np.random.default_rng(0).standard_normal((1, 6, 6, 6)).astype(np.float32)
    expected = group_norm(torch.from_numpy(numbers), 2, eps=EPSILON).numpy() * along_columns
    assert normalise_in_place(model) == 1
    np.testing.assert_allclose(answer(model, numbers), expected, atol=2e-5)


def test_rows_that_others_read_stay() -> None:
    from openvino import opset13 as ops

    values = ops.parameter([-1, 4, 6, 6], np.float32)
    rows = ops.mvn(
        ops.reshape(values, ops.constant(np.array([0, 2, -1])), True),
        ops.constant(np.array([2])),
        True,
        EPSILON,
        "inside_sqrt",
    )
    maps = ops.reshape(rows, ops.constant(np.array([0, 4, 6, 6])), True)
    assert normalise_in_place(load_openvino().Model([maps, rows], [values], "read twice")) == 0


def test_group_norms_stay_for_bfloat16(exported: dict[str, Path]) -> None:
    as_they_are, in_place = (openvino_model(exported["fp32"], arithmetic) for arithmetic in ("bf16", "f32"))
    assert "ReduceL2" not in operators(as_they_are)
    assert "ReduceL2" in operators(in_place)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_it_can_be_written_for_other_programs(exported: dict[str, Path], precision: str, tmp_path: Path) -> None:
    model = openvino_model(exported[precision])
    load_openvino().save_model(model, str(tmp_path / "model.xml"), compress_to_fp16=False)
    written = openvino_core().read_model(str(tmp_path / "model.xml"))
    feed = feed_of(open_manifest(exported[precision]), picture(CT, 0)[0][None].astype(np.float32), 0)
    ours, theirs = (openvino_core().compile_model(each, "CPU", EXACT)(feed)["probability"] for each in (model, written))
    np.testing.assert_allclose(theirs, ours, atol=1e-6)


def test_int8_rounds_for_its_layers_alone(exported: dict[str, Path]) -> None:
    """Fewer values are rounded, so that the answer is nearer to that of single precision."""
    integers, manifest = openvino_core().read_model(str(exported["int8"])), open_manifest(exported["int8"])
    images = np.stack([picture(CT, seed)[0] for seed in range(4)]).astype(np.float32)
    feed = feed_of(manifest, images, 0)

    def probability(model: Any) -> np.ndarray:
        return np.array(openvino_core().compile_model(model, "CPU", EXACT)(feed)["probability"])

    expected = probability(openvino_core().read_model(str(exported["fp32"])))
    before = np.abs(probability(integers) - expected).mean()
    assert round_for_layers_alone(integers) > 0
    after = np.abs(probability(integers) - expected).mean()
    assert 0 < after < before
    readers = {kind(reader.get_node()) for node in roundings(integers) for reader in beyond(node.output(0))}
    assert readers <= {"Convolution", "MatMul"}
    assert round_for_layers_alone(integers) == 0


class Scaled(nn.Module):
    """Between two layers a product and a sum of the network's own, which look like the way from bytes to floats."""

    noise_shape = None

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 1, 1)])
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        first, middle, last = self.layers
        answered: Tensor = middle(first(image.float().permute(0, 3, 1, 2) / 255))
        return torch.sigmoid(last((answered - 0.25) * 3))


class Shortcut(nn.Module):
    """A block whose input also goes around it, through a 1×1 convolution."""

    noise_shape = None

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 1, 1)
        self.block, self.around = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        values = self.first(image.float().permute(0, 3, 1, 2) / 255)
        answered: Tensor = self.block(torch.tanh(values)) + self.around(values)
        return torch.sigmoid(self.last(answered))


@pytest.fixture
def in_bytes(tmp_path: Path) -> Callable[[nn.Module], tuple[Any, Any, np.ndarray]]:
    """A network's graph and the same in int8, read by OpenVINO, with images."""

    def read(network: nn.Module) -> tuple[Any, Any, np.ndarray]:
        single, integers, manifest = tmp_path / "model.onnx", tmp_path / "model.int8.onnx", describe(RGB)
        export_graph(network, manifest, single)
        images = np.stack([picture(RGB, seed)[0] for seed in range(4)])
        quantise(single, integers, [{"image": images}], manifest.model_copy(update={"precision": "int8"}))
        return *(openvino_core().read_model(str(file)) for file in (single, integers)), images

    return read


@pytest.mark.parametrize("network", [Scaled, Shortcut])
def test_what_the_network_itself_computes_stays(
    in_bytes: Callable[[nn.Module], tuple[Any, Any, np.ndarray]], network: type[nn.Module]
) -> None:
    single, integers, images = in_bytes(network())
    assert round_for_layers_alone(integers) > 0
    expected = answer(single, images)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(answer(integers, images), expected, atol=0.02)


def test_nothing_is_rounded_for_a_shortcut_alone(
    in_bytes: Callable[[nn.Module], tuple[Any, Any, np.ndarray]],
) -> None:
    _, integers, _ = in_bytes(Shortcut())
    round_for_layers_alone(integers)
    layers = [node for node in integers.get_ordered_ops() if kind(node) == "Convolution"]
    rounded = {tuple(node.input(1).get_partial_shape().to_shape()): _is_rounded(node.input_value(0)) for node in layers}
    assert rounded == {(8, 3, 1, 1): False, (8, 8, 3, 3): True, (8, 8, 1, 1): False, (1, 8, 1, 1): False}


def test_a_rounded_answer_of_the_graph_stays(
    in_bytes: Callable[[nn.Module], tuple[Any, Any, np.ndarray]],
) -> None:
    _, integers, _ = in_bytes(Scaled())
    (rounding,) = [node for node in roundings(integers) if kind(node.input_value(0).get_node()) == "Add"][-1:]
    (to_bytes,) = rounding.output(0).get_target_inputs()
    readers = [reader.get_node() for reader in to_bytes.get_node().output(0).get_target_inputs()]
    offset = next(iter(readers[0].output(0).get_target_inputs())).get_node()
    scale = next(iter(offset.output(0).get_target_inputs())).get_node()
    with_answer = load_openvino().Model([*integers.outputs, scale.output(0)], integers.get_parameters(), "two answers")
    assert round_for_layers_alone(with_answer) > 0
    assert with_answer.outputs[1].get_node().input_value(0).get_node().get_friendly_name() == scale.get_friendly_name()


def _is_rounded(value: Any) -> bool:
    node = value.get_node()
    while kind(node) in ("Convert", "Subtract", "Multiply"):
        node = node.input_value(0).get_node()
    return kind(node) == "FakeQuantize"


def roundings(model: Any) -> list[Any]:
    nodes = [node for node in model.get_ops() if kind(node) == "FakeQuantize"]
    return [node for node in nodes if kind(node.input_value(0).get_node()) not in ("Constant", "Convert")]


def beyond(output: Any) -> list[Any]:
    """Inputs behind the steps from bytes to floats."""
    readers = []
    for reader in output.get_target_inputs():
        steps = kind(reader.get_node()) in ("Convert", "Subtract", "Multiply")
        readers += beyond(reader.get_node().output(0)) if steps else [reader]
    return readers
