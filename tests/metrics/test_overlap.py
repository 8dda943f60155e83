"""Scores against hand-computed cases, SimpleITK's overlap filter, and the rules that overlap.py states."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdseg.metrics import overlap
from sdseg.metrics.overlap import Score, Tally

Masks = tuple[np.ndarray, np.ndarray]


def pair(shape: tuple[int, ...] = (3, 2, 5, 4)) -> st.SearchStrategy[Masks]:
    """Two masks [N,K,H,W], often sparse, sometimes empty."""
    mask = arrays(np.bool_, shape, elements=st.booleans(), fill=st.booleans())
    return st.tuples(mask, mask)


def of(*rows: str) -> np.ndarray:
    """A mask [1,1,H,W] drawn with # and dots."""
    return np.array([[letter == "#" for letter in row] for row in rows])[None, None]


@pytest.mark.parametrize(
    ("predicted", "labelled", "dice", "iou"),
    [
        (of("##..", "##.."), of("##..", "##.."), 1.0, 1.0),
        (of("##..", "##.."), of("..##", "..##"), 0.0, 0.0),
        (of("##..", "##.."), of(".##.", ".##."), 0.5, 1 / 3),  # 2·2/(4+4), 2/6
        (of("####", "####"), of("#...", "...."), 2 / 9, 1 / 8),
        (of("....", "...."), of("....", "...."), 1.0, 1.0),  # both empty
        (of("#...", "...."), of("....", "...."), 0.0, 0.0),
        (of("....", "...."), of("#...", "...."), 0.0, 0.0),
    ],
)
def test_hand_computed(predicted: np.ndarray, labelled: np.ndarray, dice: float, iou: float) -> None:
    pixels = overlap.counts(predicted, labelled)
    assert overlap.dice(pixels) == pytest.approx([dice])
    assert overlap.iou(pixels) == pytest.approx([iou])


@given(pair())
def test_agrees_with_simpleitk(masks: Masks) -> None:
    predicted, labelled = masks
    assume(all(predicted[:, k].any() or labelled[:, k].any() for k in range(2)))  # there ITK gives infinity, we say 1
    pixels = overlap.counts(predicted, labelled)
    for k in range(2):
        measure = SimpleITK.LabelOverlapMeasuresImageFilter()
        measure.Execute(*(SimpleITK.GetImageFromArray(mask[:, k].astype(np.uint8)) for mask in masks))
        assert overlap.dice(pixels)[k] == pytest.approx(measure.GetDiceCoefficient())
        assert overlap.iou(pixels)[k] == pytest.approx(measure.GetJaccardCoefficient())


@given(pair())
def test_symmetric_bounded_and_tied_to_each_other(masks: Masks) -> None:
    pixels, turned = overlap.counts(*masks), overlap.counts(*masks[::-1])
    dice, iou = overlap.dice(pixels), overlap.iou(pixels)
    np.testing.assert_array_equal(dice, overlap.dice(turned))
    np.testing.assert_array_equal(iou, overlap.iou(turned))
    assert ((iou >= 0) & (iou <= dice) & (dice <= 1)).all()
    np.testing.assert_allclose(dice, 2 * iou / (1 + iou))


@given(pair(), st.integers(0, 3))
def test_a_volume_is_counted_over_its_slices(masks: Masks, cut: int) -> None:
    predicted, labelled = masks
    parts = overlap.counts(predicted[:cut], labelled[:cut]) + overlap.counts(predicted[cut:], labelled[cut:])
    np.testing.assert_array_equal(overlap.dice(parts), overlap.dice(overlap.counts(predicted, labelled)))


def test_tally_keeps_cases_apart_whatever_the_order() -> None:
    full, empty = of("##"), of("..")
    tally = Tally()
    tally.add(("a", "b"), np.concatenate([full, full]), np.concatenate([full, empty]))
    tally.add(("a",), empty, full)
    assert list(tally.counts) == ["a", "b"]
    assert tally.slices == {"a": 2, "b": 1}
    np.testing.assert_allclose(tally.dice(), [[2 * 2 / (2 + 4)], [0.0]])
    np.testing.assert_allclose(tally.iou(), [[2 / 4], [0.0]])


@given(arrays(np.float64, st.integers(2, 30), elements=st.floats(0, 1)))
def test_summary_agrees_with_numpy(values: np.ndarray) -> None:
    found = overlap.summarise(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.sqrt(((values - values.mean()) ** 2).sum() / (len(values) - 1)))
    assert (found.minimum, found.median, found.maximum) == pytest.approx(tuple(np.quantile(values, [0, 0.5, 1])))


def test_summary_of_a_single_case() -> None:
    found = overlap.summarise(np.array([0.7]))
    assert (found.mean, found.sd, found.minimum, found.median, found.maximum) == (0.7, 0.0, 0.7, 0.7, 0.7)


@pytest.mark.parametrize(
    ("predicted", "labelled", "precision", "recall", "official"),
    [
        (of("##..", "##.."), of(".##.", ".##."), 0.5, 0.5, 0.5),
        (of("####", "####"), of("#...", "...."), 1 / 8, 1.0, 2 / 9),
        (of("....", "...."), of("....", "...."), None, None, 0.0),  # the published rule: both empty is 0 …
        (of("#...", "...."), of("....", "...."), 0.0, None, 1.0),  # … and a false alarm 1
        (of("....", "...."), of("#...", "...."), None, 0.0, 0.0),
    ],
)
def test_precision_recall_and_the_official_dice(
    predicted: np.ndarray, labelled: np.ndarray, precision: float | None, recall: float | None, official: float
) -> None:
    pixels = overlap.counts(predicted, labelled)
    for found, wanted in ((overlap.precision(pixels)[0], precision), (overlap.recall(pixels)[0], recall)):
        assert np.isnan(found) if wanted is None else found == pytest.approx(wanted)
    assert overlap.dice_official(pixels) == pytest.approx([official])


@given(pair())
def test_precision_and_recall_agree_with_simpleitk(masks: Masks) -> None:
    predicted, labelled = masks
    assume(all(predicted[:, k].any() and labelled[:, k].any() for k in range(2)))
    pixels = overlap.counts(predicted, labelled)
    for k in range(2):
        measure = SimpleITK.LabelOverlapMeasuresImageFilter()
        measure.Execute(*(SimpleITK.GetImageFromArray(mask[:, k].astype(np.uint8)) for mask in masks))
        assert overlap.precision(pixels)[k] == pytest.approx(1 - measure.GetFalseDiscoveryRate())
        assert overlap.recall(pixels)[k] == pytest.approx(1 - measure.GetFalseNegativeError())


def test_cup_to_disc_error() -> None:
    disc, cup = np.zeros((2, 20, 20), np.bool_)
    disc[2:18, 5:9] = True  # 16 rows
    cup[6:14, 5:9] = True  # 8 rows
    small = np.zeros_like(cup)
    small[6:10] = True  # 4 rows
    empty = np.zeros_like(cup)
    assert overlap.cup_to_disc_error((disc, cup), (disc, cup)) == (0, "")
    assert overlap.cup_to_disc_error((disc, small), (disc, cup)).value == pytest.approx(4 / 16)
    assert overlap.cup_to_disc_error((disc, empty), (disc, cup)).value == pytest.approx(8 / 16)
    assert overlap.cup_to_disc_error((empty, empty), (disc, cup)).reason == "no disc predicted"
    assert overlap.cup_to_disc_error((disc, cup), (empty, cup)).reason == "no disc labelled"


def test_means_leave_out_what_is_undefined() -> None:
    nothing = Score(float("nan"), "nothing predicted")
    assert overlap.mean_score([Score(0.5), nothing, Score(1.0)]) == (0.75, "")
    assert overlap.mean_score([nothing, nothing]).reason == "nothing predicted"
