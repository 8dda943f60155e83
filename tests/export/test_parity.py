"""The gate opens for the same model and closes, by name, for each kind of wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from sdseg.artifacts.results.parity import Parity
from sdseg.backends.base import Backend
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.torch import TorchBackend
from sdseg.config.export import Export, Tolerance
from sdseg.core.array_types import FloatArray, MaskArray, RawImages
from sdseg.data.batches import SliceBatch
from sdseg.data.mask_rule import MaskRule
from sdseg.export.parity import compare
from sdseg.export.tracing import export_graph
from tests.helpers.tiny import CT, Brightness, describe, picture


def pictures_of(cases: tuple[str, ...], images: RawImages, labelled: MaskArray) -> SliceBatch:
    return SliceBatch(cases, tuple(range(len(cases))), images, labelled)


@pytest.fixture(scope="module")
def batches() -> list[SliceBatch]:
    """Six CT slices of four cases, in batches of two; the last one has nothing to find."""
    pairs = [picture(CT, seed) for seed in range(6)]
    pairs[5] = (np.full_like(pairs[5][0], -1000), np.zeros_like(pairs[5][1]))
    images = np.stack([image for image, _ in pairs])
    masks = np.stack([label for _, label in pairs])[:, None] > 0
    names = ("a", "a", "a", "b", "c", "d")
    return [pictures_of(names[i : i + 2], images[i : i + 2], masks[i : i + 2]) for i in (0, 2, 4)]


class Changed(Brightness):
    """`Brightness` with something gone wrong in it."""

    def __init__(self, how: str) -> None:
        super().__init__(CT)
        self.how = how

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        found = super().forward(image * 0.1 if self.how == "window" else image)
        if self.how == "axis":
            return found.transpose(2, 3)
        if self.how == "fp16":  # 66 HU times 1000 is above the largest half: infinity over infinity is no number
            large = image[..., 0].unsqueeze(1).half() * 1000
            return (found.half() * (large / large.abs()).abs()).float()
        if self.how == "black":
            return found * 0.4
        if self.how == "constant":
            return found * 0.0 + 0.7
        if self.how == "blur":
            return (found + 2e-3).clamp(0, 1)
        return found


def exported(how: str, folder: Path) -> Backend:
    if how == "fp16":  # ONNX Runtime computes such a graph in fp32 on a CPU, where nothing overflows
        return TorchBackend(Changed(how), CT)
    path = folder / "model.onnx"
    export_graph(Changed(how), describe(CT), path)
    return OnnxBackend(path)


def tolerance(**settings: float) -> Tolerance:
    return Export.model_validate(settings).tolerance("fp32")


def gate(model: Backend, batches: list[SliceBatch], **settings: float) -> Parity:
    return compare(TorchBackend(Brightness(CT), CT), model, batches, MaskRule(), tolerance(**settings))


def test_the_same_model_passes(batches: list[SliceBatch], tmp_path: Path) -> None:
    found = gate(exported("", tmp_path), batches)
    assert found.problems == ()
    assert found.passed
    assert (found.n_cases, found.n_slices) == (4, 6)
    assert 0 <= found.mean_abs_difference <= found.max_abs_difference < 1e-5
    assert found.mask_dice == found.dice_reference / found.dice_exported == 1.0
    assert found.dice_reference > 0.9
    record = json.loads(json.dumps(found.content(), allow_nan=False))
    assert record["passed"] is True
    assert record["tolerances"] == {
        "max_abs_difference": 1e-3,
        "max_mean_difference": 1e-3,
        "max_dice_difference": 2e-3,
        "min_mask_dice": 0.99,
    }
    assert "problems" not in record


@pytest.mark.parametrize(
    ("how", "messages"),
    [
        ("window", ["black mask", "the probability differs by up to", "the mean Dice is"]),
        ("axis", ["the probability differs by up to", "the mean Dice is"]),
        ("fp16", ["NaN or infinite probability, in 6 of 6 slices (first: case a)"]),
        ("black", ["black mask: nothing found where the model finds a structure, in 5 of 6 slices (first: case a)"]),
        ("constant", ["constant probability where the model's is not, in 5 of 6 slices"]),
        ("blur", ["the probability differs by up to 0.002, 2.0 times the tolerance of 0.001"]),
    ],
)
def test_a_graph_that_is_wrong_on_purpose_is_refused(
    batches: list[SliceBatch], tmp_path: Path, how: str, messages: list[str]
) -> None:
    found = gate(exported(how, tmp_path), batches)
    assert not found.passed
    assert found.content()["passed"] is False
    for message in messages:
        assert any(message in problem for problem in found.problems), found.problems


def test_tolerances_decide(batches: list[SliceBatch]) -> None:
    shifted = TorchBackend(Changed("blur"), CT)
    assert gate(shifted, batches, max_abs_difference=3e-3).passed
    assert not gate(shifted, batches, max_abs_difference=1e-3).passed


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_mean_difference": 0.09}, "the probability differs by 0.1 on average, the tolerance is 0.09"),
        ({"max_abs_difference": 0.7}, "the probability differs by up to 0.8, 1.1 times the tolerance of 0.7"),
        ({"max_dice_difference": 0.1}, "a difference of 0.1667, the tolerance is 0.1"),
        ({"min_mask_dice": 0.9}, "the Dice between the masks is 0.8333, at least 0.9 is wanted"),
    ],
)
def test_each_tolerance_closes_the_gate_by_itself(limits: dict[str, float], message: str) -> None:
    wide = {"max_abs_difference": 1.0, "max_mean_difference": 1.0, "max_dice_difference": 1.0, "min_mask_dice": 0.0}
    reference, other, pictures = differing()
    passed = compare(Answers(reference), Answers(other), [pictures], MaskRule(), Tolerance.model_validate(wide))
    assert passed.passed
    found = compare(Answers(reference), Answers(other), [pictures], MaskRule(), Tolerance.model_validate(wide | limits))
    assert len(found.problems) == 1
    assert message in found.problems[0]


class Answers:
    """A backend that gives what it is told to, batch after batch."""

    name = "told"

    def __init__(self, *answers: FloatArray) -> None:
        self.answers = list(answers)

    def probability(self, images: RawImages) -> FloatArray:
        return self.answers.pop(0)


def differing() -> tuple[FloatArray, FloatArray, SliceBatch]:
    """Two cases of four pixels, of which one of the second case differs by 0.8."""
    labelled = np.zeros((2, 1, 1, 4), bool)
    labelled[:, 0, 0, :2] = True
    images = np.zeros((2, 1, 4, 1), np.int16)
    reference = np.array([[[[0.9, 0.9, 0.1, 0.1]]], [[[0.9, 0.9, 0.1, 0.1]]]], np.float32)
    other = reference.copy()
    other[1, 0, 0] = [0.9, 0.1, 0.1, 0.1]  # case b: Dice 2·1/(1+2)
    return reference, other, pictures_of(("a", "b"), images, labelled)


def test_hand_computed_figures() -> None:
    reference, other, pictures = differing()
    found = compare(Answers(reference), Answers(other), [pictures], MaskRule(), tolerance())
    assert found.dice_reference == 1.0
    assert found.dice_exported == found.mask_dice == pytest.approx((1 + 2 / 3) / 2)
    assert found.dice_difference == pytest.approx(1 / 6)
    assert found.max_abs_difference == pytest.approx(0.8)
    assert found.mean_abs_difference == pytest.approx(0.1)


def test_a_pixel_on_the_threshold_is_no_black_mask() -> None:
    pictures = pictures_of(("a",), np.zeros((1, 1, 2, 1), np.int16), np.zeros((1, 1, 1, 2), bool))
    reference, other = (np.array([[[[0.1, value]]]], np.float32) for value in (0.5002, 0.4998))
    wide = tolerance(max_dice_difference=1.0, min_mask_dice=0.0)
    found = compare(Answers(reference), Answers(other), [pictures], MaskRule(), wide)
    assert found.problems == ()


@pytest.mark.parametrize(("pixels", "black"), [(4, False), (5, True)])
def test_a_speck_that_vanishes_is_no_black_mask(pixels: int, black: bool) -> None:
    """Below a thousandth of a slice, here 4.096 pixels; the Dice between the masks tells of it all the same."""
    pictures = pictures_of(("a",), np.zeros((1, 64, 64, 1), np.int16), np.zeros((1, 1, 64, 64), bool))
    reference = np.zeros((1, 1, 64, 64), np.float32)
    reference.ravel()[:pixels] = 0.9
    wide = {"max_abs_difference": 1.0, "max_mean_difference": 1.0, "max_dice_difference": 1.0, "min_mask_dice": 0.0}
    gone = reference * 0.5
    found = compare(Answers(reference), Answers(gone), [pictures], MaskRule(), Tolerance.model_validate(wide))
    assert any("black mask" in problem for problem in found.problems) == black
    assert found.mask_dice == 0.0


def test_nan_alone_closes_the_gate() -> None:
    pictures = pictures_of(("a",), np.zeros((1, 1, 2, 1), np.int16), np.zeros((1, 1, 1, 2), bool))
    reference = np.zeros((1, 1, 1, 2), np.float32)
    found = compare(Answers(reference), Answers(np.full_like(reference, np.nan)), [pictures], MaskRule(), tolerance())
    assert found.problems == ("NaN or infinite probability, in 1 of 1 slices (first: case a)",)


def test_structures_that_exclude_each_other_are_judged_by_their_exclusive_masks() -> None:
    """Two likely structures in every pixel: which of them is likelier decides, and a near tie is no black mask."""
    pictures = pictures_of(("a",), np.zeros((1, 1, 4, 1), np.int16), np.array([[[[1, 1, 1, 1]], [[0, 0, 0, 0]]]], bool))
    reference = np.array([[[[0.9, 0.9, 0.9, 0.9]], [[0.8, 0.8, 0.8, 0.8]]]], np.float32)  # [N,K,H,W]
    swapped = reference[:, ::-1].copy()
    wide = Tolerance(max_abs_difference=0.2, max_mean_difference=0.2, max_dice_difference=0.01, min_mask_dice=0.9)
    overlapping = compare(Answers(reference), Answers(swapped), [pictures], MaskRule(), wide)
    assert (overlapping.problems, overlapping.mask_dice) == ((), 1.0)
    found = compare(Answers(reference), Answers(swapped), [pictures], MaskRule(exclusive=True), wide)
    assert (found.dice_reference, found.dice_exported, found.mask_dice) == (1.0, 0.0, 0.0)
    assert not any("black mask" in problem for problem in found.problems), "0.9 and 0.8 lie within twice the tolerance"
    narrow = wide.model_copy(update={"max_abs_difference": 0.01})
    found = compare(Answers(reference), Answers(swapped), [pictures], MaskRule(exclusive=True), narrow)
    assert any("black mask" in problem for problem in found.problems)
