"""Which components benchmarks/nodules.py counts as found, by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.nodules import small_recall


def test_a_small_component_is_found_where_half_of_it_is_marked() -> None:
    truth = np.zeros((2, 1, 16, 16), dtype=bool)
    truth[0, 0, 0:2, 0:2] = True  # 4 pixels
    truth[0, 0, 2, 2] = True  # touches it by a corner: the same component, of 5
    truth[0, 0, 8:10, 8:10] = True  # 4 pixels
    truth[0, 0, 5:15, 0:5] = True  # 50 pixels, not counted
    truth[1, 0, 4, 4:8] = True  # 4 pixels
    marked = np.zeros_like(truth)
    marked[0, 0, 0, 0:2] = True  # 2 of 5: missed
    marked[0, 0, 8, 8:10] = True  # 2 of 4: found
    marked[0, 0, 5:15, 0:5] = True
    recall = small_recall(marked, truth)
    assert (recall.count, recall.marked) == (3, 1)
    assert recall.share == 1 / 3
    assert small_recall(truth, truth).share == 1
    assert np.isnan(small_recall(marked[1:], np.zeros_like(truth[1:])).share)
