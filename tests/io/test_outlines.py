"""Pictures with outlines: size, colours, legend."""

from __future__ import annotations

import numpy as np
import pytest

from sdseg.io.pictures import LABEL_COLOUR, PREDICTION_COLOUR, Outline, draw_outlines, enlarge


def disc(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2
    return np.asarray(np.hypot(y, x) < radius)[None]


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels of a colour, [H,W]."""
    return np.asarray(np.abs(picture.astype(int) - colour).max(axis=2) < 10)


@pytest.mark.parametrize(
    ("shape", "expected"), [((64, 64), (512, 512)), ((60, 40), (780, 520)), ((600, 800), (600, 800))]
)
def test_enlarged_by_whole_factors_only(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert enlarge(np.zeros((*shape, 3), np.uint8)).shape == (*expected, 3)


def test_outlines_lie_on_the_masks_edges() -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    outlines = (
        Outline("label", disc(64, 20), LABEL_COLOUR, 6),
        Outline("prediction", disc(64, 10), PREDICTION_COLOUR, 2),
    )
    picture = draw_outlines(image, outlines, "Dice 0.400")
    assert picture.shape == (542, 512, 3)
    for colour, radius in ((LABEL_COLOUR, 160), (PREDICTION_COLOUR, 80)):
        y, x = np.nonzero(where(picture[:512], colour))
        distance = np.hypot(y - 256, x - 256)
        assert len(distance) > 300
        assert abs(distance.mean() - radius) < 8
        assert where(picture[512:], colour).any()  # in the legend
    assert (image == 90).all()


def test_empty_masks_draw_nothing() -> None:
    picture = draw_outlines(
        np.zeros((64, 64, 3), np.uint8), (Outline("label", np.zeros((1, 64, 64), bool), (255, 0, 0)),)
    )
    assert not picture[:512].any()


def test_coinciding_outlines_are_both_seen() -> None:
    mask = disc(64, 20)
    outlines = (Outline("label", mask, LABEL_COLOUR, 6), Outline("prediction", mask, PREDICTION_COLOUR, 2))
    picture = draw_outlines(np.zeros((64, 64, 3), np.uint8), outlines)[:512]
    assert where(picture, PREDICTION_COLOUR).sum() > 200
    assert where(picture, LABEL_COLOUR).sum() > 200


def test_a_long_legend_breaks_into_lines() -> None:
    mask = np.zeros((1, 64, 64), bool)
    outlines = tuple(Outline(f"structure number {number}", mask, (255, 0, 0)) for number in range(13))
    picture = draw_outlines(np.zeros((64, 64, 3), np.uint8), outlines)
    assert picture.shape[1] == 512
    lines = (picture.shape[0] - 512) // 30
    assert 4 <= lines <= 7
    for line in range(lines):
        assert where(picture[512 + 30 * line : 542 + 30 * line], (255, 0, 0)).any()
