"""Volumes packed for the page: the picture decodes to the slices, the outlines enclose the masks."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from sdseg.core.errors import UserError
from sdseg.io.pictures import outline_paths, pack_slices


def test_slices_lie_in_rows_in_their_order() -> None:
    levels = np.arange(0, 250, 50, dtype=np.uint8)
    slices = np.broadcast_to(levels[:, None, None, None], (5, 16, 16, 3))
    sprite = pack_slices(slices)
    assert (sprite.columns, sprite.tile) == (3, 16)
    sheet = cv2.imdecode(np.frombuffer(sprite.webp, np.uint8), cv2.IMREAD_COLOR)
    assert sheet is not None
    assert sheet.shape == (32, 48, 3)
    for index, level in enumerate(levels):
        top, left = index // 3 * 16, index % 3 * 16
        assert abs(float(sheet[top + 4 : top + 12, left + 4 : left + 12].mean()) - float(level)) < 4


def test_a_volume_gets_coarser_and_smaller_until_it_fits() -> None:
    noise = np.random.default_rng(0).integers(0, 255, size=(9, 64, 64, 3), dtype=np.uint8)
    sprite = pack_slices(noise, most_bytes=6000)
    assert len(sprite.webp) <= 6000
    assert sprite.tile < 64
    with pytest.raises(UserError, match="9 slices do not fit into 20 bytes"):
        pack_slices(noise, most_bytes=20)


def test_an_outline_filled_again_is_the_mask() -> None:
    masks = np.zeros((2, 40, 40), dtype=bool)
    masks[0, 5:20, 8:30] = True
    masks[0, 10:14, 12:20] = False
    masks[1, 33, 33] = True
    path = outline_paths(masks)
    assert re.fullmatch(r"(M\d+ \d+l-?\d+ -?\d+( -?\d+ -?\d+)*z)+", path)
    drawn = np.zeros((40, 40), dtype=np.uint8)
    for start, steps in re.findall(r"M(\d+ \d+)l([^z]+)z", path):
        moves = np.array([start.split(), *np.array(steps.split()).reshape(-1, 2)], dtype=int)
        cv2.polylines(drawn, [moves.cumsum(axis=0).astype(np.int32)], isClosed=True, color=1)
    assert (drawn[33, 33], drawn[5, 8], drawn[19, 29], drawn[30, 2]) == (1, 1, 1, 0)
    assert drawn[5:20, 8].all()
    assert outline_paths(np.zeros((2, 8, 8), dtype=bool)) == ""
