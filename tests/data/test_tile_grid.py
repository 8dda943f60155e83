"""Large images in the rows of a store: nothing is lost, and patches are what lies at their place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdseg.core.array_types import AnyArray
from sdseg.data.tile_grid import TileGrid, WholeImages

LENGTHS, SIDES = st.integers(1, 40), st.integers(4, 16)


def image_of(height: int, width: int) -> AnyArray:
    return np.arange(1, height * width * 3 + 1).reshape(height, width, 3)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, LENGTHS, st.tuples(SIDES, SIDES), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.data())
def test_an_image_comes_back_whole_and_a_patch_is_what_lies_there(
    height: int, width: int, tile: tuple[int, int], down: float, right: float, data: st.DataObject
) -> None:
    image, grid = image_of(height, width), TileGrid(height, width, tile)
    tiles = grid.cut(image)
    assert tiles.shape == (len(grid), *tile, 3)
    np.testing.assert_array_equal(grid.whole(lambda numbers: tiles[numbers]), image)

    number = data.draw(st.integers(0, len(grid) - 1))
    patch = grid.patch(lambda numbers: tiles[numbers], number, (down, right))
    padded = np.pad(image, (*grid.padding, (0, 0)))
    places = np.lib.stride_tricks.sliding_window_view(padded, (*tile, 3))[..., 0, :, :, :]
    assert (places == patch).all(axis=(2, 3, 4)).sum() == 1 or not patch.any()  # one place: every value is another
    if down == right == 0:
        np.testing.assert_array_equal(patch, tiles[number])


def test_every_pixel_lies_in_a_tile_and_the_last_ones_end_with_the_image() -> None:
    tiles = TileGrid(10, 5, (4, 4)).cut(image_of(10, 5))
    assert len(tiles) == 6
    np.testing.assert_array_equal(tiles[-1], image_of(10, 5)[-4:, -4:])
    assert set(np.unique(tiles)) == set(range(1, 151))


def test_what_is_smaller_than_a_tile_lies_in_its_middle() -> None:
    (tile,) = TileGrid(2, 3, (6, 6)).cut(image_of(2, 3), outside=-5)
    np.testing.assert_array_equal(tile[2:4, 1:4], image_of(2, 3))
    assert (np.delete(tile.reshape(-1, 3), [13, 14, 15, 19, 20, 21], axis=0) == -5).all()


@pytest.mark.parametrize("turns", [1, 2])
def test_whole_images_stand_in_for_rows(turns: int) -> None:
    grids = (TileGrid(9, 9, (4, 6)), TileGrid(5, 4, (4, 6)))
    whole = [image_of(grid.height, grid.width) + 1000 * turn for grid in grids for turn in range(turns)]
    tiles = [grid.cut(each) for place, each in enumerate(whole) for grid in (grids[place // turns],)]
    of_case = [np.stack(tiles[case * turns : (case + 1) * turns], axis=1) for case in range(2)]  # turns side by side
    rows = np.concatenate([one.reshape(-1, *one.shape[2:]) for one in of_case])
    images = WholeImages(rows, grids, turns)
    assert len(images) == 2 * turns
    for row, expected in enumerate(whole):
        np.testing.assert_array_equal(images[row], expected)
    np.testing.assert_array_equal(images[[turns]], whole[turns][None])
